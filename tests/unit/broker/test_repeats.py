"""What is held back while the ledger's disk is full does not grow with what is said again."""

from __future__ import annotations

from zturbo.core.effects import Confirm, Control, Effect, Record
from zturbo_broker.repeats import has_answer, latest

ONE, OTHER = b"1" * 16, b"2" * 16


def test_what_is_said_again_is_held_once() -> None:
    record = Record("drop_job", (ONE,))
    effects: list[Effect] = []
    for number in range(100):
        effects.append(Control({"type": "welcome", "view": number}, ONE))
        effects.append(Confirm(ONE, {"type": "ok", "ref": 7, "value": number}))
        effects.append(Control({"type": "forget", "jobs": [ONE]}, OTHER))
        effects.append(record)
    effects.append(Confirm(OTHER, {"type": "ok", "ref": 7, "value": "another's"}))
    kept = [effect for effect in latest(effects) if effect is not record]
    assert kept == [
        Control({"type": "welcome", "view": 99}, ONE),
        Confirm(ONE, {"type": "ok", "ref": 7, "value": 99}),
        Control({"type": "forget", "jobs": [ONE]}, OTHER),
        Confirm(OTHER, {"type": "ok", "ref": 7, "value": "another's"}),
    ]
    assert has_answer(effects, OTHER, 7) and not has_answer(effects, OTHER, 8)
    assert sum(effect is record for effect in latest(effects)) == 100
