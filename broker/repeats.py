"""Which deferred messages a later one makes needless, while the ledger's disk is full.

Meanwhile members repeat their hellos, and clients and nodes their requests. The answers depend on the
ledger, so they are deferred. The last answer of each kind is enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zturbo.core.effects import Confirm, Control, Effect
from zturbo.wire.control import from_broker

__all__ = ["has_answer", "latest"]


def latest(effects: list[Effect]) -> list[Effect]:
    """The effects without those that a later one repeats."""
    seen: set[tuple[Any, ...]] = set()
    kept: list[Effect] = []
    for effect in reversed(effects):
        what = _what(effect)
        if what is None or what not in seen:
            kept.append(effect)
        if what is not None:
            seen.add(what)
    kept.reverse()
    return kept


def has_answer(effects: Iterable[Effect], to: bytes, ref: int) -> bool:
    """Whether an answer to this request is among the effects."""
    return any(_what(effect) == (to, ref) for effect in effects)


def _what(effect: Effect) -> tuple[Any, ...] | None:
    """The recipient and the kind of a message of which the last one is enough; None for any other effect."""
    if not isinstance(effect, (Confirm, Control)):
        return None
    match effect.message:
        case from_broker.Ok(ref=ref) | from_broker.Error(ref=ref):
            return effect.to, ref
        case from_broker.Welcome() | from_broker.NewView() | from_broker.Refused():
            return effect.to, type(effect.message)
        case from_broker.NewStamp(stamp=stamp):
            return effect.to, from_broker.NewStamp, stamp.job
        case from_broker.Forget(jobs=jobs):
            return effect.to, from_broker.Forget, jobs
    return None
