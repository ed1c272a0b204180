"""What a job gave: its outputs in order, and its failed tasks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, TypeVar

from zturbo.errors import UsageError
from zturbo.errortext import how_many, safe_repr
from zturbo.htmltext import table

if TYPE_CHECKING:
    from zturbo.api.task import Job, Task

__all__ = ["FailedTasks", "Result"]

SHOWN = 10
"""Contents, and failed tasks, that a notebook shows."""

AnyTask = TypeVar("AnyTask", bound="Task")


class FailedTasks(list[AnyTask]):
    """Failed tasks, in order: a list that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        """For notebooks: where the first tasks failed, why, and with which input."""
        rows = [
            (
                *(getattr(task, name, "") for name in ("place", "stage", "host")),
                safe_repr(task.error, 300),
                getattr(task, "shown", ""),
            )
            for task in self[:SHOWN]
        ]
        more = f", the first {SHOWN}" if len(self) > SHOWN else ""
        heads = ("task", "stage", "host", "error", "input")
        return table(heads, rows, how_many(len(self), "failed task") + more)


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
        self.failed_tasks: FailedTasks[Task] = FailedTasks()
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

    def to_dicts(self) -> list[dict[str, Any]]:
        """The contents as maps, for a table.

        A content that is a map with texts as keys is taken as it is; any other becomes
        ``{"content": content}``.
        """
        return [
            content
            if isinstance(content, dict) and all(isinstance(key, str) for key in content)
            else {"content": content}
            for content in self
        ]

    def to_frame(self) -> Any:
        """The contents as a ``pandas.DataFrame``, with the columns of :meth:`to_dicts`.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            raise UsageError(
                "to_frame() needs pandas: pip install pandas; to_dicts() needs nothing"
            ) from None
        return pandas.DataFrame(self.to_dicts())

    def _repr_html_(self) -> str:
        """For notebooks: the first contents, and the failed tasks."""
        caption = f"{how_many(len(self), 'content')}, {how_many(len(self.failed_tasks), 'failed task')}"
        made = table(
            ("", "content"), [(i, safe_repr(one, 300)) for i, one in enumerate(self[:SHOWN])], caption
        )
        return made + (self.failed_tasks._repr_html_() if self.failed_tasks else "")

    def collect(self, task: Task) -> None:
        """Take an output task, or a failed one."""
        self.task_count += 1
        if task.success:
            self.append(task.content)
        else:
            self.failed_tasks.append(task)

    def merge(self, job: Job) -> None:
        """Called once, when all of the job's tasks have been collected. Does nothing unless overridden."""
