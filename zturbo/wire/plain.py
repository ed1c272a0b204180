"""Values that no code can change, and copies of small lists and dicts of such values.

A content of this kind can be packed later, together with its neighbours.
"""

from __future__ import annotations

from typing import Any

__all__ = ["COPIED_ITEMS", "UNCHANGING", "copy_plain"]

UNCHANGING = frozenset({type(None), bool, int, float, str, bytes})
"""Types whose values no code can change: such contents may be packed later."""

COPIED_ITEMS, COPIED_DEPTH = 64, 3
"""A list or dict of unchanging values is copied if no part of it has more items or lies deeper: that takes a
fraction of the time of packing it alone."""


def copy_plain(value: Any, depth: int = COPIED_DEPTH) -> Any:
    """A copy of a small list or dict of unchanging values; None for any other value."""
    kind = type(value)
    if (kind is not list and kind is not dict) or len(value) > COPIED_ITEMS or not depth:
        return None
    copy = value.copy()  # what is looked at is the copy, which no other thread can change
    if kind is dict:
        if not UNCHANGING.issuperset(map(type, copy)):
            return None
        parts, items = copy.values(), copy.items()
    else:
        parts, items = copy, enumerate(copy)
    if not UNCHANGING.issuperset(map(type, parts)):
        for key, part in items:
            if type(part) not in UNCHANGING:
                copy[key] = part = copy_plain(part, depth - 1)
                if part is None:
                    return None
    return copy
