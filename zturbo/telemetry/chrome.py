"""A trace in the JSON format that Perfetto and chrome://tracing open.

One track a worker, grouped by stage; slices for waiting, the stage's code, sending, and being held back;
arrows from a task's work at one stage to its work at the next; deaths and restarts as instants; memory as
counters.

Times are whole microseconds. Perfetto drops a slice that begins before the one before it ends; with fractions
they would overlap by what a float of that size cannot tell apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from zturbo.errortext import path_text
from zturbo.telemetry.ring import Record

__all__ = ["BESIDE", "MEMORY", "NAMES", "Track", "document"]

CANDIDATES = 500
"""Spans of the stage before that are looked at for the origin of one."""

SHORTEST = 1e-6
"""Seconds of the shortest slice that is shown."""

BESIDE = 100_000
"""Added to the number of a worker's track, for that of tasks which have not finished while others have."""

AMISS = 1000
"""Microseconds by which a task that runs may seem to have begun before the last record ended."""

MEMORY = "memory of "
"""What the names of counters of memory begin with; the process follows."""

NAMES = {"input": "waiting for input", "held": "held back", "code": "code", "own": "packing and sending"}


class Track(NamedTuple):
    """One worker."""

    pipeline: str
    stage: int
    """Index in its pipeline."""
    name: str
    """``pipeline.stage``"""
    host: str
    pid: int
    records: Sequence[Record]
    offset: float
    """What is to be added to the records' clock, for seconds since 1970."""
    died: float = 0.0
    """Seconds since 1970; 0.0 if it lives."""
    how: str = ""
    running: Sequence[tuple[bytes, tuple[int, ...], float]] = ()
    """(job, path, seconds so far) of each task that runs."""
    until: float = 0.0
    """When it was looked at, in seconds since 1970."""


class _Span(NamedTuple):
    track: Track
    number: int
    record: Record
    begins: int
    """When its code begins, in microseconds since 1970."""
    ends: int


def document(
    tracks: Sequence[Track],
    *,
    events: Iterable[Mapping[str, Any]] = (),
    since: float = 0.0,
    job: bytes | None = None,
    names: Mapping[bytes, str] | None = None,
) -> dict[str, Any]:
    """The document, for :func:`json.dump`.

    Args:
        tracks: the workers.
        events: log lines that become instants: maps with ``at``, ``source``, ``text``, ``level``.
        since: leave out what ended before that, in seconds since 1970.
        job: show the code of this job alone.
        names: names of jobs.
    """
    stages = sorted({(track.pipeline, track.stage, track.name) for track in tracks})
    groups = {name: number for number, (_, _, name) in enumerate(stages, 1)}
    out: list[dict[str, Any]] = []
    for _, _, name in stages:
        out.append(_meta("process_name", groups[name], 0, name))
        out.append({**_meta("process_sort_index", groups[name], 0, ""), "args": {"sort_index": groups[name]}})
    spans: list[_Span] = []
    for number, track in enumerate(sorted(tracks, key=lambda one: (one.host, one.pid)), 1):
        group = groups[track.name]
        out.append(_meta("thread_name", group, number, f"{track.host}:{track.pid}"))
        mine = list(_slices(track, number, group, since, job, names or {}, spans))
        out += mine
        out += _memory(track, group, since)
        out += _instants(track, number, group, since)
    out += _flows(spans, groups)
    for event in events:
        if event["at"] >= since:
            out.append(
                {
                    "ph": "i",
                    "s": "g",
                    "name": str(event["text"])[:200],
                    "cat": str(event["level"]).lower(),
                    "ts": _micro(event["at"]),
                    "pid": groups.get(event["source"], 0),
                    "tid": 0,
                }
            )
    return {"traceEvents": out, "displayTimeUnit": "ms", "otherData": {"made by": "zturbo trace"}}


def _micro(seconds: float) -> int:
    return round(seconds * 1e6)


def _meta(kind: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "ts": 0, "args": {"name": name}}


def _slices(
    track: Track,
    number: int,
    group: int,
    since: float,
    job: bytes | None,
    names: Mapping[bytes, str],
    spans: list[_Span],
) -> Iterator[dict[str, Any]]:
    last = 0
    for record in track.records:
        at, ended = record.began + track.offset, _micro(record.ended + track.offset)
        if record.ended + track.offset < since:
            continue
        mine = job is None or record.job == job or record.several
        for part in ("input", "held", "code", "own"):
            seconds: float = getattr(record, part)
            if seconds < SHORTEST:
                continue
            begins, at = max(last, _micro(at)), at + seconds
            ends = last = max(last, min(_micro(at), ended))
            if begins >= ends:
                continue
            if part == "code" and any(record.job):
                spans.append(_Span(track, number, record, begins, ends))
            if part != "code" or mine:
                args = _args(record, names) if part == "code" else {}
                if part == "own" and record.given:
                    args = {"bytes packed": record.given}
                yield _slice(NAMES[part], part, begins, ends, group, number, args)
    yield from _unfinished(track, number, group, job, last)


def _unfinished(
    track: Track, number: int, group: int, job: bytes | None, last: int
) -> Iterator[dict[str, Any]]:
    """Tasks that run. Those of a coroutine began before others finished: they have a track of their own."""
    ends, named = _micro(track.until), False
    for running, path, seconds in track.running:
        begins = _micro(track.until - seconds)
        if (job is not None and running != job) or begins >= ends:
            continue
        args = {"job": running.hex(), "path": ".".join(map(str, path)), "still": "running"}
        beside = begins < last - AMISS
        if beside and not named:
            named = True
            name = f"{track.host}:{track.pid}, not finished"
            yield _meta("thread_name", group, BESIDE + number, name)
        begins = begins if beside else max(begins, last)
        if begins < ends:
            tid = BESIDE + number if beside else number
            yield _slice("code, not finished", "code", begins, ends, group, tid, args)


def _slice(
    name: str, category: str, begins: int, ends: int, pid: int, tid: int, args: dict[str, Any]
) -> dict[str, Any]:
    return {
        "ph": "X",
        "name": name,
        "cat": category,
        "ts": begins,
        "dur": ends - begins,
        "pid": pid,
        "tid": tid,
        "args": args,
    }


def _args(record: Record, names: Mapping[bytes, str]) -> dict[str, Any]:
    if not any(record.job):
        return {"tasks": record.tasks}
    return {
        "job": record.job.hex(),
        "name": names.get(record.job, ""),
        "tasks": record.tasks,
        "first": path_text(record.first),
        "last": path_text(record.last),
        "other jobs": record.several,
        "bytes taken": record.taken,
        "failed": record.failed,
    }


def _memory(track: Track, group: int, since: float) -> Iterator[dict[str, Any]]:
    """A counter of the memory of the process: where it changes."""
    known = 0
    for record in track.records:
        at = record.ended + track.offset
        if at >= since and record.memory not in (0, known):
            known = record.memory
            name = f"{MEMORY}{track.host}:{track.pid}"
            numbers = {"ph": "C", "ts": _micro(at), "pid": group, "tid": 0}
            yield {**numbers, "name": name, "cat": "memory", "args": {"bytes": known}}


def _instants(track: Track, number: int, group: int, since: float) -> Iterator[dict[str, Any]]:
    if track.died and track.died >= since:
        yield {
            "ph": "i",
            "s": "t",
            "name": f"died: {track.how}"[:200],
            "cat": "death",
            "ts": _micro(track.died),
            "pid": group,
            "tid": number,
        }


def _flows(spans: Sequence[_Span], groups: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Arrows from the span that made a task to the one that took it."""
    by_stage: dict[tuple[str, int, bytes], list[_Span]] = defaultdict(list)
    for span in spans:
        by_stage[span.track.pipeline, span.track.stage, span.record.job].append(span)
    for some in by_stage.values():
        some.sort(key=lambda span: span.begins)
    number = 0
    for (pipeline, stage, job), some in by_stage.items():
        before = by_stage.get((pipeline, stage - 1, job), ())
        at = 0
        for span in some:
            while at < len(before) and before[at].begins < span.ends:
                at += 1
            origin = next(
                (
                    one
                    for one in reversed(before[max(0, at - CANDIDATES) : at])
                    if _made(one.record, span.record.first)
                ),
                None,
            )
            if origin is None:
                continue
            number += 1
            comes = min(max(span.begins, origin.ends), span.ends - 1)
            yield _arrow("s", number, origin, min(origin.ends - 1, comes), groups)
            yield {**_arrow("f", number, span, comes, groups), "bp": "e"}


def _arrow(kind: str, number: int, span: _Span, at: int, groups: Mapping[str, int]) -> dict[str, Any]:
    return {
        "ph": kind,
        "id": number,
        "name": "task",
        "cat": "flow",
        "ts": at,
        "pid": groups[span.track.name],
        "tid": span.number,
    }


def _made(record: Record, path: tuple[int, ...]) -> bool:
    """Whether a span may have made the task of a path: one of its tasks' paths begins that path."""
    depth = min(len(record.first), len(record.last), len(path))
    return record.first[:depth] <= path[:depth] <= record.last[:depth]
