"""Tells the launcher of a command when all of its processes have joined the broker.

A launcher may watch a file, as the probes of Kubernetes do, or listen at ``$NOTIFY_SOCKET``, as systemd does.
(The protocol is that of ``sd_notify(3)``.)
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from zturbo.errors import StartError
from zturbo.runtime.node.children import Child

__all__ = ["Readiness"]


class Readiness:
    """Which processes of a command have joined.

    Args:
        processes: number of processes of the command.
        path: file that is there while all of them have joined; None for no file.
        notify: address of systemd's socket; None if systemd does not listen.

    Raises:
        StartError: the file's folder cannot be written.
    """

    def __init__(self, processes: int, path: str | None, notify: str | None) -> None:
        self._processes = processes
        self._path = None if path is None else Path(path)
        self._notify = notify
        self._joined: set[int] = set()
        self._told = False
        if self._path is not None:
            try:
                self._path.touch(0o644)
                self._path.unlink()
            except OSError as error:
                raise StartError(f"--ready-file: {self._path} cannot be written: {error.strerror}") from None

    def event(self, kind: str, child: Child) -> None:
        """Take an event of the node."""
        before = len(self._joined)
        if kind == "joined" or (kind == "ready" and child.what.role == "broker"):
            self._joined.add(child.pid)
        elif kind in ("exited", "unfit", "failed"):
            self._joined.discard(child.pid)
        if len(self._joined) != before:
            self._tell()

    def _tell(self) -> None:
        ready = len(self._joined) == self._processes
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.touch(0o644) if ready else self._path.unlink(missing_ok=True)
        lines = [f"STATUS={len(self._joined)} of {self._processes} processes have joined the broker"]
        if ready and not self._told:
            self._told = True
            lines.append("READY=1")
        self._send("\n".join(lines))

    def stopping(self) -> None:
        """The processes are told to stop: nothing is ready any more."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._notify:
            return
        import socket  # imported here: most commands have no systemd above them

        address = "\0" + self._notify[1:] if self._notify.startswith("@") else self._notify
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(os.fsencode(text), os.fsencode(address))
