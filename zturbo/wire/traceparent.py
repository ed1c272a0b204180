"""A caller's trace context, which travels with a job as its option ``traceparent``.

The form is that of the W3C's recommendation "Trace Context": ``00-TRACE-SPAN-FLAGS``, in hexadecimal digits.
A context that is not valid is ignored, as the recommendation asks: it never fails a job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["TRACEPARENT", "TraceContext", "read_traceparent", "without_bad_context"]

TRACEPARENT = "traceparent"
"""Name of the job option."""

LENGTH = 128
"""Characters at most. Version 00 has 55; later versions may have more behind these."""

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


class TraceContext(NamedTuple):
    """Where in which trace something was done."""

    trace: int
    """Id of the trace, 128 bits."""
    span: int
    """Id of the caller's span, 64 bits."""
    sampled: bool
    """Whether the caller records this trace."""

    @property
    def trace_id(self) -> str:
        """The id of the trace, as logs and viewers show it."""
        return f"{self.trace:032x}"

    @property
    def span_id(self) -> str:
        """The id of the caller's span, as logs and viewers show it."""
        return f"{self.span:016x}"


def read_traceparent(value: object) -> TraceContext | None:
    """Read a context; None for all that is not a valid one."""
    if type(value) is not str or len(value) > LENGTH or (found := _FORM.fullmatch(value)) is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    context = TraceContext(int(trace, 16), int(span, 16), bool(int(flags, 16) & 1))
    return context if context.trace and context.span else None


def without_bad_context(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a job, without a context that is not valid."""
    if TRACEPARENT in options and read_traceparent(options[TRACEPARENT]) is None:
        return {name: value for name, value in options.items() if name != TRACEPARENT}
    return dict(options)
