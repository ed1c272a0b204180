"""A file in which the node with the broker tells the others of its run where the broker is.

It lies in a folder that all nodes share. Only its owner can read it. Its removal tells the others that the
run has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from zturbo.checks import is_address
from zturbo.errors import StartError, UsageError

__all__ = ["Rendezvous"]

LARGEST = 1 << 16
"""Bytes that are read of the file."""


class Rendezvous:
    """The file of one run.

    Args:
        path: of the file.
        run: names the run. A file of another run is not read.
    """

    def __init__(self, path: Path, run: str) -> None:
        self.path = path
        self.run = run

    @property
    def keys(self) -> Path:
        """Folder of the run's keys, which its nodes share; not there for a run without keys of its own."""
        return self.path.with_suffix(".keys")

    def publish(self, broker: str) -> None:
        """Write the file, whole or not at all.

        Args:
            broker: the broker's address.

        Raises:
            StartError: it cannot be written.
        """
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump({"run": self.run, "broker": broker}, file)
                file.flush()
                os.fsync(file.fileno())  # a network's file system shows it to other hosts then
            os.replace(part, self.path)
        except OSError as error:
            raise StartError(
                f"{self.path}, by which the other nodes find the broker, cannot be written: "
                f"{error.strerror}; name a folder that all nodes share with --rendezvous"
            ) from None

    def broker(self) -> str | None:
        """The broker's address; None if this run's file is not there.

        Raises:
            UsageError: the file is of this run, and has no address.
        """
        found = self._read()
        if found is None:
            return None
        address = found.get("broker")
        if not isinstance(address, str) or not is_address(address):
            raise UsageError(f"{self.path}: broker: expected an address, found {address!r:.100}")
        return address

    def _read(self) -> dict[str, Any] | None:
        try:
            with open(self.path, "rb") as file:
                found = json.loads(file.read(LARGEST))
        except (OSError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) and found.get("run") == self.run else None

    def remove(self) -> None:
        """Remove the file, if it is of this run."""
        if self._read() is not None:
            self.path.unlink(missing_ok=True)

    # -- the end of a run ---------------------------------------------------------------------
    def _left(self, rank: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{rank}")

    def leave(self, rank: int) -> None:
        """Tell the node with the broker that this one has stopped."""
        with contextlib.suppress(OSError):  # the other waits for a while only
            self._left(rank).touch(0o600)

    def missing(self, size: int) -> list[int]:
        """Ranks of the other nodes that have not stopped."""
        return [rank for rank in range(1, size) if not self._left(rank).exists()]

    def clear(self, size: int) -> None:
        """Remove all files of the run."""
        for rank in range(1, size):
            self._left(rank).unlink(missing_ok=True)
        shutil.rmtree(self.keys, ignore_errors=True)
