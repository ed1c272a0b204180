"""Task and Job, as a user's code makes them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from zturbo.checks import check_count, check_text, check_type
from zturbo.errors import DecodeError, UsageError
from zturbo.errortext import safe_repr
from zturbo.wire.payload import Unreadable, unpack_meta

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Content = TypeVar("Content", covariant=True, default=Any)
else:
    from typing import TypeVar

    Content = TypeVar("Content")

__all__ = ["NO_TIMES", "Job", "Task", "TaskLog", "bare_task", "read_meta"]


class TaskLog(NamedTuple):
    """What one stage did to a task."""

    stage: str
    duration: float
    """Seconds."""
    start_time: float
    """Wall time, for the record."""
    end_time: float
    success: bool


class _NoTimes(list[TaskLog]):
    """The logs of a task whose job keeps none: an empty list that says how to get some."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        if not self and not isinstance(index, slice):
            raise IndexError(_HOW)
        return super().__getitem__(index)

    def __repr__(self) -> str:
        return super().__repr__() if self else f"[] ({_HOW})"


_HOW = "this job keeps no times of its tasks: submit it with logs=True"

NO_TIMES = _NoTimes()
"""Stands for such logs; each task gives a list of its own."""


def read_meta(packed: Any) -> tuple[Any, list[TaskLog]]:
    """Unpack the meta and the logs that came with a task.

    Args:
        packed: the packed meta, as :mod:`zturbo.wire.payload` gives it.

    Raises:
        DecodeError: they are malformed, or cannot be unpacked in this process.
    """
    if type(packed) is Unreadable:
        raise packed.error
    meta, logs = unpack_meta(packed)
    try:
        return meta, [TaskLog(*log) for log in logs]
    except TypeError:
        raise DecodeError("a task's logs are malformed") from None


class Task(Generic[Content]):
    """A unit of data between stages. ``Task[Frame]`` tells a type checker the type of its content.

    Args:
        content: any value that :mod:`zturbo.wire.payload` can pack: plain values, NumPy arrays, bytes.
        meta: a dict of small values beside the content.
        parent_task: the task whose meta and logs this one begins with.
        owned: True promises that no code changes the content after this task has been yielded, returned or
            submitted. Then zturbo does not copy its large arrays.

    Attributes:
        success: False for a task that failed; later stages do not process it.
        error: the error of a task that failed; else None.

    Raises:
        UsageError: ``meta`` is not a dict, or ``parent_task`` is not a Task.
    """

    __slots__ = ("_logs", "_meta", "_owned", "_started", "content", "error", "success")

    def __init__(
        self,
        content: Content = None,  # type: ignore[assignment]
        meta: dict[Any, Any] | None = None,
        *,
        parent_task: Task[Any] | None = None,
        owned: bool = False,
    ) -> None:
        self.content = content
        self.success = True
        self.error: BaseException | None = None
        self._owned = owned
        self._started: tuple[str, float, float] | None = None
        """(stage, wall time, tick of a clock) of :meth:`start`."""
        self._meta = meta
        self._logs: list[TaskLog] | None = None
        if meta is not None:
            check_type("Task.meta", meta, dict, "a dict or None")
        if parent_task is not None:
            check_type("Task.parent_task", parent_task, Task, "a Task or None")
            if parent_task._meta:
                self._meta = {**parent_task._meta, **(meta or {})}
            if parent_task._logs:
                self._logs = list(parent_task._logs)

    @property
    def meta(self) -> dict[Any, Any]:
        """Small named values beside the content."""
        if self._meta is None:
            self._meta = {}
        return self._meta

    @meta.setter
    def meta(self, value: dict[Any, Any] | None) -> None:
        check_type("Task.meta", value, (dict, type(None)), "a dict or None")
        self._meta = value

    @property
    def logs(self) -> list[TaskLog]:
        """One entry for each stage that processed the task, if its job or pipeline has ``logs``."""
        if self._logs is None:
            self._logs = []
        elif self._logs is NO_TIMES:
            self._logs = _NoTimes()
        return self._logs

    @logs.setter
    def logs(self, value: list[TaskLog] | None) -> None:
        check_type("Task.logs", value, (list, type(None)), "a list of TaskLog or None")
        self._logs = value

    def start(self, stage: object) -> Task[Content]:
        """Begin a log entry for a stage. Returns the task itself."""
        self._started = (str(stage), time.time(), time.perf_counter())
        return self

    def finish(self, content: Any = None, success: bool = True) -> Task[Content]:
        """End the log entry that :meth:`start` began. Returns the task itself.

        Args:
            content: replaces the task's content, unless it is None.
            success: whether the stage succeeded, for the log entry.
        """
        if content is not None:
            self.content = content
        if self._started is not None:
            stage, wall, tick = self._started
            duration = time.perf_counter() - tick
            self.logs.append(TaskLog(stage, duration, wall, wall + duration, success))
        return self

    def fail(self) -> None:
        """Mark the task as failed, and end its log entry."""
        self.finish(success=False)
        self.success = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({safe_repr(self.content)}, meta={safe_repr(self._meta or {})})"


def bare_task(content: Any) -> Task:
    """A task with this content and nothing else, as ``Task(content)`` in half the time: workers make many."""
    task = _new(Task)
    task.content = content
    task.success = True
    task.error = task._started = None
    task._owned = False
    task._meta = task._logs = None
    return task


_new = object.__new__


class Job:
    """A unit of data for a pipeline: a name and a root task.

    Args:
        name: for people; several jobs may have the same name.
        task: the root task.
        length: expected number of results, for a progress bar.
        max_retry: how often :class:`zturbo.System` runs the job again if it fails. A failed task does not
            make a failed job: it is among the job's results.

    Attributes:
        id: 32 hexadecimal digits, made at random when it is first asked for or the job is submitted.
        retry: how often the job may still be run again.
        success: whether the job ended with a result.
        error: the error that ended the job without a result. If it has one, the first error that its Result
            raised, or None.
        results: the job's :class:`zturbo.Result`, or the value that ``get_results`` returned.
        pipeline_id: number of the pipeline of a :class:`zturbo.System` that ran the job.

    Raises:
        UsageError: an argument has a wrong type.
    """

    def __init__(self, name: str, task: Task, length: int | None = None, max_retry: int = 1) -> None:
        name = check_text("Job.name", name)
        if not isinstance(task, Task):
            raise UsageError(f"Job.task is to be a Task, not a {type(task).__name__}: wrap it, Task(...)")
        if length is not None:
            length = check_count("Job.length", length, 0)
        max_retry = check_count("Job.max_retry", max_retry, 0)
        self.name = name
        self.task = task
        self.length = length
        self.retry = max_retry
        self.success = False
        self.results: Any = None
        self.error: BaseException | None = None
        self.pipeline_id: int | None = None

    @property
    def id(self) -> str:
        """Its id."""
        known: str = self.__dict__.setdefault("_id", os.urandom(16).hex())
        return known

    @id.setter
    def id(self, value: str) -> None:
        self.__dict__["_id"] = value

    @property
    def has_id(self) -> bool:
        """Whether it has an id already."""
        return "_id" in self.__dict__

    def __getstate__(self) -> dict[str, Any]:
        """A copy is the same job, so the job has an id from then on."""
        return {**self.__dict__, "_id": self.id}

    def begin(self) -> None:
        """Prepare the job to be run, or run again: it gets a new id and loses its results."""
        self.__dict__.pop("_id", None)
        self.success = False
        self.results = self.error = self.pipeline_id = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, length={self.length}, retry={self.retry})"
