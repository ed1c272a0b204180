"""A child process, seen from its node: how it is started, told to stop, and found to have ended.

The node talks to it as :mod:`zturbo.runtime.process.childside` says, which is the child's side.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import msgpack

from zturbo.hardware.binding import bound_environment, cpus_to_bind, on_cpus
from zturbo.runtime.node.forking import Forked, Forking, Unavailable
from zturbo.runtime.process.boot import command
from zturbo.runtime.process.childside import GO, LENGTH, STOP, UNFIT
from zturbo.runtime.process.descendants import MARK, end_descendants
from zturbo.runtime.process.descriptors import LOST_DESCRIPTORS
from zturbo.runtime.process.forkserver import Order
from zturbo.runtime.process.frozen import frozen
from zturbo.runtime.process.ringfile import RingFile
from zturbo.runtime.process.running import RunningNote
from zturbo.runtime.process.stackfile import StackFile
from zturbo.runtime.process.tunables import with_tunables
from zturbo.slotted import field, slotted
from zturbo.wire.control.to_broker import Cause

__all__ = ["Child", "ChildSpec", "describe_exit"]

log = logging.getLogger("zturbo.node")

UNKNOWN = 1 << 16
"""Stands for an exit code that is not known; greater than any."""


@slotted
class ChildSpec:
    """A child to start.

    Args:
        role: ``broker``, ``sink`` or ``worker``.
        name: for people, such as ``video.detect``.
        module: the module that it runs, as ``python -m`` would.
        spec: told to the child. Its process is bound to the ``resources`` in it (name -> list).
    """

    role: str
    name: str
    module: str
    spec: dict[str, Any] = field(default_factory=dict)


class Child:
    """A child process, seen from its parent. It imports its module, and waits until :meth:`begin` is called.

    Args:
        what: what to start.
        incarnation: the id that it is to have.
        env: its environment; None for the parent's.
        output: descriptor of its stdout and stderr; None for the parent's.
        forking: forks it; None to start a program.

    Raises:
        OSError: this host or this process has no room for another process, descriptor or piece of memory.
    """

    def __init__(
        self,
        what: ChildSpec,
        incarnation: bytes,
        env: dict[str, str] | None = None,
        output: int | None = None,
        forking: Forking | None = None,
    ) -> None:
        self.what = what
        self.incarnation = incarnation
        self.started = time.monotonic()
        self.is_ready = False
        self.error: str | None = None
        self.traceback = ""
        self.info: dict[str, Any] = {}
        self.cause: Cause = ""
        """Why its node ended it: ``timeout``, ``cancelled``, ``stopped``; empty if it did not."""
        self._code: int | None = None
        self._oom_kills = _oom_kills()
        self.reports_over = False
        """Whether no more reports will come of it."""
        self._reports = msgpack.Unpacker(raw=False)
        self._untold: dict[str, Any] | None = None
        """Its spec, if it has not been told that yet."""
        self.early = False
        """Whether it loads its code, and waits for :meth:`go`."""
        self.process: subprocess.Popen[bytes] | Forked
        with contextlib.ExitStack() as undo:
            self._start(env, output, forking, undo)
            undo.pop_all()

    def _start(
        self,
        env: dict[str, str] | None,
        output: int | None,
        forking: Forking | None,
        undo: contextlib.ExitStack,
    ) -> None:
        """Start it. If that fails, the caller makes the calls in ``undo``."""
        what = self.what
        self.ready_fd, writer = os.pipe()
        undo.callback(os.close, self.ready_fd)
        os.set_blocking(self.ready_fd, False)
        with (
            open(writer, "wb"),
            open(RunningNote.make(), "wb") as memory,
            open(StackFile.make(), "wb") as stacks,
            open(RingFile.make(), "wb") as ring,
        ):
            self.running_note = RunningNote(os.dup(memory.fileno()))
            undo.callback(self.running_note.close)
            self.stacks = StackFile(os.dup(stacks.fileno()))
            undo.callback(self.stacks.close)
            self.ring = RingFile(os.dup(ring.fileno()))
            undo.callback(self.ring.close)
            own = dict(os.environ if env is None else env)
            worker = what.role == "worker"
            if worker:
                own[MARK] = self.incarnation.hex()
            given = what.spec.get("resources")
            own = bound_environment(given, own)
            kept = [writer, *(opened.fileno() for opened in (memory, stacks, ring))]
            try:
                if forking is None:
                    raise Unavailable
                numbers = self._fork(forking, own, kept, output)
            except Unavailable:
                numbers = kept
                with on_cpus(cpus_to_bind(given)):
                    self.process = subprocess.Popen(
                        command(what.module),
                        stdin=subprocess.PIPE,
                        stdout=output,
                        stderr=output,
                        pass_fds=kept,
                        env=with_tunables(own),
                        start_new_session=worker,
                    )
            undo.callback(self._abandon)
            self._untold = {
                **what.spec,
                "incarnation": self.incarnation,
                **dict(zip(("ready_fd", "running_fd", "stack_fd", "ring_fd"), numbers, strict=True)),
                "parent": os.getpid(),
            }
        self.pid = self.process.pid
        self.pidfd = os.pidfd_open(self.pid)

    def _fork(self, forking: Forking, env: dict[str, str], kept: list[int], output: int | None) -> list[int]:
        """Have it forked. Returns the numbers that the descriptors have there."""
        what = self.what
        order = Order(
            module=what.module,
            name=what.name,
            env=env,
            folder=os.getcwd(),
            cpus=sorted(cpus_to_bind(what.spec.get("resources"))),
            leads=what.role == "worker",
            kept=len(kept),
        )
        theirs, stdin = os.pipe()
        try:
            fds = [theirs, *kept, *([] if output is None else [output, output])]
            self.process, numbers = forking.fork(order, fds, stdin)
        except BaseException:
            os.close(stdin)
            raise
        finally:
            os.close(theirs)
        return numbers

    @property
    def waits(self) -> bool:
        """Whether it waits to be told what it is."""
        return self._untold is not None

    def begin(self, *, early: bool = False) -> None:
        """Tell it what it is, so that it goes on.

        Args:
            early: only to load its code: it connects to the broker after :meth:`go`.
        """
        assert self._untold is not None
        raw, self._untold = msgpack.packb({**self._untold, "early": early}), None
        self.early = early
        self.started = time.monotonic()
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(LENGTH.pack(len(raw)) + raw)
            self.process.stdin.flush()
        except BrokenPipeError:
            log.debug("%s ended before it was told anything", self.what.name)

    def go(self) -> None:
        """Let it connect to the broker."""
        self.early = False
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            os.write(self.process.stdin.fileno(), GO)

    def _abandon(self) -> None:
        """End the process, since it cannot be watched."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def read_reports(self) -> list[str]:
        """Read the child's new reports, in their order: ``ready``, ``joined`` or ``failed``."""
        new: list[str] = []
        while not self.reports_over:
            try:
                raw = os.read(self.ready_fd, 1 << 16)
            except BlockingIOError:
                break
            self.reports_over = not raw
            self._reports.feed(raw)
            try:
                new += [kind for report in self._reports if (kind := self._take_report(report))]
            except Exception as error:  # the stage's code has written to this descriptor
                log.debug("%s: a report that cannot be read: %s", self.what.name, error)
                self.reports_over = True
        return new

    def _take_report(self, report: dict[str, Any]) -> str:
        """Note a report. Returns its kind; empty for one that tells nothing new."""
        if report.get("error") is not None and self.error is None and not self.is_ready:
            self.error = report["error"]
            self.traceback = report.get("traceback", "")
            self.info = report
            return "failed"
        if report.get("ready") and not self.is_ready:
            self.is_ready = True
            self.info = report
            return "ready"
        return "joined" if report.get("joined") else ""

    def describe_exit(self, code: int) -> str:
        """How it ended, for people: ``exit code 3``, ``SIGSEGV``, ``SIGKILL, likely out of memory``."""
        text = describe_exit(code)
        if code == -signal.SIGKILL and not self.cause and _oom_kills() > self._oom_kills:
            text += ", likely out of memory: the kernel has killed a process for that since it started"
        return text

    def exited(self) -> int | None:
        """Its exit code (negative: a signal); None while it runs. Reaps it, and ends what it has started."""
        if self._code is not None:
            return self._code
        code: int | None = UNKNOWN
        try:
            end = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if end is None:
                return None
            code = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
        except ChildProcessError:  # this process ignores SIGCHLD, or other code of it has reaped the child
            if not _ended(self.pidfd):
                return None
        if self.what.role == "worker":
            end_descendants(self.incarnation.hex(), self.pid)
        self.process.poll()
        self._code = code
        return code

    def frozen(self) -> bool:
        """Whether the kernel shows it as stopped or dead, so that its lease is not to be renewed."""
        return frozen(self.pid)

    @property
    def is_worker(self) -> bool:
        """Whether it runs the code of a stage."""
        return self.what.role == "worker"

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            log.debug("%s is gone already", self.what.name)

    def stop(self) -> None:
        """Ask it to finish its tasks and to leave."""
        if self.what.role != "worker" or not self.is_ready:
            self.signal(signal.SIGTERM)
            return
        assert self.process.stdin is not None
        try:
            os.write(self.process.stdin.fileno(), STOP)
        except (BrokenPipeError, BlockingIOError):
            self.signal(signal.SIGTERM)

    def close(self) -> None:
        """Close its pipes. It must have exited."""
        if self.process.stdin is not None:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                log.debug("%s had closed its stdin", self.what.name)
        os.close(self.ready_fd)
        os.close(self.pidfd)
        self.running_note.close()
        self.stacks.close()
        self.ring.close()


def _ended(pidfd: int) -> bool:
    """Whether the process is gone. It need not be a child of this one any more."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def describe_exit(code: int) -> str:
    """An exit code for people: ``exit code 3``, ``SIGSEGV``."""
    if code == UNKNOWN:
        return (
            "it ended, and how is not known: the program that started it ignores SIGCHLD, or waits for "
            "children that are not its own"
        )
    if code == LOST_DESCRIPTORS:
        return "the stage's code has closed file descriptors that are not its own"
    if code == UNFIT:
        return "the broker refuses each such process"
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return name


def _oom_kills() -> int:
    """How many processes the kernel has killed for lack of memory, on this host and in this cgroup."""
    count = 0
    for path, key in (("/proc/vmstat", "oom_kill "), ("/sys/fs/cgroup/memory.events", "oom_kill ")):
        try:
            lines = Path(path).read_text().splitlines()
        except OSError:
            continue
        count += sum(int(line.split()[1]) for line in lines if line.startswith(key))
    return count
