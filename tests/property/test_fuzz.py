"""Anything may come over a socket or off a disk: it is taken, dropped, or refused by name; never another way.

Machines are fed well-typed events in any order, most of which no correct peer would send; files are truncated
and bits in them flipped. Each seed is one run; one that fails is in the assertion's message.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zturbo.core.effects import Load, Reclaim, Run, Store
from zturbo.core.result_stream import ResultStream
from zturbo.core.sink.machine import SinkMachine
from zturbo.core.worker.machine import WorkerMachine
from zturbo.core.worker.produced import Produced
from zturbo.errors import DecodeError, VersionMismatch
from zturbo.runtime.code.cutting import cut_short
from zturbo.runtime.disk.safesizes import SafeSizes
from zturbo.runtime.disk.spool import Spool, SpoolCorrupt, SpoolFull
from zturbo.runtime.disk.spoolfolder import SpoolFolder
from zturbo.wire.codec import decode, encode
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.codec import pack_control, read_answer, read_request
from zturbo.wire.control.message import Message
from zturbo.wire.control.newjob import NewJob
from zturbo.wire.control.view import Member, View
from zturbo.wire.messages import (
    PROTOCOL,
    Batch,
    End,
    Fail,
    Greet,
    Mark,
    Ping,
    Probe,
    Results,
    Stamp,
    Statement,
    Want,
)
from zturbo.wire.payload import pack_error, pack_many
from zturbo_broker.machine.known import PipelineInfo
from zturbo_broker.machine.machine import BrokerMachine
from zturbo_broker.members.speakers import speaker_of

IDS = [bytes([letter]) * 16 for letter in b"abcdef"]
JOBS = [bytes([letter]) * 16 for letter in b"XYZ"]
ERROR = pack_error(
    {
        "kind": "TaskError",
        "type": "E",
        "message": "",
        "traceback": "",
        "stage": "s",
        "index": 0,
        "path": [],
        "host": "",
        "pid": 0,
        "meta": None,
    }
)
SEEDS = [*range(60), pytest.param(int.from_bytes(os.urandom(4), "big"), id="fresh")]


def seeded(seed: int) -> random.Random:
    """What a test's choices come from. It is said which seed that is, so that a fresh one can be repeated."""
    print(f"seed {seed}")
    return random.Random(seed)


class Anything:
    """Well-typed values of every kind, few enough that they meet."""

    def __init__(self, seed: int) -> None:
        self.rng = seeded(seed)

    def path(self) -> tuple[int, ...]:
        part = self.rng.choice([0, 1, 2, 3, 1 << 60, (1 << 60) + 1])
        return tuple(self.rng.choice([0, 1, 2, part]) for _ in range(self.rng.randrange(4)))

    def stamp(self, job: bytes | None = None) -> Stamp:
        rng = self.rng
        return Stamp(
            job or rng.choice(JOBS),
            rng.randrange(4),
            "p",
            {rng.randrange(3): rng.choice(IDS)} if rng.random() < 0.5 else {},
            rng.choice(IDS),
            rng.choice(["fsync", "process", "memory"]),
            (Mark(1, self.path(), rng.choice(["", "WorkerLost"]), "text"),) if rng.random() < 0.3 else (),
            rng.choice(["path", "none", "meta:at"]),
            rng.random() < 0.2,
            rng.randrange(3),
            rng.choice([b"", b"spool"]),
            rng.choice(["", "", "failures", "all"]),
            codes={rng.randrange(3): rng.choice(["", "new"])} if rng.random() < 0.2 else {},
        )

    def batch(self) -> Batch:
        """A batch, with riders at times."""
        head = self._part()
        for sub in range(1, self.rng.choice([1, 1, 1, 2, 4])):
            rider = self._part()
            rider.stage, rider.number, rider.sub = head.stage, head.number, sub
            rider.source, rider.target = head.source, head.target
            head.riders.append(rider)
        return head

    def _part(self) -> Batch:
        rng = self.rng
        job = rng.choice(JOBS)
        runs: list[Any] = []
        for _ in range(rng.randrange(3)):
            path = self.path()
            runs.append((path, rng.randint(1, 3) if path and path[-1] < 1 << 60 else 1))
        n = sum(count for _, count in runs)
        return Batch(
            job,
            rng.randrange(4),
            rng.randrange(4),
            runs,
            n,
            pack_many(list(range(n))),
            rng.choice([None, pack_many([[{"at": rng.randint(-1, 3)}, None] for _ in range(n)])]),
            [],
            [End(self.path(), rng.randrange(4), None) for _ in range(rng.randrange(2))],
            [Fail(self.path(), rng.randrange(3), ERROR) for _ in range(rng.randrange(2))],
            self.stamp(job) if rng.random() < 0.6 else None,
            rng.randint(1, 6),
            rng.choice(IDS),
            rng.choice(IDS),
        )

    def statement(self) -> Statement:
        rng = self.rng
        pairs = [(rng.randrange(8), rng.randrange(8)) for _ in range(rng.randrange(3))]
        return Statement(
            rng.choice(IDS),
            rng.choice(IDS),
            rng.randrange(8),
            rng.randrange(8),
            pairs,
            rng.randrange(100),
            rng.randrange(10_000),
            rng.randrange(4),
            rng.random() < 0.3,
            [(number, rng.randrange(3), index) for number, index in pairs],
            rng.random() < 0.2,
            rng.random() < 0.2,
        )

    def message(self) -> Any:
        rng = self.rng
        return rng.choice(
            [
                self.batch,
                self.batch,
                self.batch,
                self.statement,
                lambda: Greet(rng.choice(IDS), rng.choice(IDS), rng.randrange(6)),
                lambda: Ping(rng.choice(IDS), rng.choice(IDS), rng.randrange(3)),
                lambda: Probe(rng.choice(IDS), rng.choice(IDS), rng.randrange(5), ((rng.randrange(6), 0),)),
                lambda: Results(rng.choice(JOBS), 1, 0, 1),
                lambda: Want(rng.choice(JOBS), rng.randrange(4), rng.randint(-1, 5), rng.randrange(9)),
            ]
        )()

    def member(self, incarnation: bytes) -> Member:
        rng = self.rng
        role = rng.choice(["worker", "worker", "sink"])
        ends = ("ipc://x",)
        if role == "sink":
            return Member(incarnation, "sink", "", -1, "h", ends, ends, spool=rng.choice([b"", b"spool"]))
        return Member(incarnation, "worker", "p", rng.randrange(3), "h", ends, ordered=rng.random() < 0.3)

    def view(self, *sure: Member) -> View:
        rng = self.rng
        members = [self.member(incarnation) for incarnation in rng.sample(IDS, rng.randrange(len(IDS)))]
        broker = Member(rng.choice([b"B" * 16, b"C" * 16]), "broker", "", -1, "h", ("ipc://x",))
        everybody = [broker, *members, *sure]
        return View(rng.randrange(50), {member.incarnation: member for member in everybody})


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ordered", [False, True])
def test_a_worker_takes_anything(seed: int, ordered: bool) -> None:
    any_ = Anything(seed)
    rng = any_.rng
    me = IDS[0]
    many = 0 if ordered else rng.choice([0, 3])
    machine = WorkerMachine(me, pipeline="p", stage=1, stages=3, ordered=ordered, concurrency=many)
    myself = Member(me, "worker", "p", 1, "h", ("ipc://x",), ordered=ordered)
    now = 0.0
    running: list[Any] = []
    for _ in range(300):
        now += rng.random() * 0.3
        what = rng.randrange(10)
        if what < 5:
            machine.data(any_.message(), now)
        elif what == 5:
            machine.view(any_.view(myself), now)
        elif what == 6:
            machine.stamp(any_.stamp(), now)
        elif what == 7:
            machine.forget([rng.choice(JOBS)], now)
        elif what == 8:
            machine.control(from_broker.AskEntered(job=rng.choice(JOBS), epoch=rng.randrange(4)), now)
            machine.control(from_broker.HeldOk(broker=rng.choice(IDS)), now)
        machine.tick(now)
        for effect in machine.effects:
            if isinstance(effect, Run):
                running.append(effect.work)
            elif isinstance(effect, Reclaim):
                machine.reclaimed(effect.work, cut_short(effect.work), now)
        machine.effects.clear()
        if running and rng.random() < 0.5:
            work = running.pop(rng.randrange(len(running)) if many else 0)
            n = work.size - work.cut
            out = Batch(work.job, work.epoch, 0, [((9, rng.randrange(9)), 1)], 1, pack_many([1]))
            done = [(work.origin, n)]
            machine.produced(Produced(work.job, work.epoch, done, out, n, 0.001 * n, (work,)), now)
        machine.check()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sink_takes_anything(seed: int) -> None:
    any_ = Anything(seed)
    rng = any_.rng
    me = IDS[0]
    machine = SinkMachine(me, b"spool", share=50)
    myself = Member(me, "sink", "", -1, "h", ("ipc://x",), ("ipc://y",), spool=b"spool")
    now = 0.0
    storing: list[int] = []
    for _ in range(300):
        now += rng.random() * 0.3
        what = rng.randrange(10)
        if what < 5:
            machine.data(any_.message(), now)
        elif what == 5:
            machine.view(any_.view(myself), now)
        elif what == 6:
            machine.stamp(any_.stamp(), now)
        elif what == 7:
            machine.forget([rng.choice(JOBS)], now)
        elif what == 8:
            want = Want(
                rng.choice(JOBS), rng.randrange(4), rng.randint(-1, 9), rng.randrange(20), rng.randrange(9)
            )
            machine.want(rng.choice(IDS), want, now)
        else:
            machine.confirm([rng.choice(JOBS)], now)
            machine.control(from_broker.AskEntered(job=rng.choice(JOBS), epoch=rng.randrange(4)), now)
        machine.tick(now)
        storing += [effect.token for effect in machine.effects if isinstance(effect, Store)]
        machine.effects.clear()
        if storing and rng.random() < 0.7:
            machine.stored(storing, now)
            storing = []
        machine.check()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_broker_takes_anything(seed: int) -> None:
    any_ = Anything(seed)
    rng = any_.rng
    me = Member(b"B" * 16, "broker", "", -1, "h", ("ipc://x",))
    machine = BrokerMachine(me, [PipelineInfo("p", ["a", "b", "c"])], view=1, lease=2.0, version="1")
    now = 0.0
    client = b"c" * 16

    def roots(job: bytes, first: int, n: int) -> Batch:
        return Batch(job, 0, 0, [((first,), n)], n, pack_many(list(range(n))))

    def say(message: Message) -> None:
        machine.control(speaker_of(message) or client, message, now)

    def submit() -> None:
        news, contents = [], []
        for _ in range(rng.choice([1, 1, 2, 3])):
            stream = rng.random() < 0.7
            options = rng.choice(
                [{}, {"timeout": 5.0}, {"max_retry": 1}, {"bad": 1}, {"durability": "memory"}]
            )
            new = NewJob(
                job=rng.choice(JOBS),
                name="n",
                pipeline=rng.choice(["p", "q"]),
                stream=stream,
                options=options,
                meta=None,
                digest=rng.choice([b"1", b"2"]),
                parts=0 if stream else 1,
            )
            news.append(new)
            contents += [] if stream else [pack_many([1])]
        say(to_broker.Submit(client=client, jobs=tuple(news), contents=contents))

    def feed() -> None:
        job, n, first = rng.choice(JOBS), rng.randint(1, 3), rng.randrange(6)
        contents = (pack_many(list(range(n))),)
        seq = rng.randrange(4)
        say(to_broker.Feed(job=job, seq=seq, first=first, n=n, metas=None, contents=contents))

    def hello() -> None:
        member = any_.member(rng.choice(IDS))
        message = to_broker.Hello(
            member=member,
            node=b"n" * 16,
            pid=1,
            protocol=rng.choice([PROTOCOL] * 3 + [PROTOCOL + 1]),
            version="1",
            python="3",
            stage_name=rng.choice("abc"),
            code="",
            view=rng.choice([0, 0, machine.membership.number]),
            jobs=((rng.choice(JOBS), rng.randrange(4), 0),),
        )
        machine.control(member.incarnation, message, now)

    def exited() -> None:
        some = rng.choice([0, 1, 1, 3])
        running = tuple(
            (rng.choice(JOBS), rng.randrange(4), any_.path(), rng.randrange(3)) for _ in range(some)
        )
        cause = rng.choice(["", "", "timeout"])
        say(
            to_broker.Exited(
                node=b"n" * 16,
                incarnation=rng.choice(IDS),
                code=-9,
                text="SIGKILL",
                who="w",
                cause=cause,  # type: ignore[arg-type]
                running=running,
            )
        )

    def of(cls: type[Message], **fields: Any) -> Callable[[], None]:
        """Say one of these, of some job and some member."""

        def say_it() -> None:
            some = {"job": rng.choice(JOBS), "incarnation": rng.choice(IDS), "node": b"n" * 16}
            made = {field: value() if callable(value) else value for field, value in fields.items()}
            say(cls(**{field: value for field, value in some.items() if field in cls.kinds()}, **made))

        return say_it

    held = lambda: ((rng.choice(JOBS), rng.randrange(4), (((rng.randrange(5),), 2),), 2, 50),)  # noqa: E731
    events: list[Callable[[], None]] = [
        submit,
        submit,
        feed,
        feed,
        hello,
        hello,
        hello,
        hello,
        exited,
        lambda: machine.data(any_.statement(), now),
        lambda: machine.data(any_.message(), now),
        of(to_broker.CloseFeed, chunks=lambda: rng.randrange(4), total=lambda: rng.randrange(9)),
        of(to_broker.Attach),
        of(to_broker.Cancel),
        of(to_broker.Release),
        lambda: say(to_broker.Jobs(job=None, over=())),
        of(
            to_broker.Complete,
            jobs=lambda: tuple((rng.choice(JOBS), 1, 1, rng.randrange(2)) for _ in range(2)),
        ),
        of(to_broker.JobFailed, epoch=1, kind="JobFailed", error="e"),
        of(to_broker.Broken, peer=lambda: rng.choice(IDS)),
        of(to_broker.Draining),
        of(to_broker.Trouble, text="t"),
        of(to_broker.Pause, epoch=1),
        of(to_broker.RootsTaken, epoch=1, taken=(3, 4, 1)),
        of(to_broker.Held, broker=b"B" * 16, items=held),
        of(to_broker.Entered, epoch=1, roots=((0, 2),)),
        of(to_broker.Recovered, jobs=(), damaged=lambda: (rng.choice(JOBS),)),
        of(to_broker.StartFailed, who="p.a", error="no", traceback=""),
        lambda: machine.life.feeds.heard(client, now),
        of(to_broker.Renew, alive=lambda: (rng.choice(IDS),)),
    ]
    for _ in range(400):
        now += rng.random() * 0.4
        rng.choice(events)()
        machine.tick(now)
        for effect in machine.effects:
            if isinstance(effect, Load):
                machine.loaded(effect.job, effect.seq, roots(effect.job, 0, 1), now)
        machine.effects.clear()
        machine.check()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_client_hears_anything(seed: int) -> None:
    """Whatever comes, in whatever order: each result is taken once, in order, and in the end all are."""
    rng = seeded(seed)
    job, total, now = JOBS[0], rng.randrange(40), 0.0
    first = rng.choice([-1, 0, rng.randrange(total + 1)])
    stream = ResultStream(job, 1, first)
    got: list[int] = []

    def hear(message: Results) -> None:
        before = stream.next
        skip = stream.results(message, 10 * message.n, now)
        if skip is not None:
            assert 0 <= skip < message.n
            got.extend(range(message.first + skip, message.first + message.n))
        assert stream.next >= before and (before < 0 or stream.next == before or skip is not None)

    def piece(at: int) -> Results:
        n = rng.randint(0, min(7, total - at))
        return Results(job, stream.token, at, n, total=total if at + n == total else None)

    for _ in range(200):
        now += rng.random()
        message = piece(rng.randrange(total + 1))
        match rng.randrange(9):
            case 0:
                message.job = JOBS[1]
            case 1:
                message.token = stream.token + rng.choice([-1, 1])
            case 2:
                message.problem = "superseded"
            case 3:
                stream.restart()
            case 4:
                stream.take(rng.randint(0, max(0, stream.next - stream.taken)))
            case 5:
                want = stream.want(now)
                assert want is None or (want.first == stream.next and want.limit >= stream.taken)
        hear(message)
    stream.restart()
    while not stream.complete:
        now += 1.0
        want = stream.want(now)
        assert want is not None, "it asks until it has all"
        hear(piece(max(0, want.first)))
        stream.take(stream.next - stream.taken)
    start = got[0] if got else total
    assert got == list(range(start, total)) and (first < 0 or start == min(first, total))
    assert stream.want(now) is None and stream.deadline() is None


@pytest.mark.parametrize("seed", SEEDS)
def test_bytes_that_were_changed_on_the_way(seed: int) -> None:
    any_ = Anything(seed)
    rng = any_.rng
    for _ in range(200):
        frames = [bytes(frame) for frame in encode(any_.message())]
        frame = bytearray(frames[0])
        for _ in range(rng.randint(1, 4)):
            change = rng.randrange(3)
            at = rng.randrange(len(frame)) if frame else 0
            if change == 0 and frame:
                frame[at] ^= 1 << rng.randrange(8)
            elif change == 1:
                del frame[at:]
            else:
                frame[at:at] = rng.randbytes(3)
        frames[0] = bytes(frame)
        try:
            decode(frames)
        except (DecodeError, VersionMismatch):
            continue


@pytest.mark.parametrize("seed", SEEDS)
def test_control_messages_that_were_changed_on_the_way(seed: int) -> None:
    any_ = Anything(seed)
    rng = any_.rng
    whole = [
        from_broker.NewStamp(stamp=any_.stamp()),
        from_broker.NewView(view=any_.view()),
        to_broker.Held(incarnation=IDS[0], broker=IDS[1], items=()),
        to_broker.Complete(incarnation=IDS[0], jobs=((JOBS[0], 1, 2, 0),)),
    ]
    for message in whole * 40:
        raw = bytearray(pack_control(message)[0])
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        for read in (read_request, read_answer):
            with contextlib.suppress(DecodeError):
                read([bytes(raw)])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_spool_that_was_damaged_is_never_served(seed: int, tmp_path: Path) -> None:
    rng = seeded(seed)
    folder = SpoolFolder(tmp_path)
    spool = folder.open(JOBS[0])
    records = [[rng.randbytes(rng.randrange(60)) for _ in range(rng.randint(1, 3))] for _ in range(20)]
    acked = rng.randint(1, len(records))
    for number, record in enumerate(records, 1):
        spool.append(record)
        if number == acked:
            folder.note_safe(JOBS[0], spool.size)
    spool.close()
    folder.close()
    raw = bytearray(spool.path.read_bytes())
    if rng.random() < 0.5:
        del raw[rng.randrange(len(raw)) :]
    else:
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    spool.path.write_bytes(raw)
    got: list[list[bytes]] = []
    folder = SpoolFolder(tmp_path)
    again = folder.open(JOBS[0])
    try:
        for _, frames in again.recover():
            got.append([bytes(frame) for frame in frames])
        folder.check(JOBS[0], again)
    except SpoolCorrupt:
        pass
    else:
        assert len(got) >= acked, "whatever is missing of what was acked is told"
    assert got == records[: len(got)], "what is served is what was written"
    again.close()
    folder.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_sizes_that_were_damaged_say_nothing_or_the_truth(seed: int, tmp_path: Path) -> None:
    rng = seeded(seed)
    sizes = SafeSizes(tmp_path / "safe")
    for job in IDS:
        sizes.add(job)
        for size in sorted(rng.sample(range(1, 1 << 40), 3)):
            sizes.note(job, size)
    before = {job: sizes[job] for job in IDS}
    sizes.drop(IDS[0])
    sizes.close()
    raw = bytearray((tmp_path / "safe").read_bytes())
    if rng.random() < 0.3:
        del raw[rng.randrange(200) :]
    for _ in range(rng.randrange(20)):
        if raw:
            raw[rng.randrange(min(200, len(raw)))] ^= 1 << rng.randrange(8)
    (tmp_path / "safe").write_bytes(raw)
    sizes = SafeSizes(tmp_path / "safe")
    assert set(sizes.jobs()) <= {*IDS[1:]}
    assert all(sizes[job] == before[job] for job in sizes.jobs())
    sizes.add(IDS[0])
    sizes.note(IDS[0], 7)
    sizes.close()
    sizes = SafeSizes(tmp_path / "safe")
    assert sizes[IDS[0]] == 7
    sizes.close()


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "s")
    spool.append([b"first"])

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwritev", full)
        with pytest.raises(SpoolFull):
            spool.append([b"second"])
    place = spool.append([b"third"])
    assert [bytes(frame) for frame in spool.read(place)] == [b"third"]
    spool.close()
