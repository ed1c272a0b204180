"""Calls of a batch stage's code: several tasks at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zturbo.api.stage_kinds import BatchStage
from zturbo.api.task import Task
from zturbo.runtime.code.call import Call, never_run
from zturbo.runtime.code.context import StageContext, Stale
from zturbo.runtime.code.failures import Failures
from zturbo.runtime.code.instances import Instances, StageJob
from zturbo.runtime.code.onetask import OneTask
from zturbo.runtime.code.output import Output
from zturbo.runtime.code.restored import restore, unopened
from zturbo.wire.messages import Path
from zturbo.wire.payload import Packed, Unreadable

__all__ = ["BatchCalls"]


class BatchCalls:
    """Runs tasks of a :class:`zturbo.BatchStage`.

    Args:
        context: the stage.
        instances: of the stage.
        failures: makes the failures of its tasks.
        one: what becomes of single tasks.
    """

    def __init__(self, context: StageContext, instances: Instances, failures: Failures, one: OneTask) -> None:
        self._context = context
        self._instances = instances
        self._failures = failures
        self._one = one
        base = instances.base
        if isinstance(base, BatchStage):
            base.check_limits()
        self.most = base.max_batch if isinstance(base, BatchStage) else 0
        """Tasks that are processed at once at most; 0 at a stage of another kind."""
        self.wait = float(base.max_wait) if isinstance(base, BatchStage) else 0.0
        """Seconds that a batch waits for more tasks."""

    def run(self, call: Call, tasks: list[tuple[Path, Any, Any]], begin: Callable[[int], None]) -> None:
        """Process tasks at once.

        Args:
            call: what they have in common.
            tasks: (path, content, meta), at most :attr:`most`.
            begin: called with a task's index before its outputs are given.
        """
        out, note = call.out, self._context.running_note
        condemned = never_run(call.marks)
        to_run = [path for path, _, _ in tasks if path not in condemned]
        if call.job not in self._instances.jobs:
            note.nearest(call.job, call.epoch, to_run)
        try:
            job = self._instances.job(call.job) if to_run else StageJob(self._instances.base)
        except self._context.through:
            raise
        except BaseException as error:  # reset() is the user's code
            for i, (path, _, _) in enumerate(tasks):
                begin(i)
                out.fail(path, 0, self._failures.error(error, path, None))
                out.finished += 1
            return
        job.mark(call.marks)
        known = [job.condemned.get(path) for path, _, _ in tasks]
        runs = [mark is None or bool(mark.given) for mark in known]
        made = [self._make(call, *one, runs=run) for one, run in zip(tasks, runs, strict=True)]
        passing = {i for i, task in enumerate(made) if task._meta is not None and self._one.passes(task)}
        called = [
            i
            for i, task in enumerate(made)
            if runs[i] and i not in passing and type(task.content) is not Unreadable
        ]
        had = [len(task._logs or ()) if call.logs else -1 for task in made]
        note.several(call.job, call.epoch, [tasks[i][0] for i in called])
        try:
            if call.logs:
                for i in called:
                    made[i].start(self._context.name)
            results = dict(zip(called, self._call(job, [made[i] for i in called], out), strict=True))
            for i, (path, _, _) in enumerate(tasks):
                begin(i)
                if i in passing:
                    out.add(path, made[i])
                elif i in results:
                    self._one.settle(*results[i], path, made[i], out, had[i], known[i])
                elif type(made[i].content) is Unreadable:
                    self._one.unreadable(path, made[i], out)
                else:
                    self._failures.condemn(known[i], path, made[i], out)
                out.finished += 1
        except Stale:
            note.end()
            raise
        note.end()

    def _make(self, call: Call, path: Path, content: Any, meta: Any, *, runs: bool) -> Task:
        """A task; the user's code may unpack it only if it is to run, and while it is noted as running."""
        if runs and Packed in (type(content), type(meta)):
            self._context.running_note.several(call.job, call.epoch, [path])
        if runs:
            content, meta = self._one.opened(content), self._one.opened(meta)
        return restore(content, unopened(meta))

    def _call(self, job: StageJob, tasks: list[Task], out: Output) -> list[tuple[Any, BaseException | None]]:
        """(result, error) of each task; if a batch of several raises, its tasks run again one by one."""
        stage = job.instance
        assert isinstance(stage, BatchStage)
        if not tasks:
            return []
        try:
            return [(result, None) for result in out.call(stage.results_of, tasks)]
        except self._context.through:
            raise
        except BaseException as raised:  # whatever the user's code raises fails these tasks alone
            error = raised
        if len(tasks) == 1:
            return [(None, error)]
        return [pair for task in tasks for pair in self._call(job, [task], out)]
