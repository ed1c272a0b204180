"""More kinds of stage: batches of tasks, plain functions, and ``async def``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from types import FunctionType
from typing import Any

from zturbo.api.stage import In, Out, Outputs, Stage
from zturbo.api.task import Task, bare_task
from zturbo.checks import check_count, is_number, wrong
from zturbo.errors import UsageError
from zturbo.hardware.resources import Resources

__all__ = ["BatchStage", "FunctionStage", "is_async", "settled"]


class BatchStage(Stage[In, Out]):
    """A stage that processes several tasks at once, such as a model that is faster with full batches.

    Subclasses write :meth:`process_batch`. A batch has up to ``max_batch`` tasks, all of one job. If it is
    not full, it runs ``max_wait`` seconds after its first task came. Each task keeps its own position in
    the order and its own outputs. If a batch of several tasks raises, its tasks run again one by one, so
    that only tasks that raise on their own fail.

    If a worker dies in a batch of several tasks, each of them has a strike. A task with two strikes runs
    alone from then on. So the task that kills is found, and no other is blamed. A ``task_timeout`` holds for
    the batch as a whole.

    Args:
        resources: CPUs and GPUs that the stage's workers may use.
        max_batch: most tasks in a batch; default the class's attribute.
        max_wait: seconds that a batch waits for more tasks; default the class's attribute.
        custom: arguments for :meth:`Stage.allocate_resource`.

    Raises:
        UsageError: ``max_batch`` is not an int of 1 or more, or ``max_wait`` is not a number of 0 or more.
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
        """Raise UsageError if ``max_batch`` or ``max_wait`` is not valid.

        The worker calls this too, because code may assign the attributes after ``__init__``.
        """
        name = type(self).__name__
        if is_async(self.process_batch) or is_async(self.process):
            raise UsageError(
                f"{name}: a BatchStage is not async def; write a Stage with async def process, which runs "
                "max_concurrency tasks at a time, or process_batch as a plain def"
            )
        self.max_batch = check_count(f"{name}: max_batch", self.max_batch, 1)
        if not is_number(self.max_wait, 0):
            raise wrong(f"{name}: max_wait", self.max_wait, "seconds, 0 or more")

    def process(self, task: Task[In]) -> Outputs[Out]:
        """Process a batch of one task, as debug mode does."""
        (result,) = self.results_of([task])
        return result

    def results_of(self, tasks: list[Task[In]]) -> list[Outputs[Out]]:
        """Call :meth:`process_batch` and check its results.

        Raises:
            TypeError: it did not return one result for each task.
        """
        results = self.process_batch(tasks)
        name = f"{type(self).__name__}.process_batch"
        if not isinstance(results, (list, tuple)):
            kind = type(results).__name__
            raise TypeError(f"{name} gave {results!r:.80} of type {kind}; it is to give a list of results")
        if len(results) != len(tasks):
            raise TypeError(f"{name} gave {len(results)} results for {len(tasks)} tasks")
        return list(results)

    @abstractmethod  # for type checkers alone, as Stage.process
    def process_batch(self, tasks: list[Task[In]]) -> Sequence[Outputs[Out]]:
        """Turn each of these tasks into its outputs.

        Args:
            tasks: 1 to ``max_batch`` tasks of one job.

        Returns:
            One result for each task, in their order. A result may be all that :meth:`Stage.process` may
            return.
        """
        raise NotImplementedError(f"{type(self).__name__}.process_batch is not written")


class FunctionStage(Stage):
    """A plain function as a stage: it gets a content and returns one. It may be ``async def``, see
    :class:`Stage`.

    A generator function gives many contents for one. None gives no output, as in :meth:`Stage.process`. The
    function may also return a :class:`Task` instead of a content.

    Args:
        function: called with a task's content.
        kwargs: further keyword arguments of the function.

    Raises:
        UsageError: the function cannot be called with a content and these arguments.
    """

    def __init__(self, function: Callable[..., Any], **kwargs: Any) -> None:
        import inspect

        super().__init__()
        name = getattr(function, "__name__", type(function).__name__)
        try:
            inspect.signature(function).bind(None, **kwargs)
        except TypeError as error:
            raise UsageError(
                f"{name} cannot be called with a content and {sorted(kwargs)}: {error}"
            ) from None
        except ValueError:
            pass  # a builtin may have no signature
        self.function = partial(function, **kwargs) if kwargs else function
        self.name = name.strip("<>")
        self._many = inspect.isgeneratorfunction(function)
        self._async = is_async(function)

    def process(self, task: Task) -> Any:
        """Call the function."""
        if self._async:
            given = self.function(task.content)
            return _each(given, task) if hasattr(given, "__aiter__") else _one(given, task)
        if self._many:
            return (_task(content, task) for content in self.function(task.content))
        content = self.function(task.content)
        return None if content is None else _task(content, task)

    @property
    def one_by_one(self) -> Callable[[Any], Any] | None:
        """The function, if it gives one content or a Task for each content; else None."""
        return None if self._many or self._async else self.function

    def __repr__(self) -> str:
        return self.name


def _task(content: Any, parent: Task) -> Task:
    if isinstance(content, Task):
        return content
    return Task(content, parent_task=parent) if parent._meta or parent._logs else bare_task(content)


async def _one(given: Any, parent: Task) -> Outputs:
    content = await given
    return None if content is None else _task(content, parent)


async def _each(given: AsyncIterator[Any], parent: Task) -> AsyncIterator[Task]:
    async for content in given:
        yield _task(content, parent)


def is_async(code: Any) -> bool:
    """Whether a function, method or callable object is ``async def``; asynchronous generators are, too."""
    while isinstance(code, partial):
        code = code.func
    plain = getattr(code, "__func__", code)
    if type(plain) is FunctionType and not vars(plain):
        return bool(plain.__code__.co_flags & _ASYNC)
    import inspect  # which knows marks and wrappers

    if not inspect.isroutine(code):
        code = getattr(code, "__call__", None)  # noqa: B004 - it is looked at, not called
    return inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code)


_ASYNC = 0x80 | 0x200
"""Flags of the code of a coroutine and of an asynchronous generator, as ``inspect`` names them."""


async def settled(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function, ``async def`` or not, while a loop runs; returns its result."""
    import inspect  # as the loop has done

    result = function(*args)
    return await result if inspect.isawaitable(result) else result
