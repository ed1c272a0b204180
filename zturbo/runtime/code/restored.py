"""Makes the tasks for a stage's code, from the contents and metas of a batch."""

from __future__ import annotations

from typing import Any

from zturbo.api.task import Task, bare_task, read_meta
from zturbo.errors import DecodeError
from zturbo.wire.payload import Packed, Unreadable

__all__ = ["restore", "unopened"]


def restore(content: Any, packed: Any) -> Task:
    """A task of its content, and of meta and logs as :func:`pack_meta` made them, or None."""
    task = bare_task(content)
    if packed is not None:
        try:
            task._meta, logs = read_meta(packed)
        except DecodeError as error:  # a root's meta is what a client sent
            return Task(Unreadable(error))
        if logs:
            task._logs = logs
    return task


def unopened(meta: Any) -> Any:
    """The meta of a task that is not to run: None if the user's code would have to unpack it."""
    return None if type(meta) is Packed else meta
