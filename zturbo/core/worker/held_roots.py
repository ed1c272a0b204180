"""The roots that a worker holds for a broker, so that a restarted broker need not send them again.

A broker that starts again has no links. A worker of a first stage goes on with the roots of the old broker,
and tells the new one which these are. Both number them 1, 2, ... as if they had come over the new link. Their
acks then travel as all others do.
"""

from __future__ import annotations

from zturbo.core.links.custody import Custody
from zturbo.core.links.outbatch import cut_runs
from zturbo.slotted import slotted
from zturbo.wire.messages import Batch, PathRun

__all__ = ["HeldItem", "HeldRoots", "InputKey"]

InputKey = tuple[bytes, int, int]
"""(sender, number of the batch on its link, part of the batch)."""

HeldItem = tuple[bytes, int, tuple[PathRun, ...], int, int]
"""(job, epoch, runs, tasks, bytes) of a held input."""


@slotted
class _Root:
    job: bytes
    epoch: int
    runs: list[PathRun]
    n: int
    nbytes: int


class HeldRoots:
    """Roots that came from a broker and are not acked."""

    def __init__(self, custody: Custody[InputKey]) -> None:
        self._custody = custody
        self._roots: dict[InputKey, _Root] = {}
        self._alias: dict[InputKey, InputKey] = {}
        """Input as it came -> input as the present broker numbers it."""

    def note(self, batch: Batch) -> None:
        """A batch of roots has come."""
        self._roots[batch.key] = _Root(batch.job, batch.epoch, batch.runs, batch.n, batch.nbytes)

    def now(self, key: InputKey) -> InputKey:
        """The sender and number by which this input is known now."""
        return self._alias.get(key, key)

    def cut(self, key: InputKey, index: int) -> None:
        """The tasks of this input from this index on were given back."""
        root = self._roots.get(key)
        if root is not None:
            root.runs = cut_runs(root.runs, 0, index)
            root.n = index

    def done(self, key: InputKey) -> None:
        """This input is acked. Its number stays known: the credit of returned tasks may come back later."""
        self._roots.pop(key, None)

    def adopt(self, broker: bytes) -> list[HeldItem]:
        """Number the held roots for a new broker. Returns them in that order."""
        still = {key: root for key, root in self._roots.items() if key in self._custody}
        self._roots = still
        self._alias = {key: (broker, number, 0) for number, key in enumerate(still, 1)}
        return [(root.job, root.epoch, tuple(root.runs), root.n, root.nbytes) for root in still.values()]

    def __len__(self) -> int:
        return len(self._roots)
