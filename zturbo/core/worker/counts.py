"""How many tasks of each job are where in a worker, for the broker's status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zturbo.core.effects import Work
from zturbo.core.worker.queue import InputQueue

__all__ = ["waiting_and_running"]


def waiting_and_running(
    held: Mapping[bytes, int], queue: InputQueue, handed: Iterable[Work]
) -> dict[bytes, tuple[int, int]]:
    """Job -> (tasks that wait, tasks that the user's code has).

    Args:
        held: job -> what its sequencer holds; 0 at a stage without.
        queue: batches that wait.
        handed: work that the user's code has.
    """
    queued, running = dict(held), dict.fromkeys(held, 0)
    for part in queue.parts():
        if part.batch.job in queued:
            queued[part.batch.job] += part.n
    for work in handed:
        if work.job in running:
            # Counted as begun in order: the last one that was started may run, those before it have ended.
            running[work.job] += len(work.unstarted) + (work.started > 0)
    return {job: (queued[job], running[job]) for job in held}
