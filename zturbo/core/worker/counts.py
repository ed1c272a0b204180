"""How many tasks of each job wait and run in a worker, for the status that the broker shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zturbo.core.effects import Work
from zturbo.core.worker.queue import InputQueue

__all__ = ["waiting_and_running"]


def waiting_and_running(
    buffered: Mapping[bytes, int], queue: InputQueue, handed: Iterable[Work]
) -> dict[bytes, tuple[int, int]]:
    """Job -> (tasks that wait, tasks that the user's code has).

    Args:
        buffered: job -> tasks and failures in its sequencer; 0 at a plain stage.
        queue: batches that wait.
        handed: work that the user's code has.
    """
    queued, running = dict(buffered), dict.fromkeys(buffered, 0)
    for part in queue.parts():
        if part.batch.job in queued:
            queued[part.batch.job] += part.n
    for work in handed:
        if work.job in running:
            # Tasks are started in order: the last one of them may still run, all before it have ended.
            running[work.job] += work.left + (work.started > 0)
    return {job: (queued[job], running[job]) for job in buffered}
