"""Data-plane messages <-> frames: a msgpack header, then raw frames.

Decoding is strict and total: all bytes from a socket become either a message or a
:class:`~zturbo.errors.DecodeError`, and nothing in them is executed.

Bounds are checked before work is done. A header has no extension types. A large header is measured first, so
that a few megabytes of empty lists do not become gigabytes of objects. Each number has a range, and each text
and list has a maximal length. A batch has no more tasks than its contents have bytes. An error's text never
shows the received value, because a value may be nested so deep that rendering it fails too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from zturbo.errors import DecodeError, VersionMismatch
from zturbo.wire.bounds import Bounds, unpack
from zturbo.wire.messages import (
    MAX_ERROR,
    MAX_FRAMES,
    MAX_INT,
    MAX_MARKS,
    MAX_RIDERS,
    MAX_ROOTS,
    MAX_STAGES,
    MAX_TEXT,
    MAX_TRIAL,
    PROTOCOL,
    Batch,
    Buffer,
    DataMessage,
    End,
    Fail,
    Greet,
    Mark,
    Path,
    PathRun,
    Ping,
    Probe,
    Results,
    Stamp,
    Statement,
    Taken,
    Want,
    is_order,
    is_path,
)

__all__ = ["BadBatch", "decode", "encode", "stamp_from_wire", "stamp_to_wire"]

_BOUNDS = Bounds(nbytes=1 << 30, items=1 << 20, depth=16, trusted=256 << 10)
"""Bounds of a header. It has metas and errors as bytes, so it may be as large as a task."""

_MAGIC = 0x7A74  # "zt"
_BATCH, _GREET, _PROBE, _STATEMENT, _WANT, _RESULTS, _PING = range(1, 8)
_ID = 16

_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


class BadBatch(DecodeError):
    """A batch whose records cannot be read, although its source, target, number, job and epoch can.

    Args:
        why: what is wrong.
        claims: an empty batch for each part that cannot be read, with the source, target, number, job and
            epoch that it names. There is one at least.
        riders: the parts that can be read.
    """

    def __init__(self, why: str, claims: Sequence[Batch], riders: Sequence[Batch] = ()) -> None:
        super().__init__(why)
        self.claims = claims
        self.riders = riders


def _bad(field: str) -> DecodeError:
    return DecodeError(f"{field} is malformed")


def _int(value: Any, field: str, low: int = 0, high: int = MAX_INT) -> int:
    if type(value) is not int or not low <= value <= high:
        raise _bad(field)
    return value


def _text(value: Any, field: str, longest: int = MAX_TEXT) -> str:
    if type(value) is not str or len(value) > longest:
        raise _bad(field)
    return value


def _bytes(value: Any, field: str) -> bytes:
    if type(value) is not bytes:
        raise _bad(field)
    return value


def _id(value: Any, field: str) -> bytes:
    if type(value) is not bytes or len(value) != _ID:
        raise _bad(field)
    return value


def _path(value: Any, field: str = "path") -> Path:
    if not is_path(value):
        raise _bad(field)
    return value  # type: ignore[no-any-return]


def _tuple(value: Any, field: str, length: int | None = None) -> tuple[Any, ...]:
    if type(value) is not tuple or (length is not None and len(value) != length):
        raise _bad(field)
    return value


def _runs(value: Any) -> tuple[list[PathRun], int]:
    total = 0
    for run in _tuple(value, "runs"):
        if type(run) is not tuple or len(run) != 2:
            raise _bad("run")
        first, n = run
        if (
            not is_path(first)
            or type(n) is not int
            or n < 1
            or (n > 1 and (not first or first[-1] + n > MAX_INT))
        ):
            raise _bad("run")
        total += n
    return list(value), total


def stamp_to_wire(stamp: Stamp) -> tuple[Any, ...]:
    """A stamp as a plain tuple, for msgpack."""
    return (
        stamp.job,
        stamp.epoch,
        stamp.pipeline,
        tuple(stamp.ordered.items()),
        stamp.sink,
        stamp.durability,
        stamp.marks,
        stamp.order,
        stamp.logs,
        stamp.revision,
        stamp.spool,
        stamp.hold,
        stamp.fail_fast,
        stamp.reader,
        stamp.token,
        tuple(stamp.codes.items()),
        stamp.owner,
        stamp.trims,
        stamp.taken,
    )


def stamp_from_wire(value: Any) -> Stamp:
    """The stamp that a decoded tuple describes; raises DecodeError."""
    (job, epoch, pipeline, ordered, sink, durability, marks, order, logs, revision, spool, *more) = _tuple(
        value, "stamp", 19
    )
    hold, fail_fast, reader, token, codes, owner, trims, taken = more
    if type(logs) is not bool or type(fail_fast) is not bool or type(trims) is not bool:
        raise _bad("stamp")
    if type(durability) is not str or durability not in ("fsync", "process", "memory"):
        raise _bad("stamp.durability")
    if type(order) is not str or not is_order(order):
        raise _bad("stamp.order")
    if type(hold) is not str or hold not in ("", "failures", "all"):
        raise _bad("stamp.hold")
    if len(_tuple(marks, "stamp.marks")) > MAX_MARKS or len(_tuple(ordered, "stamp.ordered")) > MAX_STAGES:
        raise _bad("stamp")
    if len(_bytes(spool, "stamp.spool")) > MAX_TEXT:
        raise _bad("stamp.spool")
    if len(_tuple(codes, "stamp.codes")) > MAX_STAGES:
        raise _bad("stamp")
    pairs = [_tuple(pair, "stamp.ordered", 2) for pair in ordered]
    versions = [_tuple(pair, "stamp.codes", 2) for pair in codes]
    return Stamp(
        job=_id(job, "stamp.job"),
        epoch=_int(epoch, "stamp.epoch"),
        pipeline=_text(pipeline, "stamp.pipeline"),
        ordered={
            _int(stage, "stamp.ordered", 0, MAX_STAGES): _id(inc, "stamp.ordered") for stage, inc in pairs
        },
        sink=_id(sink, "stamp.sink"),
        durability=durability,
        marks=tuple(_mark(mark) for mark in marks),
        order=order,
        logs=logs,
        revision=_int(revision, "stamp.revision"),
        spool=spool,
        hold=hold,
        fail_fast=fail_fast,
        reader=_id(reader, "stamp.reader") if reader != b"" else b"",
        token=_int(token, "stamp.token"),
        codes={
            _int(stage, "stamp.codes", 0, MAX_STAGES): _text(code, "stamp.codes") for stage, code in versions
        },
        owner=_text(owner, "stamp.owner"),
        trims=trims,
        taken=Taken(*(_int(number, "stamp.taken") for number in _tuple(taken, "stamp.taken", 3))),
    )


def _mark(value: Any) -> Mark:
    stage, path, kind, text, given = _tuple(value, "mark", 5)
    return Mark(
        stage=_int(stage, "mark.stage", 0, MAX_STAGES),
        path=_path(path, "mark.path"),
        kind=_text(kind, "mark.kind"),
        text=_text(text, "mark.text"),
        given=_int(given, "mark.given"),
    )


def encode(message: DataMessage) -> list[Buffer]:
    """The frames of a message; large contents are not copied."""
    if type(message) is Batch:
        riders = message.riders
        header = _pack(
            (
                _MAGIC,
                PROTOCOL,
                _BATCH,
                message.source,
                message.target,
                message.number,
                message.job,
                message.epoch,
                message.stage,
                message.runs,
                message.metas,
                message.ends,
                message.fails,
                stamp_to_wire(message.stamp) if message.stamp is not None else None,
                [_rider_to_wire(rider) for rider in riders],
            )
        )
        if not message.n:
            return [header]
        return [header, message.blob, *message.buffers]
    if type(message) is Statement:
        return [
            _pack(
                (
                    _MAGIC,
                    PROTOCOL,
                    _STATEMENT,
                    message.source,
                    message.target,
                    message.received,
                    message.acked,
                    message.ranges,
                    message.tasks,
                    message.nbytes,
                    message.nonce,
                    message.gap,
                    message.returns,
                    message.busy,
                    message.free,
                )
            )
        ]
    if type(message) is Probe:
        return [
            _pack(
                (_MAGIC, PROTOCOL, _PROBE, message.source, message.target, message.nonce, message.taken_back)
            )
        ]
    if type(message) is Greet:
        return [_pack((_MAGIC, PROTOCOL, _GREET, message.source, message.target, message.view))]
    if type(message) is Ping:
        return [_pack((_MAGIC, PROTOCOL, _PING, message.source, message.target, message.trial))]
    if type(message) is Want:
        return [
            _pack(
                (
                    _MAGIC,
                    PROTOCOL,
                    _WANT,
                    message.job,
                    message.token,
                    message.first,
                    message.limit,
                    message.taken,
                    message.once,
                )
            )
        ]
    if type(message) is Results:
        header = _pack(
            (
                _MAGIC,
                PROTOCOL,
                _RESULTS,
                message.job,
                message.token,
                message.first,
                message.n,
                message.metas,
                message.fails,
                message.total,
                message.problem,
                [_results_to_wire(rider) for rider in message.riders],
                message.roots,
            )
        )
        return [header, message.blob, *message.buffers]
    raise TypeError(f"no data message: {type(message).__name__}")


def _rider_to_wire(rider: Batch) -> tuple[Any, ...]:
    stamp = stamp_to_wire(rider.stamp) if rider.stamp is not None else None
    return rider.job, rider.epoch, rider.runs, bytes(rider.blob), rider.metas, rider.ends, rider.fails, stamp


def _results_to_wire(rider: Results) -> tuple[Any, ...]:
    """Results that travel with others: as in a header, and their contents."""
    job, token, first, n = rider.job, rider.token, rider.first, rider.n
    told = rider.metas, rider.fails, rider.total, rider.problem
    return job, token, first, n, *told, rider.roots, bytes(rider.blob)


def decode(frames: Sequence[Buffer]) -> DataMessage:
    """The message in the frames of one multipart message.

    Raises:
        DecodeError: the bytes are not a message of zturbo.
        VersionMismatch: the message has another protocol version.
    """
    if not frames:
        raise DecodeError("a message without frames")
    if len(frames) > MAX_FRAMES:
        raise DecodeError(f"a message of {len(frames)} frames")
    header = unpack(frames[0], _BOUNDS)
    if type(header) is not tuple or len(header) < 3 or type(header[1]) is not int:
        raise _bad("header")
    if type(header[0]) is not int or header[0] != _MAGIC:
        raise _bad("header")
    if header[1] != PROTOCOL:
        raise VersionMismatch(f"the peer speaks protocol {header[1]}, this process {PROTOCOL}")
    kind = header[2]
    reader = _READERS.get(kind) if type(kind) is int else None
    if reader is None:
        raise _bad("message kind")
    return reader(header, frames)


def _read_batch(header: tuple[Any, ...], frames: Sequence[Buffer]) -> Batch:
    if len(header) != 15 or len(_tuple(header[14], "riders")) > MAX_RIDERS:
        raise _bad("batch")
    batch = Batch(
        source=_id(header[3], "source"),
        target=_id(header[4], "target"),
        number=_int(header[5], "number", 1),
        job=_id(header[6], "job"),
        epoch=_int(header[7], "epoch"),
        stage=_int(header[8], "stage", 0, MAX_STAGES),
    )
    parts = [batch, *[_rider(batch, sub, part) for sub, part in enumerate(header[14], 1)]]
    bad: list[tuple[Batch, DecodeError]] = []
    good: list[Batch] = []
    for part in parts:
        try:
            if part is batch:
                _fill(batch, header[9:14], frames)
            else:
                _fill_rider(part, header[14][part.sub - 1])
            good.append(part)
        except DecodeError as error:
            bad.append((_claim(part), error))
    if bad:
        claim, why = bad[0]
        raise BadBatch(f"a batch of job {claim.job.hex()[:8]}: {why}", [claim for claim, _ in bad], good)
    batch.riders = parts[1:]
    return batch


def _rider(head: Batch, sub: int, part: Any) -> Batch:
    """An empty batch that travels with another."""
    job, epoch, *_ = _tuple(part, "rider", 8)
    return Batch(
        _id(job, "job"),
        _int(epoch, "epoch"),
        head.stage,
        number=head.number,
        source=head.source,
        target=head.target,
        sub=sub,
    )


def _claim(part: Batch) -> Batch:
    return Batch(
        part.job,
        part.epoch,
        part.stage,
        number=part.number,
        source=part.source,
        target=part.target,
        sub=part.sub,
    )


def _fill(batch: Batch, fields: tuple[Any, ...], frames: Sequence[Buffer]) -> None:
    """Read the records of a message's first batch: runs, metas, ENDs, FAILs and stamp; contents in frames."""
    runs, metas, ends, fails, stamp = fields
    batch.runs, n = _runs(runs)
    if n and len(frames) < 2:
        raise DecodeError("a batch of tasks without its contents")
    if not n and len(frames) != 1:
        raise DecodeError("a batch without tasks that has contents")
    if n:
        batch.n, batch.blob, batch.buffers = n, frames[1], list(frames[2:])
        if n > len(batch.blob):
            raise DecodeError("a batch with more tasks than bytes")
    _fill_records(batch, metas, ends, fails, stamp)


def _fill_rider(batch: Batch, fields: tuple[Any, ...]) -> None:
    """Read the records of a rider: as those of a first batch, with its contents among them."""
    _, _, runs, blob, metas, ends, fails, stamp = fields
    batch.runs, batch.n = _runs(runs)
    batch.blob = _bytes(blob, "contents")
    if batch.n > len(batch.blob) or (blob and not batch.n):
        raise DecodeError("a batch with more tasks than bytes, or with contents alone")
    _fill_records(batch, metas, ends, fails, stamp)


def _fill_records(batch: Batch, metas: Any, ends: Any, fails: Any, stamp: Any) -> None:
    for end in _tuple(ends, "ends"):
        if type(end) is not tuple or len(end) != 3:
            raise _bad("end")
        path, count, meta = end
        if not is_path(path) or type(count) is not int or not 0 <= count <= MAX_INT:
            raise _bad("end")
        if meta is not None:
            _bytes(meta, "end.meta")
        batch.ends.append(End(path, count, meta))
    for fail in _tuple(fails, "fails"):
        path, count, error = _tuple(fail, "fail", 3)
        batch.fails.append(Fail(_path(path), _int(count, "fail.count"), _error(error)))
    if metas is not None:
        batch.metas = _bytes(metas, "metas")
    if stamp is not None:
        batch.stamp = stamp_from_wire(stamp)


def _error(value: Any) -> bytes:
    if len(_bytes(value, "error")) > MAX_ERROR:
        raise DecodeError("an error is too long")
    return value  # type: ignore[no-any-return]


def _pairs(value: Any, field: str) -> list[tuple[int, int]]:
    pairs = [_tuple(pair, field, 2) for pair in _tuple(value, field)]
    return [(_int(first, field), _int(last, field)) for first, last in pairs]


def _returns(value: Any) -> list[tuple[int, int, int]]:
    returns = [_tuple(one, "return", 3) for one in _tuple(value, "return")]
    return [
        (_int(number, "return"), _int(sub, "return", 0, MAX_RIDERS), _int(index, "return"))
        for number, sub, index in returns
    ]


def _read_statement(header: tuple[Any, ...], _: Sequence[Buffer]) -> Statement:
    if len(header) != 15 or not all(type(header[at]) is bool for at in (11, 13, 14)):
        raise _bad("statement")
    return Statement(
        source=_id(header[3], "source"),
        target=_id(header[4], "target"),
        received=_int(header[5], "received"),
        acked=_int(header[6], "acked"),
        ranges=_pairs(header[7], "range"),
        tasks=_int(header[8], "tasks"),
        nbytes=_int(header[9], "nbytes"),
        nonce=_int(header[10], "nonce"),
        gap=header[11],
        returns=_returns(header[12]),
        busy=header[13],
        free=header[14],
    )


def _read_probe(header: tuple[Any, ...], _: Sequence[Buffer]) -> Probe:
    if len(header) != 7:
        raise _bad("probe")
    taken = tuple(_pairs(header[6], "probe"))
    return Probe(_id(header[3], "source"), _id(header[4], "target"), _int(header[5], "nonce"), taken)


def _read_greet(header: tuple[Any, ...], _: Sequence[Buffer]) -> Greet:
    if len(header) != 6:
        raise _bad("greet")
    return Greet(_id(header[3], "source"), _id(header[4], "target"), _int(header[5], "view"))


def _read_ping(header: tuple[Any, ...], _: Sequence[Buffer]) -> Ping:
    if len(header) != 6:
        raise _bad("ping")
    return Ping(_id(header[3], "source"), _id(header[4], "target"), _int(header[5], "trial", 0, MAX_TRIAL))


def _read_want(header: tuple[Any, ...], _: Sequence[Buffer]) -> Want:
    if len(header) != 9 or type(header[8]) is not bool:
        raise _bad("want")
    return Want(
        job=_id(header[3], "job"),
        token=_int(header[4], "token"),
        first=_int(header[5], "first", -1),
        limit=_int(header[6], "limit"),
        taken=_int(header[7], "taken"),
        once=header[8],
    )


def _read_results(header: tuple[Any, ...], frames: Sequence[Buffer]) -> Results:
    if len(header) != 13 or len(frames) < 2 or len(_tuple(header[11], "riders")) > MAX_RIDERS:
        raise _bad("results")
    results = _results((*header[3:11], header[12]), frames[1])
    results.buffers = list(frames[2:])
    for rider in header[11]:
        *fields, blob = _tuple(rider, "rider", 10)
        results.riders.append(_results(fields, _bytes(blob, "contents")))
    return results


def _roots(value: Any, last: int) -> tuple[tuple[int, int], ...]:
    """The ends of roots among results that end before this index: in order, and no two of one root."""
    if len(_tuple(value, "roots")) > MAX_ROOTS:
        raise _bad("roots")
    low = 0
    for pair in value:
        root, stop = _tuple(pair, "roots", 2)
        _int(root, "roots")
        low = _int(stop, "roots", low, last)
    if len({root for root, _ in value}) < len(value):
        raise _bad("roots")
    return value  # type: ignore[no-any-return]


def _results(fields: Sequence[Any], blob: Buffer) -> Results:
    job, token, first, n, metas, failed, total, problem, roots = fields
    _int(first, "first")
    _int(n, "n")
    fails = []
    for pair in _tuple(failed, "fails"):
        index, error = _tuple(pair, "fail", 2)
        fails.append((_int(index, "fail", first, first + n - 1), _error(error)))
    if not 0 <= n - len(fails) <= len(blob):
        raise DecodeError("results that are more than their bytes")
    if metas is not None:
        _bytes(metas, "metas")
    if total is not None:
        _int(total, "total")
    if problem is not None:
        _text(problem, "problem")
    results = Results(_id(job, "job"), _int(token, "token"), first, n, blob, metas, [], fails, total, problem)
    if roots != ():
        results.roots = _roots(roots, first + n)
    return results


_READERS: dict[int, Callable[[tuple[Any, ...], Sequence[Buffer]], DataMessage]] = {
    _BATCH: _read_batch,
    _GREET: _read_greet,
    _PROBE: _read_probe,
    _STATEMENT: _read_statement,
    _WANT: _read_want,
    _RESULTS: _read_results,
    _PING: _read_ping,
}
