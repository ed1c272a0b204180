"""Well-formed control messages of wild values: a broker reads each, refuses it by name, or does it."""

from __future__ import annotations

import math
import os
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zturbo.core.effects import Confirm, Control, Reply
from zturbo.errors import DecodeError
from zturbo.wire.control import fields, from_broker, to_broker
from zturbo.wire.control.codec import MAX_CONTROL, pack_control, read_answer, read_request, ref_of
from zturbo.wire.control.gpu import Gpu
from zturbo.wire.control.message import OFTEN, Message
from zturbo.wire.control.newjob import NewJob
from zturbo.wire.control.report import Report
from zturbo.wire.control.view import Member
from zturbo.wire.messages import MAX_DEPTH, MAX_TEXT, PROTOCOL
from zturbo.wire.payload import pack_many
from zturbo.wire.stamps import stamp_from_wire, stamp_to_wire
from zturbo_broker.ledger.rows import job_of, row_of
from zturbo_broker.machine.known import PipelineInfo
from zturbo_broker.machine.machine import BrokerMachine
from zturbo_broker.members.speakers import speaker_of

IDS = [bytes([letter]) * 16 for letter in b"Babcde"]
ENDS = ("ipc:///tmp/x", "tcp://127.0.0.1:5555")
MEMBERS = st.builds(
    Member,
    st.sampled_from(IDS),
    st.sampled_from(["worker", "worker", "sink", "broker"]),
    st.sampled_from(["p", ""]),
    st.integers(-1, 3),
    st.sampled_from(["h", "elsewhere"]),
    st.just(ENDS),
    st.just(ENDS),
    st.integers(0, 1 << 31),
    st.booleans(),
    st.booleans(),
    st.sampled_from([b"", b"spool"]),
)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values that a kind allows, its extremes above all; few ids, so that they meet."""
    match kind:
        case fields.Int(low, high):
            return st.sampled_from(sorted({low, high, max(low, min(1, high)), max(low, min(0, high))}))
        case fields.Bool():
            return st.booleans()
        case fields.Text(length, _):
            return st.sampled_from(["", "p", "a", "1", "x" * length, "\x1b[31m", "\u202e"])
        case fields.Key():
            return st.sampled_from(IDS)
        case fields.Bytes(length):
            return st.sampled_from([b"", IDS[1], b"\xc1" * min(length, 64), pack_many([{}])])
        case fields.Choice(texts):
            return st.sampled_from(texts)
        case fields.Maybe(inner):
            return st.none() | values(inner)
        case fields.Scalar(length):
            return st.sampled_from(
                [None, True, 0, -1, (1 << 63) - 1, -(1 << 63), 5e-324, 1e308, "fsync", "path", "k" * length]
            )
        case fields.ListOf(inner, length):
            return st.lists(values(inner), max_size=min(3, length)).map(tuple)
        case fields.TupleOf(inner):
            return st.tuples(*map(values, inner))
        case fields.MapOf(key, inner, _):
            names = st.sampled_from(
                ["timeout", "priority", "max_retry", "order", "durability", "fail_fast", "traceparent"]
            )
            return st.dictionaries(names if isinstance(key, fields.Text) else values(key), values(inner))
        case fields.Parsed(read) if read == Member.from_wire:
            return MEMBERS
        case fields.Parsed(read) if read == Report.from_wire:
            drawn = {field: values(inner) for field, inner in Report.kinds().items()}
            return st.fixed_dictionaries(drawn).map(lambda new: Report(**new))
        case fields.Parsed(read) if read == Gpu.from_wire:
            drawn = {field: values(inner) for field, inner in Gpu.kinds().items()}
            return st.fixed_dictionaries(drawn).map(lambda new: Gpu(**new))
        case fields.Parsed(read) if read == NewJob.from_wire:
            drawn = {field: values(inner) for field, inner in NewJob.kinds().items()}
            return st.fixed_dictionaries({**drawn, "parts": st.integers(0, 2)}).map(lambda new: NewJob(**new))
    raise AssertionError(f"no values for {kind}")


def messages(name: str) -> st.SearchStrategy[Message]:
    """Messages of one type, as they are read off a socket."""
    cls = to_broker.MESSAGES[name]
    drawn = st.fixed_dictionaries({field: values(kind) for field, kind in cls.kinds().items()})
    root = (pack_many([0]),)
    if name == "submit":
        return st.builds(lambda wild, parts: cls(**wild, contents=root * parts), drawn, st.integers(0, 2)) | (
            drawn.map(lambda wild: cls(**wild, contents=root * sum(new.parts for new in wild["jobs"])))
        )
    return drawn.map(lambda wild: cls(**wild, contents=root) if name == "feed" else cls(**wild))


OF_THE_SHELL = ("log", "logs", "look", "seen")
"""The machine has no part in these."""
MESSAGES = st.one_of(*map(messages, to_broker.MESSAGES.keys() - {*OF_THE_SHELL}))


def test_the_machine_has_a_handler_for_each_message() -> None:
    me = Member(b"B" * 16, "broker", "", -1, "h", ENDS)
    handled = {cls.type_name for cls in BrokerMachine(me, [], view=1).handlers}
    assert handled == to_broker.MESSAGES.keys() - {*OF_THE_SHELL}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(MESSAGES, st.booleans()), max_size=25))
def test_a_broker_takes_any_message_that_the_schema_allows(said: list[tuple[Message, bool]]) -> None:
    """And its word on it, and on its ledger, can be packed and read."""
    me = Member(b"B" * 16, "broker", "", -1, "h", ENDS)
    machine = BrokerMachine(me, [PipelineInfo("p", ["a", "1"])], view=1, lease=2.0, version="1")
    now = 0.0
    for incarnation, role, stage in ((IDS[1], "worker", 0), (IDS[2], "worker", 1), (IDS[3], "sink", -1)):
        member = Member(incarnation, role, "p" if role == "worker" else "", stage, "h", ENDS, ENDS)
        hello = to_broker.Hello(
            member=member,
            node=IDS[4],
            pid=1,
            protocol=PROTOCOL,
            version="1",
            python="3",
            stage_name=["a", "1", "sink"][stage],
            code="",
            view=0,
            jobs=(),
        )
        machine.control(incarnation, hello, now)
    new = NewJob(job=IDS[5], name="n", pipeline="p", stream=True, options={}, digest=b"", meta=None, parts=0)
    job = to_broker.Submit(ref=1, client=IDS[4], jobs=(new,))
    machine.control(IDS[4], job, now)
    for message, later in said:
        now += 1.5 if later else 0.0
        read = read_request(pack_control(message))
        assert read == message
        try:
            machine.control(speaker_of(read) or IDS[4], read, now)
        except DecodeError:
            pass  # refused by name: a relation between fields that no schema has
        machine.tick(now)
        machine.control(IDS[4], to_broker.Jobs(ref=1, job=None, over=()), now)
        for effect in machine.effects:
            if isinstance(effect, (Control, Confirm, Reply)):
                read_answer([bytes(pack_control(effect.message)[0])])
        machine.effects.clear()
        machine.check()
    for known in machine.jobs.values():
        row = row_of(known)
        assert all(
            type(v) is not int or -(1 << 63) <= v < 1 << 63 for v in (row.epoch, row.total, row.results)
        )
        job_of(row, [(i, *known.chunks[i]) for i in range(len(known.chunks))])
        if known.stamp is not None:
            assert stamp_from_wire(msgpack.unpackb(msgpack.packb(stamp_to_wire(known.stamp)), use_list=False))


ODD = st.sampled_from(
    [
        None,
        True,
        -1,
        1 << 70,
        0.5,
        math.nan,
        math.inf,
        "",
        "x" * 60_000,
        b"",
        b"x" * 15,
        b"x" * 16,
        (),
        ((),),
        {},
    ]
)
READERS = {name: fields.reader_of(cls.kinds()) for name, cls in to_broker.MESSAGES.items()}


@pytest.mark.parametrize("name", to_broker.MESSAGES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_all_fields_are_read_together_as_each_is_checked(name: str, data: st.DataObject) -> None:
    message = msgpack.unpackb(
        pack_control(data.draw(messages(name)))[0], use_list=False, strict_map_key=False
    )
    del message["type"]
    kinds = to_broker.MESSAGES[name].kinds()
    for field in data.draw(st.lists(st.sampled_from([*kinds, "x"]), max_size=2)):
        message[field] = data.draw(ODD)
    checked: dict[str, Any] | None
    try:
        checked = {field: kind.check(message[field]) for field, kind in kinds.items()}
    except DecodeError:
        checked = None
    try:
        assert READERS[name](message) == checked
    except DecodeError:
        assert checked is None


def test_a_map_without_a_field_or_with_another_one_is_refused_also_where_many_have_come() -> None:
    for n in range(3 * OFTEN):
        cancel = {"type": "cancel", "job": IDS[1], "ref": n}
        assert read_request([msgpack.packb(cancel)]) == to_broker.Cancel(job=IDS[1], ref=n)
        for wrong, why in (
            ({**cancel, "x": 1}, "unknown field 'x'"),
            ({"type": "cancel", "ref": n}, "'job' is mis"),
        ):
            with pytest.raises(DecodeError, match=why):
                read_request([msgpack.packb(wrong)])
        with pytest.raises(DecodeError, match="field 'job' is not an id"):
            read_request([msgpack.packb({**cancel, "job": b"x"})])


GOOD = {"type": "complete", "incarnation": IDS[0], "job": IDS[1], "epoch": 1, "results": 2, "failed": 0}
EXIT = {"type": "exited", "node": IDS[0], "incarnation": IDS[1], "code": -9, "text": "", "who": "p.a"}


@pytest.mark.parametrize(
    "message",
    [
        {**GOOD, "results": -1},
        {**GOOD, "failed": (1 << 64) - 1},
        {**GOOD, "epoch": True},
        {**EXIT, "cause": "", "ref": 1, "running": [(IDS[0], 1, tuple(range(MAX_DEPTH + 1)), 0)]},
        {**EXIT, "cause": "", "ref": 1, "running": [(IDS[0], 1, (5,), -7)]},
        {**EXIT, "cause": "", "ref": 1, "running": [(IDS[0], 1, ((1 << 64) - 1,), 0)]},
        {"type": "progress", "incarnation": IDS[0], "counts": {IDS[1]: ((1 << 64) - 1,) * 4}},
        {"type": "progress", "incarnation": IDS[0], "counts": {b"short": (1,) * 4}},
        {"type": "trouble", "incarnation": IDS[0], "text": "x" * (MAX_TEXT + 1)},
        {"type": "get_view", "x": [{}] * 100_000},
        {"type": "get_view", "x": b"x" * MAX_CONTROL},
        {"type": "jobs", "ref": -1, "job": None, "over": []},
        {"type": "renewed"},
    ],
)
def test_values_beyond_the_bounds_are_refused(message: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        read_request([msgpack.packb(message)])


@pytest.mark.parametrize(
    "endpoint",
    [
        "ipc://",
        "tcp:bogus",
        "bogus://x",
        "inproc://x",
        "ipc:///" + "x" * 300,
        "ipc:///a\0b",
        "tcp://",
        "tcp://a.name:5",
        "tcp://1.2.3.4:0",
        "tcp://1.2.3.4:99999",
        "tcp://1.2.3.4:*",
        "",
    ],
)
def test_an_endpoint_that_nobody_can_connect_to_is_refused(endpoint: str) -> None:
    for member in (
        Member(IDS[1], "worker", "p", 0, "h", (endpoint,)),
        Member(IDS[1], "sink", "", -1, "h", ENDS, (endpoint,)),
    ):
        with pytest.raises(DecodeError, match="endpoint"):
            Member.from_wire(member.to_wire())


def test_long_texts_for_people_are_cut_where_they_are_said() -> None:
    message = to_broker.Trouble(incarnation=IDS[0], text="begin" + "x" * 50_000_000 + "end")
    read = read_request(pack_control(message))
    assert isinstance(read, to_broker.Trouble)
    assert len(read.text) <= MAX_TEXT and read.text.startswith("begin") and read.text.endswith("end")


@given(st.integers(0, 1 << 62), st.sampled_from(list(to_broker.MESSAGES)))
def test_a_request_that_cannot_be_read_has_a_ref(ref: int, name: str) -> None:
    assert ref_of([msgpack.packb({"type": name, "more": os.urandom(99), "ref": ref})]) == ref
    assert ref_of([msgpack.packb({"type": name})]) is None
    assert ref_of([]) is None


def test_every_number_of_the_schema_has_a_range() -> None:
    def ints(kind: Any) -> list[Any]:
        parts = [kind] if isinstance(kind, fields.Int) else []
        for part in kind if isinstance(kind, tuple) else ():
            parts += ints(part)
        return parts

    classes = [*to_broker.MESSAGES.values(), *from_broker.MESSAGES.values()]
    found = [one for cls in classes for kind in cls.kinds().values() for one in ints(kind)]
    assert found and all(-math.inf < one.low <= one.high <= 1 << 62 for one in found)
