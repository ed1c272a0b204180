"""Extension types of the payload codec: what msgpack does not have of its own.

Each has a code on the wire and a pair of functions. Numbers are fixed for ever; a new kind gets a new
one. NumPy is looked for only when it has been imported by somebody: zturbo does without it.
"""

from __future__ import annotations

import datetime as dt
import sys
import uuid
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath, PurePosixPath
from typing import Any

import msgpack

from zturbo.errors import DecodeError, EncodeError, UsageError

__all__ = ["OUT_OF_BAND", "Decoder", "default", "register", "registered"]

OUT_OF_BAND = 16 << 10
"""Bytes from which on a buffer travels as a frame of its own, not copied by the sender."""

TUPLE, SET, FROZENSET, COMPLEX, BIGINT = 1, 2, 3, 4, 5
DATETIME, DATE, TIME, TIMEDELTA = 6, 7, 8, 9
DECIMAL, UUID, PATH, FRACTION, BYTEARRAY = 10, 11, 12, 13, 14
ARRAY, SCALAR = 20, 21
BUFFER = 30
CUSTOM = 40

_DTYPE_KINDS = "biufcSUMmV"

_custom_types: dict[type, tuple[str, Callable[[Any], Any]]] = {}
_custom_names: dict[str, Callable[[Any], Any]] = {}


def register(type_: type, name: str, pack: Callable[[Any], Any], unpack: Callable[[Any], Any]) -> None:
    """Let contents carry a type of your own.

    Every process that packs or unpacks such contents has to register it: do it in the module of
    your stages.

    Args:
        type_: the class; exactly it, not its subclasses.
        name: what stands for it on the wire.
        pack: gives a plain value (anything that contents may hold) for an instance.
        unpack: gives the instance for such a value.

    Raises:
        UsageError: the name or the type is registered for something else.
    """
    known = _custom_types.get(type_)
    if (known is not None and known[0] != name) or (known is None and name in _custom_names):
        raise UsageError(f"{type_.__name__!r} or the name {name!r} is registered already")
    _custom_types[type_] = (name, pack)
    _custom_names[name] = unpack


def registered() -> list[tuple[type, str, Callable[[Any], Any], Callable[[Any], Any]]]:
    """What has been registered, as arguments of :func:`register`."""
    return [(kind, name, pack, _custom_names[name]) for kind, (name, pack) in _custom_types.items()]


_PLAIN: tuple[Any, ...] = (bool, int, float, str, list, dict)
_TAGGED: tuple[Any, ...] = (tuple, set, frozenset)


def _numpy() -> Any:
    return sys.modules.get("numpy")


def default(value: Any, pack: Callable[[Any], bytes], buffers: list[Any] | None) -> Any:
    """What msgpack cannot pack by itself, as an extension type.

    Args:
        value: the value.
        pack: packs a part of it.
        buffers: where large buffers go; None where none may.

    Raises:
        EncodeError: nothing stands for this type.
    """
    kind = type(value)
    if kind is tuple:
        return msgpack.ExtType(TUPLE, pack(list(value)))
    simple = _PACKERS.get(kind)
    if simple is not None:
        return simple(value, pack)
    known = _custom_types.get(kind)
    if known is not None:
        name, packer = known
        return msgpack.ExtType(CUSTOM, pack([name, packer(value)]))
    if kind is bytes or kind is bytearray or kind is memoryview:
        return _pack_buffer(value, pack, buffers)
    numpy = _numpy()
    if numpy is not None:
        if isinstance(value, numpy.ndarray):
            return _pack_array(value, pack, buffers)
        if isinstance(value, numpy.generic):
            _check_dtype(value.dtype)
            return msgpack.ExtType(SCALAR, pack([value.dtype.str, value.tobytes()]))
    for base in _PLAIN:
        if isinstance(value, base):
            return base(value)
    for base in _TAGGED:
        if isinstance(value, base):
            return default(base(value), pack, buffers)
    if isinstance(value, PurePath):
        return msgpack.ExtType(PATH, str(value).encode())
    try:
        view = memoryview(value)
    except TypeError:
        raise EncodeError(
            f"a content of type {kind.__module__}.{kind.__qualname__} cannot be carried: make it of plain "
            "values and arrays, or register the type with zturbo.register"
        ) from None
    return _pack_buffer(view, pack, buffers)


def _pack_buffer(value: Any, pack: Callable[[Any], bytes], buffers: list[Any] | None) -> Any:
    view = memoryview(value)
    if not view.c_contiguous:
        view = memoryview(view.tobytes())
    mutable = type(value) is bytearray
    if view.nbytes < OUT_OF_BAND:
        raw = view.tobytes()
        return msgpack.ExtType(BYTEARRAY, raw) if mutable else raw
    if buffers is None:
        raise NeedsBuffers
    buffers.append(view.cast("B"))
    return msgpack.ExtType(BUFFER, pack([len(buffers) - 1, mutable]))


class NeedsBuffers(Exception):
    """A content is so large that it has to be packed alone, with out-of-band buffers."""


def _check_dtype(dtype: Any) -> None:
    if dtype.kind not in _DTYPE_KINDS or dtype.hasobject:
        raise EncodeError(
            f"an array of dtype {dtype} cannot be carried: it holds Python objects; send a list, or an "
            "array of numbers"
        )


def _pack_array(value: Any, pack: Callable[[Any], bytes], buffers: list[Any] | None) -> Any:
    numpy = _numpy()
    _check_dtype(value.dtype)
    fortran = bool(value.flags.f_contiguous and not value.flags.c_contiguous)
    if not value.flags.c_contiguous and not fortran:
        value = numpy.ascontiguousarray(value)
    dtype: Any = value.dtype.str if value.dtype.names is None else [list(f) for f in value.dtype.descr]
    flat = value.T if fortran else value
    head = [dtype, list(value.shape), fortran]
    if value.nbytes < OUT_OF_BAND:
        return msgpack.ExtType(ARRAY, pack([*head, flat.tobytes()]))
    if buffers is None:
        raise NeedsBuffers
    buffers.append(memoryview(flat.reshape(-1).view(numpy.uint8)))
    return msgpack.ExtType(ARRAY, pack([*head, len(buffers) - 1]))


def _ext(code: int, make: Callable[[Any], Any]) -> Callable[[Any, Callable[[Any], bytes]], Any]:
    return lambda value, pack: msgpack.ExtType(code, pack(make(value)))


def _pack_datetime(value: dt.datetime, pack: Callable[[Any], bytes]) -> Any:
    offset = value.utcoffset()
    seconds = None if offset is None else offset.total_seconds()
    return msgpack.ExtType(DATETIME, pack([value.replace(tzinfo=None).isoformat(), seconds, value.fold]))


_PACKERS: dict[type, Callable[[Any, Callable[[Any], bytes]], Any]] = {
    set: _ext(SET, list),
    frozenset: _ext(FROZENSET, list),
    complex: _ext(COMPLEX, lambda v: [v.real, v.imag]),
    int: lambda v, pack: msgpack.ExtType(BIGINT, str(v).encode()),
    dt.datetime: _pack_datetime,
    dt.date: _ext(DATE, lambda v: v.isoformat()),
    dt.time: _ext(TIME, lambda v: v.isoformat()),
    dt.timedelta: _ext(TIMEDELTA, lambda v: [v.days, v.seconds, v.microseconds]),
    Decimal: lambda v, pack: msgpack.ExtType(DECIMAL, str(v).encode()),
    Fraction: _ext(FRACTION, lambda v: [v.numerator, v.denominator]),
    uuid.UUID: lambda v, pack: msgpack.ExtType(UUID, v.bytes),
}


class Decoder:
    """Decodes extension types, with a message's buffers at hand.

    Args:
        unpack: unpacks a part.
        buffers: the message's out-of-band buffers.
    """

    def __init__(self, unpack: Callable[[Any, Callable[[int, bytes], Any]], Any], buffers: list[Any]) -> None:
        self._unpack = unpack
        self._buffers = buffers
        self._depth = 0

    def __call__(self, code: int, data: Any) -> Any:
        """msgpack's ``ext_hook``."""
        reader = _READERS.get(code)
        if reader is None:
            raise DecodeError(f"extension type {code} is not known here")
        self._depth += 1
        if self._depth > 100:
            raise DecodeError("a content is nested too deeply")
        try:
            return reader(self, data)
        finally:
            self._depth -= 1

    def part(self, data: Any) -> Any:
        """A part that was packed inside an extension type."""
        return self._unpack(data, self)

    def list(self, data: Any, length: int | None = None) -> list[Any]:
        """A part that is to be a list."""
        value = self.part(data)
        if type(value) is not list or (length is not None and len(value) != length):
            raise DecodeError("an extension type is malformed")
        return value

    def buffer(self, index: Any) -> Any:
        """An out-of-band buffer."""
        if type(index) is not int or not 0 <= index < len(self._buffers):
            raise DecodeError("a content refers to a buffer that is not there")
        return self._buffers[index]


def _read_buffer(decoder: Decoder, data: Any) -> Any:
    index, mutable = decoder.list(data, 2)
    raw = decoder.buffer(index)
    return bytearray(raw) if mutable else bytes(raw)


def _read_array(decoder: Decoder, data: Any) -> Any:
    import numpy

    kind, shape, fortran, source = decoder.list(data, 4)
    dtype = numpy.dtype([tuple(_field(part)) for part in kind] if type(kind) is list else _string(kind))
    if dtype.kind not in _DTYPE_KINDS or dtype.hasobject:
        raise DecodeError(f"an array of dtype {dtype}")
    if type(shape) is not list or any(type(n) is not int or n < 0 for n in shape):
        raise DecodeError("an array's shape is malformed")
    raw = source if type(source) is bytes else decoder.buffer(source)
    size = 1
    for n in shape:
        size *= n
    if size * dtype.itemsize != memoryview(raw).nbytes:
        raise DecodeError("an array's bytes do not fit its shape")
    flat = numpy.frombuffer(raw, dtype) if size else numpy.empty(0, dtype)
    if type(source) is bytes:
        flat = flat.copy()
    return flat.reshape(shape, order="F" if fortran else "C")


def _field(part: Any) -> list[Any]:
    if type(part) is not list or len(part) not in (2, 3):
        raise DecodeError("an array's fields are malformed")
    return [tuple(p) if type(p) is list else p for p in part]


def _string(value: Any) -> str:
    if type(value) is not str or len(value) > 64:
        raise DecodeError("a dtype is malformed")
    return value


def _read_scalar(decoder: Decoder, data: Any) -> Any:
    import numpy

    kind, raw = decoder.list(data, 2)
    dtype = numpy.dtype(_string(kind))
    if dtype.kind not in _DTYPE_KINDS or dtype.hasobject or type(raw) is not bytes:
        raise DecodeError("a scalar is malformed")
    if len(raw) != dtype.itemsize:
        raise DecodeError("a scalar's bytes do not fit its type")
    return numpy.frombuffer(raw, dtype)[0]


def _read_custom(decoder: Decoder, data: Any) -> Any:
    name, value = decoder.list(data, 2)
    unpack = _custom_names.get(name) if type(name) is str else None
    if unpack is None:
        raise DecodeError(f"type {str(name)[:60]!r} is not registered in this process: zturbo.register it")
    return unpack(value)


def _read_datetime(decoder: Decoder, data: Any) -> Any:
    text, offset, fold = decoder.list(data, 3)
    zone = None if offset is None else dt.timezone(dt.timedelta(seconds=offset))
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def _text(data: Any) -> str:
    return bytes(data).decode()


_READERS: dict[int, Callable[[Decoder, Any], Any]] = {
    TUPLE: lambda d, data: tuple(d.list(data)),
    SET: lambda d, data: set(d.list(data)),
    FROZENSET: lambda d, data: frozenset(d.list(data)),
    COMPLEX: lambda d, data: complex(*d.list(data, 2)),
    BIGINT: lambda d, data: int(_text(data)),
    DATETIME: _read_datetime,
    DATE: lambda d, data: dt.date.fromisoformat(d.part(data)),
    TIME: lambda d, data: dt.time.fromisoformat(d.part(data)),
    TIMEDELTA: lambda d, data: dt.timedelta(*d.list(data, 3)),
    DECIMAL: lambda d, data: Decimal(_text(data)),
    FRACTION: lambda d, data: Fraction(*d.list(data, 2)),
    UUID: lambda d, data: uuid.UUID(bytes=bytes(data)),
    PATH: lambda d, data: PurePosixPath(_text(data)),
    BYTEARRAY: lambda d, data: bytearray(data),
    ARRAY: _read_array,
    SCALAR: _read_scalar,
    BUFFER: _read_buffer,
    CUSTOM: _read_custom,
}
