"""Messages of clients: submit, feed, attach, watch, cancel, release."""

from __future__ import annotations

from collections.abc import Sequence

from zturbo.core.effects import Reply
from zturbo.core.links.outbatch import part
from zturbo.errors import DecodeError
from zturbo.jobstates import ENDED, WHY_CANCELLED, JobState
from zturbo.wire.blobs import check_blob
from zturbo.wire.carried import carried_id, place_of
from zturbo.wire.control import answers, from_broker, to_broker
from zturbo.wire.control.newjob import NewJob, options_problem
from zturbo.wire.messages import PROTOCOL, Batch, Buffer, PathRun
from zturbo.wire.payload import NO_META
from zturbo.wire.traceparent import without_bad_context
from zturbo_broker.jobs.job import Job
from zturbo_broker.machine.descriptions import Descriptions
from zturbo_broker.machine.known import Known
from zturbo_broker.machine.lifecycle import Lifecycle

__all__ = ["FromClients"]

LET_GO = "the job is done, and its client has read its results, which are not kept"

WATCH = 5.0
"""Seconds after which a watch that its client does not repeat is forgotten."""


class FromClients:
    """Handlers of the messages of clients.

    Args:
        known: the facts that all parts use.
        life: the lifecycle of jobs.
        descriptions: knows what jobs wait for.
    """

    def __init__(self, known: Known, life: Lifecycle, descriptions: Descriptions) -> None:
        self.known = known
        self.say = known.say
        self.effects = known.effects
        self.pipelines = known.pipelines
        self.membership = known.membership
        self.table = known.table
        self.life = life
        self.descriptions = descriptions
        self._readers = known.membership.number << 32
        """Token of the last reader of results: of two that attach to a job the later one has the higher."""

    def client_hello(self, identity: bytes, message: to_broker.ClientHello, now: float) -> None:
        """A client introduces itself."""
        if message.protocol != PROTOCOL:
            text = f"the client speaks protocol {message.protocol}, this broker {PROTOCOL}"
            self.effects.append(
                Reply(identity, from_broker.Error(ref=message.ref, kind="VersionMismatch", message=text))
            )
            return
        greeting = answers.Greeting(
            version=self.known.version,
            cluster=self.known.cluster,
            pipelines=tuple(sorted(self.pipelines)),
            max_task_bytes={name: pipeline.max_task_bytes for name, pipeline in self.pipelines.items()},
        )
        self.say.now(identity, message.ref, greeting)

    def submit(self, identity: bytes, message: to_broker.Submit, now: float) -> None:
        """A client submits jobs; one that comes twice is one job.

        Raises:
            DecodeError: the frames are not those of these jobs.
        """
        if sum([new.parts for new in message.jobs]) != len(message.contents):
            raise DecodeError(f"jobs of other frames than the {len(message.contents)} that came")
        found: list[tuple[Job, int] | answers.Outcome] = []
        full: answers.Outcome | None = None
        apart: set[int] = set()
        at = 0
        for new in message.jobs:
            contents = message.contents[at : at + new.parts]
            at += new.parts
            if full := full or self._full(message.client, new, contents):
                found.append(full)
                continue
            try:
                if new.carries and self._apart(new):
                    apart.add(len(found))
                    found.append(self._take_apart(message.client, new, contents, now))
                else:
                    found.append(self._take(message.client, new, contents, now))
            except DecodeError as error:
                found.append(_refusal("UsageError", f"submit: {error}"))
        self.life.settle(now)  # they may have their places now
        outcomes = [
            one if isinstance(one, answers.Outcome) else _accepted(self._whereabouts(*one), number in apart)
            for number, one in enumerate(found)
        ]
        self.say.ok(identity, message.ref, tuple(outcomes))

    def _full(self, client: bytes, new: NewJob, contents: Sequence[Buffer]) -> answers.Outcome | None:
        """A refusal of jobs that there is no room for now; None for all others. A job that is here is no new
        one, and neither is one of those that had to be taken apart."""
        whose = client if self.known.user is None else self.known.user.name
        nbytes = sum([memoryview(content).nbytes for content in contents])
        quotas, jobs = self.table.quotas, new.carries or 1
        refusal = quotas.full(whose, new.name, jobs, nbytes)
        if refusal is None or self.table.locate(new.job)[0] is not None:
            return None
        if new.carries and self.table.find(carried_id(new.job, 0)) is not None:
            return None
        quotas.refuse(whose, jobs)
        return _refusal("BrokerUnavailable", refusal.why).but(after=refusal.after)

    def _take(
        self, client: bytes, new: NewJob, contents: Sequence[Buffer], now: float
    ) -> tuple[Job, int] | answers.Outcome:
        """A new job, or one that is known, with the token of its client as a reader; or why it is refused.

        Raises:
            DecodeError: its root cannot be read.
        """
        root = None if new.stream and not new.carries else _roots_of(new, contents)
        known, root_of = self.table.locate(new.job)
        owner = "" if self.known.user is None else self.known.user.name
        if known is not None:
            other = root_of < 0 and known.digest != new.digest  # one that travels has no digest of its own
            if other or (self.known.user is not None and known.owner != owner):
                return _refusal("JobConflict", "this job id was submitted with other content")
            # Of a carrier, this is the same message once more. One of its jobs has a new reader.
            again = known.reader if known.carries and root_of < 0 else 0
            return known, again or self._next_reader()
        pipeline = self.pipelines.get(new.pipeline)
        if pipeline is None:
            names = ", ".join(sorted(self.pipelines)) or "none"
            text = f"no pipeline {new.pipeline!r} here; this broker has: {names}"
            return _refusal("UnknownPipeline", text)
        options = without_bad_context(new.options)
        if problem := options_problem({"order": pipeline.order, **options}):
            return _refusal("UsageError", problem)
        job = Job(
            id=new.job,
            name=new.name,
            pipeline=pipeline.name,
            client=client,
            stream=new.stream or new.carries > 0,
            options={**options, "order": "roots"} if new.carries else options,
            digest=new.digest,
            owner=owner,
            closed=not new.stream,
            carries=new.carries,
            names=new.names,
        )
        token = self._next_reader()
        if job.id in self.life.forgets:  # of an earlier job that had this id
            self.effects.extend(self.life.forgets.say_now())
        if root is not None:
            self.life.roots.add(job, 0 if new.carries else -1, root.n, root)
            job.total = root.n
            job.reader = token
        self.table.add(job)
        self.life.watch_time(job, now)
        pipeline.waiting[job.id] = None
        self.life.unplaced = True
        self.life.record(job)
        return job, token

    def _apart(self, new: NewJob) -> bool:
        """Whether jobs that came to travel together have to be jobs of their own.

        They have where a stage is ordered, has a state for each job, or is not known, and where results have
        an order across a job.
        """
        if self.table.find(new.job) is not None:
            return False  # it is known, and so are its jobs
        pipeline = self.pipelines.get(new.pipeline)
        if pipeline is None:
            return False  # it is refused
        if self.table.find(carried_id(new.job, 0)) is not None:
            return True  # it has come before
        here = (self.membership.members(pipeline.name, index) for index in range(len(pipeline.stages)))
        plain = all(members and not any(m.ordered or m.stateful for m in members) for members in here)
        return not plain or pipeline.order not in ("path", "roots", "none")

    def _take_apart(
        self, client: bytes, new: NewJob, contents: Sequence[Buffer], now: float
    ) -> tuple[Job, int] | answers.Outcome:
        """Take jobs that came to travel together one by one. Returns as :meth:`_take`, for the first.

        Raises:
            DecodeError: the contents are not theirs.
        """
        roots = _roots_of(new, contents)
        taken: list[tuple[Job, int] | answers.Outcome] = []
        for root in range(new.carries):
            name = new.names[root] if new.names else new.name
            own = part(roots, root, root + 1)
            meta = None if own.metas == NO_META else own.metas
            one = new.but(job=carried_id(new.job, root), carries=0, name=name, names=(), meta=meta)
            taken.append(self._take(client, one, [own.blob], now))
        first = taken[0]
        if isinstance(first, answers.Outcome):
            return first
        # It is told of all: one of them that was cancelled meanwhile does not stand for the others.
        jobs = [one[0] for one in taken if not isinstance(one, answers.Outcome)]
        good = [job for job in jobs if job.state not in (JobState.FAILED, JobState.CANCELLED)]
        return (good or jobs)[0], first[1]

    def feed(self, identity: bytes, message: to_broker.Feed, now: float) -> None:
        """A chunk of a streamed job's roots.

        Raises:
            DecodeError: it does not have as many roots as it says.
        """
        runs: list[PathRun] = [((message.first,), message.n)]
        roots = _roots(message.job, runs, message.n, message.metas, message.contents)
        ref = message.ref
        job = self.table.find(message.job)
        if job is None:
            self.say.error(identity, ref, "UsageError", "no such job")
        elif job.state in ENDED and (job.state is not JobState.DONE or message.seq >= job.fed):
            self.say.error(identity, ref, "JobError", f"the job is {job.state}")
        elif not job.stream or (job.closed and message.seq >= job.fed):
            self.say.error(identity, ref, "UsageError", "the job's feed is closed")
        elif message.seq > job.fed:
            return  # an earlier chunk got lost; the client repeats both
        elif message.seq < job.fed:
            if (identity, ref) not in job.owed_acks:
                self.say.ok(identity, ref, answers.Fed(fed=job.fed))
        else:
            first = job.total
            if message.first != first or message.n != roots.n:
                self.say.error(identity, ref, "UsageError", f"chunk {message.seq} begins at root {first}")
                return
            self.life.roots.add(job, first, roots.n, roots)
            self.table.quotas.grew(job, roots.nbytes)
            job.total += roots.n
            self.life.queue(job)
            if self.life.roots.crowded(job):
                job.owed_acks.append((identity, ref))
            else:
                self.say.ok(identity, ref, answers.Fed(fed=job.fed))

    def close_feed(self, identity: bytes, message: to_broker.CloseFeed, now: float) -> None:
        """A client says that it has fed all roots of a streamed job."""
        ref = message.ref
        job = self.table.find(message.job)
        if job is None or not job.stream:
            self.say.error(identity, ref, "UsageError", "no such streamed job")
        elif message.chunks > job.fed:
            return  # a chunk got lost; the client repeats it, and this message
        elif message.chunks < job.fed or message.total != job.total:
            self.say.error(identity, ref, "UsageError", f"{job.fed} chunks with {job.total} roots are here")
        else:
            if not job.closed:
                job.closed = True
                self.life.feeds.close(job.client, job.id)
                self.life.record(job)
                self.life.queue(job)
            self.say.ok(identity, ref, answers.Fed(fed=job.fed))

    def attach(self, identity: bytes, message: to_broker.Attach, now: float) -> None:
        """A client asks where a job's results are."""
        job, root = self.table.locate(message.job)
        if job is None or root in job.let_go:
            self.say.error(
                identity, message.ref, "UsageError", "no such job, or its results are not kept any more"
            )
        elif job.state is JobState.DONE and not job.results_kept:
            self.say.error(identity, message.ref, "ResultsLost", LET_GO)
        else:
            self.life.seekers.asks(identity, job.id, now)
            at = self._whereabouts(job, self._next_reader()).but(name=job.name_of(root))
            if (state := job.state_of(root)) is not job.state:
                kind, error = job.error_of(root)
                at = at.but(state=state.value, kind=kind, error=error)
            self.say.ok(identity, message.ref, at.but(waiting=self.descriptions.waits_for(job)))

    def watch(self, identity: bytes, message: to_broker.Watch, now: float) -> None:
        """A client waits for the end of these jobs: the answer comes when one has ended.

        The client repeats the question each second as long as it waits, and has one such question at a time.
        """
        ref, names = message.ref, message.jobs
        ended: list[tuple[bytes, str, str | None, str | None]] = []
        waits: dict[bytes, tuple[bytes, ...]] = {}
        for name in names:
            job, root = self.table.locate(name)
            if job is None or root in job.let_go:
                ended.append((name, "unknown", None, None))
            elif (state := job.state_of(root)) in ENDED:
                ended.append((name, state.value, *job.error_of(root)))
            else:
                waits[job.id] = (*waits.get(job.id, ()), name)
        self.life.watches.pop(identity, None)
        if ended or not names:
            self.say.ok(identity, ref, tuple(ended))
        else:
            self.life.watches[identity] = (ref, waits, now)
        for gone in [who for who, (_, _, at) in self.life.watches.items() if now - at > WATCH]:
            del self.life.watches[gone]

    def _next_reader(self) -> int:
        self._readers += 1
        return self._readers

    def _whereabouts(self, job: Job, token: int) -> answers.Whereabouts:
        state, kind, error = job.state, job.error_kind, job.error
        sink = self.life.history.sink_of(job)
        gone = sink is None and job.stamp is not None and job.stamp.spool not in self.life.lost_sinks
        if gone and state is JobState.DONE:
            state, kind, error = JobState.FAILED, "ResultsLost", "the sink that had the results is gone"
        return answers.Whereabouts(
            name=job.name,
            fed=job.fed,
            token=token,
            state=str(state),
            epoch=job.epoch,
            error=error,
            kind=kind,
            waiting=job.waiting,
            sink=b"" if sink is None else sink.incarnation,
            results=() if sink is None else sink.results,
            host="" if sink is None else sink.host,
            key="" if sink is None else sink.key,
        )

    def cancel(self, identity: bytes, message: to_broker.Cancel, now: float) -> None:
        """A client ends a job now."""
        job, root = self.table.locate(message.job)
        if job is None:
            self.say.error(identity, message.ref, "UsageError", "no such job")
            return
        if job.state_of(root) not in ENDED and root >= 0:
            self._cancel_carried(job, root, now)
        elif job.state not in ENDED and root < 0:
            self.life.end(job, JobState.CANCELLED, *WHY_CANCELLED, now)
        self.say.ok(identity, message.ref, answers.State(state=job.state_of(root).value))

    def _cancel_carried(self, job: Job, root: int, now: float) -> None:
        """A client ends one of the jobs that travel together. Its work may go on as long as theirs does."""
        job.cancelled.add(root)
        self._record_carried(job, now)

    def release(self, identity: bytes, message: to_broker.Release, now: float) -> None:
        """A client lets go of a job: its results are needed no more, and if it runs it is cancelled."""
        job, root = self.table.locate(message.job)
        if job is not None and root >= 0:
            self._release_carried(job, root, now)
        elif job is not None and message.history:
            if job.state not in ENDED and not message.complete:
                self.life.end(job, JobState.CANCELLED, *WHY_CANCELLED, now)
            self.life.history.let_go_of(job, now)
        elif job is not None and job.state in ENDED:
            self.life.history.prune(job, now)
        elif job is not None:
            self.life.end(job, JobState.CANCELLED, "JobCancelled", "its client let go of it", now)
            self.life.history.prune(job, now)
        state = "unknown" if job is None else job.state.value
        self.say.ok(identity, message.ref, answers.State(state=state))

    def _release_carried(self, job: Job, root: int, now: float) -> None:
        """A client lets go of one of the jobs that travel together: the last one ends all."""
        job.let_go.add(root)
        if job.state_of(root) not in ENDED:
            job.cancelled.add(root)
        self._record_carried(job, now)
        if len(job.let_go) == job.carries:
            self.life.history.prune(job, now)

    def _record_carried(self, job: Job, now: float) -> None:
        """Note which of the jobs that travel together are needed no more, and end them all if none is."""
        if job.state not in ENDED and len(job.cancelled | job.let_go) == job.carries:
            self.life.end(job, JobState.CANCELLED, *WHY_CANCELLED, now)
        else:
            self.life.record(job)


def _accepted(at: answers.Whereabouts, apart: bool) -> answers.Outcome:
    return answers.Outcome(at=at, kind=None, error=None, apart=apart)


def _refusal(kind: str, text: str) -> answers.Outcome:
    return answers.Outcome(at=None, kind=kind, error=text)


def _roots_of(new: NewJob, contents: Sequence[Buffer]) -> Batch:
    """The root of a job that is no stream, or of each job that it stands for; raises DecodeError."""
    if not new.carries and not new.names:
        return _roots(new.job, [((), 1)], 1, new.meta, contents)
    if new.stream or place_of(new.job)[1] >= 0 or new.options.keys() - {"durability", "priority"}:
        raise DecodeError("jobs that cannot travel together")
    if new.names and len(new.names) != new.carries:
        raise DecodeError(f"{len(new.names)} names of {new.carries} jobs that travel together")
    return _roots(new.job, [((0,), new.carries)], new.carries, new.meta, contents)


def _roots(job: bytes, runs: list[PathRun], n: int, metas: bytes | None, contents: Sequence[Buffer]) -> Batch:
    """Roots as a client sent them. Raises DecodeError if there are not ``n``."""
    if not contents:
        raise DecodeError("roots without their contents")
    if n > 1 and len(contents) > 1:
        raise DecodeError("a chunk with out-of-band buffers is to have one root")
    blob, buffers = bytes(contents[0]), list(contents[1:])
    check_blob(blob, n)
    if metas is not None:
        check_blob(metas, n)
    return Batch(job, 0, 0, runs, n, blob, metas, buffers)
