"""Batches that a sink is storing: each has a token, by which the spool says that it is safe."""

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
        """It is safe."""
        return self._batches.pop(token)

    def recovered(self, token: int) -> None:
        """An earlier incarnation has stored a batch, which has this token now: no other gets it."""
        self._token = max(self._token, token)

    def of(self, job: bytes, epoch: int) -> list[tuple[int, Batch]]:
        """(token, batch) of what is being stored of a job in this epoch."""
        return [
            (token, batch)
            for token, batch in self._batches.items()
            if batch.job == job and batch.epoch == epoch
        ]
