"""Contents on the wire."""

from __future__ import annotations

import copy
import datetime as dt
import math
import uuid
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zturbo.errors import DecodeError, EncodeError, UsageError
from zturbo.wire.blobs import slice_blob
from zturbo.wire.codes import MAX_META, OUT_OF_BAND
from zturbo.wire.metaids import pick
from zturbo.wire.payload import (
    MAX_INPUT,
    NeedsBuffers,
    Packed,
    Unreadable,
    content_of,
    enter_at,
    entry_of,
    failure_fields,
    failure_origin,
    failure_text,
    input_fields,
    note_given,
    pack_error,
    pack_many,
    pack_meta,
    pack_metas,
    pack_one,
    pack_root_meta,
    read_later,
    register,
    take,
    take_meta,
    unpack_error_map,
    unpack_many,
    unpack_one,
    without_input,
)
from zturbo.wire.plain import COPIED_ITEMS

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.complex_numbers(allow_nan=False)
    | st.datetimes(timezones=st.none() | st.just(dt.timezone.utc))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.fractions()
)
hashable = scalars.filter(lambda value: value == value)
contents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(hashable | st.tuples(hashable, hashable), inner, max_size=4)
        | st.frozensets(hashable, max_size=4)
        | st.sets(hashable, max_size=4)
    ),
    max_leaves=12,
)


def there_and_back(content: Any) -> Any:
    blob, buffers = pack_one(content)
    return unpack_one(blob, [bytes(buffer) for buffer in buffers])


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return bool(a == b)


@settings(max_examples=300, deadline=None)
@given(contents)
def test_plain_contents_come_back_as_they_are(content: Any) -> None:
    assert same(there_and_back(content), content)


@settings(max_examples=100, deadline=None)
@given(st.lists(contents, max_size=20), st.data())
def test_many_and_slices(values: list[Any], data: st.DataObject) -> None:
    blob = pack_many(values)
    assert same(unpack_many(blob, len(values)), values)
    start = data.draw(st.integers(0, len(values)))
    stop = data.draw(st.integers(start, len(values)))
    part = slice_blob(blob, len(values), start, stop)
    assert same(unpack_many(part, stop - start), values[start:stop])
    for wrong in (len(values) + 1, max(0, len(values) - 1)):
        if wrong != len(values):
            with pytest.raises(DecodeError):
                unpack_many(blob, wrong)


@pytest.mark.parametrize("n", [0, 1, 15, 16, 65_535, 65_536])
def test_many_of_every_header_size(n: int) -> None:
    assert unpack_many(pack_many(list(range(n))), n) == list(range(n))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 20))
def test_garbage_gives_a_decode_error_or_a_value(raw: bytes, n: int) -> None:
    for attempt in (
        lambda: unpack_one(raw, [raw]),
        lambda: unpack_many(raw, n),
        lambda: slice_blob(raw, n, min(1, n), n),
    ):
        try:
            attempt()
        except DecodeError:
            pass
    unpack_error_map(raw)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12).reshape(3, 4),
        np.zeros((0, 3), np.float32),
        np.array(5.0),
        np.asfortranarray(np.random.default_rng(1).random((200, 100))),
        np.arange(OUT_OF_BAND, dtype=np.int16)[::3],
        np.array(["a", "bcd"]),
        np.array(["2020-01-01"], "M8[D]"),
        np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array([True, False]),
        np.arange(10, dtype=">u4"),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays(array: np.ndarray[Any, Any]) -> None:
    got = there_and_back({"deep": [array]})["deep"][0]
    assert got.dtype == array.dtype and got.shape == array.shape and np.array_equal(got, array)


def test_large_buffers_are_not_copied_by_the_sender() -> None:
    array = np.zeros((100, OUT_OF_BAND // 100))
    raw = b"x" * OUT_OF_BAND
    _, buffers = pack_one([array])
    assert len(buffers) == 1 and np.shares_memory(np.frombuffer(buffers[0], np.uint8), array)
    blob, buffers = pack_one(raw)
    assert len(blob) < 100 and np.shares_memory(
        np.frombuffer(buffers[0], np.uint8), np.frombuffer(raw, np.uint8)
    )
    assert unpack_one(blob, buffers) == raw
    mutable = bytearray(b"y" * OUT_OF_BAND)
    assert there_and_back(mutable) == mutable and type(there_and_back(mutable)) is bytearray


def test_large_contents_have_to_travel_alone() -> None:
    with pytest.raises(NeedsBuffers):
        pack_many([1, np.zeros(OUT_OF_BAND)])
    with pytest.raises(NeedsBuffers):
        pack_many([b"x" * OUT_OF_BAND])


@pytest.mark.parametrize("large", [np.zeros(MAX_META, np.uint8), bytearray(MAX_META), bytes(2 * MAX_META)])
def test_a_meta_with_a_large_buffer_is_refused_whatever_is_beside_it(large: Any) -> None:
    meta = pack_meta({"m": large}, [])
    small = pack_meta({"m": 1}, [])
    with pytest.raises(NeedsBuffers):
        pack_metas([meta])
    if not isinstance(large, bytes):  # their sum alone counts
        with pytest.raises(NeedsBuffers):
            pack_metas([small] * 20 + [meta])
    assert pack_metas([small] * 20)


def test_scalars_keep_their_type() -> None:
    for value in (np.float32(1.5), np.int8(-3), np.bool_(True)):
        got = there_and_back(value)
        assert type(got) is type(value) and got == value
    assert math.isnan(there_and_back(float("nan")))
    assert there_and_back(PurePosixPath("/a/b")) == PurePosixPath("/a/b")
    assert there_and_back(uuid.UUID(int=5)) == uuid.UUID(int=5)
    assert there_and_back([Decimal("1.10"), Fraction(1, 3)]) == [Decimal("1.10"), Fraction(1, 3)]


@pytest.mark.parametrize("content", [object(), [lambda: 1], {"a": {1, object()}}, np.array([object()])])
def test_what_cannot_be_carried(content: Any) -> None:
    with pytest.raises(EncodeError, match="cannot be carried"):
        pack_one(content)
    with pytest.raises(EncodeError, match="cannot be carried"):
        pack_many([1, content])


def test_what_is_nested_too_deep_or_contains_itself_is_refused_with_the_reason() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    circle: dict[str, Any] = {}
    circle["self"] = [circle]
    for content in (deep, circle):
        with pytest.raises(EncodeError, match="nested too deep in it, or it contains itself"):
            pack_one(content)
    while deep:  # else its end takes as many levels of the C stack
        deep = deep.pop()


def test_nothing_of_the_memory_comes_along_between_fields() -> None:
    """NumPy copies a structure field by field, into whatever was there before."""
    dtype = np.dtype([("a", "u1"), ("b", "f8")], align=True)
    plain = np.zeros(20, dtype)
    for array in (plain, plain[::2], plain[::-1]):
        for _ in range(20):
            dirt = [np.full(array.nbytes, 0xFF, "u1") for _ in range(20)]
            del dirt
            got = there_and_back(array)
            assert got.tobytes() == bytes(array.nbytes) and got.flags.writeable and got.dtype == dtype


def test_a_meta_that_cannot_be_carried_is_named_as_such() -> None:
    meta = {"a": object()}
    for pack in (lambda: pack_many([take_meta(meta, None)]), lambda: pack_root_meta(meta, None)):
        with pytest.raises(EncodeError, match="meta cannot be carried: a content of type"):
            pack()


class Tag:
    """A user's type."""


class Box:
    def __init__(self, side: int) -> None:
        self.side = side


def test_types_of_ones_own() -> None:
    register(Box, "box", lambda box: (box.side,), lambda value: Box(value[0]))
    got = there_and_back([Box(3)])
    assert type(got[0]) is Box and got[0].side == 3
    with pytest.raises(UsageError, match="registered already"):
        register(str, "box", str, str)
    raw = pack_many([Box(3)]).replace(b"box", b"bax")
    with pytest.raises(DecodeError, match="'bax' is not registered in this process"):
        unpack_many(raw, 1)


def test_errors_are_bounded_and_checked() -> None:
    raw = pack_error({"kind": "TaskError", "message": "m" * 1_000_000, "path": [1, 2], "index": 3})
    fields = unpack_error_map(raw)
    assert len(raw) < 70_000 and fields["path"] == (1, 2) and fields["index"] == 3 and fields["stage"] == ""
    assert unpack_error_map(pack_error({"kind": 5, "path": 7}))["kind"] == ""


def test_ids_are_picked_from_metas() -> None:
    register(Tag, "tag", lambda tag: None, lambda value: pytest.fail("whoever picks makes no user's types"))
    values = [3, np.int16(-2), np.uint64(1 << 63), 1 << 80, True, "5", Tag()]
    metas = [[{("a", 1): Tag(), "at": value}, None] for value in values]
    others: list[Any] = [None, [None, [["log"]]], [{"to": 1}, None], "text", []]
    picked = pick(pack_many([*metas, *others]), len(metas) + len(others), "at")
    assert picked[:4] == [3, -2, 1 << 63, 1 << 80]
    assert picked[4:7] == [
        "meta['at'] is True, which is no int",
        "meta['at'] is '5', which is no int",
        "meta['at'] is no int",
    ]
    missing = "meta has no 'at', by which the results are ordered"
    assert picked[7:] == [missing] * len(others)
    assert pick(None, 2, "at") == [missing] * 2


@given(st.binary(max_size=40), st.integers(1, 5))
def test_garbage_has_no_ids_and_does_no_harm(raw: bytes, n: int) -> None:
    assert len(pick(raw, n, "at")) == n
    assert pick(pack_many([[{"at": 1}, None]])[:-1], 1, "at")[0] != 1


UNHASHABLE = b"\x91\x01"
"""A list: no map with such a key can be made, so who reads round it makes none."""


@given(st.dictionaries(st.text(max_size=5), st.integers(-(2**70), 2**70), max_size=4), st.integers(0, 3))
def test_ids_are_picked_from_maps_that_nobody_can_make(meta: dict[str, int], wild: int) -> None:
    """Keys may be lists, or thousands whose hashes are all equal: they are not looked at."""
    entries = [pack_one(key)[0] + pack_one(value)[0] for key, value in meta.items()]
    entries[len(entries) // 2 : len(entries) // 2] = [UNHASHABLE + pack_one({(1, 2): [3]})[0]] * wild
    packed = b"\x92" + bytes([0x80 | len(entries)]) + b"".join(entries) + b"\xc0"
    for key in ("at", *meta):
        (found,) = pick(packed, 1, key)
        assert found == meta.get(key, f"meta has no {key!r}, by which the results are ordered")


@pytest.mark.parametrize("value", [{"at": 1}, [1], "x" * 2000, 1 << 9000], ids=["map", "list", "text", "int"])
def test_an_id_that_is_large_is_not_made(value: Any) -> None:
    assert pick(pack_many([[{"at": value}, None]]), 1, "at") == ["meta['at'] is no int"]


def test_a_failure_has_no_keys_that_can_collide() -> None:
    """Whoever passes a failure on makes none of them, and shows it as one without a text."""
    for key in (UNHASHABLE, pack_one((-1, -2))[0], pack_one(5)[0], pack_one(None)[0]):
        raw = b"\x82" + pack_one("message")[0] + pack_one("told")[0] + key + b"\x01"
        assert unpack_error_map(raw)["message"] == ""
        assert note_given(raw, 1) == raw and without_input(raw, "why") == raw
        assert failure_origin(raw) is None
    deep = b"\x81" + pack_one("path")[0] + b"\x91" * 500 + b"\x90"
    assert unpack_error_map(deep)["path"] == ()


def test_a_failure_carries_its_input_up_to_a_limit() -> None:
    content = {"n": 1, "array": np.arange(50_000)}
    blob, buffers = pack_one(content)
    raw = pack_error({"kind": "TaskError", "stage": "s", **input_fields(blob, buffers, [{"m": 1}, None])})
    fields = unpack_error_map(raw)
    assert fields["note"] == "" and fields["input_meta"] == [{"m": 1}, None]
    got = unpack_one(*fields["input"])
    assert got["n"] == 1 and np.array_equal(got["array"], content["array"])
    bare = unpack_error_map(without_input(raw, "for a test"))
    assert bare["input"] is None and bare["note"] == "its input was not kept: for a test"
    assert bare["stage"] == "s" and bare["input_meta"] is None
    large = unpack_error_map(pack_error(input_fields(b"x", [bytes(MAX_INPUT)], None)))
    assert large["input"] is None and "it has 1,048,577 bytes, and 1,048,576 is the limit" in large["note"]
    assert unpack_error_map(pack_error(input_fields(b"", [bytes(MAX_INPUT)], None)))["note"] == ""


@pytest.mark.parametrize("value", [None, 5, [], [b"x", 5], [5], {"x": 1}, b"x"])
def test_inputs_that_came_malformed(value: Any) -> None:
    fields = unpack_error_map(pack_error({"input": value}))
    assert fields["input"] is None and fields["note"] == "its input was not kept"
    assert without_input(b"\xc1", "x") == b"\xc1"
    assert "fail_fast" in failure_text(b"\xc1")


def test_the_mark_of_a_root_that_enters_further_down() -> None:
    assert entry_of(enter_at([{"a": 1}, None], 3)[0]) == 3
    assert enter_at([{"a": 1, "zturbo": {"enter": 1}}, [1]], 3) == [{"a": 1, "zturbo": {"enter": 3}}, [1]]
    assert entry_of(enter_at(None, 0)[0]) == 0
    for meta in (None, 5, {}, {"zturbo": 5}, {"zturbo": {}}, {"zturbo": {"enter": "1"}}):
        assert entry_of(meta) is None


def test_what_a_users_code_unpacks_waits_and_goes_on_as_it_came() -> None:
    """What passes a stage by, and a failure's meta, need nothing of it."""
    asked: list[Any] = []
    register(_Asked, "asked", lambda one: 1, lambda value: asked.append(value) or _Asked())
    blob = pack_many([1, _Asked(), b"\xff", [2, {"deep": _Asked()}]])
    plain, mine, raw, deep = read_later(blob, 4, [])
    assert (plain, raw) == (1, b"\xff") and type(mine) is type(deep) is Packed and not asked
    assert pack_many([plain, take(mine), raw, take(deep)]) == blob and not asked
    fields = failure_fields(pack_error({"stage": "s", "meta": [{"m": _Asked()}, None]}))
    assert fields["stage"] == "s" and type(fields["meta"]) is Packed and not asked
    assert type(content_of(fields["meta"])[0]["m"]) is _Asked and asked == [1]


def test_what_cannot_be_read_hides_nothing_that_waits() -> None:
    register(_Asked, "asked", lambda one: 1, lambda value: _Asked())
    bad = msgpack.packb(msgpack.ExtType(99, b""))
    blob = bad + pack_many([_Asked(), 5])
    assert list(map(type, read_later(blob, 3, []))) == [Unreadable, Packed, int]


class _Asked:
    """Of a type whose unpacking is noted."""


SMALL = [1, 2.5, None, True, "text \udce9", b"bytes", 1 << 70]
PLAIN = [SMALL, {"boxes": [[1, 2], [3, 4]]}, [{"k": 1}, [["stage", 1.0, True]]], {1: "one", b"k": []}, [], {}]
ODD = [
    [bytearray(b"abc")],
    {"a": (1, 2)},
    {(1, 2): 3},
    [[[[1]]]],
    list(range(COPIED_ITEMS + 1)),
    [{"a": {1}}],
    [b"x" * 20_000],
]


@pytest.mark.parametrize("value", PLAIN + ODD, ids=lambda value: repr(value)[:30])
def test_a_content_is_taken_as_it_is_now(value: Any) -> None:
    changed, before = copy.deepcopy(value), copy.deepcopy(value)
    taken = take(changed)
    spoil(changed)
    blob, buffers = pack_one(taken)
    found = unpack_one(blob, buffers)
    assert found == before and repr(found) == repr(before)  # the same types, also of bytearrays
    if len(blob) < 1000:
        assert pack_many([1, taken, 2], taken=True) == pack_many([1, before, 2])


def spoil(value: Any) -> None:
    """Change a value, in every list and dict in it."""
    if isinstance(value, (list, dict)):
        for part in list(value.values() if isinstance(value, dict) else value):
            spoil(part)
        value.clear()
        value.append(0) if isinstance(value, list) else value.update(spoiled=0)
    elif isinstance(value, bytearray):
        value[:] = b"spoiled"


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: repr(value)[:30])
def test_small_plain_contents_are_packed_together(value: Any) -> None:
    assert type(take(value)) in (list, dict)


class Subclass(dict[Any, Any]):
    """Arrives as itself or not at all."""


@pytest.mark.parametrize("value", [[Subclass()], Subclass(), {"a": [Subclass()]}])
def test_a_subclass_inside_a_taken_content_is_refused(value: Any) -> None:
    with pytest.raises(EncodeError, match="Subclass"):
        pack_one(take(value))


@pytest.mark.parametrize("logs", [None, [("stage", 1.0, 2.0, 3.0, True)]])
@pytest.mark.parametrize(
    "meta", [None, {}, {"a": 1}, {"a": [1, {"b": 2}]}, {"a": (1, 2)}, {(1, 2): [[[[3]]]]}]
)
def test_a_meta_is_taken_as_it_is_now(meta: Any, logs: Any) -> None:
    changed, before = copy.deepcopy(meta), pack_meta(copy.deepcopy(meta), logs)
    taken = take_meta(changed, logs)
    spoil(changed)
    if before is None:
        assert taken is None
    else:
        assert pack_many([taken], taken=True) == pack_many([before])
