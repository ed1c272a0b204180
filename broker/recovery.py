"""After a restart: go on with what runs, without doing it again.

Of the **broker**: its jobs run on meanwhile. Workers of a first stage tell which roots they hold; when
all of them have (or are gone), the first sequencer of each job is asked which roots have wholly
entered it; whatever is neither goes again. (A root leaves its first-stage worker's custody only once all
that came of it has entered the first sequencer, so asking in this order misses none.)

Of a **sink**: a sink that comes back with the same spool has all that it had acked. Its jobs go on in
their epoch; a stamp of a higher revision names its new incarnation. One that does not come back within
a grace is gone, and its jobs start over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from zturbo.core.effects import Control, Effect
from zturbo.core.intervals import Intervals
from zturbo.core.outlet import Outlet
from zturbo.core.parcel import Parcel
from zturbo.wire.control import from_broker
from zturbo.wire.messages import Batch, Run
from zturbo_broker.job import Job

__all__ = ["ASK_EVERY", "LostSinks", "Recovery"]

PATIENCE = 60.0
"""Seconds that a lost sink has to come back while its node is heard."""

ASK_EVERY = 1.0
"""Seconds between two questions to a sequencer that has not answered."""


@dataclass(slots=True)
class _Asked:
    job: Job
    again: float


@dataclass(slots=True)
class Recovery:
    """What a restarted broker does not know yet.

    Args:
        outlet: the links to first stages.
        effects: where what is to be done is appended.
    """

    outlet: Outlet
    effects: list[Effect]
    silent: dict[bytes, str] = field(default_factory=dict)
    """Workers of first stages that have not reported -> their pipeline."""
    jobs: dict[bytes, Job] = field(default_factory=dict)
    """Jobs that it is not known of which roots go again."""
    _held: dict[bytes, dict[bytes, list[tuple[int, int]]]] = field(default_factory=dict)
    """Job -> worker -> root ranges that it holds."""
    _returned: dict[bytes, list[tuple[int, int]]] = field(default_factory=dict)
    """Job -> root ranges that were reported, and then given back or lost."""
    _asked: dict[bytes, _Asked] = field(default_factory=dict)

    def report(self, worker: bytes, items: tuple[Any, ...], now: float) -> None:
        """A worker of a first stage says what it holds: (job, epoch, runs, tasks, bytes) of each input.

        Said again it changes nothing.
        """
        if self.silent.pop(worker, None) is None:
            return
        parcels = []
        for job_id, epoch, runs, n, nbytes in items:
            batch = Batch(job_id, epoch, 0, list(runs), n)
            parcels.append(Parcel(batch, None, (), n, nbytes, hollow=True))
            job = self.jobs.get(job_id)
            if job is not None and job.epoch == epoch:
                self._held.setdefault(job_id, {}).setdefault(worker, []).extend(_ranges(job, runs))
        self.outlet.adopt(worker, parcels, now)

    def lost(self, worker: bytes) -> None:
        """It is gone: it reports nothing any more, and holds nothing."""
        self.silent.pop(worker, None)
        for holders in self._held.values():
            holders.pop(worker, None)

    def returned(self, job: Job, runs: list[Run]) -> None:
        """Roots that were reported were given back meanwhile: nobody holds them."""
        self._returned.setdefault(job.id, []).extend(_ranges(job, runs))

    def drop(self, job: bytes) -> None:
        """The job has ended, or starts over."""
        self.jobs.pop(job, None)
        self._held.pop(job, None)
        self._returned.pop(job, None)
        self._asked.pop(job, None)

    def ask(self, stages: dict[str, int], now: float) -> None:
        """Ask the first sequencer of each job whose first-stage workers have all reported."""
        pending = set(self.silent.values())
        for job in self.jobs.values():
            asked = self._asked.get(job.id)
            if job.pipeline in pending or (asked is not None and now < asked.again):
                continue
            self._asked[job.id] = _Asked(job, now + ASK_EVERY)
            stamp = job.stamp
            assert stamp is not None
            first = min(stamp.ordered, default=stages[job.pipeline])
            message = from_broker.AskEntered(job=job.id, epoch=job.epoch)
            self.effects.append(Control(message, stamp.ordered.get(first, stamp.sink)))

    def entered(self, job_id: bytes, epoch: int, roots: tuple[Any, ...]) -> tuple[Job, Intervals] | None:
        """A sequencer's answer. Returns the job, and the roots that need not go again."""
        job = self.jobs.get(job_id)
        if job is None or job.epoch != epoch or job_id not in self._asked:
            return None
        shift = min(0, job.chunks.first)
        total = job.chunks.total
        ranges = [(max(0, a - shift), min(b - shift, total)) for a, b in roots]
        back = Intervals.of(self._returned.get(job_id, []))
        for held in self._held.get(job_id, {}).values():
            for start, stop in held:
                ranges.extend(back.missing(start, stop))
        self.drop(job_id)
        return job, Intervals.of(ranges)

    def deadline(self) -> float | None:
        """When to ask again."""
        return min((asked.again for asked in self._asked.values()), default=None)


def _ranges(job: Job, runs: Sequence[Run]) -> list[tuple[int, int]]:
    """Roots as half-open ranges that count from 0: a job's single root, -1, is shifted to it."""
    shift = min(0, job.chunks.first)
    starts = [((first[0] if first else -1) - shift, n) for first, n in runs]
    return [(start, start + n) for start, n in starts]


class LostSinks:
    """Sinks that were lost and may come back with their spool.

    One that is started again has time for it while its node is heard, up to :data:`PATIENCE`; if the node
    starts another in its place, with an empty spool, there is nothing to wait for.

    Args:
        grace: seconds that they have for it at least, and after the node was last heard.
    """

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self._since: dict[bytes, float] = {}
        """Lost spool -> when that was."""
        self._places: dict[bytes, tuple[bytes, str]] = {}
        """Spool -> (node, name) of its sink."""
        self._heard: dict[bytes, float] = {}
        """Node of a lost sink -> when it was last heard."""
        self._replaced: set[bytes] = set()
        """Lost spools in whose place there is another."""

    def __contains__(self, spool: bytes) -> bool:
        return spool in self._since

    def seen(self, spool: bytes, node: bytes, name: str) -> None:
        """A sink with this spool says hello."""
        place = self._places[spool] = (node, name)
        self._replaced.update(old for old in self._since if old != spool and self._places.get(old) == place)

    def hear(self, node: bytes, now: float) -> None:
        """A node gave a sign of life."""
        if node in self._heard:
            self._heard[node] = now

    def add(self, spool: bytes, now: float) -> None:
        """The sink with this spool is gone."""
        self._since.setdefault(spool, now)
        if spool in self._places:
            self._heard.setdefault(self._places[spool][0], now)

    def back(self, spool: bytes) -> None:
        """It is back."""
        self._since.pop(spool, None)
        self._replaced.discard(spool)
        here = {self._places[lost][0] for lost in self._since if lost in self._places}
        self._heard = {node: at for node, at in self._heard.items() if node in here}

    def _until(self, spool: bytes) -> float:
        since = self._since[spool]
        if spool in self._replaced:
            return since
        heard = self._heard.get(self._places.get(spool, (b"", ""))[0], since)
        return max(since + self.grace, min(heard + self.grace, since + PATIENCE))

    def given_up(self, now: float) -> list[bytes]:
        """Those whose time is over, each once."""
        over = [spool for spool in self._since if self._until(spool) <= now]
        for spool in over:
            self.back(spool)
            self._places.pop(spool, None)
        return over

    def deadline(self) -> float | None:
        """When the next one's time is over, as far as that is known."""
        return min(map(self._until, self._since), default=None)
