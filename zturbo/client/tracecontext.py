"""The trace context of a client's jobs: where it comes from, and which lines of the log belong to it.

OpenTelemetry is never imported here. A program that uses it has imported it.
"""

from __future__ import annotations

import logging
import sys
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Protocol

from zturbo.errortext import message_of
from zturbo.wire.control.fields import MAX_PAGE
from zturbo.wire.traceparent import TRACEPARENT, TraceContext, read_traceparent, without_bad_context

__all__ = ["JobContexts", "context_of", "with_context"]

log = logging.getLogger("zturbo.client")

KNOWN = 10_000
"""Jobs whose contexts are remembered."""

ASKED = 100
"""Jobs that a broker is asked about one by one, at most, for the lines of one call."""


def with_context(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a job that this thread submits, with the context of its current span, if it has one.

    An option ``traceparent`` of the caller's own goes before it; one that is not valid is dropped.
    """
    if TRACEPARENT in options:
        options = without_bad_context(options)
        if TRACEPARENT in options:
            return options
    current = getattr(sys.modules.get("opentelemetry.trace"), "get_current_span", None)
    if current is None:  # also while another thread is importing it
        return options
    try:
        here = current().get_span_context()
        if not here.is_valid:
            return options
        text = f"00-{here.trace_id:032x}-{here.span_id:016x}-{int(here.trace_flags) & 0xFF:02x}"
    except Exception as error:  # of a program's own tracer; its job is to run all the same
        log.debug("no trace context: %s", message_of(error))
        return options
    return {**options, TRACEPARENT: text}


def context_of(status: dict[str, Any]) -> TraceContext | None:
    """The context of the job with this status."""
    return read_traceparent(status["options"].get(TRACEPARENT))


class Describe(Protocol):
    """:meth:`zturbo.Client.describe`."""

    def __call__(self, job_id: str | None = None, *, most: int | None = None) -> dict[str, Any]: ...


class JobContexts:
    """The contexts of jobs, as far as they are known."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, TraceContext | None] = OrderedDict()

    def add_to(self, lines: Iterable[dict[str, Any]], describe: Describe) -> None:
        """Give each of these log lines ``trace_id`` and ``span_id``: those of its job's caller, or None.

        Args:
            lines: as ``Client.log_page`` gives them.
            describe: asks the broker about jobs that are not known.
        """
        lines = list(lines)
        named = dict.fromkeys(line["job"] for line in lines if line["job"] is not None)
        missing = [job for job in named if job not in self._known]
        if len(missing) > 1:
            for status in describe(most=MAX_PAGE)["jobs"]:
                self._known[status["id"]] = context_of(status)
        for job in [job for job in missing if job not in self._known][:ASKED]:
            found = describe(job)["jobs"]
            self._known[job] = context_of(found[0]) if found else None
        for line in lines:
            context = self._known.get(line["job"])
            line["trace_id"] = None if context is None else context.trace_id
            line["span_id"] = None if context is None else context.span_id
        while len(self._known) > KNOWN:
            self._known.popitem(last=False)
