"""The words of a user's code: Task and Job."""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

from zturbo.checks import check_count, check_text, check_type
from zturbo.errors import DecodeError, UsageError
from zturbo.errortext import safe_repr
from zturbo.wire.payload import Unreadable, unpack_meta

__all__ = ["Job", "Task", "TaskLog", "read_meta"]


class TaskLog(NamedTuple):
    """What one stage did to a task."""

    stage: str
    duration: float
    """Seconds."""
    start_time: float
    """Wall time, for the record."""
    end_time: float
    success: bool


def read_meta(packed: Any) -> tuple[Any, list[TaskLog]]:
    """Meta and logs of a task, as they came with it.

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


class Task:
    """A unit of data between stages.

    Args:
        content: anything that :mod:`zturbo.wire.payload` carries: plain values, NumPy arrays, bytes.
        meta: a dict that goes along with it.
        parent_task: whose meta and logs it begins with.
        owned: the content is given away: nobody changes it after this task has been yielded, returned or
            submitted. Its large arrays then need no copy; else a stage's code may use them again.

    Attributes:
        success: False for a task that failed; it then bypasses the later stages.
        error: why it failed; None while it has not.

    Raises:
        UsageError: ``meta`` is no dict, or ``parent_task`` no Task.
    """

    __slots__ = ("_logs", "_meta", "_owned", "_started", "content", "error", "success")

    def __init__(
        self,
        content: Any = None,
        meta: dict[Any, Any] | None = None,
        *,
        parent_task: Task | None = None,
        owned: bool = False,
    ) -> None:
        self.content = content
        self.success = True
        self.error: BaseException | None = None
        self._owned = owned
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
        """What goes along with the content."""
        if self._meta is None:
            self._meta = {}
        return self._meta

    @meta.setter
    def meta(self, value: dict[Any, Any] | None) -> None:
        check_type("Task.meta", value, (dict, type(None)), "a dict or None")
        self._meta = value

    @property
    def logs(self) -> list[TaskLog]:
        """What each stage did to it, where the pipeline keeps logs."""
        if self._logs is None:
            self._logs = []
        return self._logs

    @logs.setter
    def logs(self, value: list[TaskLog] | None) -> None:
        check_type("Task.logs", value, (list, type(None)), "a list of TaskLog or None")
        self._logs = value

    def start(self, stage: object) -> Task:
        """Begin a log entry for this stage. Returns the task."""
        self._started = (str(stage), time.time(), time.perf_counter())
        return self

    def finish(self, content: Any = None, success: bool = True) -> Task:
        """End the log entry that :meth:`start` began; a content that is not None replaces the old one."""
        if content is not None:
            self.content = content
        started = getattr(self, "_started", None)
        if started is not None:
            stage, wall, tick = started
            duration = time.perf_counter() - tick
            self.logs.append(TaskLog(stage, duration, wall, wall + duration, success))
        return self

    def fail(self) -> None:
        """Mark it as failed."""
        self.finish(success=False)
        self.success = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({safe_repr(self.content)}, meta={safe_repr(self._meta or {})})"


class Job:
    """A unit of data for a pipeline: a name and a root task.

    Args:
        name: for people.
        task: the root task.
        length: how many results are expected, for a progress bar.
        max_retry: how often a failed job is run again by :class:`zturbo.System`. A failed task does not
            make a failed job: it is among the job's results.

    Attributes:
        id: 32 hexadecimal digits, at random.
        retry: how often it may still be run again.
        success: whether it has ended with a result.
        error: what ended it without one; of a job with ``success``, what its Result raised first.
        results: its :class:`zturbo.Result`, or what ``get_results`` made of it.
        pipeline_id: number of the pipeline of a :class:`zturbo.System` that did it.

    Raises:
        UsageError: a field is of a wrong type.
    """

    def __init__(self, name: str, task: Task, length: int | None = None, max_retry: int = 1) -> None:
        name = check_text("Job.name", name)
        if not isinstance(task, Task):
            raise UsageError(f"Job.task is to be a Task, not a {type(task).__name__}: wrap it, Task(...)")
        if length is not None:
            length = check_count("Job.length", length, 0)
        max_retry = check_count("Job.max_retry", max_retry, 0)
        self.id = os.urandom(16).hex()
        self.name = name
        self.task = task
        self.length = length
        self.retry = max_retry
        self.success = False
        self.results: Any = None
        self.error: BaseException | None = None
        self.pipeline_id: int | None = None

    def begin(self) -> None:
        """Make it new, to be run (again): another id, no results."""
        self.id = os.urandom(16).hex()
        self.success = False
        self.results = self.error = self.pipeline_id = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, length={self.length}, retry={self.retry})"
