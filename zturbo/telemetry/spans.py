"""Spans of a distributed trace, from the records of workers and the status of a job.

A job has one span, a child of its caller's; each piece of a stage's work on it has one, a child of the job's.
Quick tasks that a worker recorded together are one span. Ids follow from what a span tells of. So the same
span read twice, or by two exporters, has one id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from zturbo.errortext import path_text
from zturbo.telemetry.chrome import SHORTEST, Track

__all__ = ["Span", "TracedJob", "job_span", "stage_spans"]

Value = str | int | bool


class TracedJob(NamedTuple):
    """A job whose caller has a trace."""

    id: bytes
    name: str
    pipeline: str
    trace: int
    """Id of the trace, 128 bits."""
    caller: int
    """Id of the caller's span, 64 bits."""

    @property
    def span(self) -> int:
        """Id of the job's own span."""
        return _id(b"job", self.id)


class Span(NamedTuple):
    """One span. Times are in seconds since 1970."""

    name: str
    trace: int
    id: int
    parent: int
    began: float
    ended: float
    attributes: Mapping[str, Value]
    error: str
    """What failed, as a sentence; empty if nothing did."""


def stage_spans(track: Track, jobs: Mapping[bytes, TracedJob | None]) -> Iterator[Span]:
    """Spans of a worker's work.

    Args:
        track: the worker, with its records.
        jobs: by id; work of other jobs, and of those that are None, has no span.
    """
    for record in track.records:
        job = jobs.get(record.job)
        if job is None or record.code < SHORTEST:
            continue
        began = record.began + track.offset + record.input + record.held
        attributes: dict[str, Value] = {
            "zturbo.pipeline": track.pipeline,
            "zturbo.stage": track.name.rpartition(".")[2],
            "host.name": track.host,
            "process.pid": track.pid,
            "zturbo.job": record.job.hex(),
            "zturbo.path": path_text(record.first),
            "zturbo.tasks": record.tasks,
        }
        if record.last != record.first:
            attributes["zturbo.last_path"] = path_text(record.last)
        if record.several:
            attributes["zturbo.other_jobs"] = True
        error = ""
        if record.failed:
            attributes["zturbo.failed_tasks"] = record.failed
            error = f"{_tasks(record.failed)} failed; 'zturbo job {record.job.hex()} --failures' tells why"
        own = _id(track.host.encode(), track.pid, record.began.hex(), record.job)
        yield Span(track.name, job.trace, own, job.span, began, began + record.code, attributes, error)


def job_span(job: TracedJob, status: Mapping[str, Any], left_out: int = 0) -> Span:
    """The span of a job that has ended.

    Args:
        job: the job.
        status: as ``Client.jobs()`` gives it.
        left_out: how many spans of its stages are missing.
    """
    attributes: dict[str, Value] = {
        "zturbo.pipeline": job.pipeline,
        "zturbo.job": job.id.hex(),
        "zturbo.job_name": job.name,
        "zturbo.state": status["state"],
        "zturbo.results": status["results"],
        "zturbo.failed_tasks": status["failed"],
    }
    if left_out:
        attributes["zturbo.spans_left_out"] = left_out
    error = str(status["error"] or "")
    if not error and status["failed"]:
        error = f"{_tasks(status['failed'])} failed"
    began = status["created"]
    name = f"job {job.pipeline}"
    return Span(name, job.trace, job.span, job.caller, began, max(began, status["ended"]), attributes, error)


def _tasks(n: int) -> str:
    return "1 task" if n == 1 else f"{n} tasks"


def _id(*of: bytes | int | str) -> int:
    """An id of 64 bits, which is never 0: that is no id."""
    text = b"\0".join(part if isinstance(part, bytes) else str(part).encode() for part in of)
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") or 1
