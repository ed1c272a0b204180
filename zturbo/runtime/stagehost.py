"""The one place where a stage's code is called, by workers and by debug mode alike.

It keeps a stage's instances (one for all jobs, or one per job, see :class:`zturbo.Stage`), makes tasks of
contents, and turns what ``process`` gives into outputs: paths, contents, ENDs and FAILs. No sockets and no
threads in here.
"""

from __future__ import annotations

import copy
import os
import traceback
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, Protocol

from zturbo.core.byid import ById
from zturbo.core.sequencer import EXECUTION
from zturbo.runtime.output import Output
from zturbo.stage import ReorderStage, Stage
from zturbo.task import Task, TaskLog
from zturbo.wire.messages import Mark, Path, Run
from zturbo.wire.payload import note_given, pack_error, pack_meta, unpack_error_map

__all__ = ["StageHost", "Stale", "Steps"]


class Steps(Protocol):
    """How far a piece of work is; another thread may read it, and cut the work short."""

    at: int
    limit: int


class _Steps:
    at = -1
    limit = 1 << 62


class _NoSlot:
    def begin(self, job: bytes, epoch: int, prefix: Path, root: bool) -> None: ...

    def task(self, k: int) -> None: ...

    def given(self, count: int) -> None: ...

    def end(self) -> None: ...


class Stale(BaseException):
    """The job was started over or ended: what is running of it is void."""


class _JobState:
    __slots__ = ("_marks", "byid", "condemned", "instance", "late_fails", "number")

    def __init__(self, instance: Stage) -> None:
        self.instance = instance
        self.number = 0
        self.byid = ById()
        self._marks: tuple[Mark, ...] = ()
        self.condemned: dict[Path, Mark] = {}
        """Tasks that are known to fail."""
        self.late_fails: list[tuple[Any, bytes]] = []

    def mark(self, marks: tuple[Mark, ...]) -> None:
        """What is known of the job's tasks, as it was last said."""
        if marks is not self._marks:
            self._marks = marks
            self.condemned = {mark.path: mark for mark in marks if mark.kind}


class StageHost:
    """A stage's instances in one process.

    Args:
        build: makes an instance.
        name: of the stage, for logs and errors.
        index: its place in the pipeline.
        worker_id: from 0, among workers that were started together.
        host: name of this host, for errors.
    """

    def __init__(
        self, build: Callable[[], Stage], *, name: str, index: int, worker_id: int = 0, host: str = ""
    ) -> None:
        self._build = build
        self.name = name
        self.index = index
        self.worker_id = worker_id
        self.host = host
        self.slot: Any = _NoSlot()
        """Where it is noted what runs."""
        self.base = self._new()
        cls = type(self.base)
        self.ordered = isinstance(self.base, ReorderStage)
        self.by_id = issubclass(cls, ReorderStage) and cls.get_sequence_id is not ReorderStage.get_sequence_id
        self.has_state = cls.reset is not Stage.reset and cls.reset is not ReorderStage.reset
        self.deterministic = cls.deterministic
        self.slots = self.base.job_slots if self.has_state and not self.base.interleave else 0
        """Jobs that this worker may have at once if the stage is ordered; 0 for any number."""
        self._spare: list[Stage] = [self.base]
        self._jobs: dict[bytes, _JobState] = {}

    def _new(self) -> Stage:
        stage = self._build()
        stage.init(self.worker_id)
        return stage

    def _state(self, job: bytes) -> _JobState:
        state = self._jobs.get(job)
        if state is None:
            if not self.has_state:
                instance = self.base
            elif self.base.interleave:
                instance = copy.copy(self.base)
            else:
                instance = self._spare.pop() if self._spare else self._new()
            if self.has_state:
                instance.reset()
            state = self._jobs[job] = _JobState(instance)
        return state

    def job_ended(self, job: bytes) -> None:
        """The job is over here, or starts over: its state goes."""
        state = self._jobs.pop(job, None)
        if state is not None and self.has_state and not self.base.interleave:
            self._spare.append(state.instance)

    # -- plain stages -------------------------------------------------------------------------
    def run(
        self,
        job: bytes,
        runs: Iterable[Run],
        contents: list[Any],
        metas: list[Any] | None,
        out: Output,
        *,
        epoch: int = 0,
        steps: Steps | None = None,
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
            epoch: of the job, for the slot.
            steps: told which task runs; it may say that no more are to be started.
            marks: what the broker found out about tasks of this stage.
            logs: whether to keep a log of stages in each task.
        """
        steps = steps or _Steps()
        try:
            state = self._state(job)
        except Exception as error:  # reset() is the user's code
            self._fail_all(runs, error, out, steps)
            return
        process = state.instance.process
        state.mark(marks)
        try:
            if metas is None and not logs and not marks and self.deterministic:
                self._run_bare(process, job, epoch, runs, contents, out, steps)
            else:
                known = state.condemned
                self._run_any(process, job, epoch, runs, contents, metas, out, steps, known, logs)
        finally:
            self.slot.end()

    def _run_any(
        self,
        process: Callable[[Task], Any],
        job: bytes,
        epoch: int,
        runs: Iterable[Run],
        contents: list[Any],
        metas: list[Any] | None,
        out: Output,
        steps: Steps,
        condemned: dict[Path, Mark],
        logs: bool,
    ) -> None:
        i = 0
        for first, n in runs:
            self.slot.begin(job, epoch, first[:-1], not first)
            for k in range(n):
                steps.at = i
                if i >= steps.limit:
                    return
                task = Task(contents[i])
                if metas is not None and metas[i] is not None:
                    _restore(task, metas[i])
                i += 1
                path = (*first[:-1], first[-1] + k) if first else first
                self._marked(condemned.get(path), process, path, task, out, logs)
                out.finished += 1

    def _run_bare(
        self,
        process: Callable[[Task], Any],
        job: bytes,
        epoch: int,
        runs: Iterable[Run],
        contents: list[Any],
        out: Output,
        steps: Steps,
    ) -> None:
        """The fast way: tasks without meta and logs, most of which give one task without them too."""
        note = self.slot.task
        i = 0
        for first, n in runs:
            prefix = first[:-1]
            last = first[-1] if first else 0
            self.slot.begin(job, epoch, prefix, not first)
            for at in range(last, last + n):
                steps.at = i
                if i >= steps.limit:
                    return
                note(at)
                task = Task(contents[i])
                i += 1
                out.inside = True
                try:
                    result = process(task)
                except Exception as error:  # whatever the user's code raises fails this task alone
                    out.inside = False
                    if out.wanted:
                        out.settle()
                    path = (*prefix, at) if first else first
                    out.fail(path, 0, self.error(error, path, task))
                    out.finished += 1
                    continue
                out.inside = False
                if out.wanted:
                    out.settle()
                if (
                    type(result) is Task
                    and result.success
                    and result._meta is None
                    and result._logs is None
                    and out.metas is None
                    and first
                ):
                    out_runs = out.runs
                    if out_runs:
                        begin, count = out_runs[-1]
                        if begin[-1:] == (at - count,) and begin[:-1] == prefix:
                            out_runs[-1] = (begin, count + 1)
                        else:
                            out_runs.append(((*prefix, at), 1))
                    else:
                        out_runs.append(((*prefix, at), 1))
                    out.contents.append(result.content)
                    out.added()
                else:
                    self._result(result, (*prefix, at) if first else first, task, out, False)
                out.finished += 1

    def _marked(
        self,
        mark: Mark | None,
        process: Callable[[Task], Any],
        path: Path,
        task: Task,
        out: Output,
        logs: bool,
    ) -> None:
        """Run a task, but for one that is known to fail: that only as far as it got, if at all."""
        if mark is None or mark.given:
            self.slot.task(path[-1] if path else 0)
            self._one(process, path, task, out, logs, mark)
        else:
            out.fail(path, 0, self.error(Condemned(mark.text), path, task, mark.kind))

    def _one(
        self,
        process: Callable[[Task], Any],
        path: Path,
        task: Task,
        out: Output,
        logs: bool,
        mark: Mark | None = None,
    ) -> None:
        if logs:
            task.start(self.name)
        error: Exception | None = None
        out.inside = True
        try:
            result = process(task)
        except Exception as raised:  # whatever the user's code raises fails this task alone
            error = raised
        out.inside = False
        if out.wanted:
            out.settle()
        if error is not None:
            out.fail(self._execution(path), 0, self.error(error, path, task))
            return
        self._result(result, path, task, out, logs, mark)

    def _execution(self, path: Path) -> Path:
        """Where the outputs of this execution stand.

        At a stage that is not deterministic, under a component of its own: of two executions, the first
        that is complete wins as a whole.
        """
        return path if self.deterministic else (*path, EXECUTION + int.from_bytes(os.urandom(6), "big"))

    def _result(
        self, result: Any, path: Path, task: Task, out: Output, logs: bool, mark: Mark | None = None
    ) -> None:
        count = 0
        path = self._execution(path)
        try:
            if isinstance(result, Task):
                if mark is not None:
                    raise Condemned(mark.text)
                if not result.success:
                    raise TaskFailedByUser("process gave a task that is marked as failed")
                if logs:
                    self._log(task, result)
                out.add(path, result)
                return
            if result is None:
                out.end(path, 0)
                return
            if isinstance(result, (str, bytes, dict)) or not isinstance(result, Iterable):
                raise TypeError(self._wrong("returned", result))
            children = iter(result)
            while True:
                if mark is not None and count == mark.given:
                    raise Condemned(mark.text)
                out.inside = True
                child = next(children, _END)
                out.inside = False
                if out.wanted:
                    out.settle()
                if child is _END:
                    break
                if not isinstance(child, Task):
                    raise TypeError(self._wrong("yielded", child))
                if logs:
                    self._log(task, child)
                count += 1
                self.slot.given(count)
                out.add((*path, count - 1), child)
        except Exception as error:  # whatever the user's code raises fails this task alone
            out.inside = False
            if out.wanted:
                out.settle()
            out.fail(path, count, self.error(error, path, task))
            return
        out.end(path, count)

    def _wrong(self, verb: str, what: object) -> str:
        cls = type(self.base).__name__
        return (
            f"{cls}.process {verb} {what!r:.80} of type {type(what).__name__}; it is to give a Task, "
            "an iterable of Tasks, or None"
        )

    def _log(self, parent: Task, child: Task) -> None:
        started = getattr(parent, "_started", None)
        if started is None:
            return
        name, wall, tick = started
        duration = perf_counter() - tick
        entry = TaskLog(name, duration, wall, wall + duration, True)
        if child is parent or (
            child._logs and parent._logs and child._logs[: len(parent._logs)] == parent._logs
        ):
            child.logs.append(entry)
        else:
            child.logs = [*(parent._logs or []), *(child._logs or []), entry]

    def _fail_all(self, runs: Iterable[Run], error: Exception, out: Output, steps: Steps) -> None:
        i = 0
        for first, n in runs:
            for k in range(n):
                steps.at = i
                if i >= steps.limit:
                    return
                i += 1
                path = (*first[:-1], first[-1] + k) if first else first
                out.fail(path, 0, self.error(error, path, None))
                out.finished += 1

    def error(self, error: BaseException, path: Path, task: Task | None, kind: str = "TaskError") -> bytes:
        """A failure as it travels."""
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        return pack_error(
            {
                "kind": kind,
                "type": type(error).__name__,
                "message": str(error),
                "traceback": text,
                "stage": self.name,
                "index": self.index,
                "path": list(path),
                "host": self.host,
                "pid": os.getpid(),
                "meta": _plain_meta(task),
            }
        )

    # -- ordered stages -----------------------------------------------------------------------
    def run_ordered(
        self,
        job: bytes,
        pieces: Iterable[tuple[list[Run], list[Any], list[Any] | None]],
        fails: list[tuple[int, bytes, int]],
        out: Output,
        *,
        final: bool,
        epoch: int = 0,
        steps: Steps | None = None,
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
            epoch: of the job, for the slot.
            steps: told which task runs.
            marks: what the broker found out about tasks of this stage.
            logs: whether to keep a log of stages in each task.
        """
        try:
            state = self._state(job)
        except Exception as error:  # reset() is the user's code
            out.fail((), 0, self.error(error, (), None))
            return
        state.mark(marks)
        self.slot.begin(job, epoch, (), False)
        try:
            self._run_released(state, pieces, fails, out, final, steps or _Steps(), logs)
        finally:
            self.slot.end()

    def _run_released(
        self,
        state: _JobState,
        pieces: Iterable[tuple[list[Run], list[Any], list[Any] | None]],
        fails: list[tuple[int, bytes, int]],
        out: Output,
        final: bool,
        steps: Steps,
        logs: bool,
    ) -> None:
        process = state.instance.process
        place = 0
        at = 0
        for runs, contents, metas in pieces:
            i = 0
            for first, n in runs:
                for k in range(n):
                    while at < len(fails) and fails[at][0] <= place:
                        self._pass_by(state, *fails[at][1:], out)
                        at += 1
                    task = Task(contents[i])
                    if metas is not None and metas[i] is not None:
                        _restore(task, metas[i])
                    i += 1
                    steps.at = place
                    place += 1
                    if self.by_id:
                        path = (*first[:-1], first[-1] + k) if first else first
                        self._by_id(state, process, path, task, out, logs)
                    else:
                        self._numbered(state, process, task, out, logs)
        for _, error_bytes, given in fails[at:]:
            self._pass_by(state, error_bytes, given, out)
        if final:
            if self.by_id:
                # Before what stands behind the gaps that they may have left: whoever has got that has got
                # all of them, and another epoch closes the same gaps.
                for _, error_bytes in sorted(state.late_fails, key=lambda pair: pair[0]):
                    out.fail((state.number,), 0, error_bytes)
                    state.number += 1
                for task in state.byid.flush():
                    self._numbered(state, process, task, out, logs)
            out.end((), state.number)

    def _numbered(
        self, state: _JobState, process: Callable[[Task], Any], task: Task, out: Output, logs: bool
    ) -> None:
        path = (state.number,)
        self._marked(state.condemned.get(path), process, path, task, out, logs)
        state.number += 1

    def _pass_by(self, state: _JobState, error: bytes, given: int, out: Output) -> None:
        error = note_given(error, given)
        if self.by_id:
            # Failures arrive in any order here; numbered at the end, by their places, they are the
            # same in each execution.
            fields = unpack_error_map(error)
            state.late_fails.append(((fields["index"], fields["path"]), error))
            return
        out.fail((state.number,), 0, error)
        state.number += 1

    def _by_id(
        self,
        state: _JobState,
        process: Callable[[Task], Any],
        path: Path,
        task: Task,
        out: Output,
        logs: bool,
    ) -> None:
        instance = state.instance
        assert isinstance(instance, ReorderStage)
        try:
            released = state.byid.push(instance.get_sequence_id(task), task)
        except Exception as error:  # an id that cannot be had fails this task alone
            raw = note_given(self.error(error, path, task), -1)  # its path is none of those that it numbers
            state.late_fails.append(((self.index, path), raw))
            return
        for ready in released:
            self._numbered(state, process, ready, out, logs)


class Condemned(Exception):
    """The task killed, or held up, whoever ran it; or it failed before, and that was given out."""


_END: Any = object()


class TaskFailedByUser(Exception):
    """``process`` gave a task with ``success`` False."""


def _restore(task: Task, packed: Any) -> None:
    meta, logs = packed
    task._meta = meta
    if logs:
        task._logs = [TaskLog(*log) for log in logs]


def _plain_meta(task: Task | None) -> Any:
    if task is None:
        return None
    return pack_meta(task._meta, task._logs)
