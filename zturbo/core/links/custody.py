"""Custody: when is a batch acked?

* A plain worker acks an input batch when nothing that came of it is un-acked any more. That is counted
  here.
* A worker of an ordered stage acks a batch as soon as it has entered the job's sequencer
  (``core/worker/machine.py``). If that worker is lost, the broker starts its jobs over.
* The sink acks a batch when it is as safe as the job's durability asks (``core/sink/machine.py``,
  ``stored``).
* All of them ack at once what is of a job that has ended, or of an epoch below the job's stamp.
* A copy is acked with its first; a batch that cannot be read is acked when its job has ended.

The ack goes up in the link's next statement (``receiver.py``).

The count of a plain worker's input: its unfinished tasks, plus the un-acked outbatches that hold any child
of it. At zero the batch is acked (E. W. Dijkstra and C. S. Scholten, "Termination detection for diffusing
computations", 1980; here per batch). An outbatch that is split raises the counts of its origins before the
first piece leaves.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

__all__ = ["Custody"]

K = TypeVar("K", bound=Hashable)


class Custody(Generic[K]):
    """The counters of all inputs that are not acked yet."""

    __slots__ = ("_counts", "zeroed")

    def __init__(self) -> None:
        self._counts: dict[K, int] = {}
        self.zeroed: list[K] = []
        """Inputs that have come to zero since the owner last looked; the owner empties it."""

    def __len__(self) -> int:
        return len(self._counts)

    def __contains__(self, key: K) -> bool:
        return key in self._counts

    def keys(self) -> list[K]:
        """All inputs that are not acked yet."""
        return list(self._counts)

    def admit(self, key: K, tasks: int) -> None:
        """An input with this many unfinished tasks has come."""
        if tasks <= 0:
            self.zeroed.append(key)
        else:
            self._counts[key] = self._counts.get(key, 0) + tasks

    def hold(self, keys: Iterable[K]) -> None:
        """One more outbatch holds children of these inputs."""
        counts = self._counts
        for key in keys:
            if key in counts:
                counts[key] += 1

    def release(self, keys: Iterable[K], by: int = 1) -> None:
        """An outbatch is acked, or ``by`` tasks are finished. Keys that were forgotten are passed over."""
        counts = self._counts
        for key in keys:
            left = counts.get(key)
            if left is None:
                continue
            if left > by:
                counts[key] = left - by
            else:
                del counts[key]
                self.zeroed.append(key)

    def forget(self, key: K) -> None:
        """Nobody waits for this input's ack any more."""
        self._counts.pop(key, None)

    def check(self) -> None:
        """Assert every invariant."""
        assert min(self._counts.values(), default=1) > 0, self._counts
