"""Values that came in a message: of the type that a field has, and within its bounds.

Each function raises :class:`~zturbo.errors.DecodeError`, which names the field and never shows the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zturbo.errors import DecodeError
from zturbo.wire.messages import MAX_INT, MAX_TEXT, Path, is_path

__all__ = [
    "Plain",
    "as_bytes",
    "as_id",
    "as_int",
    "as_path",
    "as_text",
    "as_tuple",
    "bad",
    "check_fields",
    "flag_field",
    "id_field",
    "int_field",
]

ID = 16
"""Bytes of an id."""


def bad(field: str) -> DecodeError:
    """The error that names this field."""
    return DecodeError(f"{field} is malformed")


def as_int(value: Any, field: str, low: int = 0, high: int = MAX_INT) -> int:
    """The value, if it is an int of this range."""
    if type(value) is not int or not low <= value <= high:
        raise bad(field)
    return value


def as_text(value: Any, field: str, longest: int = MAX_TEXT) -> str:
    """The value, if it is a text that is not longer."""
    if type(value) is not str or len(value) > longest:
        raise bad(field)
    return value


def as_bytes(value: Any, field: str) -> bytes:
    """The value, if it is bytes."""
    if type(value) is not bytes:
        raise bad(field)
    return value


def as_id(value: Any, field: str) -> bytes:
    """The value, if it has the form of an id."""
    if type(value) is not bytes or len(value) != ID:
        raise bad(field)
    return value


Plain = tuple[str, type[Any], int, int]
"""A field that needs no reader of its own: its name, its type, and the least and the largest value, or length
where it is no number."""


def id_field(field: str) -> Plain:
    """An id."""
    return field, bytes, ID, ID


def int_field(field: str, low: int = 0, high: int = MAX_INT) -> Plain:
    """An int of this range."""
    return field, int, low, high


def flag_field(field: str) -> Plain:
    """A bool."""
    return field, bool, False, True


def check_fields(values: Sequence[Any], fields: Sequence[Plain]) -> None:
    """Look at so many values at once: a call for each takes longer. Raises DecodeError."""
    for value, (field, kind, low, high) in zip(values, fields, strict=True):
        if type(value) is not kind:
            raise bad(field)
        if not low <= (value if kind is int or kind is bool else len(value)) <= high:
            raise bad(field)


def as_path(value: Any, field: str = "path") -> Path:
    """The value, if it is a path."""
    if not is_path(value):
        raise bad(field)
    return value  # type: ignore[no-any-return]


def as_tuple(value: Any, field: str, length: int | None = None) -> tuple[Any, ...]:
    """The value, if it is a list, of this length."""
    if type(value) is not tuple or (length is not None and len(value) != length):
        raise bad(field)
    return value
