"""Tasks for a stage's code, out of what came in a batch."""

from __future__ import annotations

from typing import Any

from zturbo.api.task import Task, read_meta
from zturbo.errors import DecodeError
from zturbo.wire.payload import Unreadable

__all__ = ["restore"]


def restore(content: Any, packed: Any) -> Task:
    """A task of its content, and of meta and logs as :func:`pack_meta` made them, or None."""
    task = Task(content)
    if packed is not None:
        try:
            task._meta, logs = read_meta(packed)
        except DecodeError as error:  # a root's meta is what a client sent
            return Task(Unreadable(error))
        if logs:
            task._logs = logs
    return task
