"""Checks of a caller's arguments. Their errors name the field, the expected value, and the given one."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any
from urllib.parse import urlsplit

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
    "is_loopback",
    "is_number",
    "plain_number",
    "plain_options",
    "wrong",
]

_TCP = re.compile(r"tcp://([^/:\s]+|\[[0-9A-Fa-f:.%\w]+\]):(\d{1,5})\Z")

LONGEST_WAIT = 1e9
"""Seconds that stand for all longer ones: a thread cannot wait for more than some centuries."""

LONGEST_IPC = 107
"""Most bytes of a Unix socket's path: the kernel has 108 for it, and the last one is a zero."""


def is_address(text: str) -> bool:
    """Whether a text has the form ``tcp://HOST:PORT`` or ``ipc://PATH``."""
    if found := _TCP.match(text):
        return 1 <= int(found[2]) <= 65535
    return text.startswith("ipc://") and len(text) > 6


def is_endpoint(text: str) -> bool:
    """Whether a text is a member's endpoint: ``tcp://IP:PORT``, or ``ipc://PATH`` of at most ``LONGEST_IPC``.

    A host's name is not allowed, because looking it up would block the I/O thread.
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


def is_loopback(address: str) -> bool:
    """Whether only its own host can reach ``tcp://HOST:PORT``."""
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def plain_number(value: object) -> int | float | None:
    """A number, perhaps NumPy's, as a plain int or float. None for all else, including bools."""
    if type(value) in (int, float):
        return value  # type: ignore[return-value]
    if isinstance(value, bool):
        return None
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else None


def is_number(value: object, least: float) -> bool:
    """Whether a value is a finite number, ``least`` or more; bools are not numbers."""
    number = plain_number(value)
    return number is not None and least <= number < math.inf


def wrong(field: str, value: object, expected: str) -> UsageError:
    """The error for a value that a field cannot have."""
    return UsageError(f"{field} is to be {expected}, not {value!r:.80} of type {type(value).__name__}")


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known name, or all known names."""
    import difflib  # here, because most processes never need it

    known = sorted(names)
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known) or 'none'}"


def check_names(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise UsageError if a given name is not among the known ones."""
    names = list(known)
    for name in given:
        if name not in names:
            raise UsageError(f"{what} {name!r} is unknown; {did_you_mean(name, names)}")


def check_type(field: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Raise UsageError unless the value has one of these types."""
    if not isinstance(value, kinds):
        raise wrong(field, value, expected)


def check_text(field: str, value: object, expected: str = "a str") -> str:
    """A text, perhaps of a subclass of str, as a plain str.

    Raises:
        UsageError: the value is not a str, or UTF-8 cannot encode it, as may happen with file names.
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


def check_count(field: str, value: object, least: int, most: int | None = None) -> int:
    """A count, perhaps NumPy's, as a plain int.

    Raises:
        UsageError: the value is not an int of ``least`` or more, or it is more than ``most``; bools are not
            ints here.
    """
    number = plain_number(value)
    if not isinstance(number, int) or number < least:
        raise wrong(field, value, f"an int of {least} or more")
    if most is not None and number > most:
        raise wrong(field, value, f"an int of {most:,} at most")
    return number


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """A job's options as plain values, which every process can read. Their meaning is checked elsewhere.

    Raises:
        UsageError: a value has a type that no option has, or is a number of more than 64 bits.
    """
    plain: dict[str, Any] = {}
    for name, value in options.items():
        field = f"job option {name!r}"
        number = plain_number(value)
        if isinstance(value, str):
            plain[name] = check_text(field, value)
        elif value is None or isinstance(value, bool):
            plain[name] = value
        elif type(value).__name__ in ("bool_", "bool"):  # NumPy's bool, which has either name
            plain[name] = bool(value)
        elif number is None or (isinstance(number, int) and not -(1 << 63) <= number < 1 << 63):
            raise wrong(field, value, "a str, True, False, or a number of 64 bits")
        else:
            plain[name] = number
    return plain


def check_seconds(field: str, value: Any) -> float | None:
    """A time that a thread can wait for, see :func:`check_timeout`.

    Raises:
        UsageError: the value is neither None nor a finite number of seconds above 0.
    """
    if value is None:
        return None
    if not is_number(value, 0) or value == 0:
        raise wrong(field, value, "seconds, more than 0, or None for no limit")
    return _bounded(value)


def check_timeout(field: str, value: Any) -> float | None:
    """A time that a thread can wait for: the given one, or 31 years for one that is longer.

    Raises:
        UsageError: the value is neither None nor a finite number of seconds, 0 or more.
    """
    if value is None:
        return None
    if not is_number(value, 0):
        raise wrong(field, value, "seconds, 0 or more, or None for no limit")
    return _bounded(value)


def _bounded(seconds: float) -> float:
    return seconds if seconds < LONGEST_WAIT else LONGEST_WAIT
