"""User contents <-> bytes: msgpack and extension types, never pickle.

One call packs many small contents, one after another. There is no header before or between them, so that a
batch can be cut into pieces without packing it again. A content with large buffers is packed alone; each
buffer is sent out of band, as a frame of its own. The received array is a read-only view of that frame.

:func:`take` fixes a content when the user's code gives it. Values that no code can change are packed later,
together with their neighbours, and so are copies of small lists and dicts of such values. All other values
are packed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import msgpack

from zturbo.errors import DecodeError, EncodeError
from zturbo.errortext import path_text
from zturbo.wire.blobs import check_blob, edges
from zturbo.wire.bounds import Bounds, unpack
from zturbo.wire.codes import BUFFER, MAX_META, OUT_OF_BAND, NeedsBuffers
from zturbo.wire.extensions import Decoder, Encoder, OwnCode, register
from zturbo.wire.messages import MAX_ERROR, MAX_FRAMES, MAX_INT, Buffer
from zturbo.wire.plain import UNCHANGING, copy_plain

__all__ = [
    "NeedsBuffers",
    "Packed",
    "Unreadable",
    "content_of",
    "enter_at",
    "enter_packed_at",
    "entry_of",
    "failure_fields",
    "failure_origin",
    "failure_text",
    "input_fields",
    "later_one",
    "note_given",
    "pack_error",
    "pack_many",
    "pack_meta",
    "pack_metas",
    "pack_one",
    "pack_root_meta",
    "read_later",
    "read_many",
    "read_one",
    "register",
    "take",
    "take_meta",
    "unpack_error_map",
    "unpack_many",
    "unpack_meta",
    "unpack_one",
    "weight",
    "without_input",
]

MAX_TEXT = 64 << 10
"""Most characters of a remote message or traceback; a longer one loses its beginning."""

MAX_INPUT = 1 << 20
"""Most bytes of a failed task's input that its failure takes along. A failure passes all later stages, and
waits for its turn in memory. That is too expensive for a large input, which the job's source still has."""

_OURS = "zturbo"
"""The key in a task's meta that zturbo itself uses."""


class _Taken:
    """A content, packed when the user's code gave it."""

    __slots__ = ("blob", "buffers")

    def __init__(self, blob: bytes, buffers: list[Buffer]) -> None:
        self.blob = blob
        self.buffers = buffers


class _Refused:
    """A content that could not be packed when the user's code gave it."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def take(content: Any, owned: bool = False) -> Any:
    """Fix a content as it is now. Later changes of it do not reach the task.

    Never raises: for a content that cannot be packed, :func:`pack_many` and :func:`pack_one` raise later.

    Args:
        content: the content.
        owned: whether no code changes its large buffers any more, so that they need no copy.

    Returns:
        A value for :func:`pack_many` or :func:`pack_one`.
    """
    if type(content) in UNCHANGING:
        return content
    if type(content) is Packed:  # no code has read it here: it goes on as it came
        return _Taken(bytes(content.blob), list(content.buffers))
    try:
        copied = copy_plain(content)
        if copied is not None:
            return copied
        return _Taken(*pack_one(content, owned=owned))
    except BaseException as error:  # the pack function of a registered type is user code
        return _Refused(error)


def _pack_part(value: Any) -> bytes:
    return Encoder(None).pack(value)


def _header_size(n: int) -> int:
    return 1 if n < 16 else 3 if n < 1 << 16 else 5


def pack_metas(metas: Sequence[Any], *, taken: bool = False) -> bytes:
    """Pack metas, as :func:`pack_meta` and :func:`take_meta` make them, as :func:`pack_many` packs contents.

    Raises:
        NeedsBuffers: they have more than :data:`MAX_META` bytes on average.
        EncodeError: one of them cannot be packed.
    """
    return pack_many(metas, taken=taken, each=MAX_META)


def weight(content: Any) -> int:
    """About how many bytes a content has in a batch, as far as that is known before it is packed.

    Args:
        content: as :func:`take` has returned it.
    """
    if type(content) is _Taken:
        return len(content.blob)
    return len(content) if type(content) in (bytes, str) else 0


def pack_many(contents: Sequence[Any], *, taken: bool = False, each: int = OUT_OF_BAND) -> bytes:
    """Pack small contents one after another, with no header.

    Args:
        contents: the contents.
        taken: whether :func:`take` has returned each of them.
        each: bytes that they may have on average, and each buffer at most.

    Raises:
        NeedsBuffers: they are larger, or one of them is large; pack each with :func:`pack_one`.
        EncodeError: one of them cannot be packed.
    """
    kinds, most = set(map(type, contents)), each * max(1, len(contents))
    if bytes in kinds and sum(map(len, [one for one in contents if type(one) is bytes])) > most:
        raise NeedsBuffers  # before msgpack copies all of them
    if _Taken in kinds or _Refused in kinds:
        raw = b"".join(map(_pack_small, contents))
    else:
        raw = Encoder(None, plain=taken, large=each).pack(contents)[_header_size(len(contents)) :]
    if len(raw) > most:
        raise NeedsBuffers
    return raw


def _pack_small(content: Any) -> bytes:
    if type(content) is _Taken and not content.buffers:
        return content.blob
    blob, buffers = pack_one(content)
    if buffers:
        raise NeedsBuffers
    return blob


def pack_one(content: Any, *, owned: bool = True) -> tuple[bytes, list[Buffer]]:
    """Pack one content; returns the bytes and the out-of-band buffers.

    Args:
        content: the content, or the value that :func:`take` returned for it.
        owned: whether no code changes the content any more; if not, large buffers are copied.

    Raises:
        EncodeError: the content cannot be packed.
    """
    if type(content) is _Taken:
        return content.blob, content.buffers
    if type(content) is _Refused:
        raise content.error
    buffers: list[Buffer] = []
    encoder = Encoder(buffers, owned)
    if type(content) is bytes and len(content) >= OUT_OF_BAND:  # msgpack would copy it inline
        part = _pack_part([encoder.buffer(memoryview(content), True), False])
        return msgpack.packb(msgpack.ExtType(BUFFER, part)), buffers
    packed = encoder.pack(content)
    if len(buffers) > MAX_FRAMES - 4:
        raise EncodeError(
            f"a content has {len(buffers):,} large parts, and one message carries {MAX_FRAMES - 4:,}"
        )
    return packed, buffers


NO_META = b"\xc0"
"""The packed meta of a task that has none, among those of others."""


_IN_META = "a task's meta cannot be carried: "


def pack_root_meta(meta: Any, logs: Any) -> bytes | None:
    """Pack the meta and the logs of a root task; returns None if it has neither.

    Raises:
        EncodeError: they cannot be packed.
    """
    plain = pack_meta(meta, logs)
    try:
        return None if plain is None else pack_metas([plain])
    except (EncodeError, NeedsBuffers) as error:
        raise EncodeError(f"{_IN_META}{error}") from error


def _unpack(data: Any, hook: Callable[[int, bytes], Any]) -> Any:
    return msgpack.unpackb(
        data, ext_hook=hook, strict_map_key=False, use_list=True, unicode_errors="surrogatepass"
    )


def _array_header(n: int) -> bytes:
    if n < 16:
        return bytes((0x90 | n,))
    if n < 1 << 16:
        return b"\xdc" + n.to_bytes(2, "big")
    return b"\xdd" + n.to_bytes(4, "big")


def unpack_many(blob: Buffer, n: int) -> list[Any]:
    """Unpack the n contents of a blob without out-of-band buffers.

    Raises:
        DecodeError: the blob does not have exactly n contents, or one cannot be unpacked.
    """
    try:
        value = _unpack(_array_header(n) + bytes(blob), Decoder(_unpack, []))
    except DecodeError:
        raise
    except Exception as error:  # garbage makes msgpack, NumPy and datetime raise all kinds
        raise DecodeError(f"contents are malformed: {type(error).__name__}: {error}") from None
    if type(value) is not list or len(value) != n:
        raise DecodeError("contents are malformed")
    return value


def unpack_one(blob: Buffer, buffers: Sequence[Buffer]) -> Any:
    """Unpack one content with its out-of-band buffers; raises DecodeError."""
    try:
        return _unpack(blob, Decoder(_unpack, list(buffers)))
    except DecodeError:
        raise
    except Exception as error:  # garbage makes msgpack, NumPy and datetime raise all kinds
        raise DecodeError(f"a content is malformed: {type(error).__name__}: {error}") from None


class Packed:
    """A content that user code or a library has to unpack. It waits until its task is noted as running.

    That code may end this process. Then the note says which task did it.
    """

    __slots__ = ("blob", "buffers")

    def __init__(self, blob: Buffer, buffers: Sequence[Buffer]) -> None:
        self.blob = blob
        self.buffers = buffers


class Unreadable:
    """Stands for a content, or a task's meta, that this process cannot unpack."""

    __slots__ = ("error",)

    def __init__(self, error: DecodeError) -> None:
        self.error = error


def read_many(blob: Buffer, n: int) -> list[Any]:
    """Unpack the n contents of a blob; an :class:`Unreadable` stands for each that cannot be unpacked.

    Raises:
        DecodeError: the blob does not have exactly n contents, readable or not.
    """
    try:
        return unpack_many(blob, n)
    except DecodeError:
        return [read_one(part, []) for part in _cut(blob, n)]


def read_later(blob: Buffer, n: int, buffers: Sequence[Buffer]) -> list[Any]:
    """Unpack n contents, or one content with its buffers, without running user code.

    If one of the contents needs code of the user or of a library, a :class:`Packed` stands for each of them.
    An :class:`Unreadable` stands for a content that cannot be unpacked.

    Raises:
        DecodeError: the blob does not have exactly n contents.
    """
    try:
        value = _unpack(_array_header(n) + bytes(blob), Decoder(_unpack, list(buffers), own=False))
        if type(value) is list and len(value) == n:
            return value
    except Exception:  # below, each is unpacked alone, which shows the bad ones
        pass
    return [later_one(part, buffers) for part in _cut(blob, n)]


def later_one(blob: Buffer, buffers: Sequence[Buffer]) -> Any:
    """As :func:`read_one`, or a :class:`Packed` if user code or a library has to unpack the content."""
    try:
        return _unpack(blob, Decoder(_unpack, list(buffers), own=False))
    except OwnCode:
        return Packed(blob, buffers)
    except Exception:  # garbage: read_one says what is wrong
        return read_one(blob, buffers)


def content_of(content: Any) -> Any:
    """A task's content, unpacked now if it is :class:`Packed`; an :class:`Unreadable` if that fails."""
    return read_one(content.blob, content.buffers) if type(content) is Packed else content


def _cut(blob: Buffer, n: int) -> list[bytes]:
    """Cut a blob into its contents; raises DecodeError unless these are exactly n."""
    check_blob(blob, n)
    whole = bytes(blob)
    return [whole[start:stop] for start, stop in pairwise(edges(blob, n))]


def read_one(blob: Buffer, buffers: Sequence[Buffer]) -> Any:
    """Unpack one content with its out-of-band buffers; returns an :class:`Unreadable` if that fails."""
    try:
        return unpack_one(blob, buffers)
    except DecodeError as error:
        return Unreadable(error)


_METAS = ("meta", "input_meta")


def pack_error(error: dict[str, Any]) -> bytes:
    """Pack a failure: its texts, and which task failed. Never raises.

    If the failure is larger than ``MAX_ERROR``, or a part cannot be packed, first the task's input is left
    out, then the metas: a failure without its meta is better than no failure.

    The metas may have types of the user, so they are packed on their own. A process that passes a failure on
    needs none of these types, and a meta that cannot be unpacked does not hide the rest.
    """
    short = {k: v[-MAX_TEXT:] if type(v) is str else v for k, v in error.items()}
    packed = _packed_or_why(short)
    for name in ("input", "input_meta", "meta"):
        if type(packed) is bytes and len(packed) <= MAX_ERROR:
            return packed
        if short.get(name) is not None:
            why = packed if type(packed) is str else f"the failure is larger than {MAX_ERROR:,} bytes with it"
            short[name] = f"its input was not kept: {why}" if name == "input" else None
            packed = _packed_or_why(short)
    return packed if type(packed) is bytes else _pack_part(_texts_only(short))


def _packed_or_why(fields: dict[str, Any]) -> bytes | str:
    """A failure's fields, packed; or a text that says why they cannot be packed."""
    try:
        return _pack_part({key: _opaque(value) if key in _METAS else value for key, value in fields.items()})
    except BaseException as error:  # the pack function of a registered type is user code
        return f"{type(error).__name__} while it was packed"


def _opaque(meta: Any) -> bytes | None:
    return meta if meta is None or type(meta) is bytes else _pack_part(meta)


def _texts_only(fields: dict[str, Any]) -> dict[str, Any]:
    """The plain fields of a failure, which can always be packed."""
    plain = {k: v.encode(errors="replace").decode() for k, v in fields.items() if type(v) is str}
    return {**plain, **{k: fields[k] for k in ("index", "path", "pid", "given") if k in fields}}


_ERROR_TEXTS = ("kind", "type", "message", "traceback", "stage", "host")


def _path_in(value: Any) -> tuple[int, ...] | None:
    if type(value) is not list or not all(type(part) is int and 0 <= part <= MAX_INT for part in value):
        return None
    return tuple(value)


_FAILURE = Bounds(MAX_ERROR, items=MAX_FRAMES + 1000, depth=4, trusted=64 << 10)


def _error_fields(raw: bytes) -> dict[Any, Any] | None:
    """A failure's fields, of plain but unchecked types; None if the bytes are not a failure.

    Processes that run no user code call this too, so it makes no types of the user.
    """
    try:
        fields = unpack(raw, _FAILURE, use_list=True, unicode_errors="surrogatepass")
    except DecodeError:
        return None
    return fields if type(fields) is dict else None


def unpack_error_map(raw: bytes) -> dict[str, Any]:
    """As :func:`failure_fields`, with the metas unpacked, which may run code of the user's."""
    out = failure_fields(raw)
    for key in _METAS:
        meta = content_of(out[key])
        out[key] = None if type(meta) is Unreadable else meta
    return out


def failure_fields(raw: bytes) -> dict[str, Any]:
    """The fields of a failure; a field that is missing or has a wrong type is empty. Never raises.

    A meta that user code has to unpack comes as a :class:`Packed`: reading the failure of a task that killed
    its worker must not kill another process.
    """
    fields = _error_fields(raw) or {}
    out: dict[str, Any] = {
        name: fields[name] if type(fields.get(name)) is str else "" for name in _ERROR_TEXTS
    }
    out["path"] = _path_in(fields.get("path")) or ()
    out["index"] = fields["index"] if type(fields.get("index")) is int else -1
    for key in _METAS:
        raw_meta = fields.get(key)
        out[key] = later_one(raw_meta, []) if type(raw_meta) is bytes else raw_meta
        if type(out[key]) is Unreadable:
            out[key] = None
    frames = fields.get("input")
    if type(frames) is list and frames and all(type(frame) is bytes for frame in frames):
        out["input"], out["note"] = (frames[0], frames[1:]), ""
    else:
        out["input"] = None
        out["note"] = frames if type(frames) is str and frames else "its input was not kept"
    return out


def input_fields(blob: Buffer, buffers: Sequence[Buffer], meta: Any) -> dict[str, Any]:
    """The fields of a failure about its task's input: the input as the stage got it, or why it is missing."""
    size = memoryview(blob).nbytes + sum(memoryview(buffer).nbytes for buffer in buffers)
    if size > MAX_INPUT:
        return {"input": f"its input was not kept: it has {size:,} bytes, and {MAX_INPUT:,} is the limit"}
    return {"input": [bytes(blob), *(bytes(buffer) for buffer in buffers)], "input_meta": meta}


def without_input(raw: bytes, why: str) -> bytes:
    """A packed failure without its task's input; ``why`` replaces the input, as a note."""
    fields = _error_fields(raw)
    if fields is None or type(fields.get("input")) is not list:
        return raw
    fields.pop("input_meta", None)
    return pack_error({**fields, "input": f"its input was not kept: {why}"})


def failure_text(raw: bytes) -> str:
    """A sentence about the failure that ended a job with ``fail_fast``."""
    fields = failure_fields(raw)
    where = f"stage {fields['stage']} on {fields['host']}, task {path_text(fields['path'])}"
    return f"a task failed, and the job has fail_fast: {fields['type']}: {fields['message']} (in {where})"


def enter_at(meta: Any, index: int) -> list[Any]:
    """A root's meta and logs, with the mark that the root enters its pipeline at this stage."""
    plain, logs = unpack_meta(meta)
    plain = plain if type(plain) is dict else {}
    return [{**plain, _OURS: {"enter": index}}, logs or None]


def enter_packed_at(raw: bytes, index: int) -> bytes:
    """As :func:`enter_at`, of a packed meta and into one: no type of the user's is unpacked.

    Raises:
        DecodeError: it is no packed meta.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=0, strict_map_key=False)
    unpacker.feed(raw)
    try:
        if unpacker.read_array_header() != 2:
            raise DecodeError("a task's meta is malformed")
        pairs = []
        for _ in range(unpacker.read_map_header()):
            start = unpacker.tell()
            unpacker.skip()
            key_stop = unpacker.tell()
            unpacker.skip()
            if raw[start:key_stop] != msgpack.packb(_OURS):
                pairs.append(raw[start : unpacker.tell()])
        rest = raw[unpacker.tell() :]
    except (ValueError, msgpack.UnpackException) as error:
        raise DecodeError(f"a task's meta is malformed: {type(error).__name__}") from None
    pairs.append(msgpack.packb(_OURS) + msgpack.packb({"enter": index}))
    packer = msgpack.Packer()
    return bytes(packer.pack_array_header(2) + packer.pack_map_header(len(pairs)) + b"".join(pairs) + rest)


def entry_of(meta: Any) -> int | None:
    """Index of the stage at which a task enters its pipeline; None if its meta has no such mark."""
    note = meta.get(_OURS) if type(meta) is dict else None
    index = note.get("enter") if type(note) is dict else None
    return index if type(index) is int else None


def note_given(raw: bytes, count: int) -> bytes:
    """A packed failure with a note of how many children of its task were released before it.

    The first sequencer that releases the failure adds the note; later ones do not change it.
    """
    fields = _error_fields(raw)
    if fields is None or "given" in fields:
        return raw
    return pack_error({**fields, "given": count})


def failure_origin(raw: bytes) -> tuple[int, tuple[int, ...], int] | None:
    """(stage index, task's path there, children released before it) of a failure; None if it is malformed."""
    fields = _error_fields(raw)
    if fields is None:
        return None
    index, path, given = fields.get("index"), _path_in(fields.get("path")), fields.get("given", 0)
    if type(index) is not int or path is None or type(given) is not int or given < 0:
        return None
    return index, path, given


def pack_meta(meta: Any, logs: Any) -> Any:
    """A task's meta and logs as one value, to be packed together with those of its neighbours."""
    if not meta and not logs:
        return None
    return [meta, [list(log) for log in logs] if logs else None]


def take_meta(meta: Any, logs: Any) -> Any:
    """As :func:`take`, for a task's meta and logs, as :func:`pack_meta` joins them; None without any."""
    if not logs and type(meta) is dict:
        if not meta:
            return None
        copied = copy_plain(meta)
        if copied is not None:
            return [copied, None]
    value = pack_meta(meta, logs)
    taken = None if value is None else take(value, True)
    if type(taken) is _Refused and isinstance(taken.error, EncodeError):
        taken.error = EncodeError(f"{_IN_META}{taken.error}")
    return taken


def unpack_meta(value: Any) -> tuple[Any, list[Any]]:
    """The meta and the logs in a value of :func:`pack_meta`; raises DecodeError."""
    if value is None:
        return None, []
    if type(value) is not list or len(value) != 2:
        raise DecodeError("a task's meta is malformed")
    meta, logs = value
    if logs is not None and type(logs) is not list:
        raise DecodeError("a task's logs are malformed")
    return meta, logs or []
