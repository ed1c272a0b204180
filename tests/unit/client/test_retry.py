"""Roots of a retry: the input as it came, with a mark of the stage at which it enters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zturbo.client.reader import failed_task
from zturbo.client.retry import roots_of
from zturbo.errors import DecodeError, UsageError
from zturbo.wire.payload import (
    enter_at,
    enter_packed_at,
    entry_of,
    pack_error,
    pack_many,
    pack_one,
    register,
    unpack_many,
)


class Deadly:
    """A type whose unpacking is no business of a client that only sends it on."""


def unpack(raw: bytes) -> Deadly:
    raise AssertionError("it was unpacked")


register(Deadly, "tests.deadly", lambda value: b"", unpack)

plain = st.one_of(st.none(), st.integers(-5, 5), st.text(max_size=3), st.binary(max_size=3))
metas = st.dictionaries(st.sampled_from(["a", "b", "zturbo", "ü"]), plain, max_size=4)


@given(metas, st.integers(0, 20))
def test_a_packed_meta_gets_the_mark_that_a_plain_one_gets(meta: dict[str, Any], index: int) -> None:
    (packed,) = unpack_many(enter_packed_at(pack_many([[meta, None]]), index), 1)
    assert packed == enter_at([meta, None], index) and entry_of(packed[0]) == index


@pytest.mark.parametrize("raw", [b"", b"\xc0", b"\x93\x80\xc0\xc0", b"\x92\xc0\xc0", b"\x92\x81\xa1a"])
def test_what_is_no_packed_meta_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        enter_packed_at(raw, 1)


def test_a_content_and_a_meta_of_a_users_type_go_as_they_came() -> None:
    blob, buffers = pack_one([Deadly()])
    error = {"kind": "TaskError", "type": "E", "message": "m", "traceback": "", "stage": "s", "host": "h"}
    meta = [{"a": 1, "d": Deadly()}, None]
    packed = pack_error({**error, "index": 2, "path": [0], "input": [blob, *buffers], "input_meta": meta})
    ((frames, root_meta),) = roots_of("n", [failed_task(packed)])
    assert [bytes(frame) for frame in frames] == [bytes(blob), *map(bytes, buffers)]
    assert b"enter" in root_meta and b"tests.deadly" in root_meta


def test_nothing_is_sent_of_a_task_whose_input_was_not_kept() -> None:
    error = {"kind": "TaskError", "type": "E", "message": "m", "traceback": "", "stage": "s", "host": "h"}
    task = failed_task(pack_error({**error, "index": 1, "path": [0], "input": "too large"}))
    with pytest.raises(UsageError, match="too large"):
        roots_of("n", [task])
    with pytest.raises(UsageError, match="nothing to run again"):
        roots_of("n", [])
