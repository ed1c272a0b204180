"""Where can a task be in a worker? The table of places, and the tasks at each place.

A plain stage keeps each batch in custody until its last task is gone. An ordered stage acks a batch as soon
as the batch has entered the job's sequencer. If that worker is lost, the broker starts its jobs over.

A task's place alone does not tell when its credit comes back (``feed.py``). The credit of a fast task comes
back when the task is handed out. That of a slow task, or of one of several that overlap, comes back when the
task is finished. Nor does the table tell of held roots, which a worker of a first stage names to a new broker
(``held_roots.py``).

A worker does not move its tasks by this table, since that would cost time for each task. The simulated worlds
compare the places of all tasks with the table, after each event.
"""

from __future__ import annotations

from collections.abc import Iterable

from zturbo.core.effects import Work
from zturbo.core.states import State, Table
from zturbo.core.worker.arrivals import Returned
from zturbo.core.worker.held_roots import InputKey
from zturbo.core.worker.queue import InputQueue

__all__ = ["PLACES", "Located", "TaskPlace", "located"]


class TaskPlace(State):
    """Where a task is in a worker."""

    ARRIVED = "arrived"
    QUEUED = "queued"
    ASIDE = "aside"
    WAITING = "waiting"
    HANDED = "handed"
    RETURNED = "returned"
    FINISHED = "finished"
    GONE = "gone"


ARRIVED, QUEUED, ASIDE, WAITING, HANDED, RETURNED, FINISHED, GONE = TaskPlace

PLACES: Table[TaskPlace] = Table(
    "Task in a worker",
    {
        ARRIVED: "its batch is being taken; no task stays here",
        QUEUED: "in a plain stage's queue (InputQueue): the feed takes it from there",
        ASIDE: "a suspect (InputQueue.aside): the feed takes it when nothing else is here",
        WAITING: "in an ordered stage's sequencer (Waiting): the feed takes it in its turn",
        HANDED: "the code has it (Feed.handed), begun or not, until its piece of work is finished",
        RETURNED: "given back (Arrivals.returned), and reported until its sender has taken it back",
        FINISHED: "a plain stage's code is through with it; its batch is in custody until it is acked",
        GONE: "this worker owes nothing for it",
    },
    [
        (ARRIVED, QUEUED, "a plain stage takes its batch into custody"),
        (ARRIVED, WAITING, "an ordered stage's sequencer takes it; its batch is acked"),
        (ARRIVED, GONE, "it is a copy, or its job has ended or started over"),
        (QUEUED, ASIDE, "the job's stamp marks it as a suspect"),
        (QUEUED, HANDED, "the code has room for it"),
        (QUEUED, RETURNED, "a task before it runs for long, or the worker drains"),
        (QUEUED, GONE, "its job has ended or starts over, or its sender is gone"),
        (ASIDE, HANDED, "nothing else is here"),
        (ASIDE, GONE, "its job has ended or starts over, or its sender is gone"),
        (WAITING, HANDED, "all that comes before it has been handed out"),
        (WAITING, GONE, "its job has ended or starts over"),
        (HANDED, FINISHED, "its piece of work is finished"),
        (HANDED, RETURNED, "it had not begun when the rest of the work was taken back"),
        (HANDED, GONE, "its work is finished; its batch is acked already, or its job has ended"),
        (RETURNED, GONE, "its sender has taken it back, or is gone"),
        (FINISHED, GONE, "all that came of its batch is acked, or its job has ended"),
    ],
)

Located = tuple[InputKey, int, int, TaskPlace]
"""(input, start, stop, place): tasks ``start .. stop`` of the input."""


def located(queue: InputQueue, handed: Iterable[Work], returned: Iterable[Returned]) -> list[Located]:
    """The places of tasks that the code has not finished, without those that wait in a sequencer."""
    out = [(part.key, part.start, part.stop, QUEUED) for part in queue.queued()]
    out += [(part.key, part.start, part.stop, ASIDE) for part in queue.aside]
    for work in handed:
        cut = work.cut
        for batch, start, stop in reversed(work.pieces):  # tasks are cut off from the end
            taken = min(cut, stop - start)
            cut -= taken
            out.append((batch.key, start, stop - taken, HANDED))
    out += [(part.key, part.start, part.stop, RETURNED) for part in returned]
    return [part for part in out if part[1] < part[2]]
