"""More kinds of stage: batches of tasks, plain functions, and what is ``async def``."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from typing import Any

from zturbo.api.stage import Outputs, Stage
from zturbo.api.task import Task
from zturbo.checks import check_count, is_number, wrong
from zturbo.errors import UsageError
from zturbo.hardware.resources import Resources

__all__ = ["BatchStage", "FunctionStage", "is_async", "settled"]


class BatchStage(Stage):
    """A stage that processes several tasks at once, such as a model that likes full batches.

    Subclasses write :meth:`process_batch`. A batch has tasks of one job, up to ``max_batch`` of them; one
    that is not full runs ``max_wait`` seconds after its first task came. Each task keeps its own place in
    the order and its own outputs; if a batch of several raises, its tasks are run again one by one, so that
    only those fail that fail alone.

    If a worker dies in a batch of several, each of its tasks has a strike; one that has two runs alone from
    then on: so one that kills is found, and no other is blamed. A ``task_timeout`` holds for the batch as a
    whole.

    Args:
        resources: what its workers may use.
        max_batch: tasks in a batch at most; default the class's attribute.
        max_wait: seconds that a batch waits for more tasks; default the class's attribute.
        custom: handed to :meth:`Stage.allocate_resource`.

    Raises:
        UsageError: ``max_batch`` is no int of 1 or more, or ``max_wait`` no number of 0 or more.
    """

    max_batch: int = 32
    max_wait: float = 0.01

    def __init__(
        self,
        resources: Resources | None = None,
        *,
        max_batch: int | None = None,
        max_wait: float | None = None,
        **custom: Any,
    ) -> None:
        super().__init__(resources, **custom)
        self.max_batch = self.max_batch if max_batch is None else max_batch
        self.max_wait = self.max_wait if max_wait is None else max_wait
        self.check_limits()

    def check_limits(self) -> None:
        """Raises UsageError if ``max_batch`` or ``max_wait`` cannot be. The worker calls it too."""
        name = type(self).__name__
        if is_async(self.process_batch) or is_async(self.process):
            raise UsageError(
                f"{name}: a BatchStage is not async def; write a Stage with async def process, which runs "
                "max_concurrency tasks at a time, or process_batch as a plain def"
            )
        self.max_batch = check_count(f"{name}: max_batch", self.max_batch, 1)
        if not is_number(self.max_wait, 0):
            raise wrong(f"{name}: max_wait", self.max_wait, "seconds, 0 or more")

    def process(self, task: Task) -> Task | Iterable[Task] | None:
        """A batch of one: so it is in debug mode."""
        (result,) = self.results_of([task])
        return result

    def results_of(self, tasks: list[Task]) -> list[Task | Iterable[Task] | None]:
        """What :meth:`process_batch` gives, checked.

        Raises:
            TypeError: it gave something else than one result for each task.
        """
        results = self.process_batch(tasks)
        name = f"{type(self).__name__}.process_batch"
        if not isinstance(results, (list, tuple)):
            kind = type(results).__name__
            raise TypeError(f"{name} gave {results!r:.80} of type {kind}; it is to give a list of results")
        if len(results) != len(tasks):
            raise TypeError(f"{name} gave {len(results)} results for {len(tasks)} tasks")
        return list(results)

    def process_batch(self, tasks: list[Task]) -> Sequence[Task | Iterable[Task] | None]:
        """What becomes of each of these tasks.

        Args:
            tasks: 1 to ``max_batch`` tasks of one job.

        Returns:
            As many results as there are tasks, in their order; each is what :meth:`Stage.process` may give.
        """
        raise NotImplementedError(f"{type(self).__name__}.process_batch is not written")


class FunctionStage(Stage):
    """A plain function as a stage: content in, content out. It may be ``async def``, see :class:`Stage`.

    A generator function gives many contents for one; None gives nothing, as in :meth:`Stage.process`; what
    is a :class:`Task` already is taken as it is.

    Args:
        function: called with a task's content.
        kwargs: more arguments of it.

    Raises:
        UsageError: the function cannot be called with these.
    """

    def __init__(self, function: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__()
        name = getattr(function, "__name__", type(function).__name__)
        try:
            inspect.signature(function).bind(None, **kwargs)
        except TypeError as error:
            raise UsageError(
                f"{name} cannot be called with a content and {sorted(kwargs)}: {error}"
            ) from None
        except ValueError:
            pass  # a builtin that tells nothing of itself
        self.function = partial(function, **kwargs) if kwargs else function
        self.name = name.strip("<>")
        self._many = inspect.isgeneratorfunction(function)

    def process(self, task: Task) -> Any:
        """Call the function."""
        if is_async(self.function):
            given = self.function(task.content)
            return _each(given, task) if hasattr(given, "__aiter__") else _one(given, task)
        if self._many:
            return (_task(content, task) for content in self.function(task.content))
        content = self.function(task.content)
        return None if content is None else _task(content, task)

    def __repr__(self) -> str:
        return self.name


def _task(content: Any, parent: Task) -> Task:
    return content if isinstance(content, Task) else Task(content, parent_task=parent)


async def _one(given: Any, parent: Task) -> Outputs:
    content = await given
    return None if content is None else _task(content, parent)


async def _each(given: AsyncIterator[Any], parent: Task) -> AsyncIterator[Task]:
    async for content in given:
        yield _task(content, parent)


def is_async(code: Any) -> bool:
    """Whether a function, a method or a callable object is ``async def``, an asynchronous generators too."""
    while isinstance(code, partial):
        code = code.func
    if not inspect.isroutine(code):
        code = getattr(code, "__call__", None)  # noqa: B004 - it is looked at, not called
    return inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code)


async def settled(function: Callable[..., Any], *args: Any) -> Any:
    """What a function gives, sync or not; called while a loop runs."""
    result = function(*args)
    return await result if inspect.isawaitable(result) else result
