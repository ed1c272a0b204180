"""Batches that wait for their order at an ordered stage: counted, and spilled beyond a budget."""

from __future__ import annotations

from zturbo.core.effects import Effect, Spill
from zturbo.core.order.tree import Released
from zturbo.core.worker.held_roots import InputKey
from zturbo.wire.messages import Batch
from zturbo.wire.payload import without_input

__all__ = ["SPILL_BYTES", "Waiting"]

SPILL_BYTES = 64 << 20
"""Bytes of waiting batches in memory; batches beyond that go to disk."""


class Waiting:
    """All batches of all jobs that wait in one worker.

    Args:
        effects: list to which it appends its effects.
        budget: bytes that may wait in memory.
    """

    def __init__(self, effects: list[Effect], budget: int) -> None:
        self._effects = effects
        self._budget = budget
        self.nbytes = 0
        """Bytes of batches that wait in memory."""
        self._batches: dict[int, tuple[Batch, int, int]] = {}
        """``id()`` of a batch -> (the batch, its tasks that wait, its bytes in memory: 0 once spilled)."""
        self._failures: dict[bytes, int] = {}
        """Job -> bytes of its failures that wait."""

    def add(self, batch: Batch, tasks: int) -> None:
        """Count a batch that waits. Spill it beyond the budget: the latest batch is mostly needed last."""
        nbytes = batch.nbytes
        if self.nbytes and self.nbytes + nbytes > self._budget:
            self._effects.append(Spill(batch))
            nbytes = 0
        self.nbytes += nbytes
        self._batches[id(batch)] = (batch, tasks, nbytes)

    def failure(self, job: bytes, error: bytes) -> bytes:
        """Count a failure that waits. Returns the failure; beyond the budget, without its task's input."""
        if sum(self._failures.values()) + len(error) > self._budget:
            error = without_input(error, "too many failures wait for their order")
        self._failures[job] = self._failures.get(job, 0) + len(error)
        return error

    def no_failure(self, job: bytes, error: bytes) -> None:
        """Count this failure no more: it was a copy."""
        self._failures[job] -= len(error)

    def _take(self, batch: Batch, tasks: int) -> None:
        _, left, nbytes = self._batches.pop(id(batch))
        if left > tasks:
            self._batches[id(batch)] = (batch, left - tasks, nbytes)
        else:
            self.nbytes -= nbytes

    def take(
        self, job: bytes, released: list[Released]
    ) -> tuple[list[tuple[Batch, int, int]], list[tuple[int, bytes, int]]]:
        """Count released items no more. Returns them as pieces of batches, and failures.

        A failure is (index of the task before which it passes by, error, children of its own task before it).
        """
        pieces: list[tuple[Batch, int, int]] = []
        fails: list[tuple[int, bytes, int]] = []
        count = 0
        for piece in released:
            if piece.kind == "fail":
                fails.append((count, piece.item, piece.offset))
                self._failures[job] -= len(piece.item)
            else:
                pieces.append((piece.item, piece.offset, piece.offset + piece.n))
                self._take(piece.item, piece.n)
                count += piece.n
        return pieces, fails

    def forget(self, job: bytes) -> None:
        """Forget a job that is over, or starts over."""
        self._failures.pop(job, None)
        for batch, tasks, _ in list(self._batches.values()):
            if batch.job == job:
                self._take(batch, tasks)

    def tasks(self) -> dict[InputKey, int]:
        """Batch -> its tasks that wait."""
        return {batch.key: tasks for batch, tasks, _ in self._batches.values()}

    def check(self) -> None:
        """Assert every invariant."""
        assert self.nbytes == sum(nbytes for _, _, nbytes in self._batches.values())
