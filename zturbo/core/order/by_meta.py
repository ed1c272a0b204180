"""How is a result ordered by meta? The rule of ``order = "meta:KEY"``, at a sink and in debug mode.

The job's sequencer releases tasks in the order of their paths. This module then releases them by the number
under the key: 0, 1, 2, ... (``by_id.py``). A task becomes a failure if it has no int of 0 or more under the
key, or a number that has come before. A task that failed or was dropped leaves a gap. The gap holds back all
higher numbers until all of the job has entered. Then the failures are released, and after them the tasks
behind gaps, by their numbers.

Of two tasks with the same number, the later one by path is refused, wherever and however often the job runs.
So a job that starts over gives the same results again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from zturbo.core.order.by_id import ById
from zturbo.core.order.tree import Released
from zturbo.errors import DecodeError
from zturbo.wire.messages import Batch, Path
from zturbo.wire.metaids import pick
from zturbo.wire.payload import pack_error

__all__ = ["ByMeta"]


class _Keyed(NamedTuple):
    """Stands for a stored batch, with the ids of its tasks."""

    token: int
    stage: int
    """How many stages the pipeline has: errors give the sink this index."""
    ids: list[int | str]
    """For each task its id, or why it has none."""


class ByMeta:
    """The results of one job that wait for their turn.

    Args:
        key: of the meta.
        host: name of this host, for errors.
    """

    def __init__(self, key: str, host: str = "") -> None:
        self._key = key
        self._host = host
        self._ids = ById(f"meta[{key!r}] is")
        self.failures: list[Any] = []
        """Failures, which have no id and so wait for the end: items of the sequencer, or bytes made here."""

    def __len__(self) -> int:
        return len(self._ids) + len(self.failures)

    def keyed(self, token: int, batch: Batch) -> Any:
        """The item that stands for a stored batch in the sequencer. :meth:`released` gets it back.

        Raises:
            DecodeError: the batch is too short for the tasks that it says it has.
        """
        if batch.n > len(batch.blob):
            raise DecodeError(f"{batch.n} tasks in {len(batch.blob)} bytes")
        return _Keyed(token, batch.stage, pick(batch.metas, batch.n, self._key))

    def released(self, piece: Released) -> list[tuple[int, int]]:
        """Take the next piece by path. Returns (token, index in its batch) of tasks that are next by id."""
        if piece.kind == "fail":
            self.failures.append(piece.item)
            return []
        token, stage, ids = piece.item
        out: list[tuple[int, int]] = []
        for k in range(piece.n):
            path = (*piece.path[:-1], piece.path[-1] + k) if piece.path else ()
            at = piece.offset + k
            out += self.task(ids[at], (token, at), path, stage)
        return out

    def task(self, found: int | str, item: Any, path: Path, stage: int) -> list[Any]:
        """Take the next task by path. Returns the items that are next by id.

        Args:
            found: its id, or why it has none, as :func:`zturbo.wire.metaids.pick` says it.
            item: stands for the task.
            path: of the task, for its error.
            stage: how many stages the pipeline has.
        """
        try:
            if isinstance(found, str):
                raise ValueError(found)
            return self._ids.push(found, item)
        except ValueError as error:
            told = {"kind": "TaskError", "type": "ValueError", "message": str(error), "traceback": ""}
            where = {"stage": "sink", "index": stage, "path": list(path), "host": self._host}
            self.failures.append(pack_error({**told, **where}))
            return []

    def flush(self) -> tuple[list[Any], list[Any]]:
        """All of the job has entered. Returns (failures, tasks that were behind gaps by their ids)."""
        failures, self.failures = self.failures, []
        return failures, self._ids.flush()
