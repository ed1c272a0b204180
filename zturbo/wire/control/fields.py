"""Kinds of fields in a control message, each with its bounds.

A kind's ``check`` returns the value, or raises :class:`~zturbo.errors.DecodeError`. The error's text does not
show the value, because showing a stranger's value may fail. Containers check their entries too, so that no
unchecked value reaches a handler. :func:`kind_of` finds the kind in a field's annotation.

Most values are sound, and are plain. So a kind has a ``test`` too, an expression in Python: :func:`reader_of`
makes one function of the tests of all fields of a message. Checks take several calls for each field.
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Protocol, Union, get_args, get_origin

from zturbo.errors import DecodeError
from zturbo.wire.messages import MAX_DEPTH, MAX_INT, MAX_STAGES, MAX_TEXT, Buffer

__all__ = [
    "COUNT",
    "FAILURES",
    "MANY",
    "MAX_CONTROL",
    "MAX_PAGE",
    "AtMost",
    "Bool",
    "Bytes",
    "Choice",
    "Code",
    "Contents",
    "Count",
    "Epoch",
    "Id",
    "IdOrNone",
    "Int",
    "JobOptions",
    "Key",
    "Kind",
    "Line",
    "ListOf",
    "MapOf",
    "Maybe",
    "Metas",
    "Name",
    "Nothing",
    "Number",
    "OutOfBand",
    "Page",
    "Parsed",
    "Path",
    "Rank",
    "Raw",
    "Real",
    "Ref",
    "Scalar",
    "Signed",
    "StageIndex",
    "Text",
    "TupleOf",
    "kind_of",
    "reader_of",
]

_LARGEST = sys.float_info.max


class Kind(Protocol):
    """The type and the bounds of a field's value."""

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""

    def test(self, x: str) -> str:
        """An expression that is true only if ``check`` returns the value of the expression ``x`` as it is."""


def _type(value: Any, expected: str) -> DecodeError:
    return DecodeError(f"is of type {type(value).__name__}, and is to be {expected}")


class Int(NamedTuple):
    """A whole number, within bounds; ``True`` and ``False`` are not numbers."""

    low: int = 0
    high: int = MAX_INT

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not int:
            raise _type(value, "an int")
        if not self.low <= value <= self.high:
            raise DecodeError(f"is to be {self.low} to {self.high}")
        return value

    def test(self, x: str) -> str:
        """An expression that is true for such a number."""
        return f"type({x}) is int and {self.low} <= {x} <= {self.high}"


class Bool(NamedTuple):
    """True or False."""

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not bool:
            raise _type(value, "a bool")
        return value

    def test(self, x: str) -> str:
        """An expression that is true for them."""
        return f"type({x}) is bool"


class Text(NamedTuple):
    """A text of limited length."""

    length: int
    """Most characters."""
    cut: bool = False
    """Whether people read the text: then its sender cuts it to ``length``."""

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not str:
            raise _type(value, "a str")
        if len(value) > self.length:
            raise DecodeError(f"has {len(value)} characters; {self.length} are the limit")
        return value

    def test(self, x: str) -> str:
        """An expression that is true for such a text."""
        return f"type({x}) is str and len({x}) <= {self.length}"


class Bytes(NamedTuple):
    """Bytes of limited length."""

    length: int
    """Most bytes."""

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not bytes:
            raise _type(value, "bytes")
        if len(value) > self.length:
            raise DecodeError(f"has {len(value)} bytes; {self.length} are the limit")
        return value

    def test(self, x: str) -> str:
        """An expression that is true for such bytes."""
        return f"type({x}) is bytes and len({x}) <= {self.length}"


class Key(NamedTuple):
    """The id of a job, a process or a node."""

    empty: bool = False
    """Whether the id may be empty, which means none."""

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not bytes or (len(value) != 16 and (value or not self.empty)):
            raise DecodeError("is not an id of 16 bytes")
        return value

    def test(self, x: str) -> str:
        """An expression that is true for such an id."""
        return f"type({x}) is bytes and len({x}) {'in (0, 16)' if self.empty else '== 16'}"


class Choice(NamedTuple):
    """One of these texts."""

    texts: tuple[str, ...]

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not str or value not in self.texts:
            raise DecodeError(f"is to be one of {', '.join(map(repr, self.texts))}")
        return value

    def test(self, x: str) -> str:
        """An expression that is true for one of them."""
        return f"type({x}) is str and {x} in {self.texts!r}"


class Nothing(NamedTuple):
    """Only None."""

    def check(self, value: Any) -> Any:
        """None; raises DecodeError."""
        if value is not None:
            raise _type(value, "nothing")

    def test(self, x: str) -> str:
        """An expression that is true for None."""
        return f"{x} is None"


class Maybe(NamedTuple):
    """None, or a value of a kind."""

    kind: Kind

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        return None if value is None else self.kind.check(value)

    def test(self, x: str) -> str:
        """An expression that is true for None, and where the kind's own is."""
        return f"({x} is None or ({self.kind.test(x)}))"


class Real(NamedTuple):
    """A finite int or float, within bounds."""

    low: float = -math.inf
    high: float = math.inf

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) not in (int, float) or not math.isfinite(value):
            raise DecodeError("is to be a finite number")
        if not self.low <= value <= self.high:
            raise DecodeError(f"is to be {self.low:g} to {self.high:g}")
        return value

    def test(self, x: str) -> str:
        """An expression that is true for most of them."""
        low, high = max(self.low, -_LARGEST), min(self.high, _LARGEST)
        return f"type({x}) is float and {low!r} <= {x} <= {high!r}"


class Raw(NamedTuple):
    """Any value: the code that knows its kind checks it later."""

    def check(self, value: Any) -> Any:
        """The value."""
        return value

    def test(self, x: str) -> str:
        """An expression that is true for all values."""
        return "True"


class Scalar(NamedTuple):
    """None, a bool, a number or a short text."""

    length: int
    """Most characters of a text."""

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

    def test(self, x: str) -> str:
        """An expression that is true for the frequent ones."""
        return f"({x} is None or type({x}) is bool or {Text(self.length).test(x)})"


class ListOf(NamedTuple):
    """A list of limited length, whose values are all of one kind."""

    kind: Kind
    length: int
    """Most values."""

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not tuple:
            raise _type(value, "a list")
        if len(value) > self.length:
            raise DecodeError(f"has {len(value)} entries; {self.length} are the limit")
        return tuple(map(self.kind.check, value))

    def test(self, x: str) -> str:
        """An expression that is true for such a list, if the kind's own is for each of its values."""
        each = _name_in(x)
        all_are = f"all([{self.kind.test(each)} for {each} in {x}])"
        return f"type({x}) is tuple and (not {x} or (len({x}) <= {self.length} and {all_are}))"


class TupleOf(NamedTuple):
    """A tuple with one value of each kind, in their order."""

    kinds: tuple[Kind, ...]

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not tuple or len(value) != len(self.kinds):
            raise DecodeError(f"is to have entries of {len(self.kinds)} values")
        return tuple(kind.check(part) for kind, part in zip(self.kinds, value, strict=True))

    def test(self, x: str) -> str:
        """An expression that is true for such a tuple, if the kinds' own are for its values."""
        parts = [f"({kind.test(f'{x}[{i}]')})" for i, kind in enumerate(self.kinds)]
        return " and ".join([f"type({x}) is tuple and len({x}) == {len(self.kinds)}", *parts])


class MapOf(NamedTuple):
    """A map of limited size: its keys are of one kind, its values of another."""

    key: Kind
    value: Kind
    length: int
    """Most entries."""

    def check(self, value: Any) -> Any:
        """The value; raises DecodeError."""
        if type(value) is not dict:
            raise _type(value, "a map")
        if len(value) > self.length:
            raise DecodeError(f"has {len(value)} entries; {self.length} are the limit")
        key, part = self.key.check, self.value.check
        return {key(name): part(value) for name, value in value.items()}

    def test(self, x: str) -> str:
        """An expression that is true for such a map, if the kinds' own are for its keys and values."""
        key, part = f"{_name_in(x)}_key", _name_in(x)
        both = f"({self.key.test(key)}) and ({self.value.test(part)})"
        all_are = f"all([{both} for {key}, {part} in {x}.items()])"
        return f"type({x}) is dict and (not {x} or (len({x}) <= {self.length} and {all_are}))"


class Parsed(NamedTuple):
    """A value that a function makes into an object, such as a member."""

    read: Callable[[Any], Any]
    """Checks the raw value and returns the object; raises DecodeError."""

    def check(self, value: Any) -> Any:
        """The object; raises DecodeError."""
        return self.read(value)

    def test(self, x: str) -> str:
        """An expression that is never true: the object is another value."""
        return "False"


class AtMost(NamedTuple):
    """Not a kind: the bound of a list or a map in an annotation, ``Annotated[tuple[Id, ...], AtMost(9)]``."""

    length: int
    """Most entries."""


class Contents(NamedTuple):
    """Frames that travel beside the map. The code that uses them checks them."""

    def check(self, value: Any) -> Any:
        """The value."""
        return value

    def test(self, x: str) -> str:
        """An expression that is true for all values."""
        return "True"


def _name_in(x: str) -> str:
    """A name for a part of the value of this expression, which no other has inside it."""
    return f"in_{x.partition('[')[0]}"


def reader_of(kinds: Mapping[str, Kind]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function that returns the checked fields of a message, given a map that has as many entries.

    It is made from its source, as the constructors of :mod:`zturbo.slotted` are: a field whose test is true
    costs no call. It raises DecodeError or KeyError where a field is missing or not sound, without its name.
    """
    known: dict[str, Any] = {f"check_{field}": kind.check for field, kind in kinds.items()}
    lines = ["def read(fields):"]
    for field, kind in kinds.items():
        lines.append(f" its_{field} = fields[{field!r}]")
        lines.append(f" if not ({kind.test(f'its_{field}')}): its_{field} = check_{field}(its_{field})")
    lines.append(f" return {{{', '.join(f'{field!r}: its_{field}' for field in kinds)}}}")
    exec("\n".join(lines), known)
    reader: Callable[[dict[str, Any]], dict[str, Any]] = known["read"]
    return reader


def kind_of(hint: Any) -> Kind:
    """The kind in an annotation.

    Raises:
        TypeError: the annotation gives no bounds.
    """
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *marks = get_args(hint)
        if not isinstance(marks[-1], AtMost):
            kind: Kind = marks[-1]
            return kind
        first, second = get_args(inner)
        if get_origin(inner) is dict:
            return MapOf(kind_of(first), kind_of(second), marks[-1].length)
        return ListOf(kind_of(first), marks[-1].length)
    args = get_args(hint)
    if origin is tuple and Ellipsis not in args:
        return TupleOf(tuple(map(kind_of, args)))
    if origin in (Union, types.UnionType):
        (only,) = [arg for arg in args if arg is not type(None)]
        return Maybe(kind_of(only))
    if origin is Literal:
        return Choice(args)
    if hint is bool:
        return Bool()
    if hint is type(None):
        return Nothing()
    if hasattr(hint, "from_wire"):
        return Parsed(hint.from_wire)
    raise TypeError(f"no bounds for {hint}")


COUNT = 1 << 53
"""Largest count of tasks or jobs. The sum of a thousand such counts still fits into a message."""
MANY = 200_000
"""Most entries in a list of jobs or members."""
MAX_PAGE = 1000
"""Most jobs in one answer that describes jobs."""
MAX_CONTROL = 16 << 20
"""Most bytes of a message to a broker, without the contents that come with it out of band."""
FAILURES = 10_000
"""Most failures of one job that its clients have got before it starts over; a job with more of them ends."""

Id = Annotated[bytes, Key()]
IdOrNone = Annotated[bytes, Key(empty=True)]
"""An empty id means none."""
Name = Annotated[str, Text(1000)]
"""The name of a job, a pipeline, a stage or a host."""
Line = Annotated[str, Text(MAX_TEXT, cut=True)]
"""A message for people to read."""
Page = Annotated[str, Text(50_000, cut=True)]
"""A traceback."""
Code = Annotated[str, Text(100)]
"""Name of an error class, or a version."""
Number = Annotated[int, Int()]
Ref = Annotated[int, Int()]
Epoch = Annotated[int, Int()]
Count = Annotated[int, Int(0, COUNT)]
Signed = Annotated[int, Int(-MAX_INT)]
StageIndex = Annotated[int, Int(0, MAX_STAGES)]
Path = Annotated[tuple[Number, ...], AtMost(MAX_DEPTH)]
Rank = tuple[Id, Epoch, Number]
"""(job, epoch, revision)"""
Metas = Annotated[bytes, Bytes(MAX_CONTROL)]
"""Packed metas of roots; see :mod:`zturbo.wire.payload`."""
JobOptions = Annotated[dict[Annotated[str, Text(100)], Annotated[Any, Scalar(1000)]], AtMost(32)]
"""Options of a job; see :func:`zturbo.wire.control.newjob.options_problem`."""
OutOfBand = Annotated[Sequence[Buffer], Contents()]
