"""What a world's jobs are to give: what one process gives, in order, none missing, none twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.sim.stages import Async, Flaky, Poison, Wild
from zturbo import Stage, Task
from zturbo.system.debug import DebugPipeline

__all__ = ["Oracle"]


class Oracle:
    """The right results of one job.

    Args:
        stages: of its pipeline.
        roots: contents of its roots, or of its one root.
        order: of its results.
    """

    def __init__(self, stages: list[type[Stage]], roots: list[int] | int, order: str = "path") -> None:
        self.wild = Wild in stages
        self._flaky = ([roots] if isinstance(roots, int) else roots) if Flaky in stages else None
        if self._flaky is not None:
            return
        self._order = "path" if order == "roots" and isinstance(roots, int) else order
        if self._order == "roots":
            assert isinstance(roots, list)
            self._by_root = [_in_one_process(stages, [root], order) for root in roots]
            return
        self._expected = _in_one_process(stages[: stages.index(Wild)] if self.wild else stages, roots, order)

    @property
    def may_fail(self) -> bool:
        """Whether a task fails, or may."""
        if self._flaky is not None:
            return True
        expected = (
            [item for here in self._by_root for item in here] if self._order == "roots" else self._expected
        )
        return any(isinstance(item, tuple) for item in expected)

    def fits(self, got: list[Any], *, whole: bool) -> bool:
        """Whether these are the first results, or all of them."""
        if self._flaky is not None:
            return self._fits_flaky(got, whole)
        if self.wild:
            return self._fits_wild(got, whole)
        if self._order == "roots":
            return self._fits_roots(got, whole)
        if self._order == "none":
            missing = Counter(map(repr, self._expected))
            missing.subtract(map(repr, got))
            return min(missing.values(), default=0) >= 0 and not (whole and missing.total())
        return got == (self._expected if whole else self._expected[: len(got)])

    def _fits_flaky(self, got: list[Any], whole: bool) -> bool:
        """Whatever failed, all that comes after fits to that."""
        assert self._flaky is not None
        at = total = 0
        for value in self._flaky:
            for i in range(3):
                if at >= len(got):
                    return not whole
                if value % 3 == 1 and i == value % 4 and got[at] == ("s0", "OSError", str(value)):
                    at += 1
                    break
                total = (total * 31 + value * 3 + i) % 1_000_003
                if got[at] != total:
                    return False
                at += 1
        return at == len(got)

    def _fits_roots(self, got: list[Any], whole: bool) -> bool:
        """The results of each root together, of roots in any order."""
        left = sorted((results for results in self._by_root if results), key=len, reverse=True)
        at = 0
        while left and at < len(got):
            found = next((here for here in left if got[at : at + len(here)] == here[: len(got) - at]), None)
            if found is None:
                return False
            left.remove(found)
            at += len(found)
        return at == len(got) and not left if whole else at >= len(got)

    def _fits_wild(self, got: list[Any], whole: bool) -> bool:
        """Of each task, all that one execution gave, and nothing else."""
        at = 0
        for item in self._expected:
            if at >= len(got):
                break
            if isinstance(item, tuple):
                if got[at] != item:
                    return False
                at += 1
                continue
            head = got[at]
            if isinstance(head, tuple) or head[0] != item:
                continue  # its execution gave nothing
            _, execution, _, count = head
            group = [[item, execution, i, count] for i in range(count)]
            if got[at : at + count] != group[: len(got) - at] or (whole and len(got) - at < count):
                return False
            at += count
        return at >= len(got)


def _in_one_process(stages: list[type[Stage]], roots: list[int] | int, order: str) -> list[Any]:
    source: list[type[Stage]] = stages
    if isinstance(roots, list):
        values = list(roots)

        class Roots(Stage):
            def process(self, task: Task) -> Any:
                return (Task(value) for value in values)

        source = [Roots, *stages]
    shift = len(source) - len(stages)
    pipeline = DebugPipeline(source, names=[f"s{i - shift}" for i in range(len(source))])
    out: list[Any] = []
    Poison.deadly = False
    pause, Async.pause = Async.pause, 0.0
    try:
        for task in pipeline.run(Task(roots if isinstance(roots, int) else 0), order=order):
            if task.success:
                out.append(task.content)
            else:
                fields = task.meta["zturbo"]
                out.append((fields["stage"], fields["type"], fields["message"]))
    finally:
        Poison.deadly = True
        Async.pause = pause
    return out
