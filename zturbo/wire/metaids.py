"""Finds the numbers in packed metas by which results are ordered.

A sink runs no user code, so it must not make the user's types. It skips through the packed metas and unpacks
only the number.
"""

from __future__ import annotations

from typing import Any

import msgpack

from zturbo.wire.codes import BIGINT, OLD_BIGINT, SCALAR

__all__ = ["pick"]

LONGEST_ID = 1 << 10
"""Most bytes of a packed number by which results are ordered."""


def pick(metas: bytes | None, n: int, key: str) -> list[int | str]:
    """The number under a key in each of n packed metas. Never raises.

    No map is made, so keys whose hashes are all equal cost no more than others.

    Args:
        metas: n packed metas, one after another; None if no task has a meta.
        n: number of tasks.
        key: key of the number.

    Returns:
        For each task the number, or a sentence that says why it has none.
    """
    missing = f"meta has no {key!r}, by which the results are ordered"
    if metas is None:
        return [missing] * n
    wanted = msgpack.packb(key, unicode_errors="surrogatepass")
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    unpacker.feed(metas)
    out: list[int | str] = []
    try:
        for _ in range(n):
            packed = _find(unpacker, metas, wanted)
            out.append(missing if packed is None else _id_in(packed, key))
    except Exception as error:  # garbage
        out += [f"its meta is malformed: {type(error).__name__}"] * (n - len(out))
    return out


def _find(unpacker: msgpack.Unpacker, raw: bytes, wanted: bytes) -> bytes | None:
    """Skip the next packed ``[map, logs]``; returns the packed value under a packed key in its map."""
    if not _is_list(raw[unpacker.tell()]):
        unpacker.skip()
        return None
    found = None
    left = unpacker.read_array_header()
    if left and _is_map(raw[unpacker.tell()]):
        left -= 1
        for _ in range(unpacker.read_map_header()):
            mine = raw.startswith(wanted, unpacker.tell())
            unpacker.skip()
            at = unpacker.tell()
            unpacker.skip()
            if mine:
                found = raw[at : unpacker.tell()]
    for _ in range(left):
        unpacker.skip()
    return found


def _is_list(first: int) -> bool:
    return 0x90 <= first < 0xA0 or first in (0xDC, 0xDD)


def _is_map(first: int) -> bool:
    return 0x80 <= first < 0x90 or first in (0xDE, 0xDF)


def _id_in(packed: bytes, key: str) -> int | str:
    """The int in packed bytes, or a sentence that says why there is none."""
    found: Any = None
    shown = ""
    if len(packed) <= LONGEST_ID and not (_is_list(packed[0]) or _is_map(packed[0])):
        found = msgpack.unpackb(packed, ext_hook=_plain_int, unicode_errors="surrogatepass")
        shown = "" if type(found) is msgpack.ExtType else f"{found!r:.80}, which is "
    return found if type(found) is int else f"meta[{key!r}] is {shown}no int"


def _plain_int(code: int, data: bytes) -> Any:
    """The int in an extension type, large or NumPy's; the extension type itself if it has none."""
    try:
        if code == BIGINT:
            return int.from_bytes(data, "little", signed=True)
        if code == OLD_BIGINT:
            return int(data)
        if code == SCALAR:
            kind, raw = msgpack.unpackb(data)
            if kind[1] in "iuqQ":
                return int.from_bytes(raw, "big" if kind[0] == ">" else "little", signed=kind[1] in "iq")
    except Exception:  # garbage has no int either
        pass
    return msgpack.ExtType(code, data)
