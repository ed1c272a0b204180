"""Checksums of records: CRC-32, and for large buffers the sums of their words.

The C library's CRC-32 takes as long for a frame of video as it takes to write it. numpy adds its words up in
a twentieth of that. So a large buffer stands in a record's CRC by the sum of the words of each of its blocks,
modulo 2**64. That finds each change of bits, a page of zeros or of old data, and a block in another's place.
It does not find two words of one block that have changed places, which no disk does.
"""

from __future__ import annotations

import functools
import os
import zlib
from array import array
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["LARGE", "crc_of", "has_fast_sums", "numpy_here", "sums_of"]

LARGE = 128 << 10
"""Bytes from which on a buffer is summed up, if that is fast here."""

BLOCK = 32 << 10
"""Bytes of which one sum is taken: they fit into the processor's first cache."""

_MASK = (1 << 64) - 1


@functools.cache
def numpy_here() -> Any:
    """numpy, where it is installed. A file of that name in the working directory is the user's, not it."""
    try:
        spec = find_spec("numpy")
        if spec is None or spec.origin is None or not spec.submodule_search_locations:
            return None
        if os.path.dirname(os.path.dirname(os.path.abspath(spec.origin))) == os.getcwd():
            return None
        return import_module("numpy")
    except Exception:
        return None


def has_fast_sums() -> bool:
    """Whether large buffers are summed up here; the first call may take a tenth of a second."""
    return numpy_here() is not None


def sums_of(view: memoryview) -> bytes:
    """The sum of the words of each block of a buffer, and the CRC-32 of the bytes behind the last word.

    The same with numpy and without it, where it takes a hundred times as long.
    """
    words = view.nbytes // 8
    blocks, step = view.nbytes // BLOCK, BLOCK // 8
    numpy = numpy_here()
    if numpy is not None:
        data = numpy.frombuffer(view, "=u8", count=words)
        whole = data[: blocks * step].reshape(blocks, step).sum(axis=1, dtype="=u8")
        sums = array("Q", whole.tobytes())
        sums.append(int(data[blocks * step :].sum(dtype="=u8")))
    else:
        plain = memoryview(bytes(view[: 8 * words])).cast("Q")
        sums = array("Q", (sum(plain[at : at + step]) & _MASK for at in range(0, blocks * step, step)))
        sums.append(sum(plain[blocks * step :]) & _MASK)
    return sums.tobytes() + zlib.crc32(view[8 * words :]).to_bytes(4, "little")


def crc_of(index: bytes, views: Sequence[memoryview], *, sums: bool) -> int:
    """The checksum of a record's body.

    Args:
        index: its first bytes, which say how long the views are.
        views: its frames, as bytes.
        sums: whether large views stand in it by their sums.
    """
    crc = zlib.crc32(index)
    for view in views:
        crc = zlib.crc32(sums_of(view) if sums and view.nbytes >= LARGE else view, crc)
    return crc
