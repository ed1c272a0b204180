"""Packed contents are cut between them, without being unpacked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zturbo.errors import DecodeError
from zturbo.wire.blobs import check_blob, cut_blob, edges, slice_blob
from zturbo.wire.payload import pack_many, unpack_many

CONTENTS = st.lists(
    st.one_of(st.integers(-5, 10**6), st.text(max_size=30), st.binary(max_size=60)), max_size=30
)


@given(CONTENTS, st.integers(1, 200))
def test_pieces_are_all_contents_in_order_and_none_is_much_larger_than_it_may_be(
    contents: list[Any], most: int
) -> None:
    blob = pack_many(contents)
    pieces = cut_blob(blob, len(contents), most)
    assert b"".join(part for _, _, part in pieces) == blob
    assert pieces[0][0] == 0 and pieces[-1][1] == len(contents)
    for (start, stop, part), (after, _, _) in zip(
        pieces, [*pieces[1:], (len(contents), 0, b"")], strict=True
    ):
        assert stop == after
        assert unpack_many(part, stop - start) == contents[start:stop]
        alone = part[: edges(part, stop - start)[-2]] if stop > start else b""
        assert len(alone) < most or len(blob) <= most, "it ends with the content that passes the bound"


@given(CONTENTS, st.data())
def test_edges_and_slices_are_of_the_same_contents(contents: list[Any], data: st.DataObject) -> None:
    blob = pack_many(contents)
    check_blob(blob, len(contents))
    at = edges(blob, len(contents))
    start = data.draw(st.integers(0, len(contents)))
    stop = data.draw(st.integers(start, len(contents)))
    assert slice_blob(blob, len(contents), start, stop) == blob[at[start] : at[stop]]


@pytest.mark.parametrize("blob, n", [(b"\x01", 2), (b"\x01\x02", 1), (b"\xc1", 1)])
def test_a_blob_of_another_number_of_contents_is_refused(blob: bytes, n: int) -> None:
    with pytest.raises(DecodeError):
        check_blob(blob, n)


@pytest.mark.parametrize("blob", [b"\xd9", b"\xc1"])
def test_garbage_has_no_edges(blob: bytes) -> None:
    with pytest.raises(DecodeError):
        edges(blob, 1)
    with pytest.raises(DecodeError):
        slice_blob(blob, 2, 1, 2)
