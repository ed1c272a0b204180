"""The base classes of a user's stages: Stage and ReorderStage."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import AsyncIterable, Awaitable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Union

from zturbo.api.log import get_logger
from zturbo.api.task import Task
from zturbo.checks import check_count, check_type, wrong
from zturbo.errors import UsageError
from zturbo.hardware.resources import Resources

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    In = TypeVar("In", contravariant=True, default=Any)
    Out = TypeVar("Out", covariant=True, default=Any)
else:
    from typing import TypeVar

    In = TypeVar("In")
    Out = TypeVar("Out")

__all__ = ["In", "Out", "Outputs", "ReorderStage", "Stage"]

Outputs = Union[Task[Out], Iterable[Task[Out]], None]  # noqa: UP007 - Python 3.10 has no "|" here
"""The outputs of one task: one, many, or none."""


class Stage(Generic[In, Out]):
    """One stage of a pipeline. Subclasses write :meth:`process`, which turns a task into its outputs.

    ``class Detect(Stage[Frame, Box])`` tells a type checker the types of contents that come in and go out.

    A stage has any number of workers. Each is a process with its own instance, on which zturbo calls
    ``__init__``, then ``init(worker_id)``, then ``process(task)`` for each task.

    **Contract.** A task is processed at least once. After the death of a worker or a host it is processed
    again, perhaps in part, perhaps while its first outputs are still on their way. So the same input must
    give the same fan-out: the same number of tasks, in the same order. In ordered stages, and in all stages
    above them, it must also give the same contents and the same outcome. Then each result comes exactly
    once. Make effects on the outside world repeatable: write a file under a temporary name, then rename it.

    **State.** A stage that does not override :meth:`reset` has one instance per worker, and all jobs share
    it. A stage that overrides it has one instance for each job that runs at the time, and ``reset()`` is
    called before the job's first task. ``interleave = True`` says that ``reset()`` makes all of a job's
    state. Then these instances are shallow copies, which share a model that ``init()`` loaded. Without it,
    each instance is made by ``__init__`` and ``init()``.

    Workers do not share state: if a stage has several, each gets a part of a job's tasks. With
    ``sticky = True``, one worker gets all of a job's tasks. They come in order, but that is not promised. The
    outputs of a sticky stage are numbered anew, as those of an ordered stage are. So if that worker dies,
    the job starts over.

    **Slots.** Without ``interleave``, a worker of an ordered or sticky stage with ``reset()`` takes
    ``job_slots`` jobs at once. A job that finds no free slot waits, and ``zturbo jobs`` shows the stage.

    **Coroutines.** If :meth:`process` is ``async def``, a worker runs up to ``max_concurrency`` tasks at a
    time, of any jobs, on one event loop. Results keep their order all the same. :meth:`init` and
    :meth:`reset` may be ``async def`` too, and run on the same loop. Code that blocks the loop
    (``time.sleep``, long computing) delays all of these tasks. A task gets a ``CancelledError`` at its
    ``await`` if its job is cancelled or starts over. So does a task that takes longer than ``task_timeout``,
    which then fails alone.

    Args:
        resources: CPUs and GPUs that the stage's workers may use.
        custom: arguments for :meth:`allocate_resource`.

    Raises:
        UsageError: ``resources`` is not Resources, or ``allocate_resource`` does not take ``custom`` or does
            not return a list of Resources.
    """

    deterministic: bool = True
    """Whether the same input always gives the same fan-out. With False, if a task ran more than once,
    the outputs of the first run that finished are used: all of them, and none of the others."""
    interleave: bool = False
    """Whether ``reset()`` makes all of a job's state. Then jobs share a worker, each on a shallow copy."""
    job_slots: int = 1
    """Jobs at once on a worker of an ordered or sticky stage with ``reset()``, if not ``interleave``."""
    sticky: bool = False
    """Whether one worker gets all tasks of a job."""

    max_concurrency: int = 100
    """Tasks that a worker runs at a time if ``process`` is ``async def``; other stages run one at a time."""

    resources: Resources | None = None
    resource_allocation: list[Resources] | None = None
    current_resource: Resources | None = None
    worker_id: int = 0
    _num_worker: int | None = None
    _logger: logging.Logger | None = None

    def __init__(self, resources: Resources | None = None, **custom: Any) -> None:
        name = type(self).__name__
        check_type(f"{name}: resources", resources, (Resources, type(None)), "Resources or None")
        self.resources = resources
        allocation = self.allocate_resource(resources if resources is not None else Resources({}), **custom)
        field = f"what {name}.allocate_resource gives"
        if not isinstance(allocation, (list, tuple)) or not allocation:
            error = wrong(field, allocation, "a list of Resources, one for each worker")
            hint = ": that is no worker at all; is there no GPU here?" if allocation == [] else ""
            raise UsageError(f"{error}{hint}")
        for part in allocation:
            check_type(f"{field}, each item,", part, Resources, "Resources")
        self.resource_allocation = list(allocation)

    def allocate_resource(self, resources: Resources, **custom: Any) -> list[Resources]:
        """The resources of each worker. By default, the stage has one worker, with all of them.

        A worker's process runs on its CPUs, with as many threads in libraries, and sees only its GPUs.

        Args:
            resources: all that the stage may use.
            custom: the keyword arguments of ``__init__``.

        Returns:
            One Resources for each worker: ``System`` starts as many workers as the list has entries.
        """
        if custom:
            names = ", ".join(sorted(custom))
            raise UsageError(
                f"{type(self).__name__} does not take {names}; override allocate_resource or __init__"
            )
        return [resources]

    @property
    def num_worker(self) -> int:
        """Number of workers that ``System`` starts for this stage."""
        if self._num_worker is not None:
            return self._num_worker
        return 1 if self.resource_allocation is None else len(self.resource_allocation)

    @num_worker.setter
    def num_worker(self, value: int) -> None:
        self._num_worker = check_count(f"{type(self).__name__}.num_worker", value, 1)

    @property
    def logger(self) -> logging.Logger:
        """A logger named after the stage, unless another logger has been assigned."""
        return self._logger or get_logger(f"zturbo.stage.{type(self).__name__}[{self.worker_id}]")

    @logger.setter
    def logger(self, value: logging.Logger) -> None:
        self._logger = value

    def init(self, worker_id: int = 0) -> Awaitable[None] | None:
        """Called once in the worker's process, before the first task. Load models here.

        Args:
            worker_id: number of this worker, counted from 0 among the workers that were started together.
        """
        self.worker_id = worker_id
        if self.resource_allocation and worker_id < len(self.resource_allocation):
            self.current_resource = self.resource_allocation[worker_id]
        return None

    def reset(self) -> Awaitable[None] | None:
        """Called before the first task of each job, if overridden. Clear the state of the last job here."""
        return None

    @abstractmethod  # for type checkers alone: the class has no metaclass that would mind
    def process(self, task: Task[In]) -> Outputs[Out] | Awaitable[Outputs[Out]] | AsyncIterable[Task[Out]]:
        """Turn a task into its outputs. It may be ``async def``, or an asynchronous generator.

        An error that it raises fails this task alone.

        Args:
            task: the input, with content, meta and logs.

        Returns:
            One task, which takes its parent's position in the order; an iterable of tasks, where each task
            that a generator yields is sent on at once; or None for no output.
        """
        raise NotImplementedError(f"{type(self).__name__}.process is not written")

    def __repr__(self) -> str:
        return type(self).__name__


class ReorderStage(Stage[In, Out]):
    """A stage that gets the tasks of a job in order. One worker gets all tasks of a job.

    The order is the one in which the stages above made the tasks: depth first, and a generator's outputs in
    the order in which it yields them. A stage that overrides :meth:`get_sequence_id` chooses the order
    itself.

    Tasks are processed one after another, even if ``process`` is ``async def``: each is awaited to its end
    before the next one begins.

    A dropped or failed task leaves no gap. If the stage's worker dies, its jobs start over: ``reset()``
    makes their state anew, and clients do not get results twice.

    Args:
        resources: CPUs and GPUs that the stage's workers may use.
        reorder_buffer_size: without effect; pyturbo has it. The buffer goes to disk when it is large.
        custom: arguments for :meth:`Stage.allocate_resource`.
    """

    def __init__(
        self, resources: Resources | None = None, reorder_buffer_size: int = 16, **custom: Any
    ) -> None:
        super().__init__(resources, **custom)
        self.reorder_buffer_size = reorder_buffer_size

    def get_sequence_id(self, task: Task[In]) -> int:
        """The task's number in the order of its job, counted from 0. Override it to choose the order.

        A number that no task has is a gap: tasks behind it wait until all of the job's tasks have come. A
        task fails alone if this method raises for it, or returns a value that is not an int, is negative, or
        is the number of an earlier task.
        """
        raise NotImplementedError
