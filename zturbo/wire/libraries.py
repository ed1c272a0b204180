"""Values of pandas, pyarrow, PIL and torch as contents.

A library is imported only when one of its values is packed or unpacked. Only values with a name in a fixed
table can be unpacked, so bytes from the wire cannot choose code to import or call. A value that would not
arrive unchanged is refused.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from zturbo.errors import DecodeError, EncodeError

__all__ = ["describe_value", "make_value"]

_Described = tuple[str, Any]


def _refuse(value: Any, recipe: str) -> EncodeError:
    kind = type(value)
    return EncodeError(f"a content of type {kind.__module__}.{kind.__qualname__} cannot be carried: {recipe}")


def _of(library: str) -> Any:
    return importlib.import_module(library)


def _pair(value: Any, length: int) -> list[Any]:
    if type(value) is not list or len(value) != length:
        raise DecodeError("a value of a library is malformed")
    return value


# -- pandas -----------------------------------------------------------------------------------
def _describe_pandas(value: Any) -> _Described:
    pandas = _of("pandas")
    kind = type(value)
    if value is pandas.NA or value is pandas.NaT:
        return ("pandas.NA" if value is pandas.NA else "pandas.NaT"), None
    if kind is pandas.DataFrame:
        columns = [_column(pandas, value.iloc[:, at]) for at in range(value.shape[1])]
        return "pandas.DataFrame", [value.index, value.columns, columns, dict(value.attrs)]
    if kind is pandas.Series:
        return "pandas.Series", [value.index, value.name, _column(pandas, value), dict(value.attrs)]
    if kind is pandas.RangeIndex:
        return "pandas.RangeIndex", [value.start, value.stop, value.step, value.name]
    if kind is pandas.MultiIndex:
        codes = [codes.copy() for codes in map(_of("numpy").asarray, value.codes)]
        return "pandas.MultiIndex", [list(value.levels), codes, list(value.names)]
    if kind in (pandas.Index, pandas.DatetimeIndex, pandas.TimedeltaIndex, pandas.CategoricalIndex):
        freq = getattr(value, "freqstr", None)
        return "pandas.Index", [_column(pandas, value), value.name, freq]
    if kind is pandas.Timestamp:
        naive = value if value.tz is None else value.tz_convert("UTC").tz_localize(None)
        return "pandas.Timestamp", [naive.to_datetime64(), value.tz]
    if kind is pandas.Timedelta:
        return "pandas.Timedelta", value.to_timedelta64()
    if kind is pandas.Categorical:
        return "pandas.Categorical", _column(pandas, pandas.Series(value))
    raise _refuse(value, "send a pandas DataFrame or Series, or register the type with zturbo.register")


def _column(pandas: Any, values: Any) -> list[Any]:
    """The values of a Series or an Index, as plain parts."""
    numpy, dtype = _of("numpy"), values.dtype
    if isinstance(dtype, numpy.dtype):
        if dtype.hasobject:
            return ["object", list(values)]
        return ["numpy", numpy.array(values.to_numpy())]
    if isinstance(dtype, pandas.CategoricalDtype):
        codes = values.cat.codes if hasattr(values, "cat") else values.codes
        return ["category", numpy.array(codes), dtype.categories, bool(dtype.ordered)]
    if isinstance(dtype, pandas.DatetimeTZDtype):
        utc = pandas.DatetimeIndex(values).tz_convert("UTC").tz_localize(None)
        return ["zoned", numpy.array(utc.to_numpy()), dtype.tz]
    if isinstance(dtype, pandas.StringDtype):
        missing = getattr(dtype, "na_value", pandas.NA) is not pandas.NA
        texts = [None if absent else str(one) for one, absent in zip(values, values.isna(), strict=True)]
        return ["string", dtype.storage, missing, texts]
    name = type(values.array).__name__
    if name in _NULLABLE:
        zero = numpy.zeros((), dtype.numpy_dtype)[()]
        data = values.array.to_numpy(dtype=dtype.numpy_dtype, na_value=zero)
        return ["nullable", name, numpy.array(data), numpy.array(values.array.isna())]
    raise EncodeError(
        f"a pandas column of dtype {dtype} cannot be carried: convert it, x.astype(...), or "
        "send a pyarrow Table"
    )


_NULLABLE = ("BooleanArray", "FloatingArray", "IntegerArray")


def _made_column(parts: Any) -> Any:
    """The values in plain parts, as pandas takes them for a Series or an Index."""
    pandas, numpy = _of("pandas"), _of("numpy")
    kind, *rest = parts
    if kind == "numpy":
        return numpy.array(_pair(rest, 1)[0])
    if kind == "object":
        values = _pair(rest, 1)[0]
        made = numpy.empty(len(values), object)
        for at, value in enumerate(values):
            made[at] = value
        return made
    if kind == "category":
        codes, categories, ordered = _pair(rest, 3)
        return pandas.Categorical.from_codes(codes, categories=categories, ordered=ordered is True)
    if kind == "zoned":
        moments, zone = _pair(rest, 2)
        return pandas.DatetimeIndex(moments).tz_localize("UTC").tz_convert(zone).array
    if kind == "string":
        storage, missing, texts = _pair(rest, 3)
        if storage not in ("python", "pyarrow"):
            raise DecodeError("a pandas column is malformed")
        options = {"na_value": numpy.nan} if missing else {}
        return pandas.array(texts, dtype=pandas.StringDtype(storage, **options))
    if kind == "nullable":
        name, data, mask = _pair(rest, 3)
        if name not in _NULLABLE:
            raise DecodeError("a pandas column is malformed")
        return getattr(pandas.arrays, name)(numpy.array(data), numpy.array(mask))
    raise DecodeError("a pandas column is malformed")


def _typed(made: Any) -> dict[str, Any]:
    """Arguments that keep pandas from guessing another dtype."""
    return {"dtype": made.dtype}


def _data_frame(value: Any) -> Any:
    pandas = _of("pandas")
    index, columns, parts, attrs = _pair(value, 4)
    made = [_made_column(part) for part in parts]
    series = {at: pandas.Series(one, index=index, **_typed(one)) for at, one in enumerate(made)}
    table = pandas.DataFrame(series, index=index)
    table.columns = columns
    table.attrs = attrs
    return table


def _series(value: Any) -> Any:
    index, name, parts, attrs = _pair(value, 4)
    made = _made_column(parts)
    series = _of("pandas").Series(made, index=index, name=name, **_typed(made))
    series.attrs = attrs
    return series


def _range_index(value: Any) -> Any:
    start, stop, step, name = _pair(value, 4)
    return _of("pandas").RangeIndex(start, stop, step, name=name)


def _multi_index(value: Any) -> Any:
    levels, codes, names = _pair(value, 3)
    return _of("pandas").MultiIndex(levels=levels, codes=codes, names=names)


def _index(value: Any) -> Any:
    parts, name, freq = _pair(value, 3)
    made = _made_column(parts)
    index = _of("pandas").Index(made, name=name, **_typed(made))
    if freq is not None:
        index.freq = freq
    return index


def _timestamp(value: Any) -> Any:
    moment, zone = _pair(value, 2)
    made = _of("pandas").Timestamp(moment)
    return made if zone is None else made.tz_localize("UTC").tz_convert(zone)


# -- pyarrow ----------------------------------------------------------------------------------
def _describe_pyarrow(value: Any) -> _Described:
    pyarrow = _of("pyarrow")
    if type(value) in (pyarrow.Table, pyarrow.RecordBatch):
        ipc = _of("pyarrow.ipc")
        sink = pyarrow.BufferOutputStream()
        with ipc.new_stream(sink, value.schema) as writer:
            writer.write(value)
        return f"pyarrow.{type(value).__name__}", sink.getvalue().to_pybytes()
    raise _refuse(value, 'send pyarrow.table({"x": x})')


def _table(raw: Any) -> Any:
    return _of("pyarrow.ipc").open_stream(raw).read_all()


def _record_batch(raw: Any) -> Any:
    reader = _of("pyarrow.ipc").open_stream(raw)
    batches = list(reader)
    if len(batches) > 1:
        raise DecodeError("a record batch is malformed")
    return batches[0] if batches else _of("pyarrow").RecordBatch.from_pylist([], schema=reader.schema)


# -- PIL --------------------------------------------------------------------------------------
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16")


def _describe_pil(value: Any) -> _Described:
    image = _of("PIL.Image")
    if type(value) is not image.Image:
        raise _refuse(value, "send image.copy(), which is a plain PIL.Image.Image without its file")
    palette = value.palette
    if value.mode not in _MODES or (palette is not None and palette.mode != "RGB"):
        raise _refuse(value, f'it has mode {value.mode}: send image.convert("RGB") or convert("RGBA")')
    colours = value.getpalette() if value.mode == "P" else None
    return "PIL.Image", [value.mode, list(value.size), value.tobytes(), colours, dict(value.info)]


def _image(value: Any) -> Any:
    mode, size, raw, colours, info = _pair(value, 5)
    if mode not in _MODES:
        raise DecodeError("an image is malformed")
    made = _of("PIL.Image").frombytes(mode, tuple(size), raw)
    if colours is not None:
        made.putpalette(colours)
    made.info = info
    return made


# -- torch ------------------------------------------------------------------------------------
_TORCH_TYPES = (
    *("bool", "uint8", "int8", "int16", "int32", "int64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
)


def _describe_torch(value: Any) -> _Described:
    torch = _of("torch")
    if type(value) is not torch.Tensor:
        raise _refuse(value, "send its data as a plain tensor, x.detach().cpu()")
    name = str(value.dtype).removeprefix("torch.")
    if value.device.type != "cpu" or value.layout is not torch.strided or name not in _TORCH_TYPES:
        raise _refuse(value, f"it is {name} on {value.device}: send a dense one in main memory, x.cpu()")
    if value.requires_grad and not value.is_leaf:
        raise _refuse(value, "it belongs to a graph: send x.detach()")
    flat = value.detach().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
    return "torch.Tensor", [name, list(value.shape), bool(value.requires_grad), flat.numpy()]


def _tensor(value: Any) -> Any:
    torch = _of("torch")
    name, shape, grad, raw = _pair(value, 4)
    if name not in _TORCH_TYPES:
        raise DecodeError("a tensor is malformed")
    made = torch.from_numpy(raw.copy()).view(getattr(torch, name)).reshape(shape)
    return made.requires_grad_(grad is True)


# -- all --------------------------------------------------------------------------------------
_LIBRARIES: dict[str, Callable[[Any], _Described]] = {
    "pandas": _describe_pandas,
    "pyarrow": _describe_pyarrow,
    "PIL": _describe_pil,
    "torch": _describe_torch,
}
"""Library -> the function that describes its values."""

_MAKERS: dict[str, Callable[[Any], Any]] = {
    "pandas.NA": lambda value: _of("pandas").NA,
    "pandas.NaT": lambda value: _of("pandas").NaT,
    "pandas.DataFrame": _data_frame,
    "pandas.Series": _series,
    "pandas.RangeIndex": _range_index,
    "pandas.MultiIndex": _multi_index,
    "pandas.Index": _index,
    "pandas.Timestamp": _timestamp,
    "pandas.Timedelta": lambda value: _of("pandas").Timedelta(value),
    "pandas.Categorical": _made_column,
    "pyarrow.Table": _table,
    "pyarrow.RecordBatch": _record_batch,
    "PIL.Image": _image,
    "torch.Tensor": _tensor,
}


def describe_value(value: Any) -> tuple[str, Any]:
    """The name and the plain parts of a library's value.

    Raises:
        EncodeError: the value would not arrive unchanged.
    """
    return _LIBRARIES[type(value).__module__.partition(".")[0]](value)


def make_value(parts: Any) -> Any:
    """Make a library's value from its name and its parts; raises DecodeError, or any error of the library."""
    name, value = _pair(parts, 2)
    make = _MAKERS.get(name) if type(name) is str else None
    if make is None:
        raise DecodeError("a value of a library that is not known here")
    return make(value)
