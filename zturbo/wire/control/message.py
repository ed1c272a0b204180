"""Control messages as typed classes: a field's annotation has its type and its bounds.

Mypy reads the annotation, and so do the check of bytes from a socket and the tests that make wild values.
``Annotated[int, Int(0, 9)]`` is a number from 0 to 9. A class with a field without bounds is refused when it
is first used.

The classes have no constructors of their own, because every worker imports all of them: to make forty takes
longer than all else of their definition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_type_hints

from zturbo.errors import DecodeError
from zturbo.errortext import clip
from zturbo.slotted import dataclass_transform
from zturbo.wire.control.fields import Contents, Kind, Ref, Text, kind_of, reader_of
from zturbo.wire.messages import Buffer

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["OFTEN", "Answer", "Message", "Request", "vocabulary"]

Answer = TypeVar("Answer")

OFTEN = 16
"""Messages of a class that a process reads before it makes a function that reads them: most classes come once
or twice, while a process starts."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Message:
    """A control message: on the wire, a map with its ``type`` and its fields. Immutable.

    A subclass lists its fields. Its type is its name in lower case, unless the class names another one:
    ``class GetView(Message, type_name="get_view")``.

    Raises:
        TypeError: a field is missing or unknown.
    """

    type_name: ClassVar[str] = ""
    _all: ClassVar[frozenset[str]] = frozenset()
    _required: ClassVar[frozenset[str]] = frozenset()
    _kinds: ClassVar[dict[str, Kind] | None] = None
    _read: ClassVar[Callable[[dict[str, Any]], dict[str, Any]] | None] = None
    """Reads the fields of a map, once :data:`OFTEN` have come."""
    _came: ClassVar[int] = 0
    """How many have come before that."""

    def __init_subclass__(cls, type_name: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.type_name = type_name or cls.__name__.lower()
        own = {field for field, hint in cls.__annotations__.items() if not hint.startswith("ClassVar")}
        cls._all |= own
        cls._required |= {field for field in own if not hasattr(cls, field)}
        cls._kinds = cls._read = None

    def __init__(self, **values: Any) -> None:
        if not self._required <= values.keys() <= self._all:
            wrong = sorted(self._required - values.keys() or values.keys() - self._all)
            raise TypeError(f"{type(self).__name__}: missing or unknown: {', '.join(wrong)}")
        self.__dict__.update(values)

    def __setattr__(self, field: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), tuple(self.__dict__.items())))

    def __repr__(self) -> str:
        fields = ", ".join(f"{field}={value!r}" for field, value in self.__dict__.items())
        return f"{type(self).__name__}({fields})"

    def but(self, **values: Any) -> Self:
        """The same message with other values for some fields."""
        return type(self)(**{**self.__dict__, **values})

    @classmethod
    def kinds(cls) -> dict[str, Kind]:
        """Field -> kind, in their order on the wire; without ``contents``, which travel beside the map."""
        if cls._kinds is None:
            hints = get_type_hints(cls, include_extras=True)
            kinds = {field: kind_of(hints[field]) for field in hints if field in cls._all}
            ref = kinds.pop("ref", None)
            if ref is not None:  # last, where it is found even in a message that cannot be read
                kinds["ref"] = ref
            cls._kinds = {field: kind for field, kind in kinds.items() if not isinstance(kind, Contents)}
        return cls._kinds

    @classmethod
    def from_wire(cls, value: Any, contents: Sequence[Buffer] = ()) -> Self:
        """Make the message of a decoded map, and check it field by field.

        Args:
            value: the map, without its type.
            contents: the frames beside the map, if the message has ``contents``.

        Raises:
            DecodeError: a field is missing, unknown, or beyond its bounds; the text names it.
        """
        if type(value) is not dict:
            raise DecodeError("is not a map")
        self = cls.__new__(cls)
        fields = None
        if (read := cls._read or cls._reader()) is not None:
            try:
                fields = read(value)
            except (DecodeError, KeyError):  # told below, with the field's name
                pass
        if fields is None or len(fields) != len(value):
            fields = cls._checked(value)
        if "contents" in cls._all:
            fields["contents"] = tuple(contents)
        self.__dict__.update(fields)
        return self

    @classmethod
    def _checked(cls, value: dict[Any, Any]) -> dict[str, Any]:
        """The fields of a decoded map, each of them checked; the error of one that is not sound names it."""
        kinds = cls.kinds()
        for field in value:
            if field not in kinds:
                raise DecodeError(f"{cls.type_name}: unknown field {str(field)[:40]!r}")
        fields: dict[str, Any] = {}
        for field, kind in kinds.items():
            if field not in value:
                raise DecodeError(f"{cls.type_name}: field {field!r} is missing")
            try:
                fields[field] = kind.check(value[field])
            except DecodeError as error:
                raise DecodeError(f"{cls.type_name}: field {field!r} {error}") from None
        return fields

    @classmethod
    def _reader(cls) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
        """What reads the fields of a map, if it is worth its making: that takes a millisecond."""
        cls._came += 1
        if cls._came > OFTEN:
            cls._read = staticmethod(reader_of(cls.kinds()))
        return cls._read

    def to_wire(self) -> dict[str, Any]:
        """The fields as a map for msgpack, without the type. Texts for people are cut to their length."""
        out: dict[str, Any] = {}
        for field, kind in (self._kinds or self.kinds()).items():
            value = getattr(self, field)
            if type(kind) is Text and kind.cut and len(value) > kind.length:
                value = clip(value, kind.length)
            out[field] = value
        return out

    def as_map(self) -> dict[str, Any]:
        """The fields as a map of plain values, for a user."""
        return {field: _as_maps(value) for field, value in self.__dict__.items()}

    @property
    def frames(self) -> Sequence[Buffer]:
        """The contents that travel beside the map."""
        return getattr(self, "contents", ())


class Request(Message, Generic[Answer]):
    """A message that the broker answers by ``ok`` or ``error`` with its ref. It is sent again until then.

    ``class Cancel(Request[State])`` means that the ``ok`` has a ``State``.
    """

    _answer: ClassVar[Kind | None] = None

    ref: Ref = 0
    """Number that connects request and answer; the sender's loop sets it."""

    @classmethod
    def answer(cls) -> Kind:
        """Kind of the ``value`` in the ``ok`` that answers this request."""
        if cls._answer is None:
            (base,) = (one for one in cls.__orig_bases__ if getattr(one, "__origin__", None) is Request)  # type: ignore[attr-defined]
            cls._answer = kind_of(base.__args__[0])
        return cls._answer


def _as_maps(value: Any) -> Any:
    if isinstance(value, Message):
        return value.as_map()
    return tuple(map(_as_maps, value)) if type(value) is tuple else value


def vocabulary(module: dict[str, Any]) -> dict[str, type[Message]]:
    """Type on the wire -> class, for the messages that a module defines."""
    found = [value for value in module.values() if isinstance(value, type) and issubclass(value, Message)]
    return {cls.type_name: cls for cls in found if cls.__module__ == module["__name__"]}
