"""A content arrives with its type and value, or is refused where it is packed."""

from __future__ import annotations

import array
import dataclasses
import datetime as dt
import enum
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zturbo.errors import DecodeError, EncodeError
from zturbo.wire.blobs import slice_blob
from zturbo.wire.codes import OUT_OF_BAND
from zturbo.wire.extensions import registered
from zturbo.wire.payload import (
    Unreadable,
    failure_origin,
    note_given,
    pack_error,
    pack_many,
    pack_one,
    read_many,
    register,
    take,
    unpack_error_map,
    unpack_many,
    unpack_one,
)


class Kind(str, enum.Enum):
    CAR = "car"


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    pass


@dataclasses.dataclass
class Box:
    x: int


Point = namedtuple("Point", "x y")

ROME = zoneinfo.ZoneInfo("Europe/Rome")


def arrived(content: Any) -> Any:
    """A content after its way over the wire, packed alone, among others, and as a stage's output."""
    blob, buffers = pack_one(content)
    got = unpack_one(blob, [bytes(buffer) for buffer in buffers])
    taken, frames = pack_one(take(content))
    assert same(unpack_one(taken, [bytes(frame) for frame in frames]), got)
    if not buffers:
        assert same(unpack_many(pack_many([1, content, "x"]), 3)[1], got)
    return got


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal in all that a user can see, types included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ma.MaskedArray):
        if a is np.ma.masked or b is np.ma.masked:
            return a is b
        return (
            same(np.ma.getmaskarray(a), np.ma.getmaskarray(b))
            and same(a.data, b.data)
            and repr(a.fill_value) == repr(b.fill_value)
        )
    if isinstance(a, (np.ndarray, np.generic)):
        if repr(a.dtype) != repr(b.dtype) or a.dtype.char != b.dtype.char or a.shape != b.shape:
            return False
        return repr(a.tolist()) == repr(b.tolist())  # bytes of padding may differ
    if isinstance(a, (list, tuple, deque)):
        if isinstance(a, deque) and a.maxlen != b.maxlen:
            return False
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a), list(b)) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (dt.datetime, dt.time)):
        zones = repr(a.tzinfo) == repr(b.tzinfo) and type(a.tzinfo) is type(b.tzinfo)
        return zones and a.fold == b.fold and a.replace(tzinfo=None) == b.replace(tzinfo=None)
    if isinstance(a, memoryview):
        return (a.format, a.shape, a.readonly, a.tobytes()) == (b.format, b.shape, b.readonly, b.tobytes())
    if isinstance(a, (set, frozenset)):
        return sorted(map(repr, a)) == sorted(map(repr, b))
    return repr(a) == repr(b)


CONTENTS: list[Any] = [
    np.ma.masked_array([1, 2, 3], [True, False, False], fill_value=7),
    np.ma.masked_array([1.5, 2.5]),
    np.ma.masked,
    np.matrix([[1, 2]]),
    np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])[0],
    np.zeros(2, np.dtype([("a", "u1"), ("b", "f8")], align=True)),
    np.zeros(2, np.dtype({"names": ["a"], "formats": ["u1"], "offsets": [3], "itemsize": 9})),
    np.zeros(2, [("p", [("x", "f4"), ("y", "f4")]), ("id", "i4")]),
    np.zeros(2, [("p", [("x", "f4", (2, 3))]), ("id", "i4")]),
    np.zeros(2, [(("title", "a"), "i4")]),
    np.zeros(2, [("p", [("x", "f4")])])[0],
    np.zeros(3, []),
    np.zeros((2, 0), "i4"),
    np.zeros(2, "V5"),
    np.arange(3, dtype=np.longlong),
    np.longlong(5),
    np.ulonglong(5),
    np.str_("a\0"),
    np.bytes_(b"a\0"),
    np.str_(""),
    np.datetime64("2020-01-01", "D"),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.dtype([("a", "i4")]),
    Path("a.txt"),
    Path("caf\udce9.mp4"),
    PurePosixPath("/a"),
    PureWindowsPath("c:/a"),
    "caf\udce9.mp4",
    {"caf\udce9": ["\ud800"]},
    ROME,
    dt.timezone.utc,
    dt.time(3, 4, tzinfo=ROME, fold=1),
    dt.time(3, 4, tzinfo=dt.timezone.utc),
    dt.datetime(2020, 10, 25, 2, 30, tzinfo=ROME, fold=1),
    dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1, microseconds=1), "X")),
    OrderedDict([("b", 1), ("a", 2)]),
    Counter("abca"),
    deque([1, (2,)], 5),
    range(3, 9, 2),
    slice(1, None, 2),
    ...,
    array.array("d", [1.5]),
    array.array("u", "xy"),
    memoryview(b"abc"),
    memoryview(bytearray(b"abcd")).cast("B", (2, 2)),
    bytearray(b"x"),
    [bytearray(b"x"), {"k": memoryview(b"y"), "l": [bytearray(OUT_OF_BAND)]}],
    bytearray(2 * OUT_OF_BAND),
    1 << 7_000,
    -(1 << 127),
    {1: "int", "1": "str", (1,): "tuple"},
]


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: type(content).__name__)
@pytest.mark.parametrize("deep", [False, True])
def test_types_are_kept(content: Any, deep: bool) -> None:
    sent = {"deep": [content, (content,)]} if deep else content
    assert same(arrived(sent), sent)


class Frame(np.ndarray[Any, Any]):
    pass


@pytest.mark.parametrize(
    ("content", "recipe"),
    [
        (Kind.CAR, r"zturbo.register\(Kind"),
        ({Kind.CAR: 1}, r"zturbo.register\(Kind"),
        (Level.HIGH, r"zturbo.register\(Level"),
        (Text("a"), r"send str\(x\)"),
        ({Text("a"): 1}, r"send str\(x\)"),
        (Point(1, 2), r"Point._make"),
        (Box(1), r"zturbo.register\(Box"),
        (defaultdict(list), r"send dict\(x\)"),
        (np.zeros(2).view(Frame), r"numpy.asarray"),
        (np.array([object()]), "cannot be carried"),
        (np.zeros(2, np.dtype("i4", metadata={"a": 1})), "metadata"),
        (msgpack.ExtType(5, b"x"), "cannot be carried"),
        (msgpack.Timestamp(1), "cannot be carried"),
        (object(), "zturbo.register"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_change_is_refused_with_a_recipe(content: Any, recipe: str) -> None:
    for pack in (
        lambda: pack_one([content]),
        lambda: pack_many([1, content]),
        lambda: pack_one(take(content)),
    ):
        with pytest.raises(EncodeError, match=recipe):
            pack()


def nested(wrap: Any, depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "wrap",
    [
        lambda v: (v,),
        lambda v: [v],
        lambda v: {"k": v},
        lambda v: frozenset([v]),
        lambda v: deque([v]),
        lambda v: nested(lambda u: [u], 30) if v == 1 else nested_in(v, 30),
        lambda v: (nested_in(v, 500),),
    ],
    ids=["tuple", "list", "dict", "frozenset", "deque", "lists", "tuples of lists"],
)
def test_depth_has_the_same_limit_on_both_sides(wrap: Any) -> None:
    for depth in (1, 15, 99, 100, 101, 102, 300, 2000):
        content = nested(wrap, depth)
        try:
            blob, _ = pack_one(content)
        except EncodeError:
            continue
        unpack_one(blob, [])


def nested_in(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


def test_a_hundred_tuples_arrive_and_one_more_is_refused() -> None:
    assert same(arrived(nested(lambda v: (v,), 100)), nested(lambda v: (v,), 100))
    with pytest.raises(EncodeError, match="100 tuples"):
        pack_one(nested(lambda v: (v,), 101))


class Odd:
    pass


def _odd(value: Any) -> Any:
    raise SystemExit("unpack raised")


def test_what_cannot_be_unpacked_takes_no_neighbour_along() -> None:
    if all(name != "odd" for _, name, _, _ in registered()):
        register(Odd, "odd", lambda odd: 1, _odd)
    blob = pack_many([1, (2,), Odd(), {"x": 3}])
    first, second, odd, last = read_many(blob, 4)
    assert (first, second, last) == (1, (2,), {"x": 3})
    assert type(odd) is Unreadable and "odd" in str(odd.error)
    with pytest.raises(DecodeError):
        read_many(blob, 5)
    assert slice_blob(blob, 4, 3, 4) == pack_many([{"x": 3}])


def test_a_failure_needs_no_types_of_the_users_to_be_passed_on() -> None:
    if all(name != "odd" for _, name, _, _ in registered()):
        register(Odd, "odd", lambda odd: 1, _odd)
    raw = pack_error(
        {"kind": "TaskError", "message": "m", "index": 2, "path": [1], "meta": [{"o": Odd()}, None]}
    )
    noted = note_given(raw, 4)
    assert failure_origin(noted) == (2, (1,), 4)
    fields = unpack_error_map(noted)
    assert fields["message"] == "m" and fields["meta"] is None


def test_a_content_is_taken_as_it_is() -> None:
    frame, large, plain = (
        np.zeros(4, np.uint8),
        np.zeros(2 * OUT_OF_BAND, np.uint8),
        {"n": 0, "b": bytearray(2 * OUT_OF_BAND)},
    )
    taken = []
    for i in range(5):
        frame[:] = large[:] = plain["n"] = i
        plain["b"][0] = i  # type: ignore[index]
        taken.append([take(frame), take(large), take(plain)])
    for i, row in enumerate(taken):
        small, big, mixed = (unpack_one(*pack_one(one)) for one in row)
        assert small[0] == big[-1] == mixed["n"] == mixed["b"][0] == i


def test_what_nobody_can_change_or_is_given_away_is_not_copied() -> None:
    large = np.zeros(2 * OUT_OF_BAND, np.uint8)
    frozen = np.frombuffer(bytes(2 * OUT_OF_BAND), np.uint8)
    window = large[:OUT_OF_BAND]
    window.flags.writeable = False  # its base can still be written to
    for content, owned, shared in (
        (large, False, False),
        (large, True, True),
        (frozen, False, True),
        (window, False, False),
    ):
        _, (buffer,) = pack_one(take(content, owned))
        assert np.shares_memory(np.frombuffer(buffer, np.uint8), content) is shared
    raw = bytes(2 * OUT_OF_BAND)
    assert take(raw) is raw


dtypes = st.recursive(
    hnp.scalar_dtypes() | hnp.byte_string_dtypes() | hnp.unicode_string_dtypes(),
    lambda inner: hnp.array_dtypes(inner, max_size=3, allow_subarrays=True),
    max_leaves=4,
)
hashable = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**200), 2**200),
    st.floats(allow_nan=False),
    st.text(st.characters(codec=None, exclude_categories=()), max_size=5),
    st.binary(max_size=5),
    st.datetimes(timezones=st.none() | st.just(ROME) | st.just(dt.timezone.utc)),
    st.times(timezones=st.none() | st.just(ROME)),
    st.builds(Path, st.text("ab/\udce9", max_size=5)),
    st.builds(range, st.integers(0, 5), st.integers(0, 9)),
    st.sampled_from(list(Kind)),
)
anything = st.recursive(
    hashable
    | st.binary(max_size=5).map(bytearray)
    | st.binary(max_size=5).map(memoryview)
    | dtypes.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_side=3, min_side=0))),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.lists(inner, max_size=3).map(deque)
        | st.dictionaries(hashable, inner, max_size=3)
        | st.dictionaries(hashable, inner, max_size=3).map(OrderedDict)
        | st.frozensets(hashable, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None)
@given(anything)
def test_what_is_accepted_arrives_equal_type_included(content: Any) -> None:
    try:
        pack_one(content)
    except EncodeError:
        return
    assert same(arrived(content), content)
