"""The part of a failed task's meta that can be carried; the user's code may have put anything there."""

from __future__ import annotations

from typing import Any

from zturbo.api.task import Task
from zturbo.errors import EncodeError
from zturbo.errortext import plain_text, type_name
from zturbo.wire.payload import NeedsBuffers, pack_meta, pack_metas, unpack_many

__all__ = ["carried_meta"]


def carried_meta(task: Task | None) -> Any:
    """A failed task's meta and logs, as far as they can be carried; a text stands for what cannot be."""
    if task is None:
        return None
    meta, logs = getattr(task, "_meta", None), getattr(task, "_logs", None)
    why = _why_not((meta, logs))
    if why is None:
        return pack_meta(meta, logs)
    carried: dict[Any, Any] = {}
    for key, value in _pairs(meta):
        if _why_not(({key: None}, None)) is None:
            why = _why_not(({key: value}, None))
            carried[key] = value if why is None else why
    return pack_meta(carried, logs if _why_not((None, logs)) is None else None)


def _pairs(meta: Any) -> list[tuple[Any, Any]]:
    try:
        return list(meta.items())
    except BaseException:  # whatever the user's code has put in its place
        return []


def _why_not(pair: tuple[Any, Any]) -> str | None:
    """Why meta and logs cannot be carried; None if they can. What can be packed must also be readable."""
    try:
        packed = pack_meta(*pair)
        if packed is not None:
            unpack_many(pack_metas([packed]), 1)
    except NeedsBuffers:
        return "(not kept: it is too large for a failed task's meta)"
    except EncodeError as error:
        return f"(not kept: {plain_text(str(error))})"
    except BaseException as error:  # whatever the user's code has put there, or its type's own code
        return f"(not kept: {type_name(error)} while it was packed)"
    return None
