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
    MAX_RIDERS,
    MAX_ROOTS,
    MAX_STAGES,
    MAX_TRIAL,
    PROTOCOL,
    Batch,
    Buffer,
    DataMessage,
    End,
    Fail,
    Greet,
    PathRun,
    Ping,
    Probe,
    Results,
    Statement,
    Want,
    is_path,
)
from zturbo.wire.stamps import stamp_from_wire, stamp_to_wire
from zturbo.wire.values import (
    as_bytes,
    as_id,
    as_int,
    as_path,
    as_text,
    as_tuple,
    bad,
    check_fields,
    flag_field,
    id_field,
    int_field,
)

__all__ = ["BadBatch", "decode", "encode"]

_BOUNDS = Bounds(nbytes=1 << 30, items=1 << 20, depth=16, trusted=256 << 10)
"""Bounds of a header. It has metas and errors as bytes, so it may be as large as a task."""

_MAGIC = 0x7A74  # "zt"
_BATCH, _GREET, _PROBE, _STATEMENT, _WANT, _RESULTS, _PING = range(1, 8)

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


def _runs(value: Any) -> tuple[list[PathRun], int]:
    total = 0
    for run in as_tuple(value, "runs"):
        if type(run) is not tuple or len(run) != 2:
            raise bad("run")
        first, n = run
        if (
            not is_path(first)
            or type(n) is not int
            or n < 1
            or (n > 1 and (not first or first[-1] + n > MAX_INT))
        ):
            raise bad("run")
        total += n
    return list(value), total


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
        raise bad("header")
    if type(header[0]) is not int or header[0] != _MAGIC:
        raise bad("header")
    if header[1] != PROTOCOL:
        raise VersionMismatch(f"the peer speaks protocol {header[1]}, this process {PROTOCOL}")
    kind = header[2]
    reader = _READERS.get(kind) if type(kind) is int else None
    if reader is None:
        raise bad("message kind")
    return reader(header, frames)


_BATCH_FIELDS = (
    id_field("source"),
    id_field("target"),
    int_field("number", 1),
    id_field("job"),
    int_field("epoch"),
    int_field("stage", 0, MAX_STAGES),
)
_STATEMENT_FIELDS = (
    id_field("source"),
    id_field("target"),
    int_field("received"),
    int_field("acked"),
    ("range", tuple, 0, MAX_INT),
    int_field("tasks"),
    int_field("nbytes"),
    int_field("nonce"),
    flag_field("gap"),
    ("return", tuple, 0, MAX_INT),
    flag_field("busy"),
    flag_field("free"),
)


def _read_batch(header: tuple[Any, ...], frames: Sequence[Buffer]) -> Batch:
    if len(header) != 15 or len(as_tuple(header[14], "riders")) > MAX_RIDERS:
        raise bad("batch")
    check_fields(header[3:9], _BATCH_FIELDS)
    _, _, _, source, target, number, job, epoch, stage, *_ = header
    batch = Batch(job, epoch, stage, number=number, source=source, target=target)
    if not header[14]:
        return _alone(batch, header, frames)
    parts = [batch, *[_rider(batch, sub, part) for sub, part in enumerate(header[14], 1)]]
    lost: list[tuple[Batch, DecodeError]] = []
    good: list[Batch] = []
    for part in parts:
        try:
            if part is batch:
                _fill(batch, header[9:14], frames)
            else:
                _fill_rider(part, header[14][part.sub - 1])
            good.append(part)
        except DecodeError as error:
            lost.append((_claim(part), error))
    if lost:
        raise _unreadable(lost, good)
    batch.riders = parts[1:]
    return batch


def _alone(batch: Batch, header: tuple[Any, ...], frames: Sequence[Buffer]) -> Batch:
    """A batch that travels without riders."""
    try:
        _fill(batch, header[9:14], frames)
    except DecodeError as error:
        raise _unreadable([(_claim(batch), error)], []) from error
    return batch


def _unreadable(lost: Sequence[tuple[Batch, DecodeError]], good: Sequence[Batch]) -> BadBatch:
    claim, why = lost[0]
    return BadBatch(f"a batch of job {claim.job.hex()[:8]}: {why}", [claim for claim, _ in lost], good)


def _rider(head: Batch, sub: int, part: Any) -> Batch:
    """An empty batch that travels with another."""
    job, epoch, *_ = as_tuple(part, "rider", 8)
    return Batch(
        as_id(job, "job"),
        as_int(epoch, "epoch"),
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
    batch.blob = as_bytes(blob, "contents")
    if batch.n > len(batch.blob) or (blob and not batch.n):
        raise DecodeError("a batch with more tasks than bytes, or with contents alone")
    _fill_records(batch, metas, ends, fails, stamp)


def _fill_records(batch: Batch, metas: Any, ends: Any, fails: Any, stamp: Any) -> None:
    for end in as_tuple(ends, "ends"):
        if type(end) is not tuple or len(end) != 3:
            raise bad("end")
        path, count, meta = end
        if not is_path(path) or type(count) is not int or not 0 <= count <= MAX_INT:
            raise bad("end")
        if meta is not None:
            as_bytes(meta, "end.meta")
        batch.ends.append(End(path, count, meta))
    for fail in as_tuple(fails, "fails"):
        path, count, error = as_tuple(fail, "fail", 3)
        batch.fails.append(Fail(as_path(path), as_int(count, "fail.count"), _error(error)))
    if metas is not None:
        batch.metas = as_bytes(metas, "metas")
    if stamp is not None:
        batch.stamp = stamp_from_wire(stamp)


def _error(value: Any) -> bytes:
    if len(as_bytes(value, "error")) > MAX_ERROR:
        raise DecodeError("an error is too long")
    return value  # type: ignore[no-any-return]


def _pairs(value: Any, field: str) -> list[tuple[int, int]]:
    pairs = [as_tuple(pair, field, 2) for pair in as_tuple(value, field)]
    return [(as_int(first, field), as_int(last, field)) for first, last in pairs]


def _returns(value: Any) -> list[tuple[int, int, int]]:
    returns = [as_tuple(one, "return", 3) for one in as_tuple(value, "return")]
    return [
        (as_int(number, "return"), as_int(sub, "return", 0, MAX_RIDERS), as_int(index, "return"))
        for number, sub, index in returns
    ]


def _read_statement(header: tuple[Any, ...], _: Sequence[Buffer]) -> Statement:
    if len(header) != 15:
        raise bad("statement")
    check_fields(header[3:], _STATEMENT_FIELDS)
    _, _, _, source, target, received, acked, ranges, tasks, nbytes, nonce, gap, returns, busy, free = header
    return Statement(
        source=source,
        target=target,
        received=received,
        acked=acked,
        ranges=_pairs(ranges, "range") if ranges else [],
        tasks=tasks,
        nbytes=nbytes,
        nonce=nonce,
        gap=gap,
        returns=_returns(returns) if returns else [],
        busy=busy,
        free=free,
    )


def _read_probe(header: tuple[Any, ...], _: Sequence[Buffer]) -> Probe:
    if len(header) != 7:
        raise bad("probe")
    taken = tuple(_pairs(header[6], "probe"))
    return Probe(as_id(header[3], "source"), as_id(header[4], "target"), as_int(header[5], "nonce"), taken)


def _read_greet(header: tuple[Any, ...], _: Sequence[Buffer]) -> Greet:
    if len(header) != 6:
        raise bad("greet")
    return Greet(as_id(header[3], "source"), as_id(header[4], "target"), as_int(header[5], "view"))


def _read_ping(header: tuple[Any, ...], _: Sequence[Buffer]) -> Ping:
    if len(header) != 6:
        raise bad("ping")
    return Ping(
        as_id(header[3], "source"), as_id(header[4], "target"), as_int(header[5], "trial", 0, MAX_TRIAL)
    )


def _read_want(header: tuple[Any, ...], _: Sequence[Buffer]) -> Want:
    if len(header) != 9 or type(header[8]) is not bool:
        raise bad("want")
    return Want(
        job=as_id(header[3], "job"),
        token=as_int(header[4], "token"),
        first=as_int(header[5], "first", -1),
        limit=as_int(header[6], "limit"),
        taken=as_int(header[7], "taken"),
        once=header[8],
    )


def _read_results(header: tuple[Any, ...], frames: Sequence[Buffer]) -> Results:
    if len(header) != 13 or len(frames) < 2 or len(as_tuple(header[11], "riders")) > MAX_RIDERS:
        raise bad("results")
    results = _results((*header[3:11], header[12]), frames[1])
    results.buffers = list(frames[2:])
    for rider in header[11]:
        *fields, blob = as_tuple(rider, "rider", 10)
        results.riders.append(_results(fields, as_bytes(blob, "contents")))
    return results


def _roots(value: Any, last: int) -> tuple[tuple[int, int], ...]:
    """The ends of roots among results that end before this index: in order, and no two of one root."""
    if len(as_tuple(value, "roots")) > MAX_ROOTS:
        raise bad("roots")
    low = 0
    for pair in value:
        root, stop = as_tuple(pair, "roots", 2)
        as_int(root, "roots")
        low = as_int(stop, "roots", low, last)
    if len({root for root, _ in value}) < len(value):
        raise bad("roots")
    return value  # type: ignore[no-any-return]


def _results(fields: Sequence[Any], blob: Buffer) -> Results:
    job, token, first, n, metas, failed, total, problem, roots = fields
    as_int(first, "first")
    as_int(n, "n")
    fails = []
    for pair in as_tuple(failed, "fails"):
        index, error = as_tuple(pair, "fail", 2)
        fails.append((as_int(index, "fail", first, first + n - 1), _error(error)))
    if not 0 <= n - len(fails) <= len(blob):
        raise DecodeError("results that are more than their bytes")
    if metas is not None:
        as_bytes(metas, "metas")
    if total is not None:
        as_int(total, "total")
    if problem is not None:
        as_text(problem, "problem")
    results = Results(
        as_id(job, "job"), as_int(token, "token"), first, n, blob, metas, [], fails, total, problem
    )
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
