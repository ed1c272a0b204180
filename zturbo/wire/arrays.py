"""NumPy's values as extension types: arrays, scalars, and the subclasses of arrays that zturbo can send.

A dtype is described in full: offsets, padding, titles, nesting. The packer reads its own description before
it sends it, and refuses a dtype that does not come out the same. NumPy is imported only when one of its
values is unpacked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgpack

from zturbo.errors import DecodeError, EncodeError
from zturbo.wire.codes import ARRAY, SCALAR, SPECIAL

__all__ = ["pack_numpy", "read_array", "read_scalar", "read_special_array"]

_KINDS = "biufcSUMmV"
MAX_DTYPE_DEPTH = 16
"""Most levels of structured dtypes inside one another."""

_VIEWS = ("matrix", "recarray")
"""Subclasses of ndarray that have no data besides the array."""


class Packer(Protocol):
    large: int

    def part(self, value: Any) -> bytes: ...

    def buffer(self, view: Any, frozen: bool) -> int: ...


class Reader(Protocol):
    def list(self, data: Any, length: int | None = None) -> list[Any]: ...

    def buffer(self, index: Any) -> Any: ...


def pack_numpy(numpy: Any, value: Any, packer: Packer) -> Any:
    """Pack a value of NumPy as an extension type; returns None if the value is not NumPy's.

    Raises:
        EncodeError: the value would not arrive with the same type and data.
    """
    if isinstance(value, numpy.ndarray):
        kind = type(value)
        if kind is numpy.ndarray:
            return _pack_array(numpy, value, packer)
        if value is numpy.ma.masked:
            return _special(packer, "masked", None)
        if kind is numpy.ma.MaskedArray:
            mask = None if value.mask is numpy.ma.nomask else value.mask
            fill = value._fill_value  # None if it was never set
            fill = None if fill is None else numpy.asarray(fill)
            return _special(packer, "MaskedArray", [value.data, mask, fill, bool(value.hardmask)])
        for name in _VIEWS:
            if kind is getattr(numpy, name):
                return _special(packer, name, value.view(numpy.ndarray))
        raise EncodeError(
            f"a content of type {kind.__module__}.{kind.__qualname__} cannot be carried: it would arrive as "
            "a plain array; send numpy.asarray(x), or register the type with zturbo.register"
        )
    if isinstance(value, numpy.generic):
        return _pack_scalar(value, packer)
    if isinstance(value, numpy.dtype):
        return _special(packer, "dtype", describe(value))
    return None


def _numpy() -> Any:
    import numpy

    return numpy


def _special(packer: Packer, name: str, value: Any) -> Any:
    return msgpack.ExtType(SPECIAL, packer.part([name, value]))


# -- dtypes -----------------------------------------------------------------------------------
_described: dict[Any, Any] = {}


def describe(dtype: Any) -> Any:
    """A dtype in plain values; raises EncodeError if it cannot be described."""
    key = dtype if dtype.names is None and dtype.metadata is None else None
    known = _described.get(key) if key is not None else None
    if known is not None and known[0] is dtype:
        return known[1]
    spec = _describe(dtype, 0)
    try:
        made = make_dtype(spec)
        same = _same(made, dtype)
    except Exception:  # NumPy has limits of its own
        same = False
    if not same:
        raise EncodeError(f"an array of dtype {dtype} cannot be carried: its dtype would arrive as another")
    if key is not None and len(_described) < 256:
        _described[key] = (dtype, spec)
    return spec


def _same(a: Any, b: Any) -> bool:
    if a != b or type(a) is not type(b) or a.type is not b.type or a.char != b.char:
        return False
    if a.itemsize != b.itemsize or a.isalignedstruct != b.isalignedstruct or a.names != b.names:
        return False
    if a.subdtype is not None:
        return _same(a.base, b.base)
    return all(
        a.fields[n][1:] == b.fields[n][1:] and _same(a.fields[n][0], b.fields[n][0]) for n in a.names or ()
    )


def _describe(dtype: Any, depth: int) -> Any:
    if dtype.hasobject or dtype.kind not in _KINDS:
        raise EncodeError(
            f"an array of dtype {dtype} cannot be carried: it holds Python objects; send a list, or an "
            "array of numbers"
        )
    if depth > MAX_DTYPE_DEPTH:
        raise EncodeError(f"a dtype cannot be carried: it is nested more than {MAX_DTYPE_DEPTH} deep")
    if dtype.metadata:
        raise EncodeError(
            f"an array of dtype {dtype} cannot be carried: its dtype has metadata, which would be lost"
        )
    if dtype.subdtype is not None:
        return ["sub", _describe(dtype.base, depth + 1), list(dtype.shape)]
    if dtype.names is None:
        name = dtype.str
        return dtype.str[0] + dtype.char if dtype.char in "qQ" and name[1] in "iu" else name
    fields = [dtype.fields[name] for name in dtype.names]
    titles = [field[2] if len(field) > 2 else None for field in fields]
    if any(title is not None and type(title) is not str for title in titles):
        raise EncodeError(f"an array of dtype {dtype} cannot be carried: a title of its fields is not text")
    return [
        dtype.type.__name__,
        list(dtype.names),
        [_describe(field[0], depth + 1) for field in fields],
        [field[1] for field in fields],
        titles,
        dtype.itemsize,
        bool(dtype.isalignedstruct),
    ]


def make_dtype(spec: Any, depth: int = 0) -> Any:
    """The dtype of a description; raises DecodeError, or any error of NumPy."""
    numpy = _numpy()
    if depth > MAX_DTYPE_DEPTH + 1:
        raise DecodeError("a dtype is nested too deeply")
    if type(spec) is list and len(spec) == 3 and spec[0] == "sub":
        dtype = numpy.dtype((make_dtype(spec[1], depth + 1), tuple(_int(n) for n in _list(spec[2]))))
    elif type(spec) is list and len(spec) == 7 and spec[0] in ("void", "record"):
        kind, names, formats, offsets, titles, itemsize, aligned = spec
        described: dict[str, Any] = {
            "names": [_string(name, 1 << 16) for name in _list(names)],
            "formats": [make_dtype(one, depth + 1) for one in _list(formats)],
            "offsets": [_int(offset) for offset in _list(offsets)],
            "itemsize": _int(itemsize),
        }
        if any(title is not None for title in _list(titles)):
            described["titles"] = [None if t is None else _string(t, 1 << 16) for t in titles]
        dtype = numpy.dtype(described, align=aligned is True)
        if kind == "record":
            dtype = numpy.dtype((numpy.record, dtype))
    elif type(spec) is list:  # the older form, which spools and ledgers may still have
        dtype = numpy.dtype([_old_field(field) for field in spec])
    else:
        dtype = numpy.dtype(_string(spec, 64))
    if dtype.hasobject or dtype.kind not in _KINDS:
        raise DecodeError(f"an array of dtype {dtype}")
    return dtype


def _old_field(part: Any) -> Any:
    if type(part) is not list or len(part) not in (2, 3):
        raise DecodeError("an array's fields are malformed")
    return tuple(tuple(p) if type(p) is list else p for p in part)


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise DecodeError("a dtype is malformed")
    return value


def _int(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise DecodeError("a dtype is malformed")
    return value


def _string(value: Any, limit: int) -> str:
    if type(value) is not str or len(value) > limit:
        raise DecodeError("a dtype is malformed")
    return value


# -- arrays -----------------------------------------------------------------------------------
def _pack_array(numpy: Any, value: Any, packer: Packer) -> Any:
    dtype = describe(value.dtype)
    fortran = bool(value.flags.f_contiguous and not value.flags.c_contiguous)
    frozen = _is_frozen(numpy, value)
    if not value.flags.c_contiguous and not fortran:
        value, frozen = _contiguous(numpy, value), True  # a new copy, which no other code has
    flat = value.T if fortran else value
    head = [dtype, list(value.shape), fortran]
    if value.nbytes < packer.large:
        return msgpack.ExtType(ARRAY, packer.part([*head, flat.tobytes()]))
    view = memoryview(flat.reshape(-1).view(numpy.uint8))
    return msgpack.ExtType(ARRAY, packer.part([*head, packer.buffer(view, frozen)]))


def _contiguous(numpy: Any, value: Any) -> Any:
    """A contiguous copy. NumPy copies a structure field by field, and what lies between two fields would be
    whatever this process had in memory there."""
    if value.dtype.kind != "V":
        return numpy.ascontiguousarray(value)
    made = numpy.zeros(value.shape, value.dtype)
    made[...] = value
    return made


def _is_frozen(numpy: Any, value: Any) -> bool:
    """Whether no code can change an array, because it is a view of bytes, such as a received frame."""
    while type(value) is numpy.ndarray:
        if value.flags.writeable or value.base is None:
            return False
        value = value.base
    if type(value) is memoryview and value.readonly:
        value = value.obj
    return type(value) is bytes or type(value).__module__.startswith(("zmq.", "zturbo."))


def read_array(reader: Reader, data: Any) -> Any:
    """Read an array; raises DecodeError, or any error of NumPy."""
    numpy = _numpy()
    spec, shape, fortran, source = reader.list(data, 4)
    dtype = make_dtype(spec)
    if type(shape) is not list or any(type(n) is not int or n < 0 for n in shape):
        raise DecodeError("an array's shape is malformed")
    raw = source if type(source) is bytes else reader.buffer(source)
    size = 1
    for n in shape:
        size *= n
    if size * dtype.itemsize != memoryview(raw).nbytes:
        raise DecodeError("an array's bytes do not fit its shape")
    order: Any = "F" if fortran else "C"
    if not size * dtype.itemsize:
        return numpy.ndarray(shape, dtype, order=order)
    if dtype.subdtype is not None:
        raise DecodeError("an array's dtype is malformed")
    if type(source) is bytes and dtype.kind == "V":  # NumPy's copy leaves out what lies between two fields
        flat = numpy.frombuffer(bytearray(raw), dtype)
    else:
        flat = numpy.frombuffer(raw, dtype)
        if type(source) is bytes:
            flat = flat.copy()
    return flat.reshape(shape, order=order)


# -- scalars ----------------------------------------------------------------------------------
def _pack_scalar(value: Any, packer: Packer) -> Any:
    kind = type(value)
    dtype = value.dtype
    if kind is not dtype.type:
        raise EncodeError(
            f"a content of type {kind.__module__}.{kind.__qualname__} cannot be carried: it would arrive as "
            f"numpy.{dtype.type.__name__}; send x.item(), or register the type with zturbo.register"
        )
    if dtype.kind == "S":  # in an array, it would lose zeros at its end
        return _special(packer, "bytes_", bytes(value))
    if dtype.kind == "U":
        return _special(packer, "str_", str.__str__(value))
    return msgpack.ExtType(SCALAR, packer.part([describe(dtype), value.tobytes()]))


def read_scalar(reader: Reader, data: Any) -> Any:
    """Read a scalar; raises DecodeError, or any error of NumPy."""
    numpy = _numpy()
    spec, raw = reader.list(data, 2)
    dtype = make_dtype(spec)
    if type(raw) is not bytes or len(raw) != dtype.itemsize or dtype.subdtype is not None:
        raise DecodeError("a scalar's bytes do not fit its type")
    if not raw:
        return numpy.ndarray((), dtype)[()]
    return numpy.frombuffer(bytearray(raw), dtype)[0]


# -- values that are made from arrays ---------------------------------------------------------
def _masked_array(value: Any) -> Any:
    numpy = _numpy()
    data, mask, fill, hard = value
    if type(data) is not numpy.ndarray or not isinstance(mask, (numpy.ndarray, type(None))):
        raise DecodeError("a masked array is malformed")
    made: Any = numpy.ma.MaskedArray(data, numpy.ma.nomask if mask is None else mask, hard_mask=hard is True)
    if fill is not None:
        made.fill_value = fill
    return made


def _view(name: str) -> Callable[[Any], Any]:
    def make(value: Any) -> Any:
        numpy = _numpy()
        if type(value) is not numpy.ndarray:
            raise DecodeError(f"a {name} is malformed")
        return value.view(getattr(numpy, name))

    return make


def _scalar(name: str, plain: type) -> Callable[[Any], Any]:
    def make(value: Any) -> Any:
        numpy = _numpy()
        if type(value) is not plain:
            raise DecodeError(f"a numpy.{name} is malformed")
        return getattr(numpy, name)(value)

    return make


def _masked(value: Any) -> Any:
    return _numpy().ma.masked


read_special_array: dict[str, Callable[[Any], Any]] = {
    "masked": _masked,
    "MaskedArray": _masked_array,
    "matrix": _view("matrix"),
    "recarray": _view("recarray"),
    "bytes_": _scalar("bytes_", bytes),
    "str_": _scalar("str_", str),
    "dtype": make_dtype,
}
"""Name of a special value -> the function that makes the value from its content."""
