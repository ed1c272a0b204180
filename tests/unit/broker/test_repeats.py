"""What is held back while the ledger's disk is full does not grow with what is said again."""

from __future__ import annotations

from zturbo.core.effects import Confirm, Control, Effect, Record
from zturbo.wire.control import from_broker
from zturbo_broker.repeats import has_answer, latest

ONE, OTHER = b"1" * 16, b"2" * 16


def test_what_is_said_again_is_held_once() -> None:
    record = Record("drop_job", (ONE,))
    effects: list[Effect] = []
    for number in range(100):
        effects.append(Control(from_broker.Refused(reason=str(number)), ONE))
        effects.append(Confirm(ONE, from_broker.Ok(ref=7, value=number)))
        effects.append(Control(from_broker.Forget(jobs=(ONE,)), OTHER))
        effects.append(record)
    effects.append(Confirm(OTHER, from_broker.Ok(ref=7, value="another's")))
    kept = [effect for effect in latest(effects) if effect is not record]
    assert kept == [
        Control(from_broker.Refused(reason="99"), ONE),
        Confirm(ONE, from_broker.Ok(ref=7, value=99)),
        Control(from_broker.Forget(jobs=(ONE,)), OTHER),
        Confirm(OTHER, from_broker.Ok(ref=7, value="another's")),
    ]
    assert has_answer(effects, OTHER, 7) and not has_answer(effects, OTHER, 8)
    assert sum(effect is record for effect in latest(effects)) == 100
