"""zturbo.empty is numpy.empty, in other memory where there is such."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import zturbo
from zturbo.wire.extensions import Encoder


class Kept:
    """Memory of its own for all arrays from 100 bytes on."""

    def __init__(self) -> None:
        self.given: list[memoryview] = []

    def put(self, view: memoryview, final: bool) -> memoryview | None:
        return None

    def room(self, nbytes: int) -> memoryview | None:
        if nbytes < 100:
            return None
        self.given.append(memoryview(bytearray(nbytes)))
        return self.given[-1]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    kept = Kept()
    monkeypatch.setattr(Encoder, "keeper", kept)
    return kept


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((20, 30, 3), "u1"),
        (1000, float),
        ((10, 10), np.dtype([("x", "<i4"), ("y", "<f8", (3,))])),
        ((1, 1, 200), "datetime64[ns]"),
        ((50,), "<U7"),
        ([np.int64(20), np.uint8(30)], "u1"),
        (np.int32(500), "u1"),
    ],
    ids=str,
)
def test_a_large_array_lies_in_that_memory(kept: Kept, shape: Any, dtype: Any) -> None:
    array, as_numpy = zturbo.empty(shape, dtype), np.empty(shape, dtype)
    assert (array.shape, array.dtype) == (as_numpy.shape, as_numpy.dtype)
    assert array.flags.writeable and array.flags.c_contiguous
    (view,) = kept.given
    array.reshape(-1).view("u1")[:] = 1
    assert bytes(view) == bytes([1]) * array.nbytes


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((3, 3), "u1"), (0, "u1"), ((), float), (200, object), ((9, 0), "i8"), (200, "V0")],
    ids=str,
)
def test_any_other_array_is_as_numpys(kept: Kept, shape: Any, dtype: Any) -> None:
    array, as_numpy = zturbo.empty(shape, dtype), np.empty(shape, dtype)
    assert (array.shape, array.dtype) == (as_numpy.shape, as_numpy.dtype) and not kept.given


@pytest.mark.parametrize(
    ("shape", "dtype"), [((-1,), "u1"), ("x", "u1"), ((2.5,), "u1"), (200, "no type"), (None, "u1")], ids=str
)
def test_wrong_arguments_raise_as_numpys_do(kept: Kept, shape: Any, dtype: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as numpys:
        np.empty(shape, dtype)
    with pytest.raises(numpys.type):
        zturbo.empty(shape, dtype)


def test_without_such_memory_it_is_numpys() -> None:
    assert Encoder.keeper is None
    assert zturbo.empty((200, 200)).flags.owndata
