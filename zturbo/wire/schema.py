"""Kinds of fields in a control message, each with its bounds.

A kind's ``check`` returns the value, or raises :class:`~zturbo.errors.DecodeError` with a text that does not
show the value, because a stranger's value may be one that cannot be shown. Containers check what is in them,
so that nothing unchecked reaches a handler.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from zturbo.errors import DecodeError
from zturbo.wire.messages import MAX_INT

__all__ = [
    "COUNT",
    "Any_",
    "Bool",
    "Bytes",
    "Choice",
    "Id",
    "Int",
    "Kind",
    "ListOf",
    "MapOf",
    "Optional_",
    "Parsed",
    "Scalar",
    "Text",
    "TupleOf",
]

COUNT = 1 << 53
"""Largest count of tasks or jobs: a thousand of them still have a sum that a message can carry."""


class Kind(Protocol):
    """What a field may have."""

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""


def _type(value: Any, expected: str) -> DecodeError:
    return DecodeError(f"is of type {type(value).__name__}, and is to be {expected}")


class Int(NamedTuple):
    """A whole number; a bool is none."""

    low: int = 0
    high: int = MAX_INT

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not int:
            raise _type(value, "an int")
        if not self.low <= value <= self.high:
            raise DecodeError(f"is to be {self.low} to {self.high}")
        return value


class Bool(NamedTuple):
    """True or False."""

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not bool:
            raise _type(value, "a bool")
        return value


class Text(NamedTuple):
    """A text of so many characters at most."""

    length: int

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not str:
            raise _type(value, "a str")
        if len(value) > self.length:
            raise DecodeError(f"has {len(value)} characters; {self.length} are the limit")
        return value


class Bytes(NamedTuple):
    """So many bytes at most."""

    length: int

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not bytes:
            raise _type(value, "bytes")
        if len(value) > self.length:
            raise DecodeError(f"has {len(value)} bytes; {self.length} are the limit")
        return value


class Id(NamedTuple):
    """Of a job, a process or a node."""

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not bytes or len(value) != 16:
            raise DecodeError("is no id of 16 bytes")
        return value


class Choice(NamedTuple):
    """One of these texts."""

    texts: tuple[str, ...]

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not str or value not in self.texts:
            raise DecodeError(f"is to be one of {', '.join(map(repr, self.texts))}")
        return value


class Optional_(NamedTuple):  # a type of this name is in typing
    """None, or a value of a kind."""

    kind: Kind

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        return None if value is None else self.kind.check(value)


class Scalar(NamedTuple):
    """None, a bool, a number or a short text."""

    length: int

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if value is None or type(value) is bool:
            return value
        if type(value) is int:
            return Int(-(1 << 63), (1 << 63) - 1).check(value)
        if type(value) is float:
            if not math.isfinite(value):
                raise DecodeError("is to be a finite number")
            return value
        return Text(self.length).check(value)


class ListOf(NamedTuple):
    """So many values of a kind at most."""

    kind: Kind
    length: int

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not tuple:
            raise _type(value, "a list")
        if len(value) > self.length:
            raise DecodeError(f"has {len(value)} entries; {self.length} are the limit")
        check = self.kind.check
        for part in value:
            check(part)
        return value


class TupleOf(NamedTuple):
    """One value of each kind."""

    kinds: tuple[Kind, ...]

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not tuple or len(value) != len(self.kinds):
            raise DecodeError(f"is to have entries of {len(self.kinds)} values")
        for kind, part in zip(self.kinds, value, strict=True):
            kind.check(part)
        return value


class MapOf(NamedTuple):
    """So many entries at most, keys and values each of a kind."""

    key: Kind
    value: Kind
    length: int

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not dict:
            raise _type(value, "a map")
        if len(value) > self.length:
            raise DecodeError(f"has {len(value)} entries; {self.length} are the limit")
        for key, part in value.items():
            self.key.check(key)
            self.value.check(part)
        return value


class Parsed(NamedTuple):
    """What a function makes of a value, such as a member; the function raises DecodeError."""

    read: Callable[[Any], Any]

    def check(self, value: Any) -> Any:
        """What it makes; raises DecodeError."""
        return self.read(value)


class Any_(NamedTuple):  # a type of this name is in typing
    """Anything: only for what the broker answers, and each question knows its answer."""

    def check(self, value: Any) -> Any:
        """The value."""
        return value
