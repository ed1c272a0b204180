"""Sessions on several hosts at once: all of them succeed, or what was begun is stopped again on each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TypeVar

from zturbo.deploy.ssh import Session
from zturbo.errors import StartError, ZturboError

__all__ = ["HostsFailed", "Rollout"]

T = TypeVar("T")


class HostsFailed(StartError):
    """Some hosts could not do what they were asked for."""

    def __init__(self, why: dict[str, str]) -> None:
        self.why = why
        """Host -> reason."""
        super().__init__("; ".join(f"{host}: {text}" for host, text in why.items()))


class Rollout:
    """Sessions on hosts, to be used in a ``with`` statement, whose end ends them.

    Args:
        sessions: one for each host.
    """

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._sessions = {session.host.name: session for session in sessions}

    def __enter__(self) -> Rollout:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def each(self, work: Callable[[Session], T], hosts: Iterable[str] | None = None) -> dict[str, T]:
        """Do something on hosts, all at once. Returns host -> what it gave.

        Args:
            work: what to do with a session.
            hosts: their names; None for all.

        Raises:
            HostsFailed: some could not do it. All sessions are ended at the first such host.
        """
        found, why = self._run(work, hosts, together=True)
        if why:
            raise HostsFailed(why)
        return found

    def tried(
        self, work: Callable[[Session], T], hosts: Iterable[str] | None = None
    ) -> tuple[dict[str, T], dict[str, str]]:
        """As :meth:`each`, but one host's failure does not disturb others. Returns also host -> reason."""
        return self._run(work, hosts, together=False)

    def _run(
        self, work: Callable[[Session], T], hosts: Iterable[str] | None, *, together: bool
    ) -> tuple[dict[str, T], dict[str, str]]:
        found: dict[str, T] = {}
        why: dict[str, str] = {}
        broken: list[BaseException] = []
        failed = threading.Event()
        wake = threading.Condition()
        names = list(self._sessions if hosts is None else hosts)
        left = len(names)

        def one(name: str) -> None:
            nonlocal left
            try:
                value = work(self._sessions[name])
                with wake:
                    found[name] = value
            except ZturboError as error:
                with wake:
                    if not failed.is_set():
                        why[name] = str(error)
            except BaseException as error:  # a mistake of ours: the main thread raises it
                broken.append(error)
            finally:
                with wake:
                    left -= 1
                    wake.notify()

        for name in names:
            threading.Thread(target=one, args=(name,), daemon=True).start()
        with wake:
            while left and not (together and why):
                wake.wait(1)  # with a limit, so that Ctrl-C is seen at once
        if together and why:
            failed.set()
            self._end()
        if broken:
            raise broken[0]
        return found, why

    def _end(self) -> None:
        threads = [threading.Thread(target=session.end, daemon=True) for session in self._sessions.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
