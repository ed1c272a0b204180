"""A broker's machine on host a, and members on it and on others."""

from __future__ import annotations

from collections.abc import Collection

from zturbo.core.effects import Control, Reply, Send
from zturbo.slotted import replace
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.view import Member
from zturbo.wire.messages import PROTOCOL, Ping
from zturbo_broker.machine.known import PipelineInfo
from zturbo_broker.machine.machine import BrokerMachine

BOTH = ("ipc:///x", "tcp://10.0.0.1:7000")
IPC = ("ipc:///x",)


def member(role: str, stage: int = -1, *, host: str, ends: tuple[str, ...], ordered: bool = False) -> Member:
    pipeline = "p" if role == "worker" else ""
    results = ("tcp://127.0.0.1:7001",) if role == "sink" else ()
    return Member(b"m" * 16, role, pipeline, stage, host, ends, results, ordered=ordered)


# -- who is let in ----------------------------------------------------------------------------------
def machine_on_a() -> BrokerMachine:
    me = Member(b"B" * 16, "broker", "", -1, "a", BOTH)
    return BrokerMachine(me, [PipelineInfo("p", ["x", "y"])], view=1, version="1")


def hello(machine: BrokerMachine, who: Member, now: float = 0.0, view: int = 0) -> str | None:
    """Why it is refused or kept out; None if it is not."""
    machine.effects.clear()
    message = to_broker.Hello(
        member=who,
        node=b"n" * 16,
        pid=1,
        protocol=PROTOCOL,
        version="1",
        python="3",
        stage_name="xy"[who.stage] if who.role == "worker" else "",
        code="",
        view=view,
        jobs=(),
    )
    machine.control(who.incarnation, message, now)
    all_pings_come(machine, now)
    said = [e.message for e in machine.effects if isinstance(e, Control) and e.to == who.incarnation]
    out = (from_broker.Refused, from_broker.NotAdmitted)
    return next((message.reason for message in said if isinstance(message, out)), None)


def all_pings_come(
    machine: BrokerMachine,
    now: float,
    but: set[tuple[bytes, bytes]] | None = None,
    asleep: Collection[bytes] = (),
) -> None:
    """Each process that is asked for pings sends them, and they come; but for some, (source, target), and
    those of processes that are asleep."""
    for effect in machine.effects:  # it grows meanwhile
        if isinstance(effect, Control) and effect.to in asleep:
            continue
        pings: list[tuple[bytes, bytes, int]] = []
        if isinstance(effect, Control) and isinstance(effect.message, from_broker.PingThem):
            order = effect.message
            machine.control(effect.to, to_broker.Pinging(incarnation=effect.to, trial=order.trial), now)
            pings = [(effect.to, target.incarnation, order.trial) for target in order.members]
        elif isinstance(effect, Send) and isinstance(effect.message, Ping):
            pings = [(machine.me, effect.peer, effect.message.trial)]
        for source, target, trial in pings:
            if (source, target) in (but or ()) or target in asleep:
                continue
            if target == machine.me:
                machine.data(Ping(source, target, trial), now)
            else:
                machine.control(target, to_broker.Pinged(incarnation=target, source=source, trial=trial), now)


def problems(machine: BrokerMachine, now: float = 0.0) -> dict[str, str]:
    machine.effects.clear()
    machine.control(b"c" * 16, to_broker.Jobs(ref=1, job=None, over=()), now)
    (answer,) = [effect.message for effect in machine.effects if isinstance(effect, Reply)]
    assert isinstance(answer, from_broker.Ok)
    found: dict[str, str] = answer.value.pipelines[0].problems
    return found


def numbered(who: Member, number: int) -> Member:
    return replace(who, incarnation=bytes([number]) * 16)
