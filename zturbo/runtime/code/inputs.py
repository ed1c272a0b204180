"""The inputs of the tasks that run, as they came. A task that fails takes its input along.

Nothing is copied or unpacked until a task fails. Its input is then cut out of the batch in which it came. So
it is what the stage got, whatever the stage's code has done to its own copy since.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from zturbo.core.links.outbatch import cut_runs, paths
from zturbo.errors import DecodeError
from zturbo.wire.blobs import slice_blob
from zturbo.wire.messages import Batch, Path
from zturbo.wire.payload import Packed, Unreadable, input_fields, later_one

__all__ = ["Inputs", "Pieces"]

Pieces = list[tuple[Batch, int, int]]
"""(batch, start, stop): which tasks of the batch."""


class Inputs:
    """The inputs of the work that runs, and of earlier work with outputs that are not packed yet.

    Args:
        ordered: whether tasks are renumbered, as :meth:`number` says, and not found by their paths.
    """

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._works: list[tuple[Pieces, list[int]]] = []

    def begin(self, pieces: Pieces) -> None:
        """These tasks run from now on."""
        self._works.append((pieces, []))

    def number(self, number: int) -> None:
        """The next task of the work that runs gets this number for its path; -1 if it gets one later."""
        if self._works:
            self._works[-1][1].append(number)

    def packed(self) -> None:
        """The outputs of all work but the present one are on their way."""
        del self._works[:-1]

    def clear(self) -> None:
        """Nothing runs."""
        self._works.clear()

    def here(self) -> tuple[Pieces, int] | None:
        """At an ordered stage: where the input of the task lies that was numbered last."""
        if not self._works or not self._works[-1][1]:
            return None
        pieces, numbers = self._works[-1]
        return pieces, len(numbers) - 1

    def fields(self, path: Path, input_at: tuple[Pieces, int] | None = None) -> dict[str, Any]:
        """What a failure says of its task's input.

        Args:
            path: of the task, or of one of its outputs.
            input_at: where the input lies, if the caller knows that better.
        """
        lies = input_at or self._find(path)
        try:
            return {} if lies is None else _cut(*lies)
        except DecodeError:
            return {"input": "its input cannot be read"}

    def _find(self, path: Path) -> tuple[Pieces, int] | None:
        if self._ordered:
            for pieces, numbers in reversed(self._works):
                at = bisect_left(numbers, path[0]) if path else len(numbers)
                if at < len(numbers) and numbers[at] == path[0]:
                    return pieces, at
            return None
        known: dict[Path, tuple[Pieces, int]] = {}
        for pieces, _ in self._works:
            runs = [run for batch, start, stop in pieces for run in cut_runs(batch.runs, start, stop)]
            known.update((one, (pieces, index)) for index, one in enumerate(paths(runs)))
        # An output's path is its input's, with one component for the execution, and one for its number.
        above = (path[:length] for length in range(len(path), max(-1, len(path) - 3), -1))
        return next((known[one] for one in above if one in known), None)


def _cut(pieces: Pieces, index: int) -> dict[str, Any]:
    """The input of this index, counted over the pieces."""
    for batch, start, stop in pieces:
        if index >= stop - start:
            index -= stop - start
            continue
        at = start + index
        meta = None
        if batch.metas is not None:
            meta = later_one(slice_blob(batch.metas, batch.n, at, at + 1), [])
            if type(meta) is Unreadable:
                raise meta.error
            if type(meta) is Packed:  # it goes on as it came: what unpacks it may end this process
                meta = bytes(meta.blob)
        blob = batch.blob if batch.buffers else slice_blob(batch.blob, batch.n, at, at + 1)
        return input_fields(blob, batch.buffers, meta)
    return {}
