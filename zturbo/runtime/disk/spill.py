"""A file for the waiting contents of an ordered stage that go beyond their memory budget.

It is not durable and need not be: if the worker dies, its jobs start over. It is removed as soon as nothing
in it is needed.
"""

from __future__ import annotations

from pathlib import Path

from zturbo.runtime.disk.spool import Location, Spool
from zturbo.wire.messages import Batch

__all__ = ["SpillFile"]


class SpillFile:
    """The spilled batches of one worker.

    Args:
        path: the file; made when it is needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._spool: Spool | None = None
        self._locations: dict[int, tuple[Batch, Location]] = {}

    def put(self, batch: Batch) -> None:
        """Write a batch's contents, and drop them from memory."""
        if self._spool is None:
            self._spool = Spool(self._path)
        location = self._spool.append([batch.blob, batch.metas or b"", *batch.buffers])
        self._locations[id(batch)] = (batch, location)
        batch.blob, batch.metas, batch.buffers = b"", None if batch.metas is None else b"", []

    def restore(self, batch: Batch) -> None:
        """Read a batch's contents back, if they were spilled."""
        entry = self._locations.pop(id(batch), None)
        if entry is None:
            return
        assert self._spool is not None
        blob, metas, *buffers = self._spool.read(entry[1])
        batch.blob, batch.buffers = bytes(blob), list(buffers)
        if batch.metas is not None:
            batch.metas = bytes(metas)
        self._empty()

    def forget(self, job: bytes) -> None:
        """Forget the batches of a job that is over or starts over."""
        for key in [key for key, (batch, _) in self._locations.items() if batch.job == job]:
            del self._locations[key]
        self._empty()

    def _empty(self) -> None:
        if not self._locations and self._spool is not None:
            self._spool.delete()
            self._spool = None

    def close(self) -> None:
        """Remove the file."""
        self._locations.clear()
        self._empty()
