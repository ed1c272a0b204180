"""A message that speaks in another's name is refused."""

from __future__ import annotations

import pytest

from tests.unit.broker.driven import CLIENT, SINK, WORKER, broker, hello, sink, submit, worker
from zturbo.errors import DecodeError
from zturbo.wire.control import to_broker
from zturbo.wire.control.message import Message
from zturbo_broker.members.speakers import speaker_of

NODE = b"n" * 16

SAID = [
    to_broker.Leave(incarnation=WORKER),
    to_broker.Broken(incarnation=SINK, peer=WORKER),
    to_broker.Complete(incarnation=SINK, jobs=((b"j" * 16, 1, 0, 0),)),
    to_broker.JobFailed(incarnation=WORKER, job=b"j" * 16, epoch=1, kind="JobFailed", error="no"),
    to_broker.Exited(node=NODE, incarnation=WORKER, code=-9, text="SIGKILL", who="p.a", cause="", running=()),
    to_broker.StartFailed(node=NODE, incarnation=WORKER, who="p.a", error="no", traceback=""),
    to_broker.Renew(node=NODE, alive=(WORKER,)),
]


@pytest.mark.parametrize("message", SAID, ids=lambda message: message.type_name)
def test_what_is_said_in_anothers_name_is_refused(message: Message) -> None:
    machine = broker()
    hello(machine, worker())
    hello(machine, sink())
    submit(machine, b"j" * 16)
    machine.effects.clear()
    for stranger in (CLIENT, b"o" * 16):
        with pytest.raises(DecodeError, match="speaks in another's name"):
            machine.control(stranger, message, 1.0)
    other = b"o" * 16
    if isinstance(message, to_broker.Exited):
        with pytest.raises(DecodeError, match="another node's member"):
            machine.control(other, message.but(node=other), 1.0)
    assert not machine.effects and WORKER in machine.membership
    speaker = speaker_of(message)
    assert speaker is not None
    machine.control(speaker, message, 1.0)
