"""Extension types of the payload codec, for values that msgpack itself cannot pack.

A value arrives with the same type, or packing refuses it. So a subclass never becomes its base class, and an
object with a buffer never becomes bytes. Unpacking accepts all that packing accepts, because both have the
same limit for the depth. NumPy's values are in :mod:`zturbo.wire.arrays`.
"""

from __future__ import annotations

import array
import datetime as dt
import enum
import sys
import uuid
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import PosixPath, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, ClassVar, Protocol

import msgpack

from zturbo.errors import DecodeError, EncodeError, UsageError
from zturbo.wire.arrays import pack_numpy, read_array, read_scalar, read_special_array
from zturbo.wire.codes import (
    ARRAY,
    BIGINT,
    BUFFER,
    BYTEARRAY,
    COMPLEX,
    CUSTOM,
    DATE,
    DATETIME,
    DECIMAL,
    FRACTION,
    FROZENSET,
    LIBRARY,
    MAX_PARTS,
    OLD_BIGINT,
    OLD_DATETIME,
    OLD_TIME,
    OUT_OF_BAND,
    PATH,
    PURE_PATH,
    SCALAR,
    SET,
    SPECIAL,
    TIME,
    TIMEDELTA,
    TUPLE,
    UUID,
    NeedsBuffers,
)

__all__ = ["Decoder", "Encoder", "OwnCode", "register", "registered"]

_LIBRARIES = frozenset({"pandas", "pyarrow", "PIL", "torch"})
"""Libraries whose values :mod:`zturbo.wire.libraries` can pack; it is imported with the first such value."""

MANY_PARTS, FLAT = 16, 40
"""Within more than ``MANY_PARTS`` extension types, lists and dicts may be at most ``FLAT`` levels deep:
msgpack recurses in C, and would crash the process."""

_SMALL: dict[str, Any] = {"buf_size": 1 << 10}
"""Options for parts inside a content. The default buffer of 256 KiB for each part would take several times as
long as packing. msgpack before 1.1 has no such option."""
try:
    msgpack.Packer(**_SMALL)
except TypeError:
    _SMALL = {}

_custom_types: dict[type, tuple[str, Callable[[Any], Any]]] = {}
_custom_names: dict[str, Callable[[Any], Any]] = {}


def register(type_: type, name: str, pack: Callable[[Any], Any], unpack: Callable[[Any], Any]) -> None:
    """Let contents have values of your own class.

    Every process that packs or unpacks such contents has to register the class. So call this in the module of
    your stages.

    Args:
        type_: the class. Subclasses are not registered with it.
        name: name of the class on the wire.
        pack: turns an instance into a value that contents may have.
        unpack: turns such a value into an instance.

    Raises:
        UsageError: the class is registered under another name, or the name for another class.
    """
    known = _custom_types.get(type_)
    if (known is not None and known[0] != name) or (known is None and name in _custom_names):
        raise UsageError(f"{type_.__name__!r} or the name {name!r} is registered already")
    _custom_types[type_] = (name, pack)
    _custom_names[name] = unpack


def registered() -> list[tuple[type, str, Callable[[Any], Any], Callable[[Any], Any]]]:
    """All registered classes, each with the arguments of :func:`register`."""
    return [(kind, name, pack, _custom_names[name]) for kind, (name, pack) in _custom_types.items()]


# -- packing ----------------------------------------------------------------------------------
class Keeper(Protocol):
    """Where a process keeps large buffers. Its methods are called in the thread that packs."""

    def put(self, view: memoryview, final: bool) -> memoryview | None:
        """Copy a buffer there, unless it is there and no code changes it any more (``final``). Returns a view
        of it there; None if the buffer is to stay as it is."""

    def room(self, nbytes: int) -> memoryview | None:
        """So many bytes there to write to; None if a buffer of that size is to stay as it is."""


class Encoder:
    """Packs one content, or several.

    Args:
        buffers: list that large buffers are appended to; None if there may be none.
        owned: whether no code changes the packed values any more, so that large buffers need no copy.
        plain: whether msgpack packs no part of the values as another type, so that none is to be wrapped.
    """

    __slots__ = ("_depth", "_errors", "buffers", "large", "owned", "plain")

    keeper: ClassVar[Keeper | None] = None
    """Where this process keeps large buffers; None if there is no such place."""

    def __init__(
        self, buffers: list[Any] | None, owned: bool = True, *, plain: bool = False, large: int = OUT_OF_BAND
    ) -> None:
        self.buffers = buffers
        self.owned = owned
        self.plain = plain
        self.large = large
        self._depth = 0
        self._errors: str | None = None

    def pack(self, value: Any) -> bytes:
        """Pack a whole content.

        Raises:
            EncodeError: the content cannot be packed.
            NeedsBuffers: the content needs buffers, and there may be none.
        """
        try:
            try:
                return self.part(value)
            except UnicodeEncodeError:  # a file name that is not UTF-8; only such texts take the slower way
                self._errors = "surrogatepass"
                if self.buffers:
                    self.buffers.clear()
                return self.part(value)
        except (EncodeError, NeedsBuffers):
            raise
        except RecursionError as error:
            raise EncodeError(
                "a content cannot be carried: lists or dicts are nested too deep in it, or it contains itself"
            ) from error
        except Exception as error:  # msgpack has limits of its own, and a registered pack is user code
            raise EncodeError(f"a content cannot be carried: {type(error).__name__}: {error}") from error

    def part(self, value: Any) -> bytes:
        """Pack a part inside an extension type, with a new packer, because the outer one is in use."""
        if self._depth > MANY_PARTS:
            _check_flat(value)
        return msgpack.packb(  # type: ignore[no-any-return]
            value if self.plain else _wrapped(value),
            default=self,
            strict_types=True,
            use_bin_type=True,
            unicode_errors=self._errors,
            **(_SMALL if self._depth else {}),
        )

    def buffer(self, view: Any, frozen: bool) -> int:
        """Send a buffer as a frame of its own, copied if code might still change it. Returns its index."""
        if self.buffers is None:
            raise NeedsBuffers
        keeper, final = Encoder.keeper, frozen or self.owned
        kept = None if keeper is None else keeper.put(view, final)
        if kept is None:
            kept = view if final else memoryview(bytes(view))
        self.buffers.append(kept)
        return len(self.buffers) - 1

    def __call__(self, value: Any) -> Any:
        """msgpack's ``default``: makes an extension type of a value that msgpack cannot pack itself."""
        if self._depth >= MAX_PARTS:
            raise EncodeError(
                f"a content cannot be carried: it has more than {MAX_PARTS} tuples, sets or objects inside "
                "one another; make a flat list of it"
            )
        self._depth += 1
        try:
            return self._extension(value)
        finally:
            self._depth -= 1

    def _extension(self, value: Any) -> Any:
        if type(value) is _Wrapped:
            value = value.value
        kind = type(value)
        known = _custom_types.get(kind)
        if known is not None:
            name, packer = known
            return msgpack.ExtType(CUSTOM, self.part([name, packer(value)]))
        simple = _PACKERS.get(kind)
        if simple is not None:
            return simple(value, self)
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            found = pack_numpy(numpy, value, self)
            if found is not None:
                return found
        if isinstance(value, dt.tzinfo):
            return msgpack.ExtType(SPECIAL, self.part(["timezone", _zone(value)]))
        if kind.__module__.partition(".")[0] in _LIBRARIES:
            from zturbo.wire.libraries import describe_value

            return msgpack.ExtType(LIBRARY, self.part(list(describe_value(value))))
        raise EncodeError(_refusal(value))


class _Wrapped:
    """Hides a value from msgpack, which would pack it as another type."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


_TAKEN_FOR_OTHERS = frozenset({bytearray, memoryview, msgpack.ExtType, msgpack.Timestamp})
_LOOK_INTO = _TAKEN_FOR_OTHERS | {list, dict}


def _wrapped(value: Any) -> Any:
    """A value for msgpack, in which all values that would arrive with another type are wrapped."""
    kind = type(value)
    if kind is list:
        return value if _LOOK_INTO.isdisjoint(map(type, value)) else [_wrapped(one) for one in value]
    if kind is dict:
        if _LOOK_INTO.isdisjoint(map(type, value)) and _LOOK_INTO.isdisjoint(map(type, value.values())):
            return value
        return {_wrapped(key): _wrapped(one) for key, one in value.items()}
    return _Wrapped(value) if kind in _TAKEN_FOR_OTHERS else value


def _check_flat(value: Any) -> None:
    """Raise EncodeError if lists and dicts are more than ``FLAT`` levels deep."""
    level = [value]
    for _ in range(FLAT):
        level = [
            inner
            for one in level
            if type(one) in (list, dict)
            for inner in (one if type(one) is list else one.values())
            if type(inner) in (list, dict)
        ]
        if not level:
            return
    raise EncodeError(f"a content cannot be carried: lists and dicts are nested more than {FLAT} deep in it")


def _refusal(value: Any) -> str:
    """The text of an error: why a value cannot be packed, and what to do."""
    kind = type(value)
    name = kind.__qualname__
    if isinstance(value, enum.Enum):
        recipe = f'send its value, or zturbo.register({name}, "{name}", lambda e: e.value, {name})'
    elif hasattr(kind, "__dataclass_fields__"):
        recipe = f'zturbo.register({name}, "{name}", vars, lambda fields: {name}(**fields))'
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        recipe = f'send tuple(x), or zturbo.register({name}, "{name}", tuple, {name}._make)'
    elif isinstance(value, PurePath):
        recipe = "send pathlib.Path(x)"
    elif isinstance(value, (dt.datetime, dt.time, dt.date)):
        recipe = "send a plain datetime"
    else:
        for base in (bool, int, float, complex, str, bytes, bytearray, list, dict, tuple, set, frozenset):
            if isinstance(value, base):
                recipe = f"send {base.__name__}(x), or register the type with zturbo.register"
                break
        else:
            try:
                memoryview(value)
                recipe = "send bytes(x), or register the type with zturbo.register"
            except TypeError:
                recipe = "make it of plain values and arrays, or register the type with zturbo.register"
    return f"a content of type {kind.__module__}.{name} cannot be carried: {recipe}"


def _pack_bytes(value: Any, encoder: Encoder) -> Any:
    """Pack bytes or a bytearray; msgpack itself packs short bytes."""
    mutable = type(value) is bytearray
    if len(value) < encoder.large:
        return msgpack.ExtType(BYTEARRAY, bytes(value)) if mutable else value
    index = encoder.buffer(memoryview(value), not mutable)
    return msgpack.ExtType(BUFFER, encoder.part([index, mutable]))


def _ext(code: int, make: Callable[[Any], Any]) -> Callable[[Any, Encoder], Any]:
    return lambda value, encoder: msgpack.ExtType(code, encoder.part(make(value)))


def _special(name: str, make: Callable[[Any], Any]) -> Callable[[Any, Encoder], Any]:
    return lambda value, encoder: msgpack.ExtType(SPECIAL, encoder.part([name, make(value)]))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _zone(zone: Any) -> Any:
    """A time zone in plain values."""
    if zone is None:
        return None
    if type(zone) is dt.timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        return [offset.days, offset.seconds, offset.microseconds, *name]
    module = sys.modules.get("zoneinfo")
    if module is not None and type(zone) is module.ZoneInfo and zone.key is not None:
        return zone.key
    kind = type(zone)
    raise EncodeError(
        f"a time zone of type {kind.__module__}.{kind.__qualname__} cannot be carried: use zoneinfo.ZoneInfo "
        "by its key, or datetime.timezone"
    )


def _clock(value: Any) -> list[Any]:
    return [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, _zone(value.tzinfo)]


def _memory(value: memoryview) -> list[Any]:
    if value.format not in _FORMATS:
        raise EncodeError(f"a memoryview of format {value.format!r} cannot be carried: send bytes(x)")
    shape = list(value.shape or ())
    if 0 in shape and len(shape) != 1:
        raise EncodeError("a memoryview with no elements in several dimensions cannot be carried")
    return [value.format, shape, value.readonly, value.tobytes()]


_FORMATS = frozenset("cbB?hHiIlLqQnNefd")


_PACKERS: dict[type, Callable[[Any, Encoder], Any]] = {
    tuple: _ext(TUPLE, list),
    set: _ext(SET, list),
    frozenset: _ext(FROZENSET, list),
    complex: _ext(COMPLEX, lambda v: [v.real, v.imag]),
    int: lambda v, encoder: msgpack.ExtType(
        BIGINT, v.to_bytes(v.bit_length() // 8 + 1, "little", signed=True)
    ),
    bytes: _pack_bytes,
    bytearray: _pack_bytes,
    dt.datetime: _ext(DATETIME, _clock),
    dt.time: _ext(TIME, _clock),
    dt.date: _ext(DATE, lambda v: v.isoformat()),
    dt.timedelta: _ext(TIMEDELTA, lambda v: [v.days, v.seconds, v.microseconds]),
    Decimal: lambda v, encoder: msgpack.ExtType(DECIMAL, str(v).encode()),
    Fraction: _ext(FRACTION, lambda v: [v.numerator, v.denominator]),
    uuid.UUID: lambda v, encoder: msgpack.ExtType(UUID, v.bytes),
    PurePosixPath: lambda v, encoder: msgpack.ExtType(PURE_PATH, _utf8(str(v))),
    PosixPath: lambda v, encoder: msgpack.ExtType(PATH, _utf8(str(v))),
    PureWindowsPath: _special("PureWindowsPath", str),
    OrderedDict: _special("OrderedDict", dict),
    Counter: _special("Counter", dict),
    deque: _special("deque", lambda v: [list(v), v.maxlen]),
    range: _special("range", lambda v: [v.start, v.stop, v.step]),
    slice: _special("slice", lambda v: [v.start, v.stop, v.step]),
    type(...): _special("Ellipsis", lambda v: None),
    array.array: _special("array", lambda v: [v.typecode, v.tobytes()]),
    memoryview: _special("memoryview", _memory),
}


# -- unpacking --------------------------------------------------------------------------------
class OwnCode(DecodeError):
    """A content cannot be unpacked without code of the user or of a library."""


class Decoder:
    """Unpacks extension types.

    Args:
        unpack: unpacks a part inside an extension type.
        buffers: the message's out-of-band buffers.
        own: whether code of registered types and libraries may run; if not, :class:`OwnCode` is raised.
    """

    def __init__(self, unpack: Callable[..., Any], buffers: list[Any], *, own: bool = True) -> None:
        self.own = own
        self._unpack = unpack
        self._buffers = buffers
        self._depth = 0

    def __call__(self, code: int, data: Any) -> Any:
        """msgpack's ``ext_hook``."""
        reader = _READERS.get(code)
        if reader is None:
            raise DecodeError(f"extension type {code} is not known here")
        self._depth += 1
        if self._depth > MAX_PARTS:
            raise DecodeError("a content is nested too deeply")
        try:
            return reader(self, data)
        finally:
            self._depth -= 1

    def part(self, data: Any) -> Any:
        """Unpack a part inside an extension type."""
        return self._unpack(data, self)

    def list(self, data: Any, length: int | None = None) -> list[Any]:
        """Unpack a part that must be a list, of this length if one is given; raises DecodeError."""
        value = self.part(data)
        if type(value) is not list or (length is not None and len(value) != length):
            raise DecodeError("an extension type is malformed")
        return value

    def buffer(self, index: Any) -> Any:
        """A read-only view of the out-of-band buffer of this index; raises DecodeError."""
        if type(index) is not int or not 0 <= index < len(self._buffers):
            raise DecodeError("a content refers to a buffer that is not there")
        return memoryview(self._buffers[index]).toreadonly()


def _read_buffer(decoder: Decoder, data: Any) -> Any:
    index, mutable = decoder.list(data, 2)
    raw = decoder.buffer(index)
    return bytearray(raw) if mutable else bytes(raw)


def _read_custom(decoder: Decoder, data: Any) -> Any:
    name, value = decoder.list(data, 2)
    unpack = _custom_names.get(name) if type(name) is str else None
    if unpack is None:
        raise DecodeError(f"type {str(name)[:60]!r} is not registered in this process: zturbo.register it")
    if not decoder.own:
        raise OwnCode
    try:
        return unpack(value)
    except (Exception, SystemExit, GeneratorExit) as error:  # user code; but Ctrl-C is not its fault
        raise DecodeError(
            f"unpack of the registered type {name[:60]!r} raised {type(error).__name__}"
        ) from error


def _read_library(decoder: Decoder, data: Any) -> Any:
    from zturbo.wire.libraries import make_value

    if not decoder.own:
        raise OwnCode
    return make_value(decoder.list(data, 2))


def _read_special(decoder: Decoder, data: Any) -> Any:
    name, value = decoder.list(data, 2)
    make = _SPECIALS.get(name) if type(name) is str else None
    if make is None:
        raise DecodeError("an extension type is not known here")
    return make(value)


def _read_zone(value: Any) -> Any:
    if value is None:
        return None
    if type(value) is str:
        from zoneinfo import ZoneInfo

        return ZoneInfo(value)
    offset = dt.timedelta(*value[:3])
    if value[3:]:
        return dt.timezone(offset, value[3])
    return dt.timezone(offset) if offset else dt.timezone.utc


def _read_clock(kind: Any) -> Callable[[Decoder, Any], Any]:
    def read(decoder: Decoder, data: Any) -> Any:
        text, fold, zone = decoder.list(data, 3)
        return kind.fromisoformat(text).replace(tzinfo=_read_zone(zone), fold=fold)

    return read


def _read_old_datetime(decoder: Decoder, data: Any) -> Any:
    text, offset, fold = decoder.list(data, 3)
    zone = None if offset is None else dt.timezone(dt.timedelta(seconds=offset))
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def _read_memory(value: Any) -> Any:
    kind, shape, readonly, raw = value
    view = memoryview(bytes(raw) if readonly else bytearray(raw))
    return view.cast(kind) if len(shape) == 1 else view.cast(kind, shape)


def _text(data: Any) -> str:
    return bytes(data).decode("utf-8", "surrogatepass")


_SPECIALS: dict[str, Callable[[Any], Any]] = {
    **read_special_array,
    "timezone": _read_zone,
    "PureWindowsPath": PureWindowsPath,
    "OrderedDict": OrderedDict,
    "Counter": Counter,
    "deque": lambda value: deque(value[0], value[1]),
    "range": lambda value: range(*value),
    "slice": lambda value: slice(*value),
    "Ellipsis": lambda value: ...,
    "array": lambda value: array.array(value[0], value[1]),
    "memoryview": _read_memory,
}

_READERS: dict[int, Callable[[Decoder, Any], Any]] = {
    TUPLE: lambda d, data: tuple(d.list(data)),
    SET: lambda d, data: set(d.list(data)),
    FROZENSET: lambda d, data: frozenset(d.list(data)),
    COMPLEX: lambda d, data: complex(*d.list(data, 2)),
    OLD_BIGINT: lambda d, data: int(_text(data)),
    BIGINT: lambda d, data: int.from_bytes(data, "little", signed=True),
    OLD_DATETIME: _read_old_datetime,
    DATETIME: _read_clock(dt.datetime),
    DATE: lambda d, data: dt.date.fromisoformat(d.part(data)),
    OLD_TIME: lambda d, data: dt.time.fromisoformat(d.part(data)),
    TIME: _read_clock(dt.time),
    TIMEDELTA: lambda d, data: dt.timedelta(*d.list(data, 3)),
    DECIMAL: lambda d, data: Decimal(_text(data)),
    FRACTION: lambda d, data: Fraction(*d.list(data, 2)),
    UUID: lambda d, data: uuid.UUID(bytes=bytes(data)),
    PURE_PATH: lambda d, data: PurePosixPath(_text(data)),
    PATH: lambda d, data: PosixPath(_text(data)),
    BYTEARRAY: lambda d, data: bytearray(data),
    ARRAY: read_array,
    SCALAR: read_scalar,
    SPECIAL: _read_special,
    BUFFER: _read_buffer,
    CUSTOM: _read_custom,
    LIBRARY: _read_library,
}
