"""Custody: when is a batch acked?

* A plain worker acks an input batch when its tasks are finished, and all outbatches that came of them are
  acked. This module counts both.
* A worker of an ordered stage acks a batch as soon as it has entered the job's sequencer
  (``core/worker/machine.py``). If that worker is lost, the broker starts its jobs over.
* The sink acks a batch when it is as safe as the job's durability asks (``core/sink/machine.py``,
  ``stored``).
* All of them ack a batch at once if its job has ended, or if its epoch is below the job's stamp.
* A copy of a batch is dropped: the ack of the batch covers it. A batch that cannot be read is acked when its
  job has ended.

The link's next statement has the ack (``receiver.py``).

The count of a plain worker's input is the number of its unfinished tasks, plus the number of un-acked
outbatches with children of it. At zero the batch is acked (E. W. Dijkstra and C. S. Scholten, "Termination
detection for diffusing computations", 1980; here per batch). An outbatch that is split raises the counts of
its origins before the first part leaves.
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
        """Inputs whose count has come to zero; the owner acks them and empties the list."""

    def __len__(self) -> int:
        return len(self._counts)

    def __contains__(self, key: K) -> bool:
        return key in self._counts

    def keys(self) -> list[K]:
        """All inputs that are not acked yet."""
        return list(self._counts)

    def admit(self, key: K, tasks: int) -> None:
        """Begin to count an input with this many unfinished tasks."""
        if tasks <= 0:
            self.zeroed.append(key)
        else:
            self._counts[key] = self._counts.get(key, 0) + tasks

    def hold(self, keys: Iterable[K]) -> None:
        """Count one more outbatch with children of these inputs."""
        counts = self._counts
        for key in keys:
            if key in counts:
                counts[key] += 1

    def release(self, keys: Iterable[K], by: int = 1) -> None:
        """An outbatch is acked, or ``by`` tasks are finished: count down. Passes over forgotten inputs."""
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
        """Count this input no more: its sender is gone, or its job is over."""
        self._counts.pop(key, None)

    def check(self) -> None:
        """Assert every invariant."""
        assert min(self._counts.values(), default=1) > 0, self._counts
