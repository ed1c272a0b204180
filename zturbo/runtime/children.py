"""How a node starts its children, and what a child does to be one.

The parent writes a spec (a msgpack map) to the child's stdin and keeps the pipe open: when it closes,
the parent is gone, and the child ends itself; so there are no orphans, ever. The child reports through
a second pipe that it is ready, or why it could not start. Children ignore SIGINT: in a terminal
Ctrl-C goes to the whole group, and it is the parent's to stop them, by SIGTERM.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from zturbo.runtime.binding import bound_environment, cpus_to_bind, on_cpus
from zturbo.runtime.boot import command
from zturbo.runtime.code.rendering import plain_text, render
from zturbo.runtime.slot import Slot
from zturbo.wire.messages import clip

__all__ = ["Child", "ChildSide", "ChildSpec", "describe_exit"]

log = logging.getLogger("zturbo.node")

_LENGTH = struct.Struct("<I")


@dataclass(slots=True)
class ChildSpec:
    """What to start.

    Args:
        role: ``broker``, ``sink`` or ``worker``.
        name: for people, such as ``video.detect``.
        module: what it runs, as ``python -m`` would.
        spec: what it is told. Its ``resources`` (name -> list) are what its process is bound to.
    """

    role: str
    name: str
    module: str
    spec: dict[str, Any] = field(default_factory=dict)


class Child:
    """A child process, seen from its parent.

    Args:
        what: what to start.
        incarnation: the id that it is to have.
        env: its environment; None for the parent's.
    """

    def __init__(self, what: ChildSpec, incarnation: bytes, env: dict[str, str] | None = None) -> None:
        self.what = what
        self.incarnation = incarnation
        self.started = time.monotonic()
        self.is_ready = False
        self.error: str | None = None
        self.traceback = ""
        self.info: dict[str, Any] = {}
        self.cause = ""
        """Why its node ended it: ``timeout``, ``cancelled``, ``stopped``; empty if it did not."""
        self._oom_kills = _oom_kills()
        reader, writer = os.pipe()
        self.ready_fd = reader
        os.set_blocking(reader, False)
        self._report = b""
        slot_fd = Slot.make()
        spec = {
            **what.spec,
            "incarnation": incarnation,
            "ready_fd": writer,
            "slot_fd": slot_fd,
            "parent": os.getpid(),
        }
        own = dict(os.environ) if env is None else env
        given = what.spec.get("resources")
        with on_cpus(cpus_to_bind(given)):
            self.process = subprocess.Popen(
                command(what.module),
                stdin=subprocess.PIPE,
                pass_fds=(writer, slot_fd),
                env=bound_environment(given, own),
            )
        os.close(writer)
        self.slot = Slot(slot_fd)
        raw = msgpack.packb(spec)
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(_LENGTH.pack(len(raw)) + raw)
            self.process.stdin.flush()
        except BrokenPipeError:
            log.debug("%s ended before it was told anything", what.name)
        self.pid = self.process.pid
        self.pidfd = os.pidfd_open(self.pid)

    def read_report(self) -> bool:
        """Read what the child says of its start. Returns whether there is something new."""
        try:
            raw = os.read(self.ready_fd, 1 << 16)
        except BlockingIOError:
            return False
        self._report += raw
        if raw and len(raw) == 1 << 16:
            return self.read_report()
        if not self._report:
            return False
        try:
            report = msgpack.unpackb(self._report, raw=False)
        except ValueError:
            return False
        self.is_ready = bool(report.get("ready"))
        self.error = report.get("error")
        self.traceback = report.get("traceback", "")
        self.info = report
        return True

    def describe_exit(self, code: int) -> str:
        """How it ended, for people: ``exit code 3``, ``SIGSEGV``, ``SIGKILL, likely out of memory``."""
        text = describe_exit(code)
        if code == -signal.SIGKILL and not self.cause and _oom_kills() > self._oom_kills:
            text += ", likely out of memory: the kernel has killed a process for that since it started"
        return text

    def exited(self) -> int | None:
        """Its exit code (negative: a signal), or None while it runs. Reaps it."""
        return self.process.poll()

    def frozen(self) -> bool:
        """Whether the kernel shows it stopped or dead: nothing to renew a lease for."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return True
        return stat[stat.rindex(")") + 2] in "TtZX"

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.process.poll() is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                log.debug("%s is gone already", self.what.name)

    def close(self) -> None:
        """Let go of its pipes. It must have exited."""
        if self.process.stdin is not None:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                log.debug("%s had closed its stdin", self.what.name)
        os.close(self.ready_fd)
        os.close(self.pidfd)
        self.slot.close()


def describe_exit(code: int) -> str:
    """An exit code for people: ``exit code 3``, ``SIGSEGV``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return name


def _oom_kills() -> int:
    """How many processes the kernel has killed for want of memory, on this host and in this cgroup."""
    count = 0
    for path, key in (("/proc/vmstat", "oom_kill "), ("/sys/fs/cgroup/memory.events", "oom_kill ")):
        try:
            lines = Path(path).read_text().splitlines()
        except OSError:
            continue
        count += sum(int(line.split()[1]) for line in lines if line.startswith(key))
    return count


class _Fanout(logging.Handler):
    """Hands each record to several handlers."""

    def __init__(self, handlers: list[logging.Handler]) -> None:
        super().__init__()
        self.handlers = handlers

    def emit(self, record: logging.LogRecord) -> None:
        """To all of them."""
        for handler in self.handlers:
            handler.handle(record)


class ChildSide:
    """A child process, seen from inside."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self._ready_fd: int = spec["ready_fd"]
        self._folders: list[Path] = []

    @classmethod
    def open(cls) -> ChildSide:
        """Read the spec; from now on end with the parent."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        stdin = os.dup(0)
        head = _read(stdin, _LENGTH.size)
        spec = msgpack.unpackb(_read(stdin, _LENGTH.unpack(head)[0]), raw=False, strict_map_key=False)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        level = logging.DEBUG if spec.get("debug") else logging.INFO
        handlers: list[logging.Handler] = [logging.StreamHandler()]
        if spec.get("log_file"):
            handlers.append(logging.FileHandler(spec["log_file"]))
        form = "%(asctime)s %(name)s %(levelname)s %(message)s"
        for handler in handlers:
            handler.setFormatter(logging.Formatter(form))
        logging.getLogger().setLevel(level)
        logging.lastResort = _Fanout(handlers)
        side = cls(spec)
        threading.Thread(target=side._watch, args=(stdin,), name="parent", daemon=True).start()
        return side

    @staticmethod
    def settle_logging() -> None:
        """Let this process's log lines go where they belong, once the user's code is loaded.

        Code that has set up the root logger by itself has its lines where it says; zturbo's own go to stderr
        as well. (``logging.basicConfig`` does nothing where the root logger has a handler, so it has none
        until here.)
        """
        root = logging.getLogger()
        logger = root if not root.handlers else logging.getLogger("zturbo")
        if isinstance(logging.lastResort, _Fanout):
            for handler in logging.lastResort.handlers:
                logger.addHandler(handler)

    @property
    def slot(self) -> Slot:
        """Where it notes what it runs."""
        return Slot(self.spec["slot_fd"])

    def at_exit(self, folder: Path) -> None:
        """Remove this folder if the parent dies."""
        self._folders.append(folder)

    def _watch(self, stdin: int) -> None:
        while os.read(stdin, 4096):
            pass
        if self.spec.get("role") == "broker":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(2)
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
            try:
                folder.parent.rmdir()  # the node's, once its last child is gone
            except OSError:
                continue
        os._exit(4)

    def _say(self, report: dict[str, Any]) -> None:
        try:
            os.write(self._ready_fd, msgpack.packb(report))
            os.close(self._ready_fd)
        except OSError as error:
            log.debug("the parent does not listen: %s", error)

    def ready(self, **info: Any) -> None:
        """Say that it runs."""
        self._say({"ready": True, **info})

    def failed(self, error: BaseException, name: str, hint: str = "") -> int:
        """Say why it cannot start, and what may help. Returns the exit status."""
        told = render(error)
        sentence = told.message if told.type == "StartError" else told.sentence
        self._say(
            {
                "error": clip(plain_text(f"{name}: {sentence}"), 3500) + hint,
                "traceback": clip(told.traceback, 32_000),
            }
        )
        return 2


def _read(fd: int, n: int) -> bytes:
    out = b""
    while len(out) < n:
        part = os.read(fd, n - len(out))
        if not part:
            os._exit(4)
        out += part
    return out
