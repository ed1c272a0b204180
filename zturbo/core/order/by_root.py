"""Results by root, for order ``roots``: those of one root together, by path; roots as they end.

So a job of many unlike roots gives the results of a quick root before those of a slow one. A root's results
are released once all of it has entered. A root that is itself a result, as most are in a pipeline without
fan-out, costs no sequencer of its own.
"""

from __future__ import annotations

from typing import Any

from zturbo.core.order.intervals import Intervals
from zturbo.core.order.sequencer import Sequencer
from zturbo.core.order.tree import EXECUTION, FAIL, TASKS, Released
from zturbo.errors import DecodeError
from zturbo.wire.messages import MAX_INT, Path

__all__ = ["ByRoot"]


class ByRoot:
    """All items of one job with order ``roots``, at its sink. It takes what a sequencer takes."""

    def __init__(self) -> None:
        self._count: int | None = None
        """Number of roots; None until the job's END is here."""
        self._over = Intervals()
        """Roots that have wholly entered."""
        self._open: dict[int, Sequencer] = {}
        """Root of which a part is here -> that part."""
        self._ready: list[tuple[int, list[Released]]] = []
        """(root, its results) of roots that have wholly entered and are not released."""
        self._blamed: str | None = None

    # -- entering -----------------------------------------------------------------------------
    def enter_run(self, first: Path, n: int, item: Any, offset: int = 0) -> int:
        """Take n sibling tasks: as :meth:`~zturbo.core.order.sequencer.Sequencer.enter_run`."""
        if not first or n < 1:
            raise DecodeError(f"a run of {n} tasks at {first}")
        if len(first) > 1:
            whole = self._part(first)
            if whole is None:
                return 0
            return self._entered(first[0], whole, whole.enter_run(first[1:], n, item, offset))
        start, taken = self._root(first), 0
        stop = start + n if self._count is None else min(start + n, self._count)
        for low, high in self._over.missing(start, stop):
            for root in range(low, high):
                at = offset + root - start
                part = self._open.get(root)
                if part is not None:
                    taken += self._entered(root, part, part.enter_run((), 1, item, at))
                    continue
                self._over.add(root, root + 1)
                self._ready.append((root, [Released(TASKS, first, 1, item, at)]))  # type: ignore[arg-type]
                taken += 1
        return taken

    def enter_end(self, path: Path, count: int, item: Any = None) -> bool:
        """Close a path with ``count`` children; the job itself with ``count`` roots. Returns whether that is
        new."""
        return self._close(path, count, None)

    def enter_fail(self, path: Path, count: int, item: Any) -> bool:
        """Close a path by a failure after ``count`` children. Returns whether that is new."""
        if not path:
            raise DecodeError("a job of many roots fails as one task")
        return self._close(path, count, item)

    def _close(self, path: Path, count: int, failure: Any) -> bool:
        if type(count) is not int or count < 0:
            raise DecodeError(f"path {path} is closed with {count!r} children")
        if not path:
            new, self._count = self._count is None, count if self._count is None else self._count
            return new
        part = self._part(path)
        if part is None:
            return False
        if failure is None:
            new = part.enter_end(path[1:], count)
        else:
            new = part.enter_fail(path[1:], count, failure)
        self._entered(path[0], part, int(new))
        return new

    @staticmethod
    def _root(path: Path) -> int:
        root = path[0]
        if type(root) is not int or not 0 <= root < EXECUTION:
            raise DecodeError("a path whose root is no number of a root")
        return root

    def _part(self, path: Path) -> Sequencer | None:
        """What is here of a path's root; None if nothing more of it may enter."""
        root = self._root(path)
        part = self._open.get(root)
        if part is None and root not in self._over and (self._count is None or root < self._count):
            part = self._open[root] = Sequencer()
        return part

    def _entered(self, root: int, part: Sequencer, new: int) -> int:
        """Something has entered of a root: if that is all of it, it may be released. Returns ``new``."""
        self._blamed = self._blamed or part.nondeterministic
        if part.complete:
            del self._open[root]
            self._over.add(root, root + 1)
            results: list[Released] = []
            while not part.finished:
                results += part.pop(MAX_INT)
            self._ready.append((root, results))
        return new

    # -- releasing ----------------------------------------------------------------------------
    def take(self, *, failed: bool = True) -> list[tuple[int, list[Released]]]:
        """(root, its results) of each root that has wholly entered and was not taken before.

        Args:
            failed: also roots that have a failure among their results.
        """
        taken, self._ready = self._ready, []
        if not failed:
            kept = [one for one in taken if _has_failed(one[1])]
            taken = [one for one in taken if not _has_failed(one[1])]
            self._ready = kept
        return taken

    # -- state --------------------------------------------------------------------------------
    @property
    def complete(self) -> bool:
        """Whether all roots have wholly entered."""
        return self._complete()

    def _complete(self) -> bool:
        return self._count is not None and self._over.covers(self._count)

    @property
    def finished(self) -> bool:
        """Whether all is released, and nothing more can enter."""
        return self.complete and not self._ready

    @property
    def buffered(self) -> int:
        """Tasks and failures that have entered and are not released."""
        ready = sum(piece.n for _, pieces in self._ready for piece in pieces)
        return ready + sum(part.buffered for part in self._open.values())

    @property
    def nondeterministic(self) -> str | None:
        """A sentence, once two executions of one task gave different fan-outs."""
        return self._blamed

    def entered(self) -> list[tuple[int, int]]:
        """The roots that have wholly entered, as half-open intervals."""
        return self._over.pairs()

    def failures(self) -> int:
        """Failures that have entered and are not released."""
        ready = sum(piece.kind == FAIL for _, pieces in self._ready for piece in pieces)
        return ready + sum(part.failures() for part in self._open.values())

    def keep_prefix(self) -> None:
        """Begin a new epoch: forget what has entered of roots that are not released, since it may enter
        again."""
        self._open.clear()
        self._blamed = None
        kept = {root for root, _ in self._ready}
        self._ready.clear()
        if kept:
            over = (root for start, stop in self._over.pairs() for root in range(start, stop))
            self._over = Intervals.of((root, root + 1) for root in over if root not in kept)

    def check(self) -> None:
        """Assert every invariant."""
        self._over.check()
        for root, part in self._open.items():
            part.check()
            assert root not in self._over and not part.complete


def _has_failed(pieces: list[Released]) -> bool:
    return any(piece.kind == FAIL for piece in pieces)
