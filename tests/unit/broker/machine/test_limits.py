"""A broker with limits: what it refuses, what it takes all the same, and what it shows."""

from __future__ import annotations

from typing import Any

from tests.unit.broker.driven import CLIENT, answers, broker, cancel, hello, sink, worker
from tests.unit.broker.machine.test_carried import CARRIER, new
from zturbo.wire.carried import carried_id
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.answers import Description, Outcome
from zturbo.wire.control.newjob import NewJob
from zturbo.wire.payload import pack_many
from zturbo_broker.jobs.quotas import Limits
from zturbo_broker.machine.machine import BrokerMachine
from zturbo_broker.members.rights import User


def one(i: int) -> NewJob:
    return new(job=bytes([i]) * 16, carries=0)


def submit(
    machine: BrokerMachine, *jobs: NewJob, client: bytes = CLIENT, user: User | None = None
) -> list[Outcome]:
    machine.effects.clear()
    contents = tuple(pack_many(list(range(job.carries or 1))) for job in jobs)
    message = to_broker.Submit(ref=1, client=client, jobs=jobs, contents=contents)
    machine.control(client, message, 0.0, user)
    (answer,) = answers(machine)
    assert isinstance(answer, from_broker.Ok)
    return list(answer.value)


def described(machine: BrokerMachine, user: User | None = None) -> Description:
    machine.effects.clear()
    machine.control(CLIENT, to_broker.Jobs(ref=1, job=None, over=()), 0.0, user)
    (answer,) = answers(machine)
    assert isinstance(answer, from_broker.Ok) and isinstance(answer.value, Description)
    return answer.value


def limited(**limits: Any) -> BrokerMachine:
    machine = broker(lease=1000.0)
    machine.known.table.quotas.limits = Limits(**limits)
    hello(machine, worker())
    hello(machine, sink())
    return machine


def test_a_client_at_its_limit_is_told_when_to_come_back() -> None:
    machine = limited(client_jobs=2)
    outcomes = submit(machine, one(1), one(2), one(3), one(4))
    assert [outcome.at is not None for outcome in outcomes] == [True, True, False, False]
    assert outcomes[2].kind == "BrokerUnavailable" and outcomes[2].after > 0
    assert "client_jobs" in (outcomes[2].error or "")
    again = submit(machine, one(1), one(3))
    assert again[0].at is not None, "it is here already"
    assert again[1].after > 0
    assert submit(machine, one(5), client=b"o" * 16)[0].at is not None, "another client has its own share"
    told = described(machine)
    assert [(client.jobs, client.refused) for client in told.clients] == [(2, 2), (1, 0)]
    assert told.refused == 2 and told.job_memory > 0
    cancel(machine, one(1).job, 1.0)
    assert submit(machine, one(3))[0].at is not None
    machine.check()


def test_after_one_that_finds_no_room_none_of_the_same_message_overtakes_it() -> None:
    machine = limited(client_bytes=40)
    large = one(2).but(parts=1)
    message = to_broker.Submit(
        ref=1,
        client=CLIENT,
        jobs=(one(1), large, one(3)),
        contents=(pack_many([1]), pack_many(["x" * 50]), pack_many([1])),
    )
    machine.effects.clear()
    machine.control(CLIENT, message, 0.0)
    (answer,) = answers(machine)
    assert isinstance(answer, from_broker.Ok)
    assert [outcome.after > 0 for outcome in answer.value] == [False, True, True]
    assert list(machine.jobs) == [one(1).job]


def test_jobs_that_travel_together_are_taken_or_refused_together() -> None:
    machine = limited(client_jobs=3)
    submit(machine, one(1))
    assert submit(machine, new(3))[0].after > 0
    assert CARRIER not in machine.jobs
    cancel(machine, one(1).job, 1.0)
    assert submit(machine, new(5))[0].at is not None, "a client without jobs is not refused"
    assert submit(machine, new(5))[0].at is not None, "it is here already"
    assert submit(machine, one(7))[0].after > 0
    machine.check()


def test_those_that_were_taken_apart_are_known_when_they_come_again() -> None:
    machine = broker(lease=1000.0)
    machine.known.table.quotas.limits = Limits(client_jobs=3)
    hello(machine, sink())
    assert submit(machine, new(3))[0].apart
    assert list(machine.jobs) == [carried_id(CARRIER, root) for root in range(3)]
    assert submit(machine, new(3))[0].apart and len(machine.jobs) == 3
    machine.check()


def test_with_keys_a_client_sees_its_own_numbers_alone() -> None:
    machine = limited(client_jobs=1)
    ann, bob, root = User("client", "ann", "A"), User("client", "bob", "B"), User("admin", "root", "R")
    submit(machine, one(1), one(2), user=ann)
    submit(machine, one(3), client=b"o" * 16, user=bob)
    mine = described(machine, ann)
    assert [(client.client, client.jobs, client.refused) for client in mine.clients] == [("ann", 1, 1)]
    assert mine.refused == 0
    assert {client.client for client in described(machine, root).clients} == {"ann", "bob"}
