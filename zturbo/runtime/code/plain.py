"""Calls of a plain stage's code: one task after another, as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from sys import getrefcount
from typing import Any

from zturbo.api.task import Task, bare_task
from zturbo.core.links.outbatch import paths
from zturbo.runtime.code.call import Call, never_run
from zturbo.runtime.code.context import StageContext, Stale
from zturbo.runtime.code.cutting import start_next
from zturbo.runtime.code.failures import Failures
from zturbo.runtime.code.instances import Instances
from zturbo.runtime.code.onetask import OneTask
from zturbo.runtime.code.restored import restore, unopened
from zturbo.runtime.process.running import GIVEN, SERIAL
from zturbo.wire.messages import Mark, Path, PathRun
from zturbo.wire.payload import Packed, take
from zturbo.wire.plain import UNCHANGING

__all__ = ["PlainCalls"]


class PlainCalls:
    """Runs tasks of a plain stage.

    Args:
        context: the stage's names, for its failures.
        instances: the stage's objects, by job.
        failures: makes the failures of its tasks.
        one: runs single tasks.
    """

    def __init__(self, context: StageContext, instances: Instances, failures: Failures, one: OneTask) -> None:
        self._context = context
        self._instances = instances
        self._failures = failures
        self._one = one

    def run(self, call: Call, runs: Iterable[PathRun], contents: list[Any], metas: list[Any] | None) -> None:
        """Process tasks.

        Args:
            call: what they have in common.
            runs: their paths.
            contents: one per task.
            metas: one per task, as :func:`pack_meta` made them, or None.
        """
        marks, note = call.marks, self._context.running_note
        if marks and _all_known(marks, runs):
            self._condemn_all(call, runs, contents, metas)
            return
        self._note_next(call, runs)
        try:
            job = self._instances.job(call.job)
        except self._context.through:
            raise
        except BaseException as error:  # reset() is the user's code
            self._fail_all(call, runs, error)
            return
        process = self._instances.code(job)
        job.mark(marks)
        try:
            if metas is None and not call.logs and not marks and self._one.deterministic:
                self._run_bare(process, self._instances.function(job), call, runs, contents)
            else:
                self._run_any(process, call, runs, contents, metas, job.condemned)
        except Stale:
            note.end()
            raise
        note.end()  # no finally: where an exception ends this process, the running task stays noted

    def _condemn_all(
        self, call: Call, runs: Iterable[PathRun], contents: list[Any], metas: list[Any] | None
    ) -> None:
        """Fail tasks that are all known to fail, without an instance: a worker may have died making one."""
        for i, path in enumerate(paths(runs)):
            if not start_next(call.unstarted):
                return
            mark = next(mark for mark in reversed(call.marks) if mark.path == path)
            task = restore(contents[i], unopened(metas[i]) if metas else None)
            self._failures.condemn(mark, path, task, call.out)
            call.out.finished += 1

    def _note_next(self, call: Call, runs: Iterable[PathRun]) -> None:
        """Where a job is new here, note its first task. If the worker dies in ``reset()``, that task gets the
        strike."""
        if call.job in self._instances.jobs or not self._instances.has_state:
            return
        known = never_run(call.marks)
        path = next((path for path in paths(runs) if path not in known), None)
        if path is not None:  # it does not run yet: its time-out is for process()
            self._context.running_note.nearest(call.job, call.epoch, [path])

    def _fail_all(self, call: Call, runs: Iterable[PathRun], error: BaseException) -> None:
        for path in paths(runs):
            if not start_next(call.unstarted):
                return
            call.out.fail(path, 0, self._failures.error(error, path, None))
            call.out.finished += 1

    def _run_any(
        self,
        process: Callable[[Task], Any],
        call: Call,
        runs: Iterable[PathRun],
        contents: list[Any],
        metas: list[Any] | None,
        condemned: dict[Path, Mark],
    ) -> None:
        one, out = self._one, call.out
        i = 0
        for first, n in runs:
            self._context.running_note.begin(call.job, call.epoch, first[:-1], not first)
            for k in range(n):
                if not start_next(call.unstarted):
                    return
                path = (*first[:-1], first[-1] + k) if first else first
                mark = condemned.get(path)
                meta = None if metas is None else metas[i]
                if type(meta) is Packed:
                    meta = one.noted(meta, mark, path[-1] if path else 0)
                task = restore(contents[i], meta)
                i += 1
                if task._meta is not None and one.passes(task):
                    out.add(path, task)
                else:
                    one.run_marked(process, path, task, call, mark)
                out.finished += 1

    def _run_bare(
        self,
        process: Callable[[Task], Any],
        function: Callable[[Any], Any] | None,
        call: Call,
        runs: Iterable[PathRun],
        contents: list[Any],
    ) -> None:
        """The fast way: tasks without meta and logs, most of which give one task without them too.

        A function is called in place of ``process`` with contents alone.
        """
        out, note, unstarted = call.out, self._context.running_note, call.unstarted
        numbers = note.numbers
        add = out.contents.append
        counted = False  # whether the last task's outputs may be counted in the note
        each = iter(contents)
        spare: Task | None = None  # one as new, for the next content: to make one takes a third of all this
        for first, n in runs:
            prefix = first[:-1]
            begun = note.run(call.job, call.epoch, first, n)
            shift = (first[-1] if first else 0) - begun
            starts = None  # where the outputs of the last task stand, and ``add`` adds, if it gave a bare one
            serial = begun - 1
            # The last of the three ends early if the rest was taken back.
            for serial, content, _ in zip(range(begun, begun + n), each, unstarted):  # noqa: B905
                if counted:
                    counted = False
                    numbers[GIVEN] = 0
                numbers[SERIAL] = serial
                task: Any = None
                try:
                    try:  # as in Output.call, which costs too much for each task
                        if function is None:
                            if spare is None:
                                task = bare_task(content)
                            else:
                                task, spare = spare, None
                                task.content = content
                            out.inside = True
                            result = process(task)
                        else:
                            out.inside = True
                            result = function(content)
                    finally:
                        out.inside = False
                        if out.taking:
                            out.wait()
                    # What the user's code has put into a task may raise when it is looked at.
                    if function is not None and not isinstance(result, Task):
                        bare, output, owned = result is not None, result, False
                    elif (
                        type(result) is Task
                        and result.success
                        and result._meta is None
                        and result._logs is None
                    ):
                        bare, output, owned = True, result.content, result._owned
                        if result is task and getrefcount(task) <= ALONE:  # the code has kept it nowhere
                            if not owned and task.error is None and task._started is None:
                                spare = task
                    else:
                        bare = False
                    if bare and type(output) not in UNCHANGING:  # the code may change it: it is taken now
                        output = take(output, owned)
                except self._context.through:
                    raise
                except BaseException as error:  # whatever the user's code raises fails this task alone
                    starts = None
                    path = (*prefix, serial + shift) if first else first
                    out.fail(path, 0, self._failures.error(error, path, task or bare_task(content)))
                    out.finished += 1
                    continue
                if bare and out.starts is starts:
                    add(output)
                    out.due_in -= 1
                    if not out.due_in:
                        out.look()
                elif bare and first and out.metas is None:
                    out.begin_run((*prefix, serial + shift), len(out.contents))
                    starts, add = out.starts, out.contents.append
                    add(output)
                    out.added()
                else:
                    starts, counted = None, True
                    task = task or bare_task(content)
                    if bare:
                        result = bare_task(output)
                    self._one.result(result, (*prefix, serial + shift) if first else first, task, out, -1)
                out.finished += 1
            if serial < begun + n - 1:
                return


def _count_alone() -> int:
    task = result = bare_task(None)
    return getrefcount(task) if result is task else 0


ALONE = _count_alone()
"""References to a task that two variables have, and nothing else."""


def _all_known(marks: tuple[Mark, ...], runs: Iterable[PathRun]) -> bool:
    """Whether all of these tasks are known to fail."""
    known = never_run(marks)
    return bool(known) and all(path in known for path in paths(runs))
