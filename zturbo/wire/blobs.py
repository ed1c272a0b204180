"""Blobs: packed contents of many tasks, one after another. Where each begins, and how to cut between them.

No content is unpacked for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgpack

from zturbo.errors import DecodeError
from zturbo.wire.messages import Buffer

__all__ = ["check_blob", "edges", "slice_blob", "spans"]


def check_blob(blob: Buffer, n: int) -> None:
    """Raise DecodeError unless a blob has exactly n contents."""
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    unpacker.feed(blob)
    try:
        for _ in range(n):
            unpacker.skip()
    except Exception as error:  # garbage, or too few
        raise DecodeError(f"there are no {n} contents: {type(error).__name__}") from None
    if unpacker.tell() != memoryview(blob).nbytes:
        raise DecodeError(f"there are more than {n} contents")


def slice_blob(blob: Buffer, n: int, start: int, stop: int) -> bytes:
    """The part of a blob of n contents that has contents ``start .. stop``, half-open; raises DecodeError."""
    if start == 0 and stop == n:
        return bytes(blob)
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    unpacker.feed(blob)
    skip = unpacker.skip
    try:
        for _ in range(start):
            skip()
        low = unpacker.tell()
        if stop == n:
            return bytes(memoryview(blob)[low:])
        for _ in range(stop - start):
            skip()
    except Exception as error:  # garbage
        raise DecodeError(f"contents are malformed: {type(error).__name__}") from None
    return bytes(memoryview(blob)[low : unpacker.tell()])


def spans(at: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Cut contents into pieces of about so many bytes: each ends with the content that passes the bound.

    Args:
        at: where each content begins, and where the last one ends, as :func:`edges` tells.
        most: the bound.

    Returns:
        (start, stop) of each piece.
    """
    start = 0
    for stop in range(1, len(at)):
        if stop + 1 == len(at) or at[stop] - at[start] >= most:
            yield start, stop
            start = stop


def edges(blob: Buffer, n: int) -> list[int]:
    """Where each of n contents in a blob begins, and where the last one ends; raises DecodeError."""
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    skip, tell = unpacker.skip, unpacker.tell
    at = [0]
    try:
        unpacker.feed(blob)
        for _ in range(n):
            skip()
            at.append(tell())
    except Exception as error:  # garbage
        raise DecodeError(f"contents are malformed: {type(error).__name__}") from None
    return at
