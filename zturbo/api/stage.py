"""What a user writes: Stage and ReorderStage."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Awaitable, Iterable
from typing import Any

from zturbo.api.log import get_logger
from zturbo.api.task import Task
from zturbo.checks import check_count, check_type, wrong
from zturbo.errors import UsageError
from zturbo.hardware.resources import Resources

__all__ = ["Outputs", "ReorderStage", "Stage"]

Outputs = Task | Iterable[Task] | None
"""What a task becomes."""


class Stage:
    """One stage of a pipeline: subclasses say what becomes of a task.

    A stage has any number of workers, each a process with its own instance: made by ``__init__``,
    then ``init(worker_id)``, then ``process(task)`` for each task.

    **What is asked of it.** A task is processed at least once: after the death of a worker or of a
    host it is processed again, perhaps in part, perhaps while its first outputs are still on their
    way. So the same input is to give the same fan-out: as many tasks, in the same order. From the
    first ordered stage of a pipeline on, and in stages above it, it is to give the same contents and
    outcome too. Results then come exactly once. Effects on the world outside are yours: make them
    repeatable (write to a temporary name and rename).

    **State.** A stage that does not override :meth:`reset` has one instance per worker, which all jobs
    share. One that overrides it has a job's state to itself: an instance per concurrent job, with
    ``reset()`` before the job's first task. ``interleave = True`` says that all of a job's state is
    made in ``reset()``; then that instance is a shallow copy, which shares a model that ``init()``
    loaded; without it each is made and ``init()``-ed anew.

    State is a worker's: where a stage has several, each sees a part of a job's tasks. With ``sticky = True``
    one of them sees all of a job. Its tasks come in order too, though that is not promised, and its
    outputs are numbered anew, as those of an ordered stage are: if that worker dies, the job starts over.

    **Slots.** A worker of an ordered or sticky stage with ``reset()`` takes ``job_slots`` jobs at once, if
    not ``interleave``. A job that finds none free waits, and ``zturbo jobs`` says for what.
    **Waiting.** Where :meth:`process` is ``async def``, a worker runs up to ``max_concurrency`` tasks at a
    time, of any jobs, on one event loop; results keep their order all the same. :meth:`init` and
    :meth:`reset` may be ``async def`` too, and run on the same loop. What blocks there (``time.sleep``, long
    computing) holds up all of them. A task whose job is cancelled or starts over gets a ``CancelledError``
    at its ``await``; so does one that takes longer than ``task_timeout``, and it fails alone.

    Args:
        resources: what its workers may use.
        custom: handed to :meth:`allocate_resource`.

    Raises:
        UsageError: ``resources`` are none, or ``allocate_resource`` does not take ``custom`` or gives
            something else than Resources.
    """

    deterministic: bool = True
    """Whether the same input gives the same fan-out. Say False where it does not: then what a task gives
    comes from one execution as a whole, and from no other, once that execution is complete."""
    interleave: bool = False
    """All of a job's state is made in ``reset()``, so that jobs may share a worker as shallow copies."""
    job_slots: int = 1
    """Jobs at once on a worker of an ordered or sticky stage with ``reset()``, if not ``interleave``."""
    sticky: bool = False
    """One worker sees all of a job."""

    max_concurrency: int = 100
    """Tasks that a worker runs at a time where ``process`` is ``async def``; elsewhere it is always one."""

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
        """What each worker gets: as many workers as the list is long. One, with everything, here.

        Its process runs on these CPUs, with as many threads in libraries, and sees these GPUs alone.
        """
        if custom:
            names = ", ".join(sorted(custom))
            raise UsageError(
                f"{type(self).__name__} does not take {names}; override allocate_resource or __init__"
            )
        return [resources]

    @property
    def num_worker(self) -> int:
        """How many workers ``System`` starts for it."""
        if self._num_worker is not None:
            return self._num_worker
        return 1 if self.resource_allocation is None else len(self.resource_allocation)

    @num_worker.setter
    def num_worker(self, value: int) -> None:
        self._num_worker = check_count(f"{type(self).__name__}.num_worker", value, 1)

    @property
    def logger(self) -> logging.Logger:
        """A logger that is named after the stage; it may be set to another."""
        return self._logger or get_logger(f"zturbo.stage.{type(self).__name__}[{self.worker_id}]")

    @logger.setter
    def logger(self, value: logging.Logger) -> None:
        self._logger = value

    def init(self, worker_id: int = 0) -> Awaitable[None] | None:
        """Called once in the worker's process, before the first task: load models here.

        Args:
            worker_id: from 0, among the workers that were started together.
        """
        self.worker_id = worker_id
        if self.resource_allocation and worker_id < len(self.resource_allocation):
            self.current_resource = self.resource_allocation[worker_id]
        return None

    def reset(self) -> Awaitable[None] | None:
        """Override it to begin a new job: clear what belongs to the last one."""
        return None

    def process(self, task: Task) -> Outputs | Awaitable[Outputs] | AsyncIterable[Task]:
        """What becomes of a task. It may be ``async def``, and an asynchronous generator.

        Returns:
            One task, which keeps its parent's place; an iterable of tasks (a generator's are sent on
            as they are yielded); or None for nothing.
        """
        raise NotImplementedError(f"{type(self).__name__}.process is not written")

    def __repr__(self) -> str:
        return type(self).__name__


class ReorderStage(Stage):
    """A stage whose tasks come in order, one worker per job.

    The order is that of the job's tasks as the stages above made them: depth first, a generator's
    outputs in the order of yielding. A stage that overrides :meth:`get_sequence_id` has its own.

    Its tasks are processed one after the other, also where ``process`` is ``async def``: each is awaited
    to its end before the next one begins.

    A dropped or failed task leaves no gap. If this stage's worker dies, its job starts over: state
    is made new by ``reset()``, and what the client has got is not repeated.

    Args:
        resources: what its workers may use.
        reorder_buffer_size: kept for pyturbo's sake; the buffer is bounded by disk.
        custom: handed to :meth:`Stage.allocate_resource`.
    """

    def __init__(
        self, resources: Resources | None = None, reorder_buffer_size: int = 16, **custom: Any
    ) -> None:
        super().__init__(resources, **custom)
        self.reorder_buffer_size = reorder_buffer_size

    def get_sequence_id(self, task: Task) -> int:
        """The task's place among those of its job, from 0. Override it, or leave the order to zturbo.

        A place that nobody has is a gap, which closes when all of the job is here. A task fails alone if
        this raises for it, or gives no int, a negative one, or one that a task before it has.
        """
        raise NotImplementedError
