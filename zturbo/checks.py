"""Checks of what a caller gives: errors that name the field, what was expected, and what came."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from zturbo.errors import UsageError

__all__ = [
    "check_count",
    "check_names",
    "check_seconds",
    "check_timeout",
    "check_type",
    "did_you_mean",
    "is_address",
    "is_number",
    "wrong",
]

_TCP = re.compile(r"tcp://([^/:\s]+|\[[0-9A-Fa-f:.%\w]+\]):(\d{1,5})\Z")


def is_address(text: str) -> bool:
    """Whether it is ``tcp://HOST:PORT`` or ``ipc://PATH``."""
    if found := _TCP.match(text):
        return 1 <= int(found[2]) <= 65535
    return text.startswith("ipc://") and len(text) > 6


def is_number(value: object, least: float) -> bool:
    """Whether it is a finite number (a bool is none) of ``least`` or more."""
    return type(value) in (int, float) and least <= value < math.inf  # type: ignore[operator]


def wrong(field: str, value: object, expected: str) -> UsageError:
    """The error for a value that a field cannot have."""
    return UsageError(f"{field} is to be {expected}, not {value!r:.80} of type {type(value).__name__}")


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """What to say after an unknown name: the nearest one, or all there are."""
    import difflib  # not needed where all is right

    known = sorted(names)
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known) or 'none'}"


def check_names(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise UsageError for a name that is not known."""
    names = list(known)
    for name in given:
        if name not in names:
            raise UsageError(f"{what} {name!r} is unknown; {did_you_mean(name, names)}")


def check_type(field: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Raise UsageError unless the value is of one of these types."""
    if not isinstance(value, kinds):
        raise wrong(field, value, expected)


def check_count(field: str, value: object, least: int) -> None:
    """Raise UsageError unless it is an int (a bool is none) of ``least`` or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise wrong(field, value, f"an int of {least} or more")


def check_seconds(field: str, value: Any) -> None:
    """Raise UsageError unless it is None or a number above 0."""
    if value is None:
        return
    if not is_number(value, 0) or value == 0:
        raise wrong(field, value, "seconds, more than 0, or None for no limit")


def check_timeout(field: str, value: Any) -> None:
    """Raise UsageError unless it is None or a number: seconds to wait, 0 for not at all."""
    if value is None:
        return
    if not is_number(value, 0):
        raise wrong(field, value, "seconds, 0 or more, or None for no limit")
