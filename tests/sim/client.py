"""The client in a simulated world: submits, feeds, reads; repeats what is not answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.sim.broker import BROKER
from zturbo.client.together import Together
from zturbo.core.result_stream import ResultStream
from zturbo.wire.carried import carried_id
from zturbo.wire.codec import decode, encode
from zturbo.wire.control import answers, from_broker, to_broker
from zturbo.wire.control.codec import pack_control, read_answer
from zturbo.wire.control.message import Answer, Request
from zturbo.wire.control.newjob import NewJob
from zturbo.wire.messages import Results
from zturbo.wire.payload import pack_many, unpack_error_map, unpack_many

if TYPE_CHECKING:
    from tests.sim.world import World

__all__ = ["CLIENT", "SimClient"]

CLIENT = b"client----------"


class SimClient:
    """All of a world's jobs are its."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ref = 0
        self.pending: dict[int, tuple[Request[Any], Callable[[Any], None]]] = {}
        self.streams: dict[bytes, ResultStream] = {}
        self.sinks: dict[bytes, bytes] = {}
        self.got: dict[bytes, list[Any]] = {}
        self.together: dict[bytes, Together] = {}
        """Carrier -> the jobs that travel with it."""
        self.again: set[bytes] = set()
        """Of these jobs those that are read by their own ids."""
        self.fed: set[bytes] = set()
        """Jobs with a stream of roots."""
        self.over: dict[bytes, str] = {}
        """Job -> the error that it ended with."""
        self.told: dict[bytes, answers.Status] = {}
        """Job -> its status, as it was asked for at once when all results were here."""
        world.net.receivers[CLIENT] = self.receive

    def ask(self, message: Request[Answer], then: Callable[[Answer], object] = lambda v: None) -> None:
        """Said each second until it is answered."""
        self.ref += 1
        self.pending[self.ref] = (message.but(ref=self.ref), then)
        self._say(self.ref)

    def _say(self, ref: int) -> None:
        if ref in self.pending:
            self.world.control(CLIENT, BROKER, pack_control(self.pending[ref][0]))
            self.world.later(1.0, lambda: self._say(ref))

    def submit(self, job: bytes, pipeline: str, roots: list[int] | int, options: dict[str, Any]) -> None:
        """Submit a job of one root, or a stream of them."""
        new = self._new(job, pipeline, options, stream=isinstance(roots, list))
        if isinstance(roots, list):
            self.fed.add(job)
        contents = () if isinstance(roots, list) else (pack_many([roots]),)
        message = to_broker.Submit(client=CLIENT, jobs=(new,), contents=contents)
        if isinstance(roots, list):
            self.ask(message, then=lambda value: (self._feed(job, roots), self._watch(job)))
        else:
            self.ask(message, then=lambda value: self._taken(job, value[0].at))

    def submit_crowd(self, crowd: list[tuple[bytes, int]], pipeline: str, options: dict[str, Any]) -> None:
        """Submit jobs of one root each, in one message."""
        jobs = tuple(self._new(job, pipeline, options, stream=False) for job, _ in crowd)
        contents = tuple(pack_many([root]) for _, root in crowd)

        def taken(value: Any) -> None:
            for (job, _), outcome in zip(crowd, value, strict=True):
                self._taken(job, outcome.at)

        self.ask(to_broker.Submit(client=CLIENT, jobs=jobs, contents=contents), then=taken)

    def submit_together(
        self, carrier: bytes, pipeline: str, roots: list[int], options: dict[str, Any]
    ) -> None:
        """Submit jobs of one root each, that travel together."""
        jobs = [carried_id(carrier, number) for number in range(len(roots))]
        for job in jobs:
            self._begin(job)
        new = self._new(carrier, pipeline, options, stream=False).but(carries=len(roots))
        contents = (pack_many(roots),)

        def taken(value: Any) -> None:
            (outcome,) = value
            if not outcome.apart:
                together = self.together[carrier] = Together(carrier, len(jobs), outcome.at.token)
                self.streams[carrier] = together.stream
                for job in jobs:
                    self.streams[job].turn(together.token)
                self._taken(carrier, outcome.at)
                for job in jobs:
                    if self.world.travel.random() < 0.2:  # by its own id too
                        self.world.later(
                            self.world.travel.random() * 4, lambda job=job: self._read_again(job)
                        )
                return
            del self.streams[carrier], self.got[carrier]
            for number, job in enumerate(jobs):
                self._taken(job, outcome.at.but(token=outcome.at.token + number))

        self.ask(to_broker.Submit(client=CLIENT, jobs=(new,), contents=contents), then=taken)

    def _read_again(self, job: bytes) -> None:
        """Read a job that travels with others by its own id: the results that come last have to fit too."""
        if not self.streams[job].complete and job not in self.over:
            self.again.add(job)
            self.streams[job].token = 0  # another reader, which gets a token of its own, and then asks a sink
            self.sinks.pop(job, None)
            self._watch(job)

    def _give_up(self, together: Together, why: str) -> None:
        """No more is read of a carrier: its jobs are read by their ids."""
        carrier = together.carrier
        self.over[carrier] = why
        del self.together[carrier]
        self.sinks.pop(carrier, None)
        for root in range(together.count):
            self._watch(carried_id(carrier, root))

    def _begin(self, job: bytes) -> None:
        self.got[job] = []
        self.streams[job] = ResultStream(job, 0, 0, once=bool(job[-1] % 2))

    def _new(self, job: bytes, pipeline: str, options: dict[str, Any], *, stream: bool) -> NewJob:
        self._begin(job)
        return NewJob(
            job=job,
            name=job.hex(),
            pipeline=pipeline,
            stream=stream,
            options=options,
            meta=None,
            digest=b"",
            parts=0 if stream else 1,
        )

    def _taken(self, job: bytes, at: answers.Whereabouts) -> None:
        """The broker has it: results may come unasked, or are asked for, soon or late."""
        self._placed(job, at)
        self.world.later(self.world.more.choice([0.0, 3.0]), lambda: self._watch(job))

    def cancel(self, job: bytes) -> None:
        """End a job."""
        if job in self.streams:
            self.ask(to_broker.Cancel(job=job))

    def _feed(self, job: bytes, roots: list[int]) -> None:
        first = seq = 0
        while first < len(roots):
            n = self.world.rng.randint(1, 40)
            part = roots[first : first + n]
            chunk = (pack_many(part),)
            self.ask(to_broker.Feed(job=job, seq=seq, first=first, n=len(part), metas=None, contents=chunk))
            first += len(part)
            seq += 1
        self.ask(to_broker.CloseFeed(job=job, chunks=seq, total=len(roots)))

    def _watch(self, job: bytes) -> None:
        """Ask where the results are, and for the next ones, until all are here."""
        stream = self.streams[job]
        if stream.complete or job in self.over:
            return
        if self.world.rng.random() < 0.2 or job not in self.sinks:
            self.ask(to_broker.Attach(job=job), then=lambda value: self._placed(job, value))
        if job in self.sinks:
            if self.world.sips and job in self.fed:
                stream.window = 3
            want = stream.want(self.world.now)
            if want is not None:
                self.world.data(CLIENT, self.sinks[job], encode(want))
        self.world.later(0.1, lambda: self._watch(job))

    def _placed(self, job: bytes, value: answers.Whereabouts) -> None:
        if job in self.over:
            return
        self.streams[job].turn(value.token)
        together = self.together.get(job)
        if value.state in ("failed", "cancelled"):
            carried = (
                [carried_id(job, root) for root in range(together.count)] if together is not None else []
            )
            for one in (job, *carried):
                if not self.streams[one].complete:
                    self.over.setdefault(one, value.kind)
            return
        if value.sink and together is not None and not together.fits(value.sink, value.epoch):
            self._give_up(together, "lost")
            return
        if value.sink and self.sinks.get(job) != value.sink:
            self.sinks[job] = value.sink
            self.streams[job].restart()

    def receive(self, source: bytes, frames: list[bytes]) -> None:
        """An answer of the broker's, or results."""
        if frames[0][:1] == b"\x01":
            message = decode([frames[0][1:], *frames[1:]])
            assert isinstance(message, Results)
            if self.sinks.get(message.job) == source:
                self._results(message)
            return
        answer = read_answer([frames[0][1:]])
        if isinstance(answer, from_broker.Moved):
            return  # it asks again by itself
        assert isinstance(answer, (from_broker.Ok, from_broker.Error)), answer
        entry = self.pending.pop(answer.ref, None)
        if entry is None:
            return
        request, then = entry
        if isinstance(answer, from_broker.Ok):
            then(request.answer().check(answer.value))
        elif answer.message == "no such job":
            self.pending[answer.ref] = entry  # a cancel has overtaken its submit: it is said again
        else:
            assert answer.kind == "JobError", answer

    def _results(self, message: Results) -> None:
        stream, nbytes = self.streams[message.job], len(message.blob)
        together = self.together.get(message.job)
        if together is not None:
            known = stream.next
            ended = together.take(message, nbytes, self.world.now)
            self.got[message.job] += _items(message)[message.n - (stream.next - known) :]
            for job, parts in ended:
                if job not in self.again and job not in self.over:
                    for part in parts:
                        self._take(part, self.streams[job].results(part, len(part.blob), self.world.now))
            if together.problem is not None:
                self._give_up(together, together.problem)
        else:
            self._take(message, stream.results(message, nbytes, self.world.now))
        if stream.problem is not None:
            job = self.world.broker.jobs().get(message.job)
            ended = job is not None and job.state in ("cancelled", "failed")
            assert stream.problem == "superseded" or ended, stream.problem
        if stream.complete and message.job not in self.told:
            question = to_broker.Jobs(job=message.job, over=(message.job,))
            self.ask(question, then=lambda value: self._told(message.job, value))

    def _take(self, message: Results, skip: int | None) -> None:
        """Take all results of a message but the first of them, which are known; None for nothing new."""
        if skip is not None:
            self.got[message.job] += _items(message)[skip:]
            self.streams[message.job].take(message.n - skip)

    def _told(self, job: bytes, value: answers.Description) -> None:
        self.told[job] = value.jobs[0]


def _items(message: Results) -> list[Any]:
    """The contents and failures in a message, in their order."""
    fails = dict(message.fails)
    contents = iter(unpack_many(message.blob, message.n - len(fails)))
    return [
        _outcome(fails[index]) if index in fails else next(contents)
        for index in range(message.first, message.first + message.n)
    ]


def _outcome(error: bytes) -> tuple[str, str, str]:
    """(stage, type, message) of a failure; a condemned task's stands for what the oracle raises."""
    fields = unpack_error_map(error)
    if fields["kind"] == "WorkerLost":
        return (fields["stage"], "RuntimeError", "poison")
    return (fields["stage"], fields["type"], fields["message"])
