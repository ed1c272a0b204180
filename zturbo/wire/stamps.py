"""Stamps of jobs <-> plain tuples, as messages and the ledger have them."""

from __future__ import annotations

from typing import Any

from zturbo.wire.messages import MAX_MARKS, MAX_STAGES, MAX_TEXT, Mark, Stamp, Taken, is_order
from zturbo.wire.values import (
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

__all__ = ["stamp_from_wire", "stamp_to_wire"]


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


_STAMP_FIELDS = (
    id_field("stamp.job"),
    int_field("stamp.epoch"),
    ("stamp.pipeline", str, 0, MAX_TEXT),
    ("stamp.ordered", tuple, 0, MAX_STAGES),
    id_field("stamp.sink"),
    ("stamp.durability", str, 0, MAX_TEXT),
    ("stamp.marks", tuple, 0, MAX_MARKS),
    ("stamp.order", str, 0, MAX_TEXT),
    flag_field("stamp.logs"),
    int_field("stamp.revision"),
    ("stamp.spool", bytes, 0, MAX_TEXT),
    ("stamp.hold", str, 0, MAX_TEXT),
    flag_field("stamp.fail_fast"),
    ("stamp.reader", bytes, 0, 16),
    int_field("stamp.token"),
    ("stamp.codes", tuple, 0, MAX_STAGES),
    ("stamp.owner", str, 0, MAX_TEXT),
    flag_field("stamp.trims"),
    ("stamp.taken", tuple, 3, 3),
)
_TAKEN_FIELDS = (int_field("stamp.taken"),) * 3


def stamp_from_wire(value: Any) -> Stamp:
    """The stamp that a decoded tuple describes; raises DecodeError."""
    if len(as_tuple(value, "stamp")) != len(_STAMP_FIELDS):
        raise bad("stamp")
    check_fields(value, _STAMP_FIELDS)
    (job, epoch, pipeline, ordered, sink, durability, marks, order, logs, revision, spool, *more) = value
    hold, fail_fast, reader, token, codes, owner, trims, taken = more
    if durability not in ("fsync", "process", "memory"):
        raise bad("stamp.durability")
    if not is_order(order):
        raise bad("stamp.order")
    if hold not in ("", "failures", "all", "success"):
        raise bad("stamp.hold")
    if reader and len(reader) != len(job):
        raise bad("stamp.reader")
    check_fields(taken, _TAKEN_FIELDS)
    pairs = [as_tuple(pair, "stamp.ordered", 2) for pair in ordered]
    versions = [as_tuple(pair, "stamp.codes", 2) for pair in codes]
    return Stamp(
        job=job,
        epoch=epoch,
        pipeline=pipeline,
        ordered={
            as_int(stage, "stamp.ordered", 0, MAX_STAGES): as_id(inc, "stamp.ordered") for stage, inc in pairs
        },
        sink=sink,
        durability=durability,
        marks=tuple(_mark(mark) for mark in marks) if marks else (),
        order=order,
        logs=logs,
        revision=revision,
        spool=spool,
        hold=hold,
        fail_fast=fail_fast,
        reader=reader,
        token=token,
        codes={
            as_int(stage, "stamp.codes", 0, MAX_STAGES): as_text(code, "stamp.codes")
            for stage, code in versions
        },
        owner=owner,
        trims=trims,
        taken=Taken(*taken),
    )


def _mark(value: Any) -> Mark:
    stage, path, kind, text, given = as_tuple(value, "mark", 5)
    return Mark(
        stage=as_int(stage, "mark.stage", 0, MAX_STAGES),
        path=as_path(path, "mark.path"),
        kind=as_text(kind, "mark.kind"),
        text=as_text(text, "mark.text"),
        given=as_int(given, "mark.given"),
    )
