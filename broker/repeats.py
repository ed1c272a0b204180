"""What is said again while nothing can be written: members repeat their hellos, others their requests.

Answers to these are held back meanwhile, and one of each is enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zturbo.core.effects import Confirm, Control, Effect

__all__ = ["has_answer", "latest"]


def latest(effects: list[Effect]) -> list[Effect]:
    """Without what is said again later."""
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
    """Whether an answer to this request is among them."""
    return any(_what(effect) == (to, ref) for effect in effects)


def _what(effect: Effect) -> tuple[Any, ...] | None:
    """What is said to whom, if to say it once is enough."""
    if isinstance(effect, Confirm) and "ref" in effect.message:
        return effect.to, effect.message["ref"]
    if isinstance(effect, Control):
        kind = effect.message["type"]
        if kind in ("welcome", "view", "refused"):
            return effect.to, kind
        if kind == "stamp":
            return effect.to, kind, effect.message["stamp"].job
        if kind == "forget":
            return effect.to, kind, tuple(effect.message["jobs"])
    return None
