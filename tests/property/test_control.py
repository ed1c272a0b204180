"""Well-formed control messages of wild values: a broker reads each, refuses it by name, or does it."""

from __future__ import annotations

import math
import os
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zturbo.errors import DecodeError
from zturbo.wire import schema as kinds
from zturbo.wire.codec import stamp_from_wire, stamp_to_wire
from zturbo.wire.control import (
    FROM_BROKER,
    MAX_CONTROL,
    SCHEMA,
    TO_BROKER,
    Member,
    pack_control,
    ref_of,
    unpack_control,
)
from zturbo.wire.messages import MAX_DEPTH, MAX_TEXT, Batch
from zturbo.wire.payload import pack_many
from zturbo_broker.machine import BrokerMachine, PipelineInfo
from zturbo_broker.rows import job_of, row_of
from zturbo_broker.strikes import Death

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
        case kinds.Int(low, high):
            return st.sampled_from(sorted({low, high, max(low, min(1, high)), max(low, min(0, high))}))
        case kinds.Bool():
            return st.booleans()
        case kinds.Text(length):
            return st.sampled_from(["", "p", "a", "1", "x" * length, "\x1b[31m", "\u202e"])
        case kinds.Id():
            return st.sampled_from(IDS)
        case kinds.Bytes(length):
            return st.sampled_from([b"", IDS[1], b"\xc1" * min(length, 64), pack_many([{}])])
        case kinds.Choice(texts):
            return st.sampled_from(texts)
        case kinds.Optional_(inner):
            return st.none() | values(inner)
        case kinds.Scalar(length):
            return st.sampled_from(
                [None, True, 0, -1, (1 << 63) - 1, -(1 << 63), 5e-324, 1e308, "fsync", "path", "k" * length]
            )
        case kinds.ListOf(inner, length):
            return st.lists(values(inner), max_size=min(3, length)).map(tuple)
        case kinds.TupleOf(inner):
            return st.tuples(*map(values, inner))
        case kinds.MapOf(key, inner, _):
            names = st.sampled_from(["timeout", "priority", "max_retry", "order", "durability", "fail_fast"])
            return st.dictionaries(names if isinstance(key, kinds.Text) else values(key), values(inner))
        case kinds.Parsed(read) if read == Member.from_wire:
            return MEMBERS
    raise AssertionError(f"no values for {kind}")


MESSAGES = st.one_of(
    *(
        st.fixed_dictionaries({"type": st.just(name), **{f: values(kind) for f, kind in fields.items()}})
        for name, fields in TO_BROKER.items()
    )
)


def feed(machine: BrokerMachine, who: bytes, m: dict[str, Any], now: float) -> None:
    """What the broker's server does with a message."""
    match m["type"]:
        case "submit":
            root = None if m["stream"] else Batch(m["job"], 0, 0, [((), 1)], 1, b"\x01", m["meta"])
            machine.submit(who, m, root, now)
        case "feed":
            roots = Batch(m["job"], 0, 0, [((m["first"],), 1)], 1, b"\x01")
            machine.feed(who, {**m, "n": 1}, roots, now)
        case "exited":
            machine.exited(m["incarnation"], now, Death(-1, m["stage"], m["text"], m["cause"], m["running"]))
        case "leave":
            machine.exited(m["incarnation"], now)
        case "renew":
            machine.renew(m["node"], m["alive"], now)
        case "start_failed":
            machine.start_failed(m["stage"], m["error"], now)
        case "progress":
            machine.note_progress(m["incarnation"], m["counts"])
        case "last_counts":
            machine.last_counts(m, now)
        case "hello" | "complete" | "held" | "recovered" | "watch" | "cancel" | "release" | "close_feed":
            getattr(machine, m["type"])(who, m, now)
        case "job_failed" | "broken" | "pause" | "entered" | "kept":
            getattr(machine, m["type"])(m, now)
        case "draining":
            machine.drain(m, now)
        case "trouble":
            machine.note_trouble(m)
        case "get_view":
            machine.get_view(who)
        case "attach":
            machine.attach(who, m)
        case "jobs":
            machine.describe(who, {**m, "job": None}, now)
        case "client_hello" | "log" | "logs":
            pass  # the machine has no part in these


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(MESSAGES, st.booleans()), max_size=25))
def test_a_broker_takes_any_message_that_the_schema_allows(said: list[tuple[dict[str, Any], bool]]) -> None:
    """And what it says of it, and writes to its ledger, can be packed and read."""
    me = Member(b"B" * 16, "broker", "", -1, "h", ENDS)
    machine = BrokerMachine(me, [PipelineInfo("p", ["a", "1"])], view=1, lease=2.0, version="1")
    now = 0.0
    for incarnation, role, stage in ((IDS[1], "worker", 0), (IDS[2], "worker", 1), (IDS[3], "sink", -1)):
        member = Member(incarnation, role, "p" if role == "worker" else "", stage, "h", ENDS, ENDS)
        hello = {"member": member, "node": IDS[4], "pid": 1, "protocol": 1, "version": "1", "view": 0}
        machine.hello(incarnation, {**hello, "stage": ["a", "1", "sink"][stage], "jobs": ()}, now)
    job = {"ref": 1, "client": IDS[4], "job": IDS[5], "name": "n", "pipeline": "p", "stream": True}
    machine.submit(IDS[4], {**job, "options": {}, "digest": b"", "meta": None}, None, now)
    for message, later in said:
        now += 1.5 if later else 0.0
        read = unpack_control(pack_control(message), TO_BROKER)
        try:
            feed(machine, IDS[4], read, now)
        except DecodeError:
            pass  # refused by name: a relation between fields that no schema has
        machine.tick(now)
        machine.describe(IDS[4], {"ref": 1, "job": None, "over": []}, now)
        for effect in machine.effects:
            if (word := getattr(effect, "message", None)) is not None and isinstance(word, dict):
                unpack_control([bytes(pack_control(word)[0])], FROM_BROKER)
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


GOOD = {"type": "complete", "incarnation": IDS[0], "job": IDS[1], "epoch": 1, "results": 2, "failed": 0}
EXIT = {"type": "exited", "node": IDS[0], "incarnation": IDS[1], "code": -9, "text": "", "stage": "p.a"}


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
        unpack_control([msgpack.packb(message)], TO_BROKER)


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
    message = {"type": "trouble", "incarnation": IDS[0], "text": "begin" + "x" * 50_000_000 + "end"}
    text = unpack_control(pack_control(message), TO_BROKER)["text"]
    assert len(text) <= MAX_TEXT and text.startswith("begin") and text.endswith("end")


@given(st.integers(0, 1 << 62), st.sampled_from(list(TO_BROKER)))
def test_a_request_that_cannot_be_read_has_a_ref(ref: int, name: str) -> None:
    assert ref_of([msgpack.packb({"type": name, "more": os.urandom(99), "ref": ref})]) == ref
    assert ref_of([msgpack.packb({"type": name})]) is None
    assert ref_of([]) is None


def test_every_number_of_the_schema_has_a_range() -> None:
    def ints(kind: Any) -> list[Any]:
        parts = [kind] if isinstance(kind, kinds.Int) else []
        for part in kind if isinstance(kind, tuple) else ():
            parts += ints(part)
        return parts

    found = [one for fields in SCHEMA.values() for kind in fields.values() for one in ints(kind)]
    assert found and all(-math.inf < one.low <= one.high <= 1 << 62 for one in found)
