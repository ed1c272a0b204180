"""Which roots of a job are needed no more: a reader that reads once has taken all that they gave."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from zturbo.wire.messages import NOTHING_TAKEN, Path, Taken

__all__ = ["TakenRoots"]

MOST = 4096
"""Places that are remembered at most. Beyond these, a reader that is far behind lets roots go later."""


class _Place(NamedTuple):
    """The results from an index on are of a root, and of the roots behind it if each gave one."""

    first: int
    root: int
    n: int
    """Consecutive roots that gave one result each; 0 if the root may have given several."""


class TakenRoots:
    """Where the results of each root begin, as far as these are not taken.

    Args:
        before: roots that were taken in an earlier life of the job.
    """

    __slots__ = ("_places", "taken")

    def __init__(self, before: Taken = NOTHING_TAKEN) -> None:
        self.taken = before
        """Those that are known to be needed no more."""
        self._places: deque[_Place] = deque()

    def released(self, index: int, path: Path, n: int) -> None:
        """The results from this index on are those of a path, and of ``n - 1`` siblings behind it.

        Results come by path. So a root that a result is of follows roots that will give nothing more.
        """
        root, alone = path[0], len(path) == 1
        last = self._places[-1] if self._places else None
        if last is not None:
            if last.root == root and not last.n:
                return
            if alone and last.n and last.root + last.n == root and last.first + last.n == index:
                self._places[-1] = last._replace(n=last.n + n)
                return
        if len(self._places) < MOST:
            self._places.append(_Place(index, root, n if alone else 0))

    def take(self, index: int) -> tuple[int, int]:
        """All results below this index were taken.

        Returns:
            How many of the first roots are needed no more, and how many results they gave.
        """
        places = self._places
        while len(places) > 1 and places[1].first <= index:
            places.popleft()
        if not places or places[0].first > index:
            return self.taken[:2]
        first, root, n = places[0]
        more = min(index - first, n)
        return root + more, first + more
