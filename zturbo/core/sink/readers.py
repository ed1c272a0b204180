"""What clients have asked a sink for, and what they get.

A client asks for the results from one index up to another, not for some number of further ones. So a
question that is asked twice does no harm. A later reader of a job has a higher token, and supersedes the one
before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from zturbo.core.counts import EndedJobs
from zturbo.core.effects import Deliver, Effect, Free, Note
from zturbo.core.sink.carried import CarriedJob
from zturbo.core.sink.job import JobReader, SinkJob
from zturbo.wire.carried import place_of
from zturbo.wire.messages import READ_ONCE, Results, Want

__all__ = ["Readers"]

NOTE_CURSOR = 0.5
"""Seconds between two notes of how far a job's results were taken."""

MAX_SEGMENT = 2048
"""Results in one message to a client."""

MAX_WAITING = 10_000
"""Most questions of clients for jobs that are not here yet."""

MAX_CARRIED = 1024
"""Jobs of one carrier that are read by their own ids at a time."""

MAX_ENDS = 1024
"""Ends of roots in one message to a client."""

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
        self._waiting: dict[bytes, dict[tuple[bytes, bytes], Want]] = {}
        """A job that is not here yet, or its carrier -> (client, job) -> what it wants."""
        self._asked = 0
        """How many such questions there are."""
        self._carried: dict[bytes, dict[int, CarriedJob]] = {}
        """Carrier -> root -> the job, while clients read it by its own id."""

    def want(self, client: bytes, want: Want, now: float) -> bytes | None:
        """A client asks for results. Returns the job to be served now, or its carrier; None for none."""
        job = self._find(want.job)
        if job is None:
            self._want_later(client, want)
            return None
        name = job.id if isinstance(job, SinkJob) else job.carrier.id
        if not self.may_read(client, job.stamp.owner):
            self._refuse(client, want.job, want.token, NOT_YOURS)
            return None
        if isinstance(job, SinkJob) and 0 <= want.first < job.gone:
            self._refuse(client, want.job, want.token, READ_ONCE)
            return None
        if self.is_viewer(client):
            self._view(job, client, want)
            return name
        reader = job.reader
        if reader is not None and want.token < reader.token:
            self._refuse(client, want.job, want.token, SUPERSEDED)
            return None
        first, limit = _span(job, want)
        if reader is None or want.token > reader.token or reader.client != client:
            if reader is not None and reader.client != client:
                self._refuse(reader.client, want.job, reader.token, SUPERSEDED)
            reader = job.reader = _reader(job, client, want.token, first)
        _extend(job, reader, want, first, limit)
        self._taken(job, want.taken, now, once=want.once)
        return name

    def _find(self, name: bytes) -> SinkJob | CarriedJob | None:
        """The job of this id, or the one that a carrier has."""
        job = self._jobs.get(name)
        if job is not None:
            return job
        carrier, root = place_of(name)
        job = self._jobs.get(carrier)
        if job is None or root < 0 or job.stamp.order != "roots":
            return None
        here = self._carried.setdefault(carrier, {})
        if root not in here:
            here[root] = CarriedJob(job, root)
            if len(here) > MAX_CARRIED:
                del here[next(iter(here))]  # its client asks again
        return here[root]

    def _view(self, job: SinkJob | CarriedJob, client: bytes, want: Want) -> None:
        """A viewer asks for results."""
        first, limit = _span(job, want)
        viewer = job.viewers.get(client)
        if viewer is None or want.token > viewer.token:
            viewer = job.viewers[client] = _reader(job, client, want.token, first)
            if len(job.viewers) > MAX_VIEWERS:
                oldest = job.viewers.pop(next(iter(job.viewers)))
                self._refuse(oldest.client, want.job, oldest.token, SUPERSEDED)
        _extend(job, viewer, want, first, limit)

    def _want_later(self, client: bytes, want: Want) -> None:
        """The sink does not have this job: it was told to forget it, or the job's stamp is still on the
        way."""
        carrier, _ = place_of(want.job)
        if want.job in self._ended or carrier in self._ended:
            self._refuse(client, want.job, want.token, NOT_KEPT)
            return
        asked = self._waiting.setdefault(carrier, {})
        self._asked += (client, want.job) not in asked
        asked[client, want.job] = want
        if self._asked > MAX_WAITING:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        """Forget a question for a job that is not here. Its client asks again."""
        carrier, asked = next(iter(self._waiting.items()))
        del asked[next(iter(asked))]
        self._asked -= 1
        if not asked:
            del self._waiting[carrier]

    def _taken(self, job: SinkJob | CarriedJob, taken: int, now: float, *, once: bool) -> None:
        """A client has taken so many of the job's results. That is noted in the spool, twice a second at
        most. If they are to be read once, they may go."""
        job.take(taken)
        if job.cursor > job.noted[1] and now >= job.noted[0] + NOTE_CURSOR:
            job.noted = (now, job.cursor)
            self._effects.append(Note(job.id, None, job.cursor))
        if once and isinstance(job, SinkJob):
            job.once = True
            if job.cursor > job.freed:
                pieces = job.free(job.cursor)
                self._effects.append(Free(job.id, job.freed, pieces))

    def begin(self, job: bytes) -> list[tuple[bytes, Want]]:
        """A job has come to this sink: (client, what it wants) for each client that has asked for it, or for
        a job that it carries."""
        carrier, _ = place_of(job)
        asked = self._waiting.pop(carrier, {})
        self._asked -= len(asked)
        other = {key: want for key, want in asked.items() if job not in (want.job, carrier)}
        if other:
            self._waiting[carrier] = other
            self._asked += len(other)
        return [(client, want) for (client, name), want in asked.items() if (client, name) not in other]

    def end(self, job: SinkJob) -> None:
        """A job is forgotten: tell its readers, and those of jobs that it carries."""
        ending: list[SinkJob | CarriedJob] = [job, *self._carried.pop(job.id, {}).values()]
        for one in ending:
            for reader in (*([] if one.reader is None else [one.reader]), *one.viewers.values()):
                self._refuse(reader.client, one.id, reader.token, NOT_KEPT)

    def drop(self, job: bytes) -> None:
        """A job is here no more; its readers learn from the broker where it is."""
        self._carried.pop(job, None)

    def _refuse(self, client: bytes, job: bytes, token: int, problem: str) -> None:
        self._effects.append(Deliver(client, Results(job, token, 0, 0, problem=problem), []))

    def serve(self, job: SinkJob) -> None:
        """Give a job's readers the results that they may have, and the total once all results are here."""
        self._serve_all(job)
        if (here := self._carried.get(job.id)) is not None:
            for root, carried in list(here.items()):
                self._serve_all(carried)
                if carried.told:
                    del here[root]
            if not here:
                del self._carried[job.id]

    def _serve_all(self, job: SinkJob | CarriedJob) -> None:
        reader = job.reader
        if reader is not None and (not reader.unasked or job.small or job.stamp.order == "roots"):
            self._serve(job, reader)
        for viewer in job.viewers.values():
            self._serve(job, viewer)

    def _serve(self, job: SinkJob | CarriedJob, reader: JobReader) -> None:
        while reader.next < min(reader.limit, job.servable):
            self._serve_segment(job, reader)
        while reader.ended < (known := job.ends.until(min(reader.next, job.servable))):
            self._serve_ends(job, reader, known)
        if job.over and reader.next >= job.released and not reader.told_total:
            reader.told_total = True
            self._give(job, reader, Results(job.id, reader.token, reader.next, 0, total=job.released))

    def _serve_segment(self, job: SinkJob | CarriedJob, reader: JobReader) -> None:
        first = reader.next
        stop = min(reader.limit, job.servable, first + MAX_SEGMENT)
        pieces, fails, own = job.between(first, stop)
        if stop == first + MAX_SEGMENT:
            stop = _whole(pieces, fails, own, stop)
        results = Results(job.id, reader.token, first, stop - first, fails=own)
        reader.next = stop
        self._end_roots(job, reader, results)
        if job.over and stop == job.released and reader.ended == len(job.ends):
            results.total = job.released
        reader.told_total = results.total is not None
        self._give(job, reader, results, pieces, fails)

    def _serve_ends(self, job: SinkJob | CarriedJob, reader: JobReader, known: int) -> None:
        """Tell of roots that have ended without results after those that the reader has."""
        results = Results(job.id, reader.token, reader.next, 0)
        self._end_roots(job, reader, results)
        self._give(job, reader, results)

    def _end_roots(self, job: SinkJob | CarriedJob, reader: JobReader, results: Results) -> None:
        """Put the ends of roots among these results into the message, as many as it may have."""
        known = min(job.ends.until(results.first + results.n), reader.ended + MAX_ENDS)
        if reader.ended < known:
            results.roots = job.ends.pairs(reader.ended, known)
            reader.ended = known

    def _give(
        self,
        job: SinkJob | CarriedJob,
        reader: JobReader,
        results: Results,
        pieces: list[tuple[int, int, int]] | None = None,
        fails: list[tuple[int, int, int]] | None = None,
    ) -> None:
        carrier = b"" if isinstance(job, SinkJob) else job.carrier.id
        self._effects.append(Deliver(reader.client, results, pieces or [], fails or [], carrier))


def _span(job: SinkJob | CarriedJob, want: Want) -> tuple[int, int]:
    """(first result, limit) of what is wanted: from the cursor on, if the client does not know that."""
    return (job.cursor, job.cursor + want.limit) if want.first < 0 else (want.first, want.limit)


def _whole(
    pieces: list[tuple[int, int, int]],
    fails: list[tuple[int, int, int]],
    own: list[tuple[int, bytes]],
    stop: int,
) -> int:
    """Leave the last piece to the next message, if it does not stand alone.

    It may be cut, and to cut contents takes as long as to unpack them.

    Returns:
        the index where the results end.
    """
    if len(pieces) < 2:
        return stop
    _, start, end = pieces[-1]
    begin = stop - (end - start)
    failed = [index for index, _, _ in fails[-1:]] + [index for index, _ in own[-1:]]
    if failed and max(failed) >= begin:
        return stop
    pieces.pop()
    return begin


def _reader(job: SinkJob | CarriedJob, client: bytes, token: int, first: int) -> JobReader:
    """A reader that has asked for results from this one on."""
    reader = JobReader(client, token, first, 0)
    reader.go_to(first, job.ends)
    return reader


def _extend(job: SinkJob | CarriedJob, reader: JobReader, want: Want, first: int, limit: int) -> None:
    """A reader wants more, or the same once more."""
    if reader.unasked:
        reader.unasked, reader.limit = False, 0
        reader.go_to(first, job.ends)
    elif (first < reader.next and (want.first < 0 or reader.limit == limit)) or (
        first == reader.next and reader.limit == limit
    ):
        # The same limit again: what was sent is lost, or still on its way. The client drops copies.
        reader.go_to(first, job.ends)
    reader.told_total = False
    reader.limit = max(reader.limit, limit)
