"""Messages to frames and back; everything else is refused."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zturbo.errors import DecodeError, VersionMismatch
from zturbo.wire.codec import decode, encode
from zturbo.wire.control import Member, View, pack_control, unpack_control
from zturbo.wire.messages import (
    Batch,
    End,
    Fail,
    Greet,
    Mark,
    Probe,
    Results,
    Stamp,
    Statement,
    Want,
)

ids = st.binary(min_size=16, max_size=16)
ints = st.integers(0, 2**62)
paths = st.lists(ints, max_size=6).map(tuple)
runs = st.tuples(paths.filter(bool), st.integers(1, 1000)) | st.just(((), 1))
stamps = st.builds(
    Stamp,
    job=ids,
    epoch=ints,
    pipeline=st.text(max_size=9),
    ordered=st.dictionaries(ints, ids, max_size=3),
    sink=ids,
    durability=st.sampled_from(["fsync", "process", "memory"]),
    marks=st.lists(
        st.tuples(ints, paths, st.text(max_size=5), st.text(max_size=5)).map(lambda t: Mark(*t)), max_size=2
    ).map(tuple),
    order=st.sampled_from(["path", "none", "meta:frame"]),
    logs=st.booleans(),
)


@st.composite
def batches(draw: Any) -> Batch:
    chosen = draw(st.lists(runs, max_size=3))
    n = sum(count for _, count in chosen)
    return Batch(
        job=draw(ids),
        epoch=draw(ints),
        stage=draw(ints),
        runs=chosen,
        n=n,
        blob=draw(st.binary(max_size=30)) if n else b"",
        metas=draw(st.none() | st.binary(max_size=9)),
        buffers=draw(st.lists(st.binary(max_size=9), max_size=2)) if n else [],
        ends=draw(st.lists(st.builds(End, paths, ints, st.none() | st.binary(max_size=5)), max_size=2)),
        fails=draw(st.lists(st.builds(Fail, paths, ints, st.binary(max_size=5)), max_size=2)),
        stamp=draw(st.none() | stamps),
        number=draw(st.integers(1, 2**40)),
        source=draw(ids),
        target=draw(ids),
    )


messages = (
    batches()
    | st.builds(Greet, ids, ids, ints)
    | st.builds(Probe, ids, ids, ints)
    | st.builds(
        Statement,
        ids,
        ids,
        ints,
        ints,
        st.lists(st.tuples(ints, ints), max_size=3),
        ints,
        ints,
        ints,
        st.booleans(),
        st.lists(st.tuples(ints, ints), max_size=3),
        st.booleans(),
    )
    | st.builds(Want, ids, ints, st.integers(-1, 99), ints, ints)
    | st.builds(
        Results,
        ids,
        ints,
        ints,
        ints,
        st.binary(max_size=9),
        st.none() | st.binary(max_size=9),
        st.lists(st.binary(max_size=9), max_size=2),
        st.lists(st.tuples(ints, st.binary(max_size=5)), max_size=2),
        st.none() | ints,
        st.none() | st.text(max_size=9),
    )
)


@settings(max_examples=400, deadline=None)
@given(messages)
def test_there_and_back(message: Any) -> None:
    assert decode([bytes(frame) for frame in encode(message)]) == message


@settings(max_examples=400, deadline=None)
@given(messages, st.data())
def test_damaged_messages_are_refused_or_read(message: Any, data: st.DataObject) -> None:
    frames = [bytearray(bytes(frame)) for frame in encode(message)]
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(frames[0]) - 1))
        frames[0][at] = data.draw(st.integers(0, 255))
    try:
        decode([bytes(frame) for frame in frames[: data.draw(st.integers(0, len(frames)))]])
    except (DecodeError, VersionMismatch):
        pass


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=100), max_size=3))
def test_random_bytes_are_refused(frames: list[bytes]) -> None:
    with pytest.raises((DecodeError, VersionMismatch)):
        decode(frames)
    with pytest.raises(DecodeError):
        unpack_control(frames)


def test_another_protocol_version_is_named() -> None:
    with pytest.raises(VersionMismatch, match="the peer speaks protocol 2, this process 1"):
        decode([msgpack.packb((0x7A74, 2, 1))])


@pytest.mark.parametrize(
    "run", [((-1,), 1), ((0,), 0), ((), 2), ((1.5,), 1), ((True,), 1), (tuple(range(65)), 1), "run"]
)
def test_wrong_runs_are_refused(run: Any) -> None:
    batch = Batch(
        b"j" * 16, 1, 0, runs=[run], n=1, blob=b"\x01", number=1, source=b"s" * 16, target=b"t" * 16
    )
    with pytest.raises(DecodeError):
        decode([bytes(frame) for frame in encode(batch)])


def member() -> Member:
    return Member(b"m" * 16, "worker", "p", 0, "host", ("ipc:///x",), (), 1, True)


def test_control_messages_there_and_back() -> None:
    view = View(7, {b"m" * 16: member()})
    got = unpack_control(pack_control({"type": "view", "view": view}))
    assert got["view"] == view


@pytest.mark.parametrize(
    "message, said",
    [
        ({"type": "nonsense"}, "no known type"),
        ({"type": ["x"]}, "no known type"),
        ({"type": "cancel", "ref": 1}, "field 'job' is missing"),
        ({"type": "cancel", "ref": "1", "job": b"x" * 16}, "field 'ref' is of type str"),
        ({"type": "cancel", "ref": 1, "job": b"short"}, "field 'job' is no id"),
        ({"type": "cancel", "ref": 1, "job": b"x" * 16, "more": 1}, "unknown field 'more'"),
        ({"type": "view", "view": [1]}, "view is malformed"),
        ({"type": "view", "view": [1, [[1] * 9]]}, "member is malformed"),
        ({"type": "stamp", "stamp": [1] * 9}, "stamp"),
        ([1, 2], "no map"),
    ],
)
def test_wrong_control_messages_are_named(message: Any, said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        unpack_control([msgpack.packb(message)])
