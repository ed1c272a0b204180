"""Batches that a sink has stored lately: most results are read from here, and not from the disk."""

from __future__ import annotations

from collections import OrderedDict

from zturbo.wire.messages import Batch

__all__ = ["RecentBatches"]

MOST_BYTES = 32 << 20
"""Bytes of batches that are remembered, about."""

MOST = 4096
"""Batches that are remembered."""


class RecentBatches:
    """The last batches of all jobs. The oldest is forgotten first. No step walks over other jobs' batches."""

    def __init__(self) -> None:
        self._batches: OrderedDict[int, Batch] = OrderedDict()
        self._of_job: dict[bytes, set[int]] = {}
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._batches)

    def add(self, token: int, batch: Batch) -> None:
        """Remember a batch by the number of its storing. The latest one stays, however large."""
        if token in self._batches:  # stored once more, after the disk was full
            self._forget(token)
        self._batches[token] = batch
        self._of_job.setdefault(batch.job, set()).add(token)
        self.nbytes += batch.nbytes
        while (self.nbytes > MOST_BYTES or len(self) > MOST) and len(self) > 1:
            self._forget(next(iter(self._batches)))

    def get(self, token: int) -> Batch | None:
        """The batch with this number, if it is remembered."""
        return self._batches.get(token)

    def drop(self, token: int) -> None:
        """Forget a batch, if it is remembered."""
        if token in self._batches:
            self._forget(token)

    def forget(self, job: bytes) -> None:
        """Forget the batches of a job."""
        for token in list(self._of_job.get(job, ())):
            self._forget(token)

    def _forget(self, token: int) -> None:
        batch = self._batches.pop(token)
        self.nbytes -= batch.nbytes
        tokens = self._of_job[batch.job]
        tokens.discard(token)
        if not tokens:
            del self._of_job[batch.job]
