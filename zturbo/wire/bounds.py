"""Measures msgpack from a socket before it is unpacked.

A few bytes of a stranger may become far more memory: an empty map is one byte on the wire and 64 in Python.
They may nest so deep that a later ``repr()`` fails, or have map keys whose hashes are all equal. So
:func:`unpack` first checks the size, the number of items and the depth of the raw bytes. It returns only
None, bool, int, float, str, bytes, tuples of these, and maps whose keys are str or bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from zturbo.errors import DecodeError
from zturbo.wire.messages import Buffer

__all__ = ["Bounds", "measure", "unpack"]


class Bounds(NamedTuple):
    """Bounds of one msgpack message."""

    nbytes: int
    """Most bytes of the packed message."""
    items: int = 100_000
    """Most values in it, including containers and keys."""
    depth: int = 16
    """Most levels of containers inside one another."""
    trusted: int = 0
    """Messages of at most this many bytes are not measured: their size bounds their items, and msgpack
    itself bounds the depth to 1,024. Only for a reader that checks the exact type of all values it uses."""


_VARIABLE = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}  # bin and str: bytes of the length
_CONTAINERS = {
    0xDC: (2, 1),
    0xDD: (4, 1),
    0xDE: (2, 2),
    0xDF: (4, 2),
}  # (bytes of the length, items per entry)
_FIXED = {0xC0: 1, 0xC2: 1, 0xC3: 1, 0xCA: 5, 0xCB: 9}
_FIXED.update({0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9})
_FIXED.update(dict.fromkeys((*range(128), *range(224, 256)), 1))
_FIXED.update({first: 1 + (first & 31) for first in range(0xA0, 0xC0)})
_LENGTH = [_FIXED.get(first, 0) for first in range(256)]
"""First byte of a value -> number of bytes of the value; 0 if the first byte alone does not tell."""


def measure(raw: Buffer, bounds: Bounds) -> int:
    """The number of items in one packed value, without unpacking it.

    Raises:
        DecodeError: the value exceeds the bounds, is cut short, or has an extension type.
    """
    data = raw if type(raw) is bytes else bytes(raw)
    size = len(data)
    if size > bounds.nbytes:
        raise DecodeError(f"a message of {size} bytes; {bounds.nbytes} are the limit")
    limit, depth = bounds.items, bounds.depth
    at = items = 0
    owed = [1]  # for each open container, the number of items that are still missing
    while owed:
        if not owed[-1]:
            owed.pop()
            continue
        if at >= size:
            raise DecodeError("a message that is cut short")
        owed[-1] -= 1
        items += 1
        if items > limit:
            raise DecodeError(f"a message of more than {limit} items")
        first = data[at]
        length = _LENGTH[first]
        if length:
            at += length
            continue
        if 0x80 <= first < 0xA0:
            at += 1
            count = (first & 15) * (2 if first < 0x90 else 1)
        elif first in _VARIABLE:
            width = _VARIABLE[first]
            at += 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "big")
            continue
        elif first in _CONTAINERS:
            width, each = _CONTAINERS[first]
            count = each * int.from_bytes(data[at + 1 : at + 1 + width], "big")
            at += 1 + width
        else:
            raise DecodeError("a message with an extension type")
        if items + count > limit:
            raise DecodeError(f"a message of more than {limit} items")
        if len(owed) > depth:
            raise DecodeError(f"a message nested more than {depth} deep")
        owed.append(count)
    if at != size:
        raise DecodeError("a message that is cut short, or has more behind it")
    return items


def unpack(raw: Buffer, bounds: Bounds, *, use_list: bool = False, unicode_errors: str = "strict") -> Any:
    """Unpack one value, after it was measured.

    Args:
        raw: the packed bytes.
        bounds: bounds of the value.
        use_list: whether to return lists in place of tuples.
        unicode_errors: error handler of texts, as for ``bytes.decode``.

    Raises:
        DecodeError: the bytes exceed the bounds, are not msgpack, or have an extension type.
    """
    size = memoryview(raw).nbytes
    if size > bounds.trusted or size > bounds.nbytes:
        measure(raw, bounds)
    try:
        return msgpack.unpackb(
            raw,
            use_list=use_list,
            raw=False,
            strict_map_key=True,
            max_ext_len=0,
            max_array_len=bounds.items,
            unicode_errors=unicode_errors,
        )
    except Exception as error:  # msgpack raises a dozen kinds, some of them bare ValueErrors
        raise DecodeError(f"no msgpack: {type(error).__name__}") from None
