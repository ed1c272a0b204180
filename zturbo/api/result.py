"""What a job gave: its outputs in order, and its failed tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zturbo.api.task import Job, Task

__all__ = ["Result"]


class Result(list[Any]):
    """Contents of a job's output tasks, in order.

    It is a list that also has the methods and attributes of pyturbo's container. Subclasses override
    ``collect`` and ``merge``.

    Attributes:
        failed_tasks: tasks that failed, in order; each has ``error``.
        task_count: number of tasks collected, including failed ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failed_tasks: list[Task] = []
        self.task_count = 0
        self._results: Any = None

    @property
    def results(self) -> Any:
        """The contents: this list itself, or the value that ``merge`` has put in its place."""
        return self if self._results is None else self._results

    @results.setter
    def results(self, value: Any) -> None:
        self._results = None if isinstance(value, list) else value
        if isinstance(value, list):
            self[:] = value

    def collect(self, task: Task) -> None:
        """Take an output task, or a failed one."""
        self.task_count += 1
        if task.success:
            self.append(task.content)
        else:
            self.failed_tasks.append(task)

    def merge(self, job: Job) -> None:
        """Called once, when all of the job's tasks have been collected. Does nothing unless overridden."""
