"""How is a result ordered by meta? What a sink does, and debug mode, where ``order`` is ``meta:KEY``.

Tasks come here in the order of their paths, as the job's sequencer releases them. From here they go on by
the number under the key: 0, 1, 2, ... (``by_id.py``). A task without an int of 0 or more there, or with one
that was there already, becomes a failure. A task that failed or was dropped leaves a gap, which holds back
all higher numbers until all of the job has entered. Then the failures come, and behind them the tasks that
stood behind gaps, by their numbers.

Since the order of paths comes first, it is the same one of two tasks with the same number that is refused,
wherever and however often a job is run; what was given out before it started over is given again.
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
    """A stored batch, and what its tasks have under the key."""

    token: int
    stage: int
    """How many stages the pipeline has."""
    ids: list[int | str]
    """Of each task: its id, or why it has none."""


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
        """What failed before, as it came, or here, as bytes: it has no id, and comes when all has entered."""

    def __len__(self) -> int:
        return len(self._ids) + len(self.failures)

    def keyed(self, token: int, batch: Batch) -> Any:
        """What stands for a stored batch in the sequencer; :meth:`released` gets it back.

        Raises:
            DecodeError: it cannot have as many tasks as it says.
        """
        if batch.n > len(batch.blob):
            raise DecodeError(f"{batch.n} tasks in {len(batch.blob)} bytes")
        return _Keyed(token, batch.stage, pick(batch.metas, batch.n, self._key))

    def released(self, piece: Released) -> list[tuple[int, int]]:
        """What is next by path; returns (token, index in its batch) of what is next by id."""
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
        """The next task by path; returns the items that are next by id.

        Args:
            found: its id, or why it has none, as :func:`zturbo.wire.metaids.pick` says it.
            item: what stands for it.
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
        """All of the job has entered: (failures, and then what stood behind the gaps that they left)."""
        failures, self.failures = self.failures, []
        return failures, self._ids.flush()
