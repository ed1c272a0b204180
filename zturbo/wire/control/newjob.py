"""One job in a message that submits jobs, and the values that its options may have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from zturbo.wire.carried import MAX_CARRIED
from zturbo.wire.control.fields import AtMost, Bytes, Id, Int, JobOptions, Metas, Name
from zturbo.wire.control.message import Message
from zturbo.wire.messages import MAX_FRAMES, ORDERS, is_order
from zturbo.wire.traceparent import TRACEPARENT

__all__ = ["MAX_SUBMIT", "NewJob", "options_problem"]

MAX_SUBMIT = 1024
"""Most jobs that one message submits."""

_TYPES: dict[str, tuple[type, ...]] = {
    "durability": (str,),
    "order": (str,),
    "priority": (int,),
    "timeout": (float, int),
    "max_retry": (int,),
    "fail_fast": (bool,),
    "logs": (bool,),
    TRACEPARENT: (str,),
}
"""Job option -> types of its values."""


class NewJob(Message):
    """A job that a client submits."""

    job: Id
    name: Name
    pipeline: Name
    stream: bool
    """Whether the job's roots follow in ``feed``; if not, its frames are its single root."""
    options: JobOptions
    meta: Metas | None
    digest: Annotated[bytes, Bytes(64)]
    """Digest of the whole job: it tells a repeated submit from another job under the same id."""
    parts: Annotated[int, Int(0, MAX_FRAMES)]
    """Number of its frames among the contents of the message."""
    carries: Annotated[int, Int(0, MAX_CARRIED)] = 0
    """If this stands for jobs that travel together (:mod:`zturbo.wire.carried`), how many they are: its one
    frame has their contents, one after the other."""
    names: Annotated[tuple[Name, ...], AtMost(MAX_CARRIED)] = ()
    """Their names, if they are not all :attr:`name`."""


def options_problem(options: Mapping[Any, Any]) -> str | None:
    """Why a job cannot have these options, as a sentence; None if it can."""
    for key, value in options.items():
        if key not in _TYPES:
            return f"unknown job option {key!r}; there are: {', '.join(sorted(_TYPES))}"
        if type(value) not in _TYPES[key]:
            return f"job option {key!r} is to be of type {_TYPES[key][0].__name__}"
    if not 0 < options.get("timeout", 1) < math.inf:
        return "job option 'timeout' is to be seconds, more than 0"
    if options.get("max_retry", 0) < 0:
        return "job option 'max_retry' is to be 0 or more"
    if options.get("max_retry") and options.get("order") == "none":
        return "job option 'max_retry' needs an order, such as 'path': with 'none', failures come as they are"
    if options.get("durability", "fsync") not in ("fsync", "process", "memory"):
        return "job option 'durability' is to be 'fsync', 'process' or 'memory'"
    if not is_order(options.get("order", "path")):
        return f"job option 'order' is to be {ORDERS}"
    return None
