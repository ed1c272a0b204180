"""The instances of a stage in one process: one for all jobs, or one for each job (see :class:`zturbo.Stage`).

asyncio is a quarter of all that a worker imports. It is imported with the first code that is ``async def``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zturbo.api.stage import ReorderStage, Stage
from zturbo.api.stage_kinds import BatchStage, FunctionStage, is_async, settled
from zturbo.api.task import Task
from zturbo.checks import check_count, check_type
from zturbo.core.order.by_id import ById
from zturbo.errors import UsageError
from zturbo.wire.messages import Mark, Path

if TYPE_CHECKING:
    import asyncio

    from zturbo.runtime.code.coroutines import Coroutines

__all__ = ["Instances", "StageJob", "check_settings"]


class StageJob:
    """One job at this stage: the instance that has it, and how far an ordered stage has got."""

    __slots__ = ("_marks", "byid", "condemned", "instance", "late", "late_bytes", "number")

    def __init__(self, instance: Stage) -> None:
        self.instance = instance
        self.number = 0
        """The next number that an ordered stage gives."""
        self.byid = ById()
        self._marks: tuple[Mark, ...] = ()
        self.condemned: dict[Path, Mark] = {}
        """Tasks that are known to fail."""
        self.late: list[tuple[tuple[int, Path], bytes | Task]] = []
        """At a stage with the user's ids: items without an id, which get their numbers once all is here.
        These are failures of earlier stages, and tasks that enter further down."""
        self.late_bytes = 0
        """Bytes of these failures."""

    def mark(self, marks: tuple[Mark, ...]) -> None:
        """Learn what is known about the job's tasks, as the broker said it last."""
        if marks is not self._marks:
            self._marks = marks
            self.condemned = {mark.path: mark for mark in marks if mark.kind}


class Instances:
    """Makes a stage's instances, and knows which job has which.

    Args:
        build: makes an instance.
        worker_id: from 0, among workers that were started together.
        loop: for a stage that is ``async def``; default: a new one.
    """

    def __init__(
        self, build: Callable[[], Stage], worker_id: int, loop: asyncio.AbstractEventLoop | None
    ) -> None:
        self._build = build
        self._worker_id = worker_id
        self._loop = loop
        self.coroutines: Coroutines | None = None
        """Runs the stage's coroutines, if any of its code is ``async def``."""
        self.base = self._new()
        cls = type(self.base)
        check_settings(self.base)
        self.ordered = isinstance(self.base, ReorderStage) or self.base.sticky
        """Whether one worker sees all of a job, in order: a sticky stage runs as an ordered one does."""
        self.has_state = cls.reset is not Stage.reset and cls.reset is not ReorderStage.reset
        self.slots = int(self.base.job_slots) if self.has_state and not self.base.interleave else 0
        """Jobs that this worker may have at once if the stage is ordered; 0 for any number."""
        self.concurrency = 0
        """Tasks that run at a time, where ``process`` is ``async def``; 0 where they run one by one."""
        if is_async(_process(self.base)):
            self.concurrency = 0 if self.ordered else self.base.max_concurrency
        self._spare: list[Stage] = [self.base]
        self.jobs: dict[bytes, StageJob] = {}
        """The jobs that are here; to begin one runs the user's code."""

    def _new(self) -> Stage:
        stage = self._build()
        if self.coroutines is None and any(map(is_async, (stage.init, stage.reset, _process(stage)))):
            from zturbo.runtime.code.coroutines import Coroutines

            self.coroutines = Coroutines(self._loop)
        self._call(stage.init, self._worker_id)
        return stage

    def _call(self, function: Callable[..., Any], *args: Any) -> None:
        if self.coroutines is None:
            function(*args)
        else:
            self.coroutines.call(function, *args)

    def code(self, job: StageJob) -> Callable[[Task], Any]:
        """``process`` of a job's instance, as a plain function."""
        process = job.instance.process
        return process if self.coroutines is None else self.coroutines.one_by_one(process)

    def function(self, job: StageJob) -> Callable[[Any], Any] | None:
        """The function that a job's instance calls with each content for one other, if it does just that."""
        instance = job.instance
        return instance.one_by_one if isinstance(instance, FunctionStage) else None

    def job(self, job: bytes) -> StageJob:
        """A job at this stage; it begins with the first call, which runs ``reset()``."""
        here = self.jobs.get(job)
        if here is None:
            if not self.has_state:
                instance = self.base
            elif self.base.interleave:
                instance = copy.copy(self.base)
            else:
                instance = self._spare.pop() if self._spare else self._new()
            if self.has_state:
                self._call(instance.reset)
            here = self.jobs[job] = StageJob(instance)
        return here

    async def begin_job(self) -> StageJob:
        """As :meth:`job`, in a running loop. The caller keeps the job, and ends it with :meth:`spare`."""
        instance = self.base
        if self.has_state:
            if self.base.interleave:
                instance = copy.copy(self.base)
            elif self._spare:
                instance = self._spare.pop()
            else:
                instance = self._build()
                await settled(instance.init, self._worker_id)
            try:
                await settled(instance.reset)
            except BaseException:
                self.spare(instance)
                raise
        return StageJob(instance)

    def job_ended(self, job: bytes) -> None:
        """The job has ended here, or starts over: its state goes."""
        here = self.jobs.pop(job, None)
        if here is not None:
            self.spare(here.instance)

    def spare(self, instance: Stage) -> None:
        """No job has this instance any more."""
        if not self.has_state or self.base.interleave:
            return
        if not self.ordered or len(self._spare) < self.slots:  # one more, where a seat was given on early
            self._spare.append(instance)


def _process(stage: Stage) -> Any:
    """The user's own code."""
    return stage.function if isinstance(stage, FunctionStage) else stage.process


def check_settings(stage: Stage) -> None:
    """Raise UsageError if a stage's settings are wrong, or contradict each other."""
    name = type(stage).__name__
    _check_written(stage)
    check_type(f"{name}.deterministic", stage.deterministic, bool, "True or False")
    check_type(f"{name}.sticky", stage.sticky, bool, "True or False")
    check_type(f"{name}.interleave", stage.interleave, bool, "True or False")
    check_count(f"{name}.job_slots", stage.job_slots, 1)
    if is_async(_process(stage)):
        check_count(f"{name}: max_concurrency", stage.max_concurrency, 1)
    for what, is_so in ("sticky = True", stage.sticky), ("a ReorderStage", isinstance(stage, ReorderStage)):
        if is_so and isinstance(stage, BatchStage):
            raise UsageError(
                f"{name} is a BatchStage and {what}: a stage that sees all of a job processes its tasks one "
                "by one; make it a Stage with process(task), or leave out what makes it see all of a job"
            )


def _check_written(stage: Stage) -> None:
    """Raise UsageError if a stage has no code for a task; a name that is nearly right is named."""
    cls = type(stage)
    wanted = (
        "process_batch" if isinstance(stage, BatchStage) and cls.process is BatchStage.process else "process"
    )
    base: type[Stage] = BatchStage if wanted == "process_batch" else Stage
    if getattr(getattr(stage, wanted), "__func__", None) is not getattr(base, wanted):
        return
    import difflib

    own = [name for name in dir(cls) if name not in dir(BatchStage) and callable(getattr(cls, name, None))]
    near = difflib.get_close_matches(wanted, own, 1, 0.75)
    argument = "tasks" if wanted == "process_batch" else "task"
    hint = f"; did you mean that by {near[0]!r}?" if near else ""
    raise UsageError(f"{cls.__name__} has no {wanted}(self, {argument}), which a stage is to have{hint}")
