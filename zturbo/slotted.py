"""Classes with slots whose constructor is made of their fields, as ``dataclasses`` makes it.

Every process of a network defines dozens of such classes at its start. ``dataclass(slots=True)`` takes 0.6 ms
for each of them, and the import of ``dataclasses`` as long as for twenty; :func:`slotted` takes 0.1 ms. It
has what zturbo uses of ``dataclass``: defaults, ``__repr__``, ``__eq__``, and ``frozen``.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Callable[[Any], Any]:
        """Stands for the decorator that mypy knows."""
        return lambda made: made


__all__ = ["dataclass_transform", "field", "replace", "slotted"]

T = TypeVar("T")


class _Field:
    """What :func:`field` says of a field."""

    __slots__ = ("factory", "init")

    def __init__(self, factory: Callable[[], Any] | None, init: bool) -> None:
        self.factory = factory
        self.init = init


def field(*, default_factory: Callable[[], Any] | None = None, init: bool = True) -> Any:
    """The default of a field that needs more than a value.

    Args:
        default_factory: makes the value for each new object.
        init: whether the constructor has an argument for the field. If not, ``__post_init__`` sets it.
    """
    return _Field(default_factory, init)


@overload
def slotted(cls: type[T], /) -> type[T]: ...
@overload
def slotted(*, frozen: bool = False, eq: bool = True) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(field_specifiers=(field,))
def slotted(cls: type[T] | None = None, /, *, frozen: bool = False, eq: bool = True) -> Any:
    """A decorator: gives a class slots, and a constructor that takes a value for each annotated field.

    If the class has a method ``__post_init__``, the constructor calls it at its end.

    Args:
        cls: the class, which has no base but ``object``.
        frozen: whether objects cannot be changed. They can be hashed if they are compared.
        eq: whether objects are equal if their fields are; if not, an object is equal to itself alone.
    """

    def made(plain: type[T]) -> type[T]:
        return _made(plain, frozen, eq)

    return made if cls is None else made(cls)


def replace(value: T, /, **changes: Any) -> T:
    """A copy of an object of a slotted class, with other values for some fields."""
    for name in value.__match_args__:  # type: ignore[attr-defined]
        if name not in changes:
            changes[name] = getattr(value, name)
    return type(value)(**changes)


def _made(cls: type[T], frozen: bool, eq: bool) -> type[T]:
    """The class again, with slots: these cannot be given to a class that exists."""
    body = dict(vars(cls))
    names = tuple(cls.__annotations__)
    defaults = {name: body.pop(name) for name in names if name in body}
    for made_by_python in ("__dict__", "__weakref__"):
        body.pop(made_by_python, None)
    body["__slots__"] = names
    # Patterns take these by position, and :func:`replace` copies them.
    body["__match_args__"] = tuple(
        name for name in names if not isinstance(given := defaults.get(name), _Field) or given.init
    )
    body["__init__"] = _constructor(cls, names, defaults, frozen)
    body["__repr__"] = _repr(names)
    if eq:
        body["__eq__"], body["__hash__"] = _comparison(names, frozen)
    if frozen:
        body["__setattr__"] = body["__delattr__"] = _refuse
    made: type[T] = type(cls.__name__, cls.__bases__, body)
    return made


def _constructor(
    cls: type, names: tuple[str, ...], defaults: dict[str, Any], frozen: bool
) -> Callable[..., None]:
    """``__init__``, made from its source: no other way gives a constructor that is as fast."""
    known: dict[str, Any] = {"_put": object.__setattr__, "_unset": _UNSET}
    arguments, lines = ["self"], []
    for name in names:
        value = name
        default = defaults.get(name, _UNSET)
        if isinstance(default, _Field):
            if not default.init:
                continue
            known[f"_make_{name}"] = default.factory
            arguments.append(f"{name}=_unset")
            value = f"_make_{name}() if {name} is _unset else {name}"
        elif default is not _UNSET:
            known[f"_default_{name}"] = default
            arguments.append(f"{name}=_default_{name}")
        else:
            arguments.append(name)
        lines.append(f" _put(self, {name!r}, {value})" if frozen else f" self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    exec("\n".join([f"def __init__({', '.join(arguments)}):", *lines]), known)
    constructor: Callable[..., None] = known["__init__"]
    constructor.__qualname__ = f"{cls.__qualname__}.__init__"
    return constructor


_UNSET: Any = object()
"""Stands for the value of an argument that was not given."""


def _repr(names: tuple[str, ...]) -> Callable[[Any], str]:
    def __repr__(self: Any) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({fields})"

    return __repr__


def _comparison(
    names: tuple[str, ...], frozen: bool
) -> tuple[Callable[[Any, object], bool], Callable[[Any], int] | None]:
    """``__eq__`` and ``__hash__``, over all fields; what can be changed has no hash."""
    fields = attrgetter(*names)

    def __eq__(self: Any, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bool(fields(self) == fields(other))

    def __hash__(self: Any) -> int:
        return hash(fields(self))

    return __eq__, __hash__ if frozen else None


def _refuse(self: Any, name: str, *_: Any) -> None:
    raise AttributeError(f"{type(self).__qualname__}.{name} cannot be changed")
