"""Calls of an ordered or sticky stage's code: a job's tasks in order, which get new numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from zturbo.api.stage import ReorderStage
from zturbo.api.task import Task
from zturbo.core.order.tree import BEFORE_ID
from zturbo.runtime.code.call import Call
from zturbo.runtime.code.context import StageContext, Stale
from zturbo.runtime.code.failures import Condemned, Failures
from zturbo.runtime.code.instances import Instances, StageJob
from zturbo.runtime.code.onetask import OneTask
from zturbo.runtime.code.restored import restore
from zturbo.wire.messages import Path, PathRun
from zturbo.wire.payload import Packed, Unreadable, failure_fields, note_given, without_input

__all__ = ["OrderedCalls"]

LATE_BYTES = 64 << 20
"""Bytes of a job's failures that wait for the job's end with their inputs, where the order is the user's."""

Process = Callable[[Task], Any]


class OrderedCalls:
    """Runs what a sequencer releases; the k-th item of a job gets the path ``(k,)``.

    Args:
        context: the stage.
        instances: of the stage.
        failures: makes the failures of its tasks.
        one: runs single tasks.
    """

    def __init__(self, context: StageContext, instances: Instances, failures: Failures, one: OneTask) -> None:
        self._context = context
        self._instances = instances
        self._failures = failures
        self._one = one
        cls = type(instances.base)
        self._by_id = (
            issubclass(cls, ReorderStage) and cls.get_sequence_id is not ReorderStage.get_sequence_id
        )

    def run(
        self,
        call: Call,
        pieces: Iterable[tuple[list[PathRun], list[Any], list[Any] | None]],
        fails: list[tuple[int, bytes, int]],
        *,
        final: bool,
    ) -> None:
        """Process tasks in order.

        Args:
            call: what they have in common.
            pieces: (runs, contents, metas) in order.
            fails: failures that pass by: (index of the task that follows, error, children before it).
            final: nothing comes after this: the END of all is said.
        """
        note, out = self._context.running_note, call.out
        lost = next((mark for mark in call.marks if mark.kind and not mark.path), None)
        if lost is not None:  # no worker outlives the making of this job's state
            out.fail((), 0, self._failures.error(Condemned(lost.text), (), None, lost.kind))
            return
        if call.job not in self._instances.jobs:
            note.nearest(call.job, call.epoch, [()])  # no numbered task has this path
        try:
            job = self._instances.job(call.job)
        except self._context.through:
            raise
        except BaseException as error:  # reset() is the user's code
            out.fail((), 0, self._failures.error(error, (), None))
            return
        job.mark(call.marks)
        note.begin(call.job, call.epoch, (), False)
        try:
            self._run_released(job, call, pieces, fails)
            if final:
                self._end(job, call)
        except Stale:
            note.end()
            raise
        note.end()
        if final:  # its seat may be given to another job before the broker says that this one has ended
            self._instances.job_ended(call.job)

    def _run_released(
        self,
        job: StageJob,
        call: Call,
        pieces: Iterable[tuple[list[PathRun], list[Any], list[Any] | None]],
        fails: list[tuple[int, bytes, int]],
    ) -> None:
        process = self._instances.code(job)
        index = 0
        passed = 0
        for runs, contents, metas in pieces:
            i = 0
            for first, n in runs:
                for k in range(n):
                    while passed < len(fails) and fails[passed][0] <= index:
                        self._pass_by(job, *fails[passed][1:], call)
                        passed += 1
                    next(call.unstarted, None)
                    index += 1
                    self._failures.inputs.number(-1 if self._by_id else job.number)
                    path = (*first[:-1], first[-1] + k) if first else first
                    meta = None if metas is None else metas[i]
                    if type(meta) is Packed:
                        meta = self._noted(meta, job, path, call)
                    task = restore(contents[i], meta)
                    i += 1
                    if self._by_id:
                        self._ask_id(job, process, path, task, call)
                    else:
                        self._run_numbered(job, process, task, call)
        for _, error, given in fails[passed:]:
            self._pass_by(job, error, given, call)

    def _end(self, job: StageJob, call: Call) -> None:
        """Give what has waited for the job's end, and the END of all."""
        if self._by_id:
            # Tasks from behind gaps come last. A client that has one of them has every failure, too, so a
            # later epoch closes the same gaps.
            for (index, _), late in sorted(job.late, key=lambda pair: pair[0]):
                if isinstance(late, Task):
                    call.out.add((job.number,), late)
                elif index != self._context.index:
                    call.out.pass_by((job.number,), late)
                else:
                    call.out.fail((job.number,), 0, late)
                job.number += 1
            process = self._instances.code(job)
            self._run_ready(job, process, job.byid.flush(), call)
        call.out.end((), job.number)

    def _noted(self, meta: Packed, job: StageJob, path: Path, call: Call) -> Any:
        """See :meth:`OneTask.noted`; a task without a number is noted by the path with which it came."""
        if not self._by_id:
            return self._one.noted(meta, job.condemned.get((job.number,)), job.number)
        note = self._context.running_note
        note.begin(call.job, call.epoch, path, False)
        value = self._one.noted(meta, job.condemned.get((*path, BEFORE_ID)), BEFORE_ID)
        note.begin(call.job, call.epoch, (), False)
        return value

    def _run_numbered(self, job: StageJob, process: Process, task: Task, call: Call) -> None:
        path = (job.number,)
        if task._meta is not None and self._one.passes(task):
            call.out.add(path, task)
        else:
            self._one.run_marked(process, path, task, call, job.condemned.get(path))
        job.number += 1

    def _run_ready(self, job: StageJob, process: Process, ready: Iterable[Any], call: Call) -> None:
        """Run tasks whose turn has come, by the user's ids; each knows where its input lies."""
        for task, self._failures.input_at in ready:
            self._run_numbered(job, process, task, call)
        self._failures.input_at = None

    def _pass_by(self, job: StageJob, error: bytes, given: int, call: Call) -> None:
        """A failure of an earlier stage gets a number as a task does."""
        error = note_given(error, given)
        if not self._by_id:
            call.out.pass_by((job.number,), error)
            job.number += 1
            return
        fields = failure_fields(error)  # it has no id: it gets its number at the end
        if job.late_bytes + len(error) > LATE_BYTES:
            error = without_input(error, "too many failures wait for their order")
        job.late_bytes += len(error)
        job.late.append(((fields["index"], fields["path"]), error))

    def _ask_id(self, job: StageJob, process: Process, path: Path, task: Task, call: Call) -> None:
        """Ask the user's code for a task's id, and run the tasks whose turn has come with it."""
        if task._meta is not None and self._one.passes(task):
            job.late.append(((-1, path), task))
            return
        failures, note = self._failures, self._context.running_note
        failures.input_at = failures.inputs.here()
        mark = job.condemned.get((*path, BEFORE_ID))
        note.begin(call.job, call.epoch, path, False)
        note.task(BEFORE_ID)
        ready: Iterable[Any] = ()
        try:
            if mark is not None:
                raise Condemned(mark.text)
            task.content = self._one.opened(task.content)
            if type(task.content) is Unreadable:
                raise task.content.error
            stage = job.instance
            assert isinstance(stage, ReorderStage)
            ready = job.byid.push(stage.get_sequence_id(task), (task, failures.input_at))
        except self._context.through:
            raise
        except BaseException as error:  # an id that cannot be had fails this task alone
            kind = mark.kind if mark is not None else "TaskError"
            raw = note_given(failures.error(error, path, task, kind), -1)  # its path is none of its numbers
            job.late.append(((self._context.index, path), raw))
        note.begin(call.job, call.epoch, (), False)
        self._run_ready(job, process, ready, call)
