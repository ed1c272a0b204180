"""Packed contents are cut between them, without being unpacked."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zturbo.errors import DecodeError
from zturbo.wire.blobs import check_blob, edges, slice_blob, spans
from zturbo.wire.payload import pack_many

CONTENTS = st.lists(
    st.one_of(st.integers(-5, 10**6), st.text(max_size=30), st.binary(max_size=60)), max_size=30
)


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 200))
def test_spans_are_all_contents_in_order_and_each_ends_with_the_one_that_passes_the_bound(
    sizes: list[int], most: int
) -> None:
    at = [0, *accumulate(sizes)]
    found = list(spans(at, most))
    assert [index for start, stop in found for index in range(start, stop)] == list(range(len(sizes)))
    for start, stop in found:
        assert start < stop and at[stop - 1] - at[start] < most, "without its last content it is below"
    for start, stop in found[:-1]:
        assert at[stop] - at[start] >= most, "more has room in it"


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
