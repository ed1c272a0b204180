"""Batches that a sink is storing. Each has a token, and the spool tells the tokens of those that are safe."""

from __future__ import annotations

from zturbo.wire.messages import Batch

__all__ = ["Storing"]


class Storing:
    """Batches that are not as safe yet as they need to be, in the order of storing."""

    def __init__(self) -> None:
        self._token = 0
        """The last one that was given."""
        self._batches: dict[int, Batch] = {}

    def __len__(self) -> int:
        return len(self._batches)

    def begin(self, batch: Batch) -> int:
        """A batch is to be stored. Returns its token."""
        self._token += 1
        self._batches[self._token] = batch
        return self._token

    def end(self, token: int) -> Batch:
        """A batch is safe: returns it."""
        return self._batches.pop(token)

    def recovered(self, token: int) -> None:
        """A batch of an earlier incarnation was read with this token: later batches get higher ones."""
        self._token = max(self._token, token)

    def of(self, job: bytes, epoch: int) -> list[tuple[int, Batch]]:
        """(token, batch) of each batch of a job in this epoch that is being stored."""
        return [
            (token, batch)
            for token, batch in self._batches.items()
            if batch.job == job and batch.epoch == epoch
        ]
