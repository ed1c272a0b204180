"""Messages to frames and back; everything else is refused."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zturbo.errors import DecodeError, VersionMismatch
from zturbo.wire.codec import BadBatch, decode, encode
from zturbo.wire.control import from_broker
from zturbo.wire.control.codec import pack_control, read_answer, read_request
from zturbo.wire.control.view import Member, View
from zturbo.wire.messages import (
    MAX_DEPTH,
    MAX_ERROR,
    MAX_FRAMES,
    MAX_INT,
    MAX_MARKS,
    MAX_ORDER,
    MAX_RIDERS,
    MAX_STAGES,
    MAX_TEXT,
    MAX_TRIAL,
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
    Taken,
    Want,
)

ids = st.binary(min_size=16, max_size=16)
ints = st.integers(0, 2**62)
paths = st.lists(ints, max_size=6).map(tuple)
runs = st.tuples(paths.filter(lambda path: path and path[-1] < 2**61), st.integers(1, 1000)) | st.just(
    ((), 1)
)
stages = st.integers(0, MAX_STAGES)
stamps = st.builds(
    Stamp,
    job=ids,
    epoch=ints,
    pipeline=st.text(max_size=9),
    ordered=st.dictionaries(stages, ids, max_size=3),
    sink=ids,
    durability=st.sampled_from(["fsync", "process", "memory"]),
    marks=st.lists(
        st.builds(Mark, stages, paths, st.text(max_size=5), st.text(max_size=5), ints), max_size=2
    ).map(tuple),
    order=st.sampled_from(["path", "none", "meta:frame"]),
    logs=st.booleans(),
    trims=st.booleans(),
    taken=st.builds(Taken, ints, ints, ints),
)


@st.composite
def batches(draw: Any) -> Batch:
    chosen = draw(st.lists(runs, max_size=3))
    n = sum(count for _, count in chosen)
    return Batch(
        job=draw(ids),
        epoch=draw(ints),
        stage=draw(stages),
        runs=chosen,
        n=n,
        blob=draw(st.binary(min_size=n, max_size=n + 30)) if n else b"",
        metas=draw(st.none() | st.binary(max_size=9)),
        buffers=draw(st.lists(st.binary(max_size=9), max_size=2)) if n else [],
        ends=draw(st.lists(st.builds(End, paths, ints, st.none() | st.binary(max_size=5)), max_size=2)),
        fails=draw(st.lists(st.builds(Fail, paths, ints, st.binary(max_size=5)), max_size=2)),
        stamp=draw(st.none() | stamps),
        number=draw(st.integers(1, 2**40)),
        source=draw(ids),
        target=draw(ids),
    )


@st.composite
def shared(draw: Any) -> Batch:
    """A batch with riders, as its sender numbers it."""
    head = draw(batches())
    riders = draw(st.lists(batches(), max_size=3))
    for sub, rider in enumerate(riders, 1):
        rider.stage, rider.number, rider.sub = head.stage, head.number, sub
        rider.source, rider.target, rider.buffers = head.source, head.target, []
    head.riders = riders
    return head


@st.composite
def results(draw: Any) -> Results:
    n, first = draw(st.integers(0, 9)), draw(st.integers(0, 2**61))
    failed = st.tuples(st.integers(first, first + n - 1), st.binary(max_size=5))
    fails = draw(st.lists(failed, max_size=n)) if n else []
    return Results(
        job=draw(ids),
        token=draw(ints),
        first=first,
        n=n,
        blob=draw(st.binary(min_size=n, max_size=n + 9)),
        metas=draw(st.none() | st.binary(max_size=9)),
        buffers=draw(st.lists(st.binary(max_size=9), max_size=2)),
        fails=fails,
        total=draw(st.none() | ints),
        problem=draw(st.none() | st.text(max_size=9)),
    )


messages = (
    shared()
    | st.builds(Greet, ids, ids, ints)
    | st.builds(Ping, ids, ids, st.integers(0, MAX_TRIAL))
    | st.builds(Probe, ids, ids, ints, st.lists(st.tuples(ints, ints), max_size=3).map(tuple))
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
        st.lists(st.tuples(ints, st.integers(0, MAX_RIDERS), ints), max_size=3),
        st.booleans(),
    )
    | st.builds(Want, ids, ints, st.integers(-1, 99), ints, ints)
    | results()
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
        read_request(frames)


def test_another_protocol_version_is_named() -> None:
    with pytest.raises(VersionMismatch, match=f"the peer speaks protocol 99, this process {PROTOCOL}"):
        decode([msgpack.packb((0x7A74, 99, 1))])


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
    message = from_broker.NewView(view=view)
    assert read_answer(pack_control(message)) == message


@pytest.mark.parametrize(
    "message, said",
    [
        ({"type": "nonsense"}, "no known type"),
        ({"type": ["x"]}, "no known type"),
        ({"type": "cancel", "ref": 1}, "field 'job' is missing"),
        ({"type": "cancel", "ref": "1", "job": b"x" * 16}, "field 'ref' is of type str"),
        ({"type": "cancel", "ref": 1, "job": b"short"}, "field 'job' is not an id"),
        ({"type": "cancel", "ref": 1, "job": b"x" * 16, "more": 1}, "unknown field 'more'"),
        ({"type": "view", "view": [1]}, "view is malformed"),
        ({"type": "view", "view": [1, [[1] * 9]]}, "member is malformed"),
        ({"type": "stamp", "stamp": [1] * 9}, "stamp"),
        ([1, 2], "not a map"),
    ],
)
def test_wrong_control_messages_are_named(message: Any, said: str) -> None:
    from_a_broker = isinstance(message, dict) and message["type"] in ("view", "stamp")
    with pytest.raises(DecodeError, match=said):
        (read_answer if from_a_broker else read_request)([msgpack.packb(message)])


# -- bounds -----------------------------------------------------------------------------------
JOB, ME, PEER = b"j" * 16, b"m" * 16, b"p" * 16
MAGIC = 0x7A74


def raw_batch(**changed: Any) -> list[bytes]:
    """A batch of one task, as a stranger may write it."""
    fields = {
        "magic": MAGIC,
        "protocol": PROTOCOL,
        "kind": 1,
        "source": PEER,
        "target": ME,
        "number": 1,
        "job": JOB,
        "epoch": 1,
        "stage": 0,
        "runs": (((0,), 1),),
        "metas": None,
        "ends": (),
        "fails": (),
        "stamp": None,
        "riders": (),
    }
    return [msgpack.packb(tuple({**fields, **changed}.values())), b"\x01"]


def raw_stamp(**changed: Any) -> tuple[Any, ...]:
    fields = {
        "job": JOB,
        "epoch": 1,
        "pipeline": "p",
        "ordered": (),
        "sink": ME,
        "durability": "fsync",
        "marks": (),
        "order": "path",
        "logs": False,
        "revision": 0,
        "spool": b"",
        "hold": "",
        "fail_fast": False,
        "reader": b"",
        "token": 0,
        "codes": (),
        "owner": "",
        "trims": False,
        "taken": (0, 0, 0),
    }
    return tuple({**fields, **changed}.values())


def nested(depth: int) -> Any:
    value: Any = ()
    for _ in range(depth):
        value = (value,)
    return value


def test_the_raw_forms_are_what_is_encoded() -> None:
    assert decode(raw_batch(stamp=raw_stamp())) == Batch(
        JOB, 1, 0, [((0,), 1)], 1, b"\x01", stamp=Stamp(JOB, 1, "p", {}, ME), number=1, source=PEER, target=ME
    )


FIELDS = ("epoch", "pipeline", "ordered", "durability", "marks", "order", "logs")

WILD = [None, True, -1, 1 << 63, (1 << 64) - 1, 1.5, "x", "x" * 100_000, b"", b"x" * 17, (), nested(900)]


@pytest.mark.parametrize("wild", [pytest.param(value, id=str(i)) for i, value in enumerate(WILD)])
def test_wild_values_are_refused_or_read_in_every_field(wild: Any) -> None:
    for field in ("magic", "protocol", "kind", "number", "epoch", "stage", "runs", "ends", "fails", "stamp"):
        try:
            got = decode(raw_batch(**{field: wild}))
        except (DecodeError, VersionMismatch) as error:
            assert len(str(error)) < 200
        else:
            assert [bytes(frame) for frame in encode(got)] == raw_batch(**{field: wild})
    for field in (
        "epoch",
        "pipeline",
        "ordered",
        "durability",
        "marks",
        "order",
        "logs",
        "spool",
        "codes",
        "owner",
    ):
        try:
            got = decode(raw_batch(stamp=raw_stamp(**{field: wild})))
        except DecodeError as error:
            assert len(str(error)) < 200
        else:
            assert [bytes(frame) for frame in encode(got)] == raw_batch(stamp=raw_stamp(**{field: wild}))


@pytest.mark.parametrize(
    "changed",
    [
        {"runs": (((0,), 1 << 62),)},
        {"runs": (((0,), 2),)},
        {"runs": (((MAX_INT,), 1), ((MAX_INT - 1,), 2))},
        {"fails": (((0,), 0, b"x" * (MAX_ERROR + 1)),)},
        {"stamp": raw_stamp(marks=((0, tuple(range(MAX_DEPTH + 1)), "", "", 0),))},
        {"stamp": raw_stamp(marks=((0, (), "", "x" * (MAX_TEXT + 1), 0),))},
        {"stamp": raw_stamp(marks=((0, (), "", "", 0),) * (MAX_MARKS + 1))},
        {"stamp": raw_stamp(codes=((0, "x" * (MAX_TEXT + 1)),))},
        {"stamp": raw_stamp(codes=((0, ""),) * (MAX_STAGES + 1))},
        {"stamp": raw_stamp(order="meta:" + "k" * MAX_ORDER)},
    ],
)
def test_a_batch_beyond_its_bounds_says_whose_it_is(changed: Any) -> None:
    with pytest.raises(BadBatch) as caught:
        decode(raw_batch(**changed))
    (claim,) = caught.value.claims
    assert (claim.source, claim.target, claim.number, claim.job, claim.epoch) == (PEER, ME, 1, JOB, 1)
    assert not claim.size


def test_a_message_of_too_many_frames_is_refused() -> None:
    with pytest.raises(DecodeError, match="frames"):
        decode(raw_batch() + [b""] * MAX_FRAMES)


@pytest.mark.parametrize("filler", [b"\x80", b"\x90", b"\xc0", b"\x91" * 50 + b"\x80"])
def test_a_large_header_of_small_values_costs_no_memory(filler: bytes) -> None:
    n = 4_000_000 // len(filler)
    head = msgpack.packb((MAGIC, 1, 1))[1:]
    raw = b"\x94" + head + b"\xdd" + n.to_bytes(4, "big") + filler * n
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            decode([raw])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_large_header_of_few_values_is_read() -> None:
    message = Batch(
        JOB, 1, 0, [((0,), 1)], 1, b"\x01", metas=b"m" * (1 << 20), number=1, source=PEER, target=ME
    )
    assert decode(encode(message)) == message
