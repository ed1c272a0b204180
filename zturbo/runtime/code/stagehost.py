"""The one place where a stage's code is called, by workers and by debug mode alike.

It makes tasks of contents and hands them to :mod:`zturbo.runtime.code.stagecode`: a plain stage's as they
come, an ordered or sticky stage's as its sequencer lets them go, renumbered. No sockets and no threads in
here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from zturbo.api.stage import ReorderStage
from zturbo.api.stage_kinds import BatchStage
from zturbo.api.task import Task, bare_task
from zturbo.core.links.outbatch import paths
from zturbo.core.order.tree import BEFORE_ID
from zturbo.runtime.code.cutting import start_next
from zturbo.runtime.code.output import Output
from zturbo.runtime.code.restored import restore, unopened
from zturbo.runtime.code.stagecode import Condemned, JobState, StageCode, Stale
from zturbo.wire.messages import Mark, Path, PathRun
from zturbo.wire.payload import (
    UNCHANGING,
    Packed,
    Unreadable,
    failure_fields,
    note_given,
    take,
    without_input,
)

__all__ = ["StageHost", "Stale"]

LATE_BYTES = 64 << 20
"""Bytes of a job's failures that wait for the job's end with their inputs, where the order is the user's."""


def _never_run(marks: tuple[Mark, ...]) -> set[Path]:
    """Tasks that are condemned before they gave anything: a failure takes the place of each."""
    return {mark.path for mark in marks if mark.kind and not mark.given}


class StageHost(StageCode):
    """A stage's instances in one process, and how its kind is run."""

    # -- plain stages -------------------------------------------------------------------------
    def run(
        self,
        job: bytes,
        runs: Iterable[PathRun],
        contents: list[Any],
        metas: list[Any] | None,
        out: Output,
        *,
        epoch: int = 0,
        unstarted: deque[None] | None = None,
        marks: tuple[Mark, ...] = (),
        logs: bool = False,
    ) -> None:
        """Process tasks of a plain stage; ``out.finished`` counts them, each after its outputs.

        Args:
            job: whose tasks they are.
            runs: their paths.
            contents: one per task.
            metas: one per task, as :func:`pack_meta` made them, or None.
            out: where outputs go.
            epoch: of the job, for the note of what runs.
            unstarted: one entry is taken for each task that is started; when there is none, no more are.
            marks: what the broker found out about tasks of this stage.
            logs: whether to keep a log of stages in each task.
        """
        if unstarted is None:
            unstarted = deque((None,) * len(contents))
        if marks and self._knows_all(marks, runs):
            for i, path in enumerate(paths(runs)):
                if not start_next(unstarted):
                    return
                mark = next(mark for mark in reversed(marks) if mark.path == path)
                self._condemn(mark, path, restore(contents[i], unopened(metas[i]) if metas else None), out)
                out.finished += 1
            return
        self._note_next(job, epoch, marks, runs)
        try:
            state = self._state(job)
        except self.through:
            raise
        except BaseException as error:  # reset() is the user's code
            self._fail_all(runs, error, out, unstarted)
            return
        process = self._code(state)
        state.mark(marks)
        try:
            if metas is None and not logs and not marks and self.deterministic:
                self._run_bare(process, job, epoch, runs, contents, out, unstarted)
            else:
                known = state.condemned
                self._run_any(process, job, epoch, runs, contents, metas, out, unstarted, known, logs)
        except Stale:
            self.running_note.end()
            raise
        self.running_note.end()  # not where this process is to end: what runs stays noted until it is gone

    def _knows_all(self, marks: tuple[Mark, ...], runs: Iterable[PathRun]) -> bool:
        """Whether all of these are known to fail: then no state is made, of which a worker may have died."""
        known = _never_run(marks)
        return bool(known) and all(path in known for path in paths(runs))

    def _note_next(self, job: bytes, epoch: int, marks: tuple[Mark, ...], runs: Iterable[PathRun]) -> None:
        """Where a job's state is to be made, the first task that it is made for is named."""
        if job in self._jobs:
            return
        known = _never_run(marks)
        path = next((path for path in paths(runs) if path not in known), None)
        if path is not None:
            self.running_note.nearest(
                job, epoch, [path]
            )  # it does not run yet: its time-out is for process()

    def _run_any(
        self,
        process: Callable[[Task], Any],
        job: bytes,
        epoch: int,
        runs: Iterable[PathRun],
        contents: list[Any],
        metas: list[Any] | None,
        out: Output,
        unstarted: deque[None],
        condemned: dict[Path, Mark],
        logs: bool,
    ) -> None:
        i = 0
        for first, n in runs:
            self.running_note.begin(job, epoch, first[:-1], not first)
            for k in range(n):
                if not start_next(unstarted):
                    return
                path = (*first[:-1], first[-1] + k) if first else first
                meta = None if metas is None else metas[i]
                if type(meta) is Packed:
                    meta = self._noted(meta, condemned.get(path), path[-1] if path else 0)
                task = restore(contents[i], meta)
                i += 1
                if task._meta is not None and self.passes(task):
                    out.add(path, task)
                else:
                    self._marked(condemned.get(path), process, path, task, out, logs)
                out.finished += 1

    def _run_bare(
        self,
        process: Callable[[Task], Any],
        job: bytes,
        epoch: int,
        runs: Iterable[PathRun],
        contents: list[Any],
        out: Output,
        unstarted: deque[None],
    ) -> None:
        """The fast way: tasks without meta and logs, most of which give one task without them too."""
        note, start = self.running_note.task, unstarted.popleft
        leave, enter = out.lock.release, out.lock.acquire
        starts: list[Any] = []
        i = 0
        for first, n in runs:
            prefix = first[:-1]
            last = first[-1] if first else 0
            self.running_note.begin(job, epoch, prefix, not first)
            joins = False
            for at in range(last, last + n):
                try:
                    start()
                except IndexError:  # the rest was taken back
                    return
                note(at)
                task = bare_task(contents[i])
                i += 1
                leave()
                try:
                    try:
                        result = process(task)
                    finally:
                        enter()
                    # What the user's code has put into a task may raise when it is looked at.
                    bare = (
                        type(result) is Task
                        and result.success
                        and result._meta is None
                        and result._logs is None
                    )
                    content = result.content if bare else None
                    if type(content) not in UNCHANGING:  # the code may change it later: it is taken now
                        content = take(content, result._owned)
                except self.through:
                    raise
                except BaseException as error:  # whatever the user's code raises fails this task alone
                    joins = False
                    path = (*prefix, at) if first else first
                    out.fail(path, 0, self.error(error, path, task))
                    out.finished += 1
                    continue
                if bare and first and out.metas is None:
                    if not joins or out.starts is not starts:
                        out.begin_run((*prefix, at), len(out.contents))
                        starts, joins = out.starts, True
                    out.contents.append(content)
                    out.due_in -= 1
                    if not out.due_in:
                        out.look()
                else:
                    joins = False
                    self._result(result, (*prefix, at) if first else first, task, out, -1)
                out.finished += 1

    def _fail_all(
        self, runs: Iterable[PathRun], error: BaseException, out: Output, unstarted: deque[None]
    ) -> None:
        for path in paths(runs):
            if not start_next(unstarted):
                return
            out.fail(path, 0, self.error(error, path, None))
            out.finished += 1

    # -- batches ------------------------------------------------------------------------------
    def run_batch(
        self,
        job: bytes,
        tasks: list[tuple[Path, Any, Any]],
        out: Output,
        *,
        begin: Callable[[int], None],
        epoch: int = 0,
        marks: tuple[Mark, ...] = (),
        logs: bool = False,
    ) -> None:
        """Process tasks of a :class:`zturbo.BatchStage` at once; ``out.finished`` counts them.

        Args:
            job: whose tasks they are.
            tasks: (path, content, meta), at most ``max_batch``.
            out: where outputs go.
            begin: called with a task's index before its outputs are given.
            epoch: of the job, for the note of what runs.
            marks: what the broker found out about tasks of this stage.
            logs: whether to keep a log of stages in each task.
        """
        condemned = _never_run(marks)
        to_run = [path for path, _, _ in tasks if path not in condemned]
        if job not in self._jobs:
            self.running_note.nearest(job, epoch, to_run)
        try:
            state = self._state(job) if to_run else JobState(self.base)
        except self.through:
            raise
        except BaseException as error:  # reset() is the user's code
            for i, (path, _, _) in enumerate(tasks):
                begin(i)
                out.fail(path, 0, self.error(error, path, None))
                out.finished += 1
            return
        state.mark(marks)
        known = [state.condemned.get(path) for path, _, _ in tasks]
        made = []
        for (path, content, meta), mark in zip(tasks, known, strict=True):
            runs = mark is None or mark.given
            if runs and Packed in (type(content), type(meta)):
                self.running_note.several(job, epoch, [path])
            if runs:
                content, meta = self.opened(content), self.opened(meta)
            made.append(restore(content, unopened(meta)))
        by = {i for i, task in enumerate(made) if task._meta is not None and self.passes(task)}
        called = [
            i
            for i, mark in enumerate(known)
            if i not in by and (mark is None or mark.given) and type(made[i].content) is not Unreadable
        ]
        had = [len(task._logs or ()) if logs else -1 for task in made]
        self.running_note.several(job, epoch, [tasks[i][0] for i in called])
        try:
            if logs:
                for i in called:
                    made[i].start(self.name)
            results = dict(zip(called, self._call_batch(state, [made[i] for i in called], out), strict=True))
            for i, (path, _, _) in enumerate(tasks):
                begin(i)
                if i in by:
                    out.add(path, made[i])
                elif i in results:
                    self._settle(*results[i], path, made[i], out, had[i], known[i])
                elif type(made[i].content) is Unreadable:
                    self._unreadable(path, made[i], out)
                else:
                    self._condemn(known[i], path, made[i], out)
                out.finished += 1
        except Stale:
            self.running_note.end()
            raise
        self.running_note.end()

    def _call_batch(
        self, state: JobState, tasks: list[Task], out: Output
    ) -> list[tuple[Any, BaseException | None]]:
        """(result, error) of each; a batch of several that raises is run again one by one."""
        stage = state.instance
        assert isinstance(stage, BatchStage)
        if not tasks:
            return []
        error: BaseException | None = None
        results: list[Any] = []
        try:
            results = out.call(stage.results_of, tasks)
        except self.through:
            raise
        except BaseException as raised:  # whatever the user's code raises fails these tasks alone
            error = raised
        if error is None:
            return [(result, None) for result in results]
        if len(tasks) == 1:
            return [(None, error)]
        return [pair for task in tasks for pair in self._call_batch(state, [task], out)]

    # -- ordered and sticky stages ------------------------------------------------------------
    def run_ordered(
        self,
        job: bytes,
        pieces: Iterable[tuple[list[PathRun], list[Any], list[Any] | None]],
        fails: list[tuple[int, bytes, int]],
        out: Output,
        *,
        final: bool,
        epoch: int = 0,
        unstarted: deque[None] | None = None,
        marks: tuple[Mark, ...] = (),
        logs: bool = False,
    ) -> None:
        """Process what a sequencer released of a job, in order; its k-th item gets the path ``(k,)``.

        Args:
            job: whose tasks they are.
            pieces: (runs, contents, metas) in order.
            fails: (place among the tasks, error, children before it) of failures that pass by.
            out: where outputs go.
            final: nothing comes after this: the END of all is said.
            epoch: of the job, for the note of what runs.
            unstarted: one entry is taken for each task that is started.
            marks: what the broker found out about tasks of this stage.
            logs: whether to keep a log of stages in each task.
        """
        lost = next((mark for mark in marks if mark.kind and not mark.path), None)
        if lost is not None:  # no worker outlives it that this job's state is made
            out.fail((), 0, self.error(Condemned(lost.text), (), None, lost.kind))
            return
        if job not in self._jobs:
            self.running_note.nearest(job, epoch, [()])  # no numbered task has this path
        try:
            state = self._state(job)
        except self.through:
            raise
        except BaseException as error:  # reset() is the user's code
            out.fail((), 0, self.error(error, (), None))
            return
        state.mark(marks)
        self.running_note.begin(job, epoch, (), False)
        try:
            self._run_released(state, pieces, fails, out, final, unstarted or deque(), logs, job, epoch)
        except Stale:
            self.running_note.end()
            raise
        self.running_note.end()
        if final:  # its place may be given to another job before the broker's word that this one has ended
            self.job_ended(job)

    def _run_released(
        self,
        state: JobState,
        pieces: Iterable[tuple[list[PathRun], list[Any], list[Any] | None]],
        fails: list[tuple[int, bytes, int]],
        out: Output,
        final: bool,
        unstarted: deque[None],
        logs: bool,
        job: bytes,
        epoch: int,
    ) -> None:
        process = self._code(state)
        place = 0
        at = 0
        for runs, contents, metas in pieces:
            i = 0
            for first, n in runs:
                for k in range(n):
                    while at < len(fails) and fails[at][0] <= place:
                        self._pass_by(state, *fails[at][1:], out)
                        at += 1
                    if unstarted:
                        unstarted.popleft()
                    place += 1
                    self.inputs.number(-1 if self.by_id else state.number)
                    path = (*first[:-1], first[-1] + k) if first else first
                    meta = None if metas is None else metas[i]
                    if type(meta) is Packed:
                        meta = self._noted_in_order(meta, state, path, job, epoch)
                    task = restore(contents[i], meta)
                    i += 1
                    if self.by_id:
                        self._by_id(state, process, path, task, out, logs, job, epoch)
                    else:
                        self._numbered(state, process, task, out, logs)
        for _, error_bytes, given in fails[at:]:
            self._pass_by(state, error_bytes, given, out)
        if final:
            if self.by_id:
                # Tasks from behind gaps come last. A client that has one of them has every failure, too, so a
                # later epoch closes the same gaps.
                for _, late in sorted(state.late, key=lambda pair: pair[0]):
                    if isinstance(late, Task):
                        out.add((state.number,), late)
                    else:
                        out.fail((state.number,), 0, late)
                    state.number += 1
                for task, self._held in state.byid.flush():
                    self._numbered(state, process, task, out, logs)
                self._held = None
            out.end((), state.number)

    def _noted(self, meta: Packed, mark: Mark | None, at: int) -> Any:
        """A meta that code of the user's unpacks: the task at this place counts as running from then on.

        A task that is known to fail has none.
        """
        if mark is not None and not mark.given:
            return None
        self.running_note.task(at)
        return self.opened(meta)

    def _noted_in_order(self, meta: Packed, state: JobState, path: Path, job: bytes, epoch: int) -> Any:
        """The same in an ordered stage."""
        if not self.by_id:
            return self._noted(meta, state.condemned.get((state.number,)), state.number)
        self.running_note.begin(job, epoch, path, False)
        value = self._noted(meta, state.condemned.get((*path, BEFORE_ID)), BEFORE_ID)
        self.running_note.begin(job, epoch, (), False)
        return value

    def _numbered(
        self, state: JobState, process: Callable[[Task], Any], task: Task, out: Output, logs: bool
    ) -> None:
        path = (state.number,)
        if task._meta is not None and self.passes(task):
            out.add(path, task)
        else:
            self._marked(state.condemned.get(path), process, path, task, out, logs)
        state.number += 1

    def _pass_by(self, state: JobState, error: bytes, given: int, out: Output) -> None:
        error = note_given(error, given)
        if self.by_id:
            # They have no ids; they are numbered at the end.
            fields = failure_fields(error)
            if state.late_bytes + len(error) > LATE_BYTES:
                error = without_input(error, "too many failures wait for their order")
            state.late_bytes += len(error)
            state.late.append(((fields["index"], fields["path"]), error))
            return
        out.fail((state.number,), 0, error)
        state.number += 1

    def _by_id(
        self,
        state: JobState,
        process: Callable[[Task], Any],
        path: Path,
        task: Task,
        out: Output,
        logs: bool,
        job: bytes,
        epoch: int,
    ) -> None:
        assert isinstance(state.instance, ReorderStage)
        if task._meta is not None and self.passes(task):
            state.late.append(((-1, path), task))
            return
        self._held = self.inputs.here()
        before = (*path, BEFORE_ID)
        mark = state.condemned.get(before)
        self.running_note.begin(job, epoch, path, False)
        self.running_note.task(BEFORE_ID)
        try:
            if mark is not None:
                raise Condemned(mark.text)
            task.content = self.opened(task.content)
            if type(task.content) is Unreadable:
                raise task.content.error
            released = state.byid.push(state.instance.get_sequence_id(task), (task, self._held))
        except self.through:
            raise
        except BaseException as error:  # an id that cannot be had fails this task alone
            kind = mark.kind if mark is not None else "TaskError"
            raw = note_given(self.error(error, path, task, kind), -1)  # its path is none that it numbers
            state.late.append(((self.index, path), raw))
            self._held = None
            self.running_note.begin(job, epoch, (), False)
            return
        self.running_note.begin(job, epoch, (), False)
        for ready, self._held in released:
            self._numbered(state, process, ready, out, logs)
        self._held = None
