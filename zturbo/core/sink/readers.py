"""What clients have asked a sink for, and what they get.

A client asks for the results from one index up to another, not for some number of further ones. So a
question that is asked twice does no harm. A later reader of a job has a higher token, and supersedes the one
before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from zturbo.core.counts import EndedJobs
from zturbo.core.effects import Deliver, Effect, Note
from zturbo.core.sink.job import JobReader, SinkJob
from zturbo.wire.messages import Results, Want

__all__ = ["Readers"]

NOTE_CURSOR = 0.5
"""Seconds between two notes of how far a job's results were taken."""

MAX_SEGMENT = 1024
"""Results in one message to a client."""

MAX_WAITING = 10_000
"""Most jobs that clients have asked for and that are not here yet."""

MAX_VIEWERS = 16
"""Viewers of one job at most."""

NOT_KEPT = "these results are not kept any more"
NOT_YOURS = "the job was submitted under another key"
SUPERSEDED = "superseded"


class Readers:
    """The clients that read from a sink. How far one has read a job is noted with the job.

    Args:
        jobs: what the sink has of each job.
        ended: jobs that the broker has told this sink to forget: it has no results of them.
        effects: where what is to be done is appended.
    """

    def __init__(self, jobs: Mapping[bytes, SinkJob], ended: EndedJobs, effects: list[Effect]) -> None:
        self._jobs = jobs
        self._ended = ended
        self._effects = effects
        self.may_read: Callable[[bytes, str], bool] = lambda client, owner: True
        """Whether a client may read the jobs of this owner."""
        self.is_viewer: Callable[[bytes], bool] = lambda client: False
        """Whether a client may only look: it supersedes nobody, and takes no result away from another."""
        self._waiting: dict[bytes, dict[bytes, Want]] = {}
        """Job that is not here yet -> client -> what it wants."""

    def want(self, client: bytes, want: Want, now: float) -> bool:
        """A client asks for results. Returns whether it may be served now."""
        job = self._jobs.get(want.job)
        if job is None:
            self._want_later(client, want)
            return False
        if not self.may_read(client, job.stamp.owner):
            self._refuse(client, want.job, want.token, NOT_YOURS)
            return False
        if self.is_viewer(client):
            self._view(job, client, want)
            return True
        reader = job.reader
        if reader is not None and want.token < reader.token:
            self._refuse(client, want.job, want.token, SUPERSEDED)
            return False
        first, limit = _span(job, want)
        if reader is None or want.token > reader.token or reader.client != client:
            if reader is not None and reader.client != client:
                self._refuse(reader.client, want.job, reader.token, SUPERSEDED)
            reader = job.reader = JobReader(client, want.token, first, 0)
        _extend(reader, want, first, limit)
        self._taken(job, want.taken, now)
        return True

    def _view(self, job: SinkJob, client: bytes, want: Want) -> None:
        """A viewer asks for results."""
        first, limit = _span(job, want)
        viewer = job.viewers.get(client)
        if viewer is None or want.token > viewer.token:
            viewer = job.viewers[client] = JobReader(client, want.token, first, 0)
            if len(job.viewers) > MAX_VIEWERS:
                oldest = job.viewers.pop(next(iter(job.viewers)))
                self._refuse(oldest.client, want.job, oldest.token, SUPERSEDED)
        _extend(viewer, want, first, limit)

    def _want_later(self, client: bytes, want: Want) -> None:
        """The sink does not have this job: it was told to forget it, or the job's stamp is still on the
        way."""
        if want.job in self._ended:
            self._refuse(client, want.job, want.token, NOT_KEPT)
            return
        self._waiting.setdefault(want.job, {})[client] = want
        if len(self._waiting) > MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]  # its client asks again

    def _taken(self, job: SinkJob, taken: int, now: float) -> None:
        """A client has taken so many of the job's results. That is noted in the spool, twice a second at
        most."""
        job.take(taken)
        if job.cursor > job.noted[1] and now >= job.noted[0] + NOTE_CURSOR:
            job.noted = (now, job.cursor)
            self._effects.append(Note(job.stamp.job, None, job.cursor))

    def begin(self, job: bytes) -> list[tuple[bytes, Want]]:
        """A job has come to this sink: (client, what it wants) for each client that has asked for it."""
        return list(self._waiting.pop(job, {}).items())

    def end(self, job: SinkJob) -> None:
        """A job is forgotten: tell its readers."""
        for reader in (*([] if job.reader is None else [job.reader]), *job.viewers.values()):
            self._refuse(reader.client, job.stamp.job, reader.token, NOT_KEPT)

    def _refuse(self, client: bytes, job: bytes, token: int, problem: str) -> None:
        self._effects.append(Deliver(client, Results(job, token, 0, 0, problem=problem), []))

    def serve(self, job: SinkJob) -> None:
        """Give a job's readers the results that they may have, and the total once all results are here."""
        if job.reader is not None and not (job.reader.unasked and not job.small):
            self._serve(job, job.reader)
        for viewer in job.viewers.values():
            self._serve(job, viewer)

    def _serve(self, job: SinkJob, reader: JobReader) -> None:
        while reader.next < min(reader.limit, job.servable):
            self._serve_segment(job, reader)
        if job.over and reader.next >= job.released and not reader.told_total:
            reader.told_total = True
            results = Results(job.stamp.job, reader.token, reader.next, 0, total=job.released)
            self._effects.append(Deliver(reader.client, results, []))

    def _serve_segment(self, job: SinkJob, reader: JobReader) -> None:
        first = reader.next
        stop = min(reader.limit, job.servable, first + MAX_SEGMENT)
        pieces, fails, own = job.results.between(first, stop)
        total = job.released if job.over and stop == job.released else None
        reader.told_total = total is not None
        results = Results(job.stamp.job, reader.token, first, stop - first, fails=own, total=total)
        reader.next = stop
        self._effects.append(Deliver(reader.client, results, pieces, fails))


def _span(job: SinkJob, want: Want) -> tuple[int, int]:
    """(first result, limit) of what is wanted: from the cursor on, if the client does not know that."""
    return (job.cursor, job.cursor + want.limit) if want.first < 0 else (want.first, want.limit)


def _extend(reader: JobReader, want: Want, first: int, limit: int) -> None:
    """A reader wants more, or the same once more."""
    if reader.unasked:
        reader.unasked, reader.next, reader.limit = False, first, 0
    elif first < reader.next and (want.first < 0 or reader.limit == limit):
        # The same limit again: what was sent is lost, or still on its way. The client drops copies.
        reader.next = first
    reader.told_total = False
    reader.limit = max(reader.limit, limit)
