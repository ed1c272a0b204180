"""Well-formed messages of wild values, from every peer: machines take them, and what they say can be sent."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from zturbo.core.effects import Control, Effect, Send
from zturbo.core.links.custody import Custody
from zturbo.core.links.senders import Senders
from zturbo.core.result_stream import ResultStream
from zturbo.core.sink.machine import SinkMachine
from zturbo.core.worker.machine import WorkerMachine
from zturbo.wire.codec import decode, encode
from zturbo.wire.control.codec import pack_control, read_request
from zturbo.wire.control.view import Member, View
from zturbo.wire.messages import (
    MAX_DEPTH,
    MAX_INT,
    MAX_RIDERS,
    MAX_STAGES,
    MAX_TRIAL,
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
from zturbo.wire.payload import pack_error

ME, PEER, BROKER = b"m" * 16, b"p" * 16, b"b" * 16
JOBS = [b"X" * 16, b"Y" * 16]
VIEW = View(
    1,
    {
        PEER: Member(PEER, "worker", "p", 0, "h", ("x",)),
        BROKER: Member(BROKER, "broker", "", -1, "h", ("x",)),
    },
)

wild = st.sampled_from([0, 1, 2, 3, 63, 1 << 31, 1 << 60, (1 << 60) + 1, MAX_INT - 1, MAX_INT])
small = st.integers(0, 3)
paths = st.lists(small | wild, max_size=4).map(tuple) | st.just((0,) * MAX_DEPTH)
errors = st.binary(max_size=30) | st.builds(
    lambda path, index, given_: pack_error({"path": path, "index": index, "given": given_}),
    st.lists(wild | st.just(-5), max_size=3),
    wild | st.just(-1),
    wild | st.just(-1),
)
stamps = st.builds(
    Stamp,
    job=st.sampled_from(JOBS),
    epoch=small | wild,
    pipeline=st.just("p"),
    ordered=st.dictionaries(st.sampled_from([0, 1, 2, MAX_STAGES]), st.sampled_from([ME, PEER]), max_size=2),
    sink=st.sampled_from([ME, PEER]),
    durability=st.just("memory"),
    marks=st.lists(
        st.builds(
            Mark, st.sampled_from([0, 1, MAX_STAGES]), paths, st.sampled_from(["", "E"]), st.text(), wild
        ),
        max_size=2,
    ).map(tuple),
    order=st.sampled_from(["path", "none", "meta:k"]),
    logs=st.booleans(),
    revision=small | wild,
    spool=st.just(b""),
    hold=st.sampled_from(["", "failures", "all", "success"]),
    fail_fast=st.booleans(),
    codes=st.dictionaries(st.sampled_from([0, 1, MAX_STAGES]), st.text(max_size=9), max_size=2),
)


@st.composite
def batches(draw: Any) -> Batch:
    runs = []
    for path in draw(st.lists(paths, max_size=2)):
        n = draw(st.integers(1, 3))
        runs.append((path, n if path and path[-1] + n <= MAX_INT else 1))
    n = sum(count for _, count in runs)
    stamp = draw(st.none() | stamps)
    return Batch(
        draw(st.sampled_from(JOBS)) if stamp is None else stamp.job,
        draw(small | wild) if stamp is None else stamp.epoch,
        draw(st.sampled_from([0, 1, 2, MAX_STAGES])),
        runs,
        n,
        draw(st.binary(min_size=n, max_size=n + 9)) if n else b"",
        draw(st.none() | st.binary(max_size=20)),
        draw(st.lists(st.binary(max_size=3), max_size=1)) if n == 1 else [],
        draw(st.lists(st.builds(End, paths, small | wild), max_size=2)),
        draw(st.lists(st.builds(Fail, paths, small | wild, errors), max_size=2)),
        stamp,
        draw(wild),
        draw(st.sampled_from([PEER, BROKER])),
        ME,
    )


pairs = st.lists(st.tuples(wild, wild), max_size=3)
statements = st.builds(
    Statement,
    st.just(PEER),
    st.just(ME),
    wild,
    wild,
    pairs,
    wild,
    wild,
    wild,
    st.booleans(),
    st.lists(st.tuples(wild, st.integers(0, MAX_RIDERS), wild), max_size=3),
    st.booleans(),
)
peers = st.sampled_from([PEER, BROKER])
wants = st.builds(Want, st.sampled_from(JOBS), wild, wild | st.just(-1), wild, wild)
messages = (
    batches()
    | batches()
    | statements
    | wants
    | st.builds(Greet, peers, st.just(ME), wild)
    | st.builds(Ping, peers, st.just(ME), st.sampled_from([0, 1, MAX_TRIAL]))
    | st.builds(Probe, peers, st.just(ME), wild, pairs.map(tuple))
)


def sayable(effects: list[Effect], *, machine: Any, now: float) -> None:
    """What the machine wants to say can be said, and read by who gets it."""
    for _ in range(3):
        todo = list(effects)
        effects.clear()
        for effect in todo:
            if isinstance(effect, Send):
                decode([bytes(frame) for frame in encode(effect.message)])
            elif isinstance(effect, Control):
                read_request(pack_control(effect.message))
            elif type(effect).__name__ == "Store":
                machine.stored([effect.token], now)  # type: ignore[attr-defined]
            elif type(effect).__name__ == "Deliver":
                decode([bytes(frame) for frame in encode(Results(effect.results.job, 0, 0, 0))])  # type: ignore[attr-defined]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["worker", "ordered", "sink"]), st.lists(messages, min_size=5, max_size=30))
def test_a_member_takes_wild_values(role: str, said: list[Any]) -> None:
    machine: Any = (
        SinkMachine(ME)
        if role == "sink"
        else WorkerMachine(ME, pipeline="p", stage=1, stages=2, ordered=role == "ordered")
    )
    me = Member(ME, "sink" if role == "sink" else "worker", "p", 1, "h", ("x",))
    machine.view(View(1, {**VIEW.members, ME: me}), 0.0)
    for peer in (PEER, BROKER):
        machine.data(Greet(peer, ME, 1), 0.0)
    now = 0.0
    for message in said:
        now += 0.3
        if isinstance(message, Batch) and message.source in machine.receivers.links:
            message.number = machine.receivers.links[message.source].received + 1
        got = decode([bytes(frame) for frame in encode(message)])
        if isinstance(got, Want):
            if role == "sink":
                machine.want(b"client", got, now)
        else:
            machine.data(got, now)
        machine.tick(now)
        machine.progress()
        sayable(machine.effects, machine=machine, now=now)
        machine.check()


@settings(max_examples=60, deadline=None)
@given(st.lists(statements, min_size=1, max_size=20))
def test_a_sender_takes_wild_statements(said: list[Statement]) -> None:
    effects: list[Effect] = []
    senders = Senders(ME, "h", Custody(), effects)
    senders.set_view(VIEW, [VIEW.members[PEER]], 0.0)
    for number, statement in enumerate(said):
        senders.statement(statement, float(number))
        senders.tick(float(number))
        senders.pump(float(number))
        sayable(effects, machine=None, now=0.0)
        senders.check()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(wild, st.integers(0, 5), st.none() | wild), max_size=20))
def test_a_client_takes_wild_results(said: list[tuple[int, int, int | None]]) -> None:
    stream = ResultStream(JOBS[0], 1, 0)
    for number, (first, n, total) in enumerate(said):
        stream.results(Results(JOBS[0], 1, first, n, b"x" * n, total=total), n, float(number))
        want = stream.want(float(number))
        if want is not None and want.first <= MAX_INT - 20_000:
            decode([bytes(frame) for frame in encode(want)])
