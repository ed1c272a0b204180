"""Checks of what a caller gives: errors that name the field, what was expected, and what came."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

from zturbo.errors import UsageError

__all__ = [
    "LONGEST_IPC",
    "check_count",
    "check_names",
    "check_seconds",
    "check_text",
    "check_timeout",
    "check_type",
    "did_you_mean",
    "is_address",
    "is_endpoint",
    "is_number",
    "plain_number",
    "plain_options",
    "wrong",
]

_TCP = re.compile(r"tcp://([^/:\s]+|\[[0-9A-Fa-f:.%\w]+\]):(\d{1,5})\Z")


LONGEST_IPC = 107
"""Bytes that the path of a Unix socket may have: the kernel keeps 108 for it, of which one is the end."""


def is_address(text: str) -> bool:
    """Whether it is ``tcp://HOST:PORT`` or ``ipc://PATH``."""
    if found := _TCP.match(text):
        return 1 <= int(found[2]) <= 65535
    return text.startswith("ipc://") and len(text) > 6


def is_endpoint(text: str) -> bool:
    """Whether a member can be reached there: ``tcp://IP:PORT``, or ``ipc://PATH`` of what a socket may have.

    It has no host's name: looking that up would hold up all that one I/O thread has to do.
    """
    if found := _TCP.match(text):
        try:
            ipaddress.ip_address(found[1].strip("[]"))
        except ValueError:
            return False
        return 1 <= int(found[2]) <= 65535
    path = text[6:]
    return (
        text.startswith("ipc://")
        and 0 < len(path.encode(errors="surrogateescape")) <= LONGEST_IPC
        and path.isprintable()
    )


def plain_number(value: object) -> int | float | None:
    """The int or float that a number is, one of NumPy's too; None for anything else (a bool is no number)."""
    if type(value) in (int, float):
        return value  # type: ignore[return-value]
    if isinstance(value, bool):
        return None
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else None


def is_number(value: object, least: float) -> bool:
    """Whether it is a finite number (a bool is none) of ``least`` or more."""
    number = plain_number(value)
    return number is not None and least <= number < math.inf


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


def check_text(field: str, value: object, expected: str = "a str") -> str:
    """The plain str that a text is.

    Raises:
        UsageError: it is no str, or has characters that UTF-8 cannot carry, as the name of a file may.
    """
    if not isinstance(value, str):
        raise wrong(field, value, expected)
    text = str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{field}: {text!a:.200} has characters that UTF-8 cannot carry; for the name of a file, "
            "os.fsencode(name).decode(errors='backslashreplace') is a text that it can"
        ) from None
    return text


def check_count(field: str, value: object, least: int) -> int:
    """The int that it is, of ``least`` or more; one of NumPy's too.

    Raises:
        UsageError: it is something else (a bool is none).
    """
    number = plain_number(value)
    if not isinstance(number, int) or number < least:
        raise wrong(field, value, f"an int of {least} or more")
    return number


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """A job's options as plain values, which every process reads alike; their meaning is checked elsewhere.

    Raises:
        UsageError: a value is of a type that no option has, or out of 64 bits.
    """
    plain: dict[str, Any] = {}
    for name, value in options.items():
        field = f"job option {name!r}"
        number = plain_number(value)
        if isinstance(value, str):
            plain[name] = check_text(field, value)
        elif value is None or isinstance(value, bool):
            plain[name] = value
        elif type(value).__name__ in ("bool_", "bool"):  # NumPy's, by either of its names
            plain[name] = bool(value)
        elif number is None or (isinstance(number, int) and not -(1 << 63) <= number < 1 << 63):
            raise wrong(field, value, "a str, True, False, or a number of 64 bits")
        else:
            plain[name] = number
    return plain


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
