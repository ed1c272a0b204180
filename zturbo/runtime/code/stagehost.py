"""The one place where a stage's code is called, by workers and by debug mode alike.

The host makes the parts of a stage in one process and joins them: its instances, the failures of its tasks,
and the ways in which its code is called. There are no sockets and no threads in here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zturbo.api.stage import Stage
from zturbo.runtime.code.batchcalls import BatchCalls
from zturbo.runtime.code.context import StageContext
from zturbo.runtime.code.failures import Failures
from zturbo.runtime.code.inputs import Inputs
from zturbo.runtime.code.instances import Instances
from zturbo.runtime.code.onetask import OneTask
from zturbo.runtime.code.ordered import OrderedCalls
from zturbo.runtime.code.plain import PlainCalls

if TYPE_CHECKING:
    import asyncio

__all__ = ["StageHost"]


class StageHost:
    """A stage in one process.

    Args:
        build: makes an instance.
        name: of the stage, for logs and errors.
        index: of the stage in its pipeline.
        worker_id: from 0, among workers that were started together.
        host: name of this host, for errors.
        loop: for a stage that is ``async def``; default: a new one.
    """

    def __init__(
        self,
        build: Callable[[], Stage],
        *,
        name: str,
        index: int,
        worker_id: int = 0,
        host: str = "",
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.context = context = StageContext(name, index, host)
        self.instances = instances = Instances(build, worker_id, loop)
        self.inputs = Inputs(instances.ordered)
        """Of the work that runs now; its runner sets it."""
        self.failures = failures = Failures(context, self.inputs)
        self.one = one = OneTask(context, failures, instances.base)
        self.plain = PlainCalls(context, instances, failures, one)
        self.batches = BatchCalls(context, instances, failures, one)
        self.in_order = OrderedCalls(context, instances, failures, one)
        self.base = instances.base
        """The first instance."""
        self.ordered = instances.ordered
        """Whether one worker sees all of a job, in order."""
        self.stateful = instances.has_state
        """Whether each job has a state of its own."""
        self.deterministic = one.deterministic
        self.batch, self.batch_wait = self.batches.most, self.batches.wait
        """Tasks that are processed at once at most, 0 where they run one by one; seconds to wait for them."""
        self.slots = instances.slots
        """Jobs that this worker may have at once if the stage is ordered; 0 for any number."""
        self.concurrency = instances.concurrency
        """Tasks that run at a time, where ``process`` is ``async def``; 0 where they run one by one."""
