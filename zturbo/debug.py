"""Debug mode: a pipeline's stages in this process, one task at a time, no sockets.

The same stages through the same host and codec as in workers, so that what works here works there;
breakpoints in ``process`` work as anywhere. Results come in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from zturbo.client import _failed_task
from zturbo.result import Result
from zturbo.runtime.output import Output
from zturbo.runtime.stagehost import StageHost
from zturbo.stage import Stage
from zturbo.task import Task, TaskLog
from zturbo.wire.messages import Path
from zturbo.wire.payload import pack_many, pack_one, unpack_many, unpack_meta, unpack_one

__all__ = ["DebugPipeline", "run_debug"]

_Item = tuple[Path, str, Any, Any]
"""(path, "task" or "fail", content or error, meta)."""


class DebugPipeline:
    """Stages in this process.

    Args:
        stages: instances, or what makes them.
        names: of the stages; default their classes' names.
    """

    def __init__(
        self, stages: Sequence[Stage | Callable[[], Stage]], names: Sequence[str] | None = None
    ) -> None:
        self.hosts = []
        for index, stage in enumerate(stages):
            build = _once(stage) if isinstance(stage, Stage) else stage
            name = names[index] if names else getattr(stage, "__name__", type(stage).__name__)
            self.hosts.append(StageHost(build, name=name, index=index, host="this process"))

    def run(self, task: Task, *, logs: bool = False) -> Iterator[Task]:
        """Output tasks of one root task, in order, failed ones in their places."""
        job = os.urandom(16)
        items: Iterator[_Item] = iter([((), "task", task.content, None)])
        for host in self.hosts:
            items = self._through(host, job, items, logs)
        for _, kind, value, meta in items:
            if kind == "fail":
                yield _failed_task(value)
                continue
            out = Task(value)
            if meta is not None:
                plain_meta, plain_logs = unpack_meta(meta)
                out.meta = plain_meta
                out.logs = [TaskLog(*log) for log in plain_logs]
            yield out
        for host in self.hosts:
            host.job_ended(job)

    def _through(self, host: StageHost, job: bytes, items: Iterable[_Item], logs: bool) -> Iterator[_Item]:
        """One stage. Depth first: what one task gives goes on before the next task is begun."""
        given: list[_Item] = []
        out = Output(lambda: _take(out, given), lambda: None)
        for path, kind, value, meta in items:
            if kind == "fail":
                if host.ordered:
                    host.run_ordered(job, [], [(0, value, 0)], out, final=False)
                else:
                    given.append((path, kind, value, meta))
            elif host.ordered:
                metas = [meta] if meta is not None else None
                host.run_ordered(job, [([(path, 1)], [value], metas)], [], out, final=False, logs=logs)
            else:
                metas = [meta] if meta is not None else None
                host.run(job, [(path, 1)], [value], metas, out, logs=logs)
            _take(out, given)
            yield from given
            given.clear()
        if host.ordered:
            host.run_ordered(job, [], [], out, final=True, logs=logs)
            _take(out, given)
            yield from given


def _once(stage: Stage) -> Callable[[], Stage]:
    import copy

    return lambda: copy.copy(stage)


def _take(out: Output, given: list[_Item]) -> None:
    """Empty an output; contents go through the codec, as on their way between processes."""
    contents = iter(out.contents)
    metas = iter(unpack_many(pack_many(out.metas), len(out.metas)) if out.metas else [])
    for first, n in out.runs:
        for k in range(n):
            path = (*first[:-1], first[-1] + k) if first else first
            blob, buffers = pack_one(next(contents))
            given.append((path, "task", unpack_one(blob, buffers), next(metas, None)))
    # A failure comes after the children that stand.
    given.extend((fail.path, "fail", fail.error, None) for fail in out.fails)
    out.clear()


def run_debug(
    stages: Sequence[Stage | Callable[[], Stage]],
    task: Task,
    *,
    names: Sequence[str] | None = None,
    result: Result | None = None,
) -> Result:
    """Run one root task through stages in this process; returns its result."""
    collected = Result() if result is None else result
    for output in DebugPipeline(stages, names).run(task):
        collected.collect(output)
    return collected
