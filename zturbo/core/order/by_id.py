"""Release by ids that the user gives: 0, 1, 2, ...

An id that never comes, because its task was dropped or failed, is a gap. Gaps close when all of the job has
entered. An id is refused if it is no int, is negative, or has come before.
"""

from __future__ import annotations

import heapq
import operator
from typing import Any

__all__ = ["ById"]


class ById:
    """The items of one job.

    Args:
        says: how a sentence about an id begins.
    """

    def __init__(self, says: str = "get_sequence_id gave") -> None:
        self._says = says
        self.next = 0
        """The id that is released next."""
        self._heap: list[tuple[int, Any]] = []
        self._buffered: set[int] = set()

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, sequence_id: Any, item: Any) -> list[Any]:
        """Take an item. Returns the items that this releases, in order.

        Raises:
            ValueError: the id is refused; the item is not taken.
        """
        if isinstance(sequence_id, bool) or not hasattr(sequence_id, "__index__"):
            raise ValueError(f"{self._says} {sequence_id!r:.80}, which is no int")
        number = operator.index(sequence_id)  # a plain int, which compares as one
        if number < 0:
            raise ValueError(f"{self._says} {number}, which is negative")
        if number < self.next or number in self._buffered:
            raise ValueError(f"{self._says} {number} for the second time")
        if number != self.next:
            heapq.heappush(self._heap, (number, item))
            self._buffered.add(number)
            return []
        out = [item]
        self.next += 1
        while self._heap and self._heap[0][0] == self.next:
            out.append(heapq.heappop(self._heap)[1])
            self._buffered.discard(self.next)
            self.next += 1
        return out

    def flush(self) -> list[Any]:
        """Close all gaps, since all of the job has entered. Returns the buffered items, in order."""
        out = [heapq.heappop(self._heap)[1] for _ in range(len(self._heap))]
        if self._buffered:
            self.next = max(self._buffered) + 1
        self._buffered.clear()
        return out
