"""Well-formed messages of wild values in a broker's name: members, nodes and clients take each."""

from __future__ import annotations

import logging
import os
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.test_control import IDS, MEMBERS, values
from tests.property.test_wild import BROKER, JOBS, ME, messages, sayable, stamps
from zturbo.client.io import ClientIO
from zturbo.core.sink.machine import SinkMachine
from zturbo.core.worker.machine import WorkerMachine
from zturbo.errors import ZturboError
from zturbo.runtime.node.node import Node
from zturbo.wire.codec import decode, encode
from zturbo.wire.control import answers, fields, from_broker, to_broker
from zturbo.wire.control.codec import pack_control, read_answer
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import Member, View, ViewChange
from zturbo.wire.messages import MAX_INT, Batch, Want
from zturbo.wire.stamps import stamp_from_wire

ENDS = ("ipc:///tmp/x",)
PLAIN = st.recursive(
    st.sampled_from([None, True, -1, 1 << 63, 1e308, "", "done", "x" * 100, b"", IDS[1]]),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=5,
)


def views(me: Member) -> st.SearchStrategy[View]:
    """Members from anywhere, as a rule with this one."""
    return st.builds(
        lambda number, members, here: View(
            number, {member.incarnation: member for member in (*members, *([me] if here else []))}
        ),
        st.sampled_from([0, 1, 2, 3, MAX_INT]),
        st.lists(MEMBERS, max_size=4),
        st.sampled_from([True, True, True, False]),
    )


def changes(me: Member) -> st.SearchStrategy[ViewChange]:
    """Changes of any two views, in any order; members who leave that never were there."""
    return st.builds(
        lambda base, number, joined, here, left: ViewChange(
            base, number, (*joined, *[me] * here), tuple(left)
        ),
        st.integers(0, 9) | st.just(1 << 62),
        st.integers(0, 9) | st.just(1 << 62),
        st.lists(MEMBERS, max_size=5),
        st.booleans(),
        st.lists(st.sampled_from([*IDS, me.incarnation]), max_size=3),
    )


def wild(kind: Any, me: Member) -> st.SearchStrategy[Any]:
    """Values that a kind of a broker's message allows."""
    match kind:
        case fields.Parsed(read) if read == View.from_wire:
            return views(me)
        case fields.Parsed(read) if read == ViewChange.from_wire:
            return changes(me)
        case fields.Parsed(read) if read == stamp_from_wire:
            return stamps
        case fields.Raw():
            return PLAIN
        case fields.Key():
            return st.sampled_from([*JOBS, *IDS, BROKER])
        case fields.ListOf(fields.Key(), _):
            return st.lists(st.sampled_from([*JOBS, *IDS]), max_size=3).map(tuple)
    return values(kind)


def said(me: Member) -> st.SearchStrategy[Message]:
    """What a broker may say, as it is read off a socket."""
    one_of = []
    for cls in from_broker.MESSAGES.values():
        some = {field: wild(kind, me) for field, kind in cls.kinds().items()}
        one_of.append(st.builds(cls, **some).map(lambda message: read_answer(pack_control(message))))
    return st.one_of(one_of)


WORKER = Member(ME, "worker", "p", 1, "h", ENDS)
SINK = Member(ME, "sink", "", -1, "h", ENDS, ENDS)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from(["worker", "ordered", "sink"]))
def test_a_member_takes_what_a_broker_may_say(data: st.DataObject, role: str) -> None:
    """Beside what its peers say; and its own words can be packed and read."""
    me = SINK if role == "sink" else WORKER
    machine: Any = (
        SinkMachine(ME)
        if role == "sink"
        else WorkerMachine(ME, pipeline="p", stage=1, stages=2, ordered=role == "ordered")
    )
    now = 0.0
    for message in data.draw(st.lists(said(me) | messages, max_size=25)):
        now += 0.3
        if isinstance(message, Message):
            machine.control(message, now)
        elif isinstance(message, Want):
            if role == "sink":
                machine.want(b"client", message, now)
        else:
            if isinstance(message, Batch):
                link = machine.receivers.links.get(message.source)
                message.number = 1 if link is None else link.received + 1
            machine.data(decode([bytes(frame) for frame in encode(message)]), now)
        machine.tick(now)
        machine.progress()
        sayable(machine.effects, machine=machine, now=now)
        machine.check()


@pytest.fixture(scope="module")
def node() -> Any:
    node = Node("ipc:///nobody/is/here", host="h")
    yield node
    node.close()


@settings(max_examples=50, deadline=None)
@given(messages=st.lists(said(WORKER), max_size=15))
def test_a_node_takes_what_a_broker_may_say(node: Node, messages: list[Message]) -> None:
    for message in messages:
        node._obey(message)
        node._look()
    assert not node.stopping and node._guard.caught == 0


@pytest.fixture(scope="module")
def io() -> Any:
    io = ClientIO("ipc:///nobody/is/here")
    yield io
    io.close()


REQUESTS = [
    to_broker.Attach(job=JOBS[0]),
    to_broker.Watch(jobs=(JOBS[0],)),
    to_broker.Jobs(job=None, over=()),
    to_broker.Cancel(job=JOBS[0]),
]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.lists(said(WORKER), max_size=15), request=st.sampled_from(REQUESTS))
def test_a_client_takes_what_a_broker_may_say(
    io: ClientIO, caplog: pytest.LogCaptureFixture, messages: list[Message], request: Any
) -> None:
    """Each question is answered with a value of its kind, or an error of ours."""
    caplog.set_level(logging.CRITICAL)
    future: Future[Any] = io.ask(request)
    asked: Future[None] = Future()

    def hear(now: float) -> None:
        try:
            for message in messages:
                io._hear(message)
            io._hear(from_broker.Ok(ref=io._ref, value=os.urandom(3)))
        except BaseException as error:
            asked.set_exception(error)
        else:
            asked.set_result(None)

    assert io.post(hear)
    asked.result(20)
    assert future.done()
    error = future.exception()
    if error is None:
        assert type(future.result()) in (type(None), tuple, answers.Whereabouts, answers.Description)
    else:
        assert isinstance(error, ZturboError)
