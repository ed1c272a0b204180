"""What a member measures of itself: numbers for people. Nothing is decided by them."""

from __future__ import annotations

from typing import Annotated

from zturbo.wire.control.fields import AtMost, Count, Int
from zturbo.wire.control.message import Message

__all__ = ["MAX_BUCKETS", "Report"]

MAX_BUCKETS = 72
"""Most buckets of a histogram of times; see :mod:`zturbo.telemetry.histogram`."""

Buckets = Annotated[tuple[Count, ...], AtMost(MAX_BUCKETS)]


class Report(Message):
    """A member's measurements. All but memory and what waits are sums since its start, so that a lost
    report does no harm. Times are in microseconds, on the member's own clock."""

    clock: Count
    """Time since its start."""
    code: Count = 0
    """Time in which the stage's code ran."""
    input: Count = 0
    """Time in which it waited for input."""
    held: Count = 0
    """Time in which it was held back: what follows took no more."""
    own: Count = 0
    """Time in which its main thread ran zturbo itself: it unpacked, packed, and gave work on."""
    cpu: Count = 0
    """CPU time of all its threads."""
    memory: Count = 0
    """Bytes."""
    shared: Count = 0
    """Bytes of shared memory that it has taken for large contents; they are in ``memory``, too."""
    received: Count = 0
    """Bytes that its host has received since the host's start, without loopback."""
    sent: Count = 0
    """Bytes that its host has sent, as above."""
    cores: Annotated[int, Int(0, 1 << 20)] = 0
    """CPUs of its host."""
    tasks: Count = 0
    """Tasks that it has finished; at a sink, results that it has released."""
    outputs: Count = 0
    """Tasks that it has given."""
    failed: Count = 0
    """Tasks that failed here."""
    waiting: Count = 0
    """Tasks that wait in it now for their turn or their order."""
    running: Count = 0
    """Tasks that its code has now."""
    pending: Count = 0
    """Tasks that it has given and cannot send now, for want of credit."""
    times: Buckets = ()
    """Times per task, as a histogram."""
    waits: Buckets = ()
    """Times for which tasks waited in it, as a histogram."""
    waited: Count = 0
    """Sum of these."""
