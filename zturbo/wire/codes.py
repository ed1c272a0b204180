"""Numbers of the extension types on the wire, and the bounds that packing and unpacking share.

Numbers never change: a new kind of value gets a new number. Numbers that were replaced are no longer written.
They are still read, because spools and ledgers may have them.
"""

from __future__ import annotations

__all__ = [
    "ARRAY",
    "BIGINT",
    "BUFFER",
    "BYTEARRAY",
    "COMPLEX",
    "CUSTOM",
    "DATE",
    "DATETIME",
    "DECIMAL",
    "FRACTION",
    "FROZENSET",
    "LIBRARY",
    "MAX_META",
    "MAX_PARTS",
    "OLD_BIGINT",
    "OLD_DATETIME",
    "OLD_TIME",
    "OUT_OF_BAND",
    "PATH",
    "PURE_PATH",
    "SCALAR",
    "SET",
    "SPECIAL",
    "TIME",
    "TIMEDELTA",
    "TUPLE",
    "UUID",
    "NeedsBuffers",
]

TUPLE, SET, FROZENSET, COMPLEX, OLD_BIGINT = 1, 2, 3, 4, 5
OLD_DATETIME, DATE, OLD_TIME, TIMEDELTA = 6, 7, 8, 9
DECIMAL, UUID, PURE_PATH, FRACTION, BYTEARRAY = 10, 11, 12, 13, 14
BIGINT, DATETIME, TIME, PATH, SPECIAL = 15, 16, 17, 18, 19
ARRAY, SCALAR = 20, 21
BUFFER = 30
CUSTOM, LIBRARY = 40, 41

OUT_OF_BAND = 128 << 10
"""A buffer of this many bytes or more is sent as a frame of its own. Its content travels alone then, and each
process on its way wakes up for it. Copying a smaller one costs less than such a wake-up."""

MAX_META = 16 << 10
"""Bytes of a packed meta, on average of those that are packed together. None has a larger buffer."""

MAX_PARTS = 100
"""Most levels of extension types (tuples, sets, a user's own) inside one another."""


class NeedsBuffers(Exception):
    """A content is so large that it has to be packed alone, with out-of-band buffers."""

    def __str__(self) -> str:
        return f"meta carries small values, {MAX_META:,} bytes in all: put what is large into the content"
