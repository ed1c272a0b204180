"""A queue in which jobs take turns: a small job does not wait behind all that a large one has queued."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["RoundRobin"]

T = TypeVar("T")


class RoundRobin(Generic[T]):
    """Items of many jobs. Each turn gives one item of one job; the items of a job keep their order.

    No step costs more where more jobs or items wait.
    """

    def __init__(self) -> None:
        self._jobs: OrderedDict[bytes, deque[T]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        """Items."""
        return self._size

    def __iter__(self) -> Iterator[T]:
        """All items, job by job."""
        for items in self._jobs.values():
            yield from items

    def append(self, job: bytes, item: T) -> None:
        """Add an item after those of its job. A new job's first turn comes after those of all others."""
        items = self._jobs.get(job)
        if items is None:
            items = self._jobs[job] = deque()
        items.append(item)
        self._size += 1

    def appendleft(self, job: bytes, item: T) -> None:
        """Add an item before those of its job. The job's turn comes no sooner for it."""
        items = self._jobs.get(job)
        if items is None:
            items = self._jobs[job] = deque()
        items.appendleft(item)
        self._size += 1

    def first(self) -> T:
        """The item whose turn it is; it stays. Raises StopIteration if there is none."""
        return next(iter(self._jobs.values()))[0]

    def popleft(self) -> T:
        """Take the item whose turn it is, and pass the turn on. Raises StopIteration if there is none."""
        job, items = next(iter(self._jobs.items()))
        item = items.popleft()
        self._size -= 1
        if items:
            self._jobs.move_to_end(job)
        else:
            del self._jobs[job]
        return item

    def of(self, job: bytes) -> Iterator[T]:
        """The items of a job."""
        return iter(self._jobs.get(job, ()))

    def take(self, job: bytes) -> deque[T]:
        """Take all items of a job."""
        items = self._jobs.pop(job, deque[T]())
        self._size -= len(items)
        return items

    def clear(self) -> None:
        """Drop all items."""
        self._jobs.clear()
        self._size = 0
