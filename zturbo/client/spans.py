"""Looks at workers and jobs for spans of their callers' traces: new ones, each once.

A look asks the broker for its latest jobs, and reads the traces of the workers if any of these has a caller
with a trace. So nothing is added to the workers, and nothing is asked of them where no job is traced.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from zturbo.client.looks import tracks
from zturbo.client.tracecontext import context_of
from zturbo.jobstates import ENDED
from zturbo.telemetry.chrome import Track
from zturbo.telemetry.spans import Span, TracedJob, job_span, stage_spans
from zturbo.wire.control.fields import MAX_PAGE

if TYPE_CHECKING:
    from zturbo.client.client import Client

__all__ = ["PER_JOB", "SpanReader"]

PER_JOB = 2000
"""Spans of the stages of one job at most. No viewer shows more of one trace in a useful way."""

KNOWN = 20_000
"""Jobs that are remembered."""

ASKED = 200
"""Jobs that the broker is asked about one by one, at most, in one look."""

SLACK = 1.0
"""Seconds more that a look goes back than the time since the last one."""


class _Known:
    """A job whose caller has a trace, and what was told of it."""

    def __init__(self, job: TracedJob, status: dict[str, Any]) -> None:
        self.job = job
        self.status = status
        """As it was last seen."""
        self.spans = 0
        self.left_out = 0


class SpanReader:
    """Reads the spans of all traced jobs.

    Args:
        client: any client whose key may look at the jobs; a viewer's may.

    Attributes:
        left_out: spans that were left out: those of a job beyond :data:`PER_JOB`.
        mixed: spans that were read in which quick work of several jobs was recorded together. Such a span is
            that of the last of these jobs; those of the others are left out.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.left_out = self.mixed = 0
        self._jobs: OrderedDict[bytes, _Known | None] = OrderedDict()
        """None for one without a trace."""
        self._open: dict[bytes, _Known] = {}
        """Traced jobs whose own span is not read yet."""
        self._read: dict[tuple[str, int, str], float] = {}
        """Worker -> the end of its last record that was read."""
        self._looked: float | None = None

    def look(self, last: float) -> list[Span]:
        """The spans that are new since the last look.

        Args:
            last: seconds that the first look goes back.

        Raises:
            BrokerUnavailable: the broker does not answer; the next look reads what this one did not.
        """
        now = time.monotonic()
        back = last if self._looked is None else now - self._looked + SLACK
        page = self._client.describe(most=MAX_PAGE)
        for status in page["jobs"]:
            if status["state"] not in ENDED or status["ended"] >= page["clock"] - back:
                self._learn(status)
        spans: list[Span] = []
        if self._open or _has_more(page, back):
            found, _ = tracks(self._client, back)
            spans = self._stages(found, back)
            spans += self._ended({status["id"]: status for status in page["jobs"]}, page["clock"])
        self._looked = now
        while len(self._jobs) > KNOWN:
            self._jobs.popitem(last=False)
        return spans

    def _learn(self, status: dict[str, Any]) -> None:
        job = bytes.fromhex(status["id"])
        if job in self._jobs:
            return
        context = context_of(status)
        self._jobs[job] = None
        if context is not None and context.sampled:
            traced = TracedJob(job, status["name"], status["pipeline"], context.trace, context.span)
            self._jobs[job] = self._open[job] = _Known(traced, status)

    def _stages(self, found: list[Track], back: float) -> list[Span]:
        new = []
        if len(self._read) > KNOWN:
            self._read = {}
        for track in found:
            key = (track.host, track.pid, track.name)
            after = self._read.get(key, track.until - back - track.offset)  # by the clock of its host
            records = [record for record in track.records if record.ended > after]
            self._read[key] = records[-1].ended if records else after
            new.append(track._replace(records=records))
        self._ask({record.job for track in new for record in track.records if any(record.job)})
        self.mixed += sum(record.several for track in new for record in track.records)
        traced = {job: known.job for job, known in self._jobs.items() if known is not None}
        spans = []
        for track in new:
            for span in stage_spans(track, traced):
                known = self._jobs[bytes.fromhex(str(span.attributes["zturbo.job"]))]
                assert known is not None
                if known.spans >= PER_JOB:
                    known.left_out += 1
                    self.left_out += 1
                    continue
                known.spans += 1
                spans.append(span)
        return spans

    def _ask(self, jobs: set[bytes]) -> None:
        """Learn of jobs that are not among the latest of the broker."""
        for job in [job for job in jobs if job not in self._jobs][:ASKED]:
            found = self._client.describe(job)["jobs"]
            self._jobs[job] = None
            if found and found[0]["id"] == job.hex():
                del self._jobs[job]
                self._learn(found[0])

    def _ended(self, latest: dict[str, dict[str, Any]], now: float) -> list[Span]:
        """Spans of the jobs that had ended before the workers were looked at.

        The broker may have forgotten one, as it does where all results of ``map`` have been read.
        """
        spans = []
        asked = 0
        for job, known in list(self._open.items()):
            status = latest.get(job.hex())
            if status is None and asked < ASKED:
                asked += 1
                found = self._client.describe(job)["jobs"]
                status = found[0] if found else {**known.status, "state": "forgotten", "ended": now}
            if status is None:
                continue
            known.status = status
            if status["ended"]:
                spans.append(job_span(known.job, status, known.left_out))
                del self._open[job]
        return spans


def _has_more(page: dict[str, Any], back: float) -> bool:
    """Whether jobs that a page does not show may have been at work in the last so many seconds.

    A page has those that have not ended, then those that were submitted last.
    """
    last = page["jobs"][-1] if page["jobs"] else None
    return (
        bool(page["next"])
        and last is not None
        and (not last["ended"] or last["ended"] >= page["clock"] - back)
    )
