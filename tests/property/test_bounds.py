"""Packed bytes are measured before anything is made of them."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zturbo.errors import DecodeError
from zturbo.wire.bounds import Bounds, measure, unpack

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=20).map(tuple) | st.dictionaries(st.text() | st.binary(), inner, max_size=20)
    ),
    max_leaves=40,
)
WIDE = Bounds(1 << 20)


def items_in(value: Any) -> int:
    """The number of values in a value, keys and containers included."""
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(items_in, value.values()))
    return 1 + sum(map(items_in, value)) if isinstance(value, tuple) else 1


def depth_of(value: Any) -> int:
    """How many containers stand in each other."""
    inner = tuple(value.values()) if isinstance(value, dict) else value if isinstance(value, tuple) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(VALUES)
def test_what_is_within_the_bounds_arrives_equal(value: Any) -> None:
    raw = msgpack.packb(value)
    items, depth = items_in(value), depth_of(value)
    exact = Bounds(len(raw), items, depth)
    assert measure(raw, exact) == items
    assert unpack(memoryview(raw), exact) == value
    narrow = [exact._replace(nbytes=len(raw) - 1), exact._replace(items=items - 1)]
    if depth:
        narrow.append(exact._replace(depth=depth - 1))
    for bounds in narrow:
        with pytest.raises(DecodeError):
            unpack(raw, bounds)


@given(st.binary(max_size=200) | st.binary(max_size=30).map(lambda raw: raw * 7))
def test_any_bytes_are_a_value_or_a_decode_error(raw: bytes) -> None:
    try:
        measure(raw, WIDE)
    except DecodeError:
        measured = False
    else:
        measured = True
    try:
        unpack(raw, WIDE)
    except DecodeError:
        return
    assert measured


@given(VALUES, st.data())
def test_cut_bytes_are_a_decode_error(value: Any, data: Any) -> None:
    raw = msgpack.packb(value)
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(DecodeError):
        measure(raw[:cut], WIDE)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xdd\x00\x98\x96\x80" + b"\x80" * 10_000_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 100_000 + b"\x90",
        b"\x81" + b"\x91" * 1000 + b"\x90\xc0",
        b"\xc6\xff\xff\xff\xff",
        b"\xc7\x01\x05x",
        b"\xd4\x05x",
        b"\xc1",
        b"",
    ],
)
def test_hostile_bytes_cost_nothing(raw: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            unpack(raw, Bounds(1 << 26))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("key", [b"\x01", b"\xc0", b"\x91\xff", b"\xcb" + 8 * b"\0"])
def test_a_key_is_text_or_bytes(key: bytes) -> None:
    """Hashes of numbers and tuples can be made equal by a stranger; those of text and bytes are seeded."""
    for trusted in (0, 100):
        with pytest.raises(DecodeError):
            unpack(b"\x81" + key + b"\xc0", Bounds(100, trusted=trusted))
