"""A GPU of a host, as NVML sees it: for people. Nothing is decided by it."""

from __future__ import annotations

from typing import Annotated

from zturbo.wire.control.fields import Code, Count, Int, Name
from zturbo.wire.control.message import Message

__all__ = ["MAX_GPUS", "Gpu"]

MAX_GPUS = 64
"""Most GPUs of one host that are told."""


class Gpu(Message):
    """One GPU, just now."""

    index: Annotated[int, Int(0, 1 << 16)]
    """Its number on its host, as ``nvidia-smi`` shows it."""
    uuid: Code
    name: Name
    load: Annotated[int, Int(0, 100)] | None
    """Percent of the time in which it ran anything, lately; None if the driver does not say."""
    used: Count
    """Bytes of its memory in use, by whatever process."""
    total: Count
    """Bytes of its memory."""
