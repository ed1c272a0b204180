"""Where an ordered stage's waiting contents go past their memory budget: a file that nobody keeps.

It has no durability: if the worker dies, its jobs start over. When nothing is in it any more it is
emptied.
"""

from __future__ import annotations

from pathlib import Path

from zturbo.runtime.disk.spool import Location, Spool
from zturbo.wire.messages import Batch

__all__ = ["SpillFile"]


class SpillFile:
    """The spilled batches of one worker.

    Args:
        path: the file; made when it is first needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._spool: Spool | None = None
        self._places: dict[int, tuple[Batch, Location]] = {}

    def put(self, batch: Batch) -> None:
        """Write a batch's contents, and drop them from memory."""
        if self._spool is None:
            self._spool = Spool(self._path)
        place = self._spool.append([batch.blob, batch.metas or b"", *batch.buffers])
        self._places[id(batch)] = (batch, place)
        batch.blob, batch.metas, batch.buffers = b"", None if batch.metas is None else b"", []

    def restore(self, batch: Batch) -> None:
        """Read a batch's contents back, if they were spilled."""
        entry = self._places.pop(id(batch), None)
        if entry is None:
            return
        assert self._spool is not None
        blob, metas, *buffers = self._spool.read(entry[1])
        batch.blob, batch.buffers = bytes(blob), list(buffers)
        if batch.metas is not None:
            batch.metas = bytes(metas)
        self._empty()

    def forget(self, job: bytes) -> None:
        """The job is over or starts over."""
        for key in [key for key, (batch, _) in self._places.items() if batch.job == job]:
            del self._places[key]
        self._empty()

    def _empty(self) -> None:
        if not self._places and self._spool is not None:
            self._spool.delete()
            self._spool = None

    def close(self) -> None:
        """Remove the file."""
        self._places.clear()
        self._empty()
