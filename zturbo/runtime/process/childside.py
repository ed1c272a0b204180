"""A child process, seen from inside: what it does from its start on.

The parent writes a spec (a msgpack map) to the child's stdin and keeps the pipe open. When the pipe closes,
the parent is gone, and the child ends itself: so there are no orphans. The child reports through a second
pipe that it is ready, and then that it has joined the broker's view, or why it could not start. Children do
nothing at SIGINT: in a terminal Ctrl-C goes to the whole group, and the parent alone decides to stop them.

A worker leads a session of its own, see :mod:`zturbo.runtime.process.descendants`. Its parent tells it to
stop through the pipe, since its code may have changed what SIGTERM does.
"""

from __future__ import annotations

import logging
import os
import signal
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack

from zturbo.api.log import FORMAT, SafeFormatter
from zturbo.errortext import clip, plain_text, render
from zturbo.runtime.disk.folders import remove_folder
from zturbo.runtime.process.descendants import end_descendants
from zturbo.runtime.process.descriptors import LOST_DESCRIPTORS, out_of_the_way
from zturbo.runtime.process.running import RunningNote
from zturbo.runtime.process.stackfile import answer_signals

__all__ = ["GO", "LENGTH", "REFUSED", "STOP", "UNFIT", "ChildSide"]

log = logging.getLogger("zturbo.node")

LENGTH = struct.Struct("<I")
"""The length of the spec, in bytes, which precedes it."""

STOP, GO = b"s", b"g"
"""The words on a worker's pipe that tell it to leave, and to connect to the broker."""

REFUSED = 3
"""Exit code of a member that the broker has refused, or taken out: its code is not to blame."""

UNFIT = 78
"""Exit code of a member that can never join its broker, such as one of another version, so that its node does
not start it again; ``EX_CONFIG`` of sysexits.h."""


class _Fanout(logging.Handler):
    """Hands each record to several handlers."""

    def __init__(self, handlers: list[logging.Handler]) -> None:
        super().__init__()
        self.handlers = handlers

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the record to all of them."""
        for handler in self.handlers:
            handler.handle(record)


class ChildSide:
    """A child process, seen from inside."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self._ready_fd: int = spec["ready_fd"]
        self._saying = threading.Lock()
        self._is_ready = self._has_joined = False
        self._folders: list[Path] = []
        self.running_note = self._open_note(spec["running_fd"])
        """Its note of the tasks that it runs."""
        self.handlers: dict[int, Any] = {}
        """Signal -> the handler that it has here."""
        self._goes = threading.Event()
        if not spec.get("early"):
            self._goes.set()
        self.on_stop: Callable[[], None] | None = None
        """Called in another thread when the parent tells it to leave."""

    @classmethod
    def open(cls) -> ChildSide:
        """Read the spec. From now on this process ends with its parent."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # it may be ignored where the node was started
        stdin = out_of_the_way(os.dup(0))
        head = _read(stdin, LENGTH.size)
        spec = msgpack.unpackb(_read(stdin, LENGTH.unpack(head)[0]), raw=False, strict_map_key=False)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        # A copy of stderr, since the stage's code may close stderr itself.
        errors = open(out_of_the_way(os.dup(2)), "w", buffering=1, errors="backslashreplace")
        level = logging.DEBUG if spec.get("debug") else logging.INFO
        handlers: list[logging.Handler] = [logging.StreamHandler(errors)]
        if spec.get("log_file"):
            handlers.append(logging.FileHandler(spec["log_file"]))
        for handler in handlers:
            handler.setFormatter(SafeFormatter(FORMAT))
        logging.getLogger().setLevel(level)
        logging.lastResort = _Fanout(handlers)
        spec["ready_fd"] = out_of_the_way(spec["ready_fd"])
        if "stack_fd" in spec:
            answer_signals(spec["stack_fd"])
        side = cls(spec)
        side.handle(signal.SIGINT, lambda: None)  # not SIG_IGN: programs that a stage starts would inherit it
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        threading.Thread(target=side._watch, args=(stdin,), name="parent", daemon=True).start()
        return side

    @staticmethod
    def settle_logging() -> None:
        """Send this process's log lines where they belong, once the user's code is loaded.

        If this code has set up the root logger, its lines go where it says. zturbo's own go to stderr as
        well. (``logging.basicConfig`` does nothing if the root logger has a handler, so it has none until
        here.)
        """
        root = logging.getLogger()
        logger = root if not root.handlers else logging.getLogger("zturbo")
        if isinstance(logging.lastResort, _Fanout):
            for handler in logging.lastResort.handlers:
                logger.addHandler(handler)

    def _open_note(self, fd: int) -> RunningNote:
        return RunningNote(fd)

    def handle(self, number: int, call: Callable[[], None]) -> None:
        """Make this call at this signal."""

        def handler(number: int, frame: object) -> None:
            call()

        self.handlers[number] = handler
        signal.signal(number, handler)

    def wait_to_go(self) -> None:
        """Wait until the parent's own broker runs, if this process was told of its work before."""
        self._goes.wait()

    def at_exit(self, folder: Path) -> None:
        """Remove this folder if the parent dies."""
        self._folders.append(folder)

    def _watch(self, stdin: int) -> None:
        while words := self._read_word(stdin):
            if GO in words:
                self._goes.set()
            if STOP in words and self.on_stop is not None:
                self.on_stop()
        if self.spec.get("role") == "broker":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(2)
        for folder in self._folders:
            remove_folder(folder)
            with suppress(OSError):
                folder.parent.rmdir()  # the node's, once its last child is gone
        if self.spec.get("role") == "worker":
            end_descendants(self.spec["incarnation"].hex(), os.getpid())
            if os.getpgrp() == os.getpid():
                os.killpg(0, signal.SIGKILL)
        os._exit(4)

    def _read_word(self, stdin: int) -> bytes:
        """The parent's next word; empty if the parent is gone."""
        try:
            return os.read(stdin, 4096)
        except OSError:  # the stage's code has closed it
            os._exit(LOST_DESCRIPTORS)

    def _say(self, report: dict[str, Any], *, last: bool) -> None:
        try:
            os.write(self._ready_fd, msgpack.packb(report))
            if last:
                os.close(self._ready_fd)
        except OSError as error:
            log.debug("the parent does not listen: %s", error)

    def ready(self, **info: Any) -> None:
        """Report that this process runs."""
        with self._saying:
            self._is_ready = True
            self._say({"ready": True, **info}, last=False)
            if self._has_joined:
                self._say({"joined": True}, last=True)

    def joined(self) -> None:
        """Report that this process is a member of the broker's view: after it is ready, and once."""
        with self._saying:
            if self._has_joined:
                return
            self._has_joined = True
            if self._is_ready:
                self._say({"joined": True}, last=True)

    def failed(self, error: BaseException, name: str, hint: str = "") -> int:
        """Report why this process cannot start, and what may help. Returns the exit status."""
        told = render(error)
        sentence = told.message if told.type == "StartError" else told.sentence
        self._say(
            {
                "error": clip(plain_text(f"{name}: {sentence}"), 3500) + hint,
                "traceback": clip(told.traceback, 32_000),
            },
            last=True,
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
