"""A broker's machine that a test drives: what members and clients say to it, and what it answers."""

from __future__ import annotations

from typing import Any

from zturbo.core.effects import Confirm, Control, Reply
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.answers import Outcome
from zturbo.wire.control.message import Message
from zturbo.wire.control.newjob import NewJob
from zturbo.wire.control.view import Member
from zturbo.wire.messages import PROTOCOL, Statement
from zturbo.wire.payload import pack_many
from zturbo_broker.machine.known import PipelineInfo
from zturbo_broker.machine.machine import BrokerMachine
from zturbo_broker.members.rights import User

ME, WORKER, SINK, CLIENT = b"B" * 16, b"w" * 16, b"s" * 16, b"c" * 16


def broker(*, order: str = "path", **options: Any) -> BrokerMachine:
    member = Member(ME, "broker", "", -1, "h", ("ipc://x",))
    return BrokerMachine(member, [PipelineInfo("p", ["a"], order=order)], view=1, version="1", **options)


def hello(
    machine: BrokerMachine, whom: Member, user: User | None = None, now: float = 0.0, **changes: Any
) -> list[Message]:
    message = to_broker.Hello(
        member=whom,
        node=b"n" * 16,
        pid=1,
        protocol=PROTOCOL,
        version="1",
        python="3",
        stage_name="a",
        code="",
        view=0,
        jobs=(),
    )
    machine.effects.clear()
    machine.control(whom.incarnation, message.but(**changes), now, user)
    return [effect.message for effect in machine.effects if isinstance(effect, Control)]


def worker(name: bytes = WORKER, stage: int = 0) -> Member:
    return Member(name, "worker", "p", stage, "h", ("ipc://w",))


def sink() -> Member:
    return Member(SINK, "sink", "", -1, "h", ("ipc://s",), ("ipc://r",))


def submit(machine: BrokerMachine, job: bytes, *, client: bytes = CLIENT, **options: Any) -> Outcome:
    machine.effects.clear()
    new = NewJob(
        job=job, name="n", pipeline="p", stream=True, options=options, meta=None, digest=b"d", parts=0
    )
    message = to_broker.Submit(ref=1, client=client, jobs=(new,))
    machine.control(client, message, 0.0)
    (answer,) = [effect.message for effect in machine.effects if isinstance(effect, Confirm)]
    assert isinstance(answer, from_broker.Ok)
    outcome: Outcome = answer.value[0]
    return outcome


def feed(machine: BrokerMachine, job: bytes, seq: int, n: int) -> None:
    first = machine.jobs[job].total
    contents = (pack_many(list(range(n))),)
    message = to_broker.Feed(ref=2, job=job, seq=seq, first=first, n=n, metas=None, contents=contents)
    machine.control(CLIENT, message, 0.0)


def renew(machine: BrokerMachine, members: tuple[bytes, ...], now: float) -> None:
    machine.control(b"n" * 16, to_broker.Renew(node=b"n" * 16, alive=members), now)


def progress(machine: BrokerMachine, counts: dict[bytes, tuple[int, int, int, int]]) -> None:
    machine.control(WORKER, to_broker.Progress(incarnation=WORKER, counts=counts), 0.0)


def last_counts(machine: BrokerMachine, job: bytes, counts: tuple[int, int, int], now: float) -> None:
    machine.control(WORKER, to_broker.LastCounts(incarnation=WORKER, counts={job: counts}), now)


def cancel(machine: BrokerMachine, job: bytes, now: float, ref: int = 1) -> None:
    machine.control(CLIENT, to_broker.Cancel(ref=ref, job=job), now)


def credit(machine: BrokerMachine, tasks: int) -> None:
    link = machine.senders.links[WORKER]
    said = Statement(WORKER, ME, link.sent, link.sent, [], link.tasks_sent + tasks, 1 << 40)
    machine.data(said, 0.0)


def answers(machine: BrokerMachine) -> list[Any]:
    """What clients were answered since the last look."""
    said = [effect.message for effect in machine.effects if isinstance(effect, (Confirm, Reply))]
    machine.effects.clear()
    return [message for message in said if isinstance(message, (from_broker.Ok, from_broker.Error))]
