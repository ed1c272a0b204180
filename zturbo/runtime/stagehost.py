"""The one place where a stage's code is called, by workers and by debug mode alike.

It keeps a stage's instances (one for all jobs, or one per job, see :class:`zturbo.Stage`), makes tasks of
contents, and turns what ``process`` gives into outputs: paths, contents, ENDs and FAILs. No sockets and no
threads in here.
"""

from __future__ import annotations

import copy
import os
import threading
import traceback
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, Protocol

from zturbo.core.byid import ById
from zturbo.core.sequencer import EXECUTION
from zturbo.stage import ReorderStage, Stage
from zturbo.task import Task, TaskLog
from zturbo.wire.messages import End, Fail, Mark, Path, Run
from zturbo.wire.payload import pack_error, pack_meta, unpack_error_map

__all__ = ["Output", "StageHost", "Stale", "Steps"]

FLUSH_COUNT = 512
"""Outputs in one batch at most."""

FLUSH_AFTER = 0.001
"""Seconds that an output waits for company while the code goes on."""


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


class Output:
    """What the code has given and nobody has taken yet.

    Args:
        flush: called when it is time to take it; it empties the output with :meth:`clear`.
        check: called whenever the clock is looked at; raises Stale if the job is void.
    """

    __slots__ = (
        "_check",
        "_checked",
        "_due_in",
        "_step",
        "contents",
        "ends",
        "fails",
        "finished",
        "flush",
        "inside",
        "lock",
        "metas",
        "runs",
        "since",
        "wanted",
    )

    def __init__(self, flush: Callable[[], None], check: Callable[[], None]) -> None:
        self.flush = flush
        self._check = check
        self._checked = 0.0
        self._step = self._due_in = 1
        self.finished = 0
        """Input tasks that are finished; whoever takes the outputs sets it back."""
        self.inside = False
        """Whether the user's code runs: nothing changes here until it gives something."""
        self.wanted = False
        """Whether another thread takes what is here."""
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """It has been taken."""
        self.runs: list[Run] = []
        self.contents: list[Any] = []
        self.metas: list[Any] | None = None
        self.ends: list[End] = []
        self.fails: list[Fail] = []
        self.since = 0.0

    def settle(self) -> None:
        """Another thread takes what is here: wait until it has."""
        with self.lock:
            self.inside = False

    def __len__(self) -> int:
        return len(self.contents) + len(self.ends) + len(self.fails)

    def add(self, path: Path, task: Task) -> None:
        """One output task."""
        contents = self.contents
        if task._meta or task._logs:
            if self.metas is None:
                self.metas = [None] * len(contents)
            self.metas.append(pack_meta(task._meta, task._logs))
        elif self.metas is not None:
            self.metas.append(None)
        contents.append(task.content)
        runs = self.runs
        if runs and path:
            first, n = runs[-1]
            if len(first) == len(path) and first[-1] + n == path[-1] and first[:-1] == path[:-1]:
                runs[-1] = (first, n + 1)
            else:
                runs.append((path, 1))
        else:
            runs.append((path, 1))
        self.added()

    def added(self) -> None:
        """One more is in: flush if it is time to. The clock is looked at about four times a millisecond."""
        self._due_in -= 1
        if self._due_in:
            return
        now = perf_counter()
        each = max(1e-9, (now - self._checked) / self._step)
        self._checked = now
        self._step = self._due_in = max(1, min(64, int(FLUSH_AFTER / 4 / each)))
        if not self.since:
            self.since = now
        elif now - self.since > FLUSH_AFTER or len(self) >= FLUSH_COUNT:
            self.flush()
        self._check()

    def end(self, path: Path, count: int) -> None:
        """A path is closed."""
        self.ends.append(End(path, count))
        self.added()

    def fail(self, path: Path, count: int, error: bytes) -> None:
        """A path is closed by a failure."""
        self.fails.append(Fail(path, count, error))
        self.added()


class _JobState:
    __slots__ = ("byid", "condemned", "instance", "late_fails", "number")

    def __init__(self, instance: Stage) -> None:
        self.instance = instance
        self.number = 0
        self.byid = ById()
        self.condemned: dict[Path, Mark] = {}
        self.late_fails: list[tuple[Any, bytes]] = []


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
            process = self._state(job).instance.process
        except Exception as error:  # reset() is the user's code
            self._fail_all(runs, error, out, steps)
            return
        try:
            if metas is None and not logs and not marks and self.deterministic:
                self._run_bare(process, job, epoch, runs, contents, out, steps)
            else:
                self._run_any(process, job, epoch, runs, contents, metas, out, steps, marks, logs)
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
        marks: tuple[Mark, ...],
        logs: bool,
    ) -> None:
        condemned = {mark.path: mark for mark in marks if mark.kind}
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
                if path in condemned:
                    out.fail(path, 0, self._condemn(condemned[path], path, task))
                else:
                    self.slot.task(path[-1] if path else 0)
                    self._one(process, path, task, out, logs)
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
                    self._result(result, (*prefix, at) if first else first, task, out, -1)
                out.finished += 1

    def _condemn(self, mark: Mark, path: Path, task: Task | None) -> bytes:
        """The failure of a task that nobody runs any more."""
        return self.error(Condemned(mark.text), path, task, mark.kind)

    def _one(self, process: Callable[[Task], Any], path: Path, task: Task, out: Output, logs: bool) -> None:
        had = len(task._logs or ()) if logs else -1
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
            if had >= 0:
                self._log(task, task, had, success=False)
            out.fail(self._execution(path), 0, self.error(error, path, task))
            return
        self._result(result, path, task, out, had)

    def _execution(self, path: Path) -> Path:
        """Where the outputs of this execution stand.

        At a stage that is not deterministic, under a component of its own: of two executions, the first
        that is complete wins as a whole.
        """
        return path if self.deterministic else (*path, EXECUTION + int.from_bytes(os.urandom(6), "big"))

    def _result(self, result: Any, path: Path, task: Task, out: Output, had: int) -> None:
        """Outputs of what ``process`` gave. ``had``: entries in the task's logs before it; -1 keeps none."""
        count = 0
        path = self._execution(path)
        try:
            if isinstance(result, Task):
                if had >= 0:
                    self._log(task, result, had, success=result.success)
                if not result.success:
                    out.fail(path, 0, self.error(TaskFailedByUser(_BY_USER), path, result))
                else:
                    out.add(path, result)
                return
            if result is None:
                out.end(path, 0)
                return
            if isinstance(result, (str, bytes, dict)) or not isinstance(result, Iterable):
                raise TypeError(self._wrong("returned", result))
            children = iter(result)
            while True:
                out.inside = True
                child = next(children, _END)
                out.inside = False
                if out.wanted:
                    out.settle()
                if child is _END:
                    break
                if not isinstance(child, Task):
                    raise TypeError(self._wrong("yielded", child))
                if had >= 0:
                    self._log(task, child, had, success=child.success)
                count += 1
                self.slot.given(count)
                place = (*path, count - 1)
                if child.success:
                    out.add(place, child)
                else:
                    out.fail(place, 0, self.error(TaskFailedByUser(_BY_USER), place, child))
        except Exception as error:  # whatever the user's code raises fails this task alone
            out.inside = False
            if out.wanted:
                out.settle()
            if had >= 0:
                self._log(task, task, had, success=False)
            out.fail(path, count, self.error(error, path, task))
            return
        out.end(path, count)

    def _wrong(self, verb: str, what: object) -> str:
        cls = type(self.base).__name__
        return (
            f"{cls}.process {verb} {what!r:.80} of type {type(what).__name__}; it is to give a Task, "
            "an iterable of Tasks, or None"
        )

    def _log(self, parent: Task, child: Task, had: int, *, success: bool) -> None:
        """One more entry, unless the user's code has made it by ``start()`` and ``finish()``."""
        started = getattr(parent, "_started", None)
        if started is None or len(child._logs or ()) > had:
            return
        name, wall, tick = started
        duration = perf_counter() - tick
        child.logs = [*(parent._logs or ())[:had], TaskLog(name, duration, wall, wall + duration, success)]

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
        fails: list[tuple[int, bytes]],
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
            fails: (place among the tasks, error) of failures that pass by.
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
        state.condemned = {mark.path: mark for mark in marks if mark.kind}
        self.slot.begin(job, epoch, (), False)
        try:
            self._run_released(state, pieces, fails, out, final, steps or _Steps(), logs)
        finally:
            self.slot.end()

    def _run_released(
        self,
        state: _JobState,
        pieces: Iterable[tuple[list[Run], list[Any], list[Any] | None]],
        fails: list[tuple[int, bytes]],
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
                        self._pass_by(state, fails[at][1], out)
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
        for _, error_bytes in fails[at:]:
            self._pass_by(state, error_bytes, out)
        if final:
            if self.by_id:
                for task in state.byid.flush():
                    self._numbered(state, process, task, out, logs)
                for _, error_bytes in sorted(state.late_fails, key=lambda pair: pair[0]):
                    out.fail((state.number,), 0, error_bytes)
                    state.number += 1
            out.end((), state.number)

    def _numbered(
        self, state: _JobState, process: Callable[[Task], Any], task: Task, out: Output, logs: bool
    ) -> None:
        path = (state.number,)
        if path in state.condemned:
            out.fail(path, 0, self._condemn(state.condemned[path], path, task))
        else:
            self.slot.task(state.number)
            self._one(process, path, task, out, logs)
        state.number += 1

    def _pass_by(self, state: _JobState, error: bytes, out: Output) -> None:
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
            state.late_fails.append(((self.index, path), self.error(error, path, task)))
            return
        for ready in released:
            self._numbered(state, process, ready, out, logs)


class Condemned(Exception):
    """The task killed, or held up, whoever ran it."""


_END: Any = object()
_BY_USER = "process gave a task that is marked as failed"


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
