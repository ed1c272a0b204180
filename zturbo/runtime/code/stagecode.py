"""What becomes of one task in a stage's code: its instances, a call, outputs or a failure.

A stage has one instance for all jobs, or one per job (see :class:`zturbo.Stage`). What ``process`` gives is
turned into outputs: paths, contents, ENDs and FAILs. No sockets and no threads in here. asyncio is a quarter
of what a worker imports: it comes with the first code that is ``async def``.
"""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from zturbo.api.stage import ReorderStage, Stage
from zturbo.api.stage_kinds import BatchStage, FunctionStage, is_async, settled
from zturbo.api.task import Task, TaskLog
from zturbo.checks import check_count, check_type
from zturbo.core.order.by_id import ById
from zturbo.core.order.tree import EXECUTION
from zturbo.errors import DecodeError, UsageError
from zturbo.errortext import error_text, plain_text, render, type_name
from zturbo.runtime.code.failedmeta import carried_meta
from zturbo.runtime.code.inputs import Inputs, Pieces
from zturbo.runtime.code.output import Output
from zturbo.wire.messages import MAX_DEPTH, Mark, Path
from zturbo.wire.payload import Packed, Unreadable, content_of, entry_of, pack_error

if TYPE_CHECKING:
    import asyncio

    from zturbo.runtime.code.coroutines import Coroutines

__all__ = ["Broken", "Condemned", "JobState", "StageCode", "Stale"]


class Stale(BaseException):
    """The job was started over or ended: what is running of it is void."""


class Broken(BaseException):
    """This process cannot go on: what it has made would be lost. What runs stays noted."""


class _NoRunningNote:
    def begin(self, job: bytes, epoch: int, prefix: Path, root: bool) -> None: ...

    def task(self, k: int) -> None: ...

    def several(self, job: bytes, epoch: int, paths: list[Path]) -> None: ...

    def nearest(self, job: bytes, epoch: int, paths: list[Path]) -> None: ...

    def given(self, count: int) -> None: ...

    def end(self) -> None: ...

    def enter(self, seat: int, job: bytes, epoch: int, path: Path) -> None: ...

    def gave(self, seat: int, count: int) -> None: ...

    def leave(self, seat: int) -> None: ...


class JobState:
    __slots__ = ("_marks", "byid", "condemned", "instance", "late", "late_bytes", "number")

    def __init__(self, instance: Stage) -> None:
        self.instance = instance
        self.number = 0
        self.byid = ById()
        self._marks: tuple[Mark, ...] = ()
        self.condemned: dict[Path, Mark] = {}
        """Tasks that are known to fail."""
        self.late: list[tuple[tuple[int, Path], bytes | Task]] = []
        """At a stage with the user's ids: what has none, and so is numbered once all is here: failures that
        pass by, and tasks that do."""
        self.late_bytes = 0
        """Of these failures."""

    def mark(self, marks: tuple[Mark, ...]) -> None:
        """What is known of the job's tasks, as it was last said."""
        if marks is not self._marks:
            self._marks = marks
            self.condemned = {mark.path: mark for mark in marks if mark.kind}


class StageCode:
    """A stage's instances in one process.

    Args:
        build: makes an instance.
        name: of the stage, for logs and errors.
        index: its place in the pipeline.
        worker_id: from 0, among workers that were started together.
        host: name of this host, for errors.
        loop: for a stage that is ``async def``; default: a new one.
    """

    def __init__(
        self,
        build: Callable[[], Stage],
        *,
        name: str,
        index: int,
        worker_id: int = 0,
        host: str = "",
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._build = build
        self.name = name
        self.index = index
        self.worker_id = worker_id
        self.host = host
        self.running_note: Any = _NoRunningNote()
        """Where it is noted what runs."""
        self.through: tuple[type[BaseException], ...] = (Stale, Broken)
        """What is no failure of a task. All else that user code raises fails its task alone, ``sys.exit()``
        and ``KeyboardInterrupt`` too: a worker is told to stop by other means. Where a person may stop the
        code by Ctrl-C, that is one more."""
        self._loop = loop
        self.coroutines: Coroutines | None = None
        """What runs the stage's coroutines, if any of its code is ``async def``."""
        self.base = self._new()
        cls = type(self.base)
        _check_state(self.base)
        self.ordered = isinstance(self.base, ReorderStage) or self.base.sticky
        """Whether one worker sees all of a job, in order: what is sticky is run as what is ordered."""
        self.by_id = issubclass(cls, ReorderStage) and cls.get_sequence_id is not ReorderStage.get_sequence_id
        self.has_state = cls.reset is not Stage.reset and cls.reset is not ReorderStage.reset
        self.deterministic = cls.deterministic
        self.inputs = Inputs(self.ordered)
        """Of the work that runs now; its runner sets it."""
        self._held: tuple[Pieces, int] | None = None
        """Where the input of the task that runs lies, if :attr:`inputs` cannot know."""
        self.slots = int(self.base.job_slots) if self.has_state and not self.base.interleave else 0
        """Jobs that this worker may have at once if the stage is ordered; 0 for any number."""
        batch = self.base if isinstance(self.base, BatchStage) else None
        if batch is not None:
            batch.check_limits()
        self.batch = batch.max_batch if batch is not None else 0
        """Tasks that are processed at once at most; 0 where it is one by one."""
        self.batch_wait = float(batch.max_wait) if batch is not None else 0.0
        """Seconds that a batch waits for more."""
        self.concurrency = 0
        """Tasks that are run at a time, where ``process`` is ``async def``; 0 where it is one by one."""
        if is_async(_process(self.base)):
            most = check_count(f"{cls.__name__}: max_concurrency", self.base.max_concurrency, 1)
            self.concurrency = 0 if self.ordered else most
        self._spare: list[Stage] = [self.base]
        self._jobs: dict[bytes, JobState] = {}

    def _new(self) -> Stage:
        stage = self._build()
        if self.coroutines is None and any(map(is_async, (stage.init, stage.reset, _process(stage)))):
            from zturbo.runtime.code.coroutines import Coroutines

            self.coroutines = Coroutines(self._loop)
        self._call(stage.init, self.worker_id)
        return stage

    def _call(self, function: Callable[..., Any], *args: Any) -> None:
        if self.coroutines is None:
            function(*args)
        else:
            self.coroutines.call(function, *args)

    def _code(self, state: JobState) -> Callable[[Task], Any]:
        """``process``, as a plain function."""
        process = state.instance.process
        return process if self.coroutines is None else self.coroutines.one_by_one(process)

    async def make_state(self) -> JobState:
        """A job's state, in a running loop; the caller keeps it, and lets it go with :meth:`spare`."""
        instance = self.base
        if self.has_state:
            if self.base.interleave:
                instance = copy.copy(self.base)
            elif self._spare:
                instance = self._spare.pop()
            else:
                instance = self._build()
                await settled(instance.init, self.worker_id)
            try:
                await settled(instance.reset)
            except BaseException:
                self.spare(instance)
                raise
        return JobState(instance)

    def spare(self, instance: Stage) -> None:
        """No job has this instance any more."""
        if not self.has_state or self.base.interleave:
            return
        if not self.ordered or len(self._spare) < self.slots:  # one more, where a place was given on early
            self._spare.append(instance)

    def _state(self, job: bytes) -> JobState:
        state = self._jobs.get(job)
        if state is None:
            if not self.has_state:
                instance = self.base
            elif self.base.interleave:
                instance = copy.copy(self.base)
            else:
                instance = self._spare.pop() if self._spare else self._new()
            if self.has_state:
                self._call(instance.reset)
            state = self._jobs[job] = JobState(instance)
        return state

    def job_ended(self, job: bytes) -> None:
        """The job is over here, or starts over: its state goes."""
        state = self._jobs.pop(job, None)
        if state is not None:
            self.spare(state.instance)

    @contextmanager
    def holding(self, pieces: Pieces, place: int) -> Iterator[None]:
        """What fails meanwhile is the task at this place of this input."""
        self._held = pieces, place
        try:
            yield
        finally:
            self._held = None

    def opened(self, packed: Any) -> Any:
        """A content or a meta, which may have waited; unreadable if the code that unpacks it raises."""
        try:
            return content_of(packed)
        except self.through:
            raise
        except BaseException as error:
            return Unreadable(DecodeError(f"the code that unpacks it raised {error_text(error)}"))

    def passes(self, task: Task) -> bool:
        """Whether a root enters its pipeline further down: then it passes by here, untouched.

        The mark is taken off where it enters, so that nothing made of it has one.
        """
        index = entry_of(task._meta)
        if index is None:
            return False
        if self.index < index:
            return True
        task._meta = _unmarked(task._meta)
        return False

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
            self.running_note.task(path[-1] if path else 0)
            self._one(process, path, task, out, logs, mark)
        else:
            self._condemn(mark, path, task, out)

    def _condemn(self, mark: Mark | None, path: Path, task: Task, out: Output) -> None:
        assert mark is not None
        out.fail(path, 0, self.error(Condemned(mark.text), path, task, mark.kind))

    def _unreadable(self, path: Path, task: Task, out: Output) -> None:
        """A task whose content or meta cannot be unpacked here fails alone."""
        out.fail(self._execution(path), 0, self.error(task.content.error, path, task, "DecodeError"))

    def _one(
        self,
        process: Callable[[Task], Any],
        path: Path,
        task: Task,
        out: Output,
        logs: bool,
        mark: Mark | None = None,
    ) -> None:
        if type(task.content) is Packed:
            task.content = self.opened(task.content)
        if type(task.content) is Unreadable:
            return self._unreadable(path, task, out)
        had = len(task._logs or ()) if logs else -1
        if logs:
            task.start(self.name)
        result: Any = None
        error: BaseException | None = None
        try:
            result = out.call(process, task)
        except self.through:
            raise
        except BaseException as raised:  # whatever the user's code raises fails this task alone
            error = raised
        self._settle(result, error, path, task, out, had, mark)

    def _settle(
        self,
        result: Any,
        error: BaseException | None,
        path: Path,
        task: Task,
        out: Output,
        had: int,
        mark: Mark | None,
    ) -> None:
        """Give what became of one task that was run."""
        if error is None:
            self._result(result, path, task, out, had, mark)
            return
        self._log_failed(task, had)
        out.fail(self._execution(path), 0, self.error(error, path, task))

    def _execution(self, path: Path) -> Path:
        """Where the outputs of this execution stand.

        At a stage that is not deterministic, under a component of its own: of two executions, the first
        that is complete wins as a whole. A path that can have no more components has none for executions.
        """
        if self.deterministic or len(path) >= MAX_DEPTH:
            return path
        return (*path, EXECUTION + int.from_bytes(os.urandom(6), "big"))

    def _result(
        self,
        result: Any,
        path: Path,
        task: Task,
        out: Output,
        had: int,
        mark: Mark | None = None,
        *,
        executed: bool = False,
    ) -> None:
        """Outputs of what ``process`` gave.

        Args:
            result: what that was.
            path: of the task; of its execution, if ``executed``.
            task: as it came.
            out: where outputs go.
            had: entries in the task's logs before it; -1 keeps none.
            mark: how it is known to fail.
            executed: whether the path is that of this execution.
        """
        count = 0
        path = path if executed else self._execution(path)
        try:
            if isinstance(result, Task):
                if mark is not None:
                    raise Condemned(mark.text)
                if had >= 0:
                    self._log(task, result, had, success=result.success)
                if not result.success:
                    out.fail(path, 0, self.error(TaskFailedByUser(_BY_USER), path, result))
                else:
                    if result._meta:
                        result._meta = _unmarked(result._meta)
                    out.add(path, result)
                return
            if result is None:
                out.end(path, 0)
                return
            if isinstance(result, (str, bytes, dict)) or not isinstance(result, Iterable):
                raise TypeError(self._wrong("returned", result))
            children = iter(result)
            leave, enter = out.lock.release, out.lock.acquire
            while True:
                if mark is not None and count == mark.given:
                    raise Condemned(mark.text)
                leave()
                try:
                    child = next(children, _END)
                finally:
                    enter()
                if child is _END:
                    break
                self._check_child(child, path)
                count += 1
                self.running_note.given(count)
                self._child(child, (*path, count - 1), task, out, had)
        except self.through:
            raise
        except BaseException as error:  # whatever the user's code raises fails this task alone
            self._log_failed(task, had)
            kind = mark.kind if mark is not None and type(error) is Condemned else "TaskError"
            out.fail(path, count, self.error(error, path, task, kind))
            return
        out.end(path, count)

    def _check_child(self, child: object, path: Path) -> None:
        if not isinstance(child, Task):
            raise TypeError(self._wrong("yielded", child))
        if len(path) >= MAX_DEPTH:
            raise UsageError(
                f"stage {self.name} yields tasks of a task that {len(path)} stages before it have yielded, "
                f"and {MAX_DEPTH} is the limit: return one Task here, or use fewer stages"
            )

    def _child(self, child: Task, place: Path, task: Task, out: Output, had: int) -> None:
        """One of the tasks that an iterable gave."""
        if had >= 0:
            self._log(task, child, had, success=child.success)
        if child.success:
            if child._meta:
                child._meta = _unmarked(child._meta)
            out.add(place, child)
        else:
            out.fail(place, 0, self.error(TaskFailedByUser(_BY_USER), place, child))

    def _wrong(self, verb: str, what: object) -> str:
        cls = type(self.base).__name__
        if inspect.isawaitable(what) or hasattr(what, "__aiter__"):
            if inspect.iscoroutine(what):
                what.close()
            return f"{cls}.process {verb} {what!r:.80}, but is no async def: write it as one"
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

    def _log_failed(self, task: Task, had: int) -> None:
        """The entry of a task that has failed. What the user's code has made of its logs may allow none."""
        try:
            if had >= 0:
                self._log(task, task, had, success=False)
        except Exception:
            task._logs = None

    def error(self, error: BaseException, path: Path, task: Task | None, kind: str = "TaskError") -> bytes:
        """A failure as it travels; without a task, one of an output that is on its way out by now.

        Never raises, whatever the error and the task are by now.
        """
        held = self._held if task is not None else None
        told = render(error)
        return pack_error(
            {
                "kind": kind,
                "type": told.type,
                "message": told.message,
                "traceback": told.traceback,
                "stage": plain_text(self.name),
                "index": self.index,
                "path": list(path),
                "host": self.host,
                "pid": os.getpid(),
                "meta": carried_meta(task),
                **self._input(path, held),
            }
        )

    def _input(self, path: Path, held: tuple[Pieces, int] | None) -> dict[str, Any]:
        try:
            return self.inputs.fields(path, held)
        except BaseException as error:  # no memory; or a type that the user registered
            return {"input": f"its input was not kept: {type_name(error)} while it was read"}


def _check_state(stage: Stage) -> None:
    """Raises UsageError if how a stage keeps a job's state cannot be."""
    name = type(stage).__name__
    check_type(f"{name}.sticky", stage.sticky, bool, "True or False")
    check_type(f"{name}.interleave", stage.interleave, bool, "True or False")
    check_count(f"{name}.job_slots", stage.job_slots, 1)
    for what, is_so in ("sticky = True", stage.sticky), ("a ReorderStage", isinstance(stage, ReorderStage)):
        if is_so and isinstance(stage, BatchStage):
            raise UsageError(
                f"{name} is a BatchStage and {what}: a stage that sees all of a job processes its tasks one "
                "by one; make it a Stage with process(task), or leave out what makes it see all of a job"
            )


class Condemned(Exception):
    """The task killed its workers, or kept them too long; or its failure is known from an earlier epoch."""


_END: Any = object()
_BY_USER = "process gave a task that is marked as failed"


def _process(stage: Stage) -> Any:
    """The user's own code."""
    return stage.function if isinstance(stage, FunctionStage) else stage.process


class TaskFailedByUser(Exception):
    """``process`` gave a task with ``success`` False."""


def _unmarked(meta: Any) -> Any:
    """A task's meta without the mark that only a root may have."""
    if entry_of(meta) is None:
        return meta
    note = {key: value for key, value in meta["zturbo"].items() if key != "enter"}
    rest = {key: value for key, value in meta.items() if key != "zturbo"}
    return {**rest, "zturbo": note} if note else rest or None
