"""What a job gave: its outputs in order, and its failed tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zturbo.task import Job, Task

__all__ = ["Result"]


class Result(list[Any]):
    """Contents of a job's output tasks, in order.

    It is a list, and has what pyturbo's container has: ``results``, ``failed_tasks``, ``collect`` and
    ``merge``. Subclasses override the last two.

    Attributes:
        failed_tasks: tasks that failed, in order; each has ``error``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failed_tasks: list[Task] = []

    @property
    def results(self) -> list[Any]:
        """The contents: this list itself."""
        return self

    def collect(self, task: Task) -> None:
        """Take an output task, or a failed one."""
        if task.success:
            self.append(task.content)
        else:
            self.failed_tasks.append(task)

    def merge(self, job: Job) -> None:
        """Called once when all of the job is collected. Does nothing here."""
