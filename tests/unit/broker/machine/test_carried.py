"""Jobs that travel together are one job of the broker's, and each of them answers to its own id."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.broker.driven import CLIENT, WORKER, broker, cancel, hello, sink, worker
from zturbo.core.effects import Confirm, Record, Reply
from zturbo.jobstates import JobState
from zturbo.slotted import replace
from zturbo.wire.carried import carried_id
from zturbo.wire.control import answers, from_broker, to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.control.newjob import NewJob
from zturbo.wire.payload import pack_many
from zturbo_broker.ledger.rows import job_of, row_of
from zturbo_broker.machine.machine import BrokerMachine

CARRIER = b"c" * 16
FIRST, SECOND = carried_id(CARRIER, 0), carried_id(CARRIER, 1)


def served(**options: Any) -> BrokerMachine:
    """A broker with a worker and a sink."""
    machine = broker(lease=1000.0, **options)
    hello(machine, worker())
    hello(machine, sink())
    return machine


def new(n: int = 3, **changes: Any) -> NewJob:
    job = NewJob(
        job=CARRIER,
        name="n",
        pipeline="p",
        stream=False,
        options={},
        meta=None,
        digest=b"d",
        parts=1,
        carries=n,
    )
    return job.but(**changes)


def ask(machine: BrokerMachine, message: Message) -> Any:
    """The broker's answer: its value, or the error."""
    machine.effects.clear()
    machine.control(CLIENT, message.but(ref=5), 1.0)  # type: ignore[attr-defined]
    (said,) = [e.message for e in machine.effects if isinstance(e, (Confirm, Reply))]
    return said.value if isinstance(said, from_broker.Ok) else said


def submit(machine: BrokerMachine, job: NewJob | None = None, values: int = 3) -> answers.Outcome:
    message = to_broker.Submit(
        client=CLIENT, jobs=(job or new(),), contents=(pack_many(list(range(values))),)
    )
    (outcome,) = ask(machine, message)
    assert isinstance(outcome, answers.Outcome)
    return outcome


def status(machine: BrokerMachine, job: bytes) -> answers.Status:
    (told,) = ask(machine, to_broker.Jobs(job=job, over=())).jobs
    assert isinstance(told, answers.Status)
    return told


def test_they_are_one_job_with_a_root_each() -> None:
    machine = served()
    outcome = submit(machine)
    assert outcome.at is not None and not outcome.apart
    job = machine.jobs[CARRIER]
    assert (job.total, job.closed, job.carries) == (3, True, 3) and job.stamp is not None
    assert (job.stamp.order, job.stamp.reader, job.stamp.token) == ("roots", CLIENT, outcome.at.token)
    assert machine.known.table.totals[JobState.RUNNING] == 3
    assert ask(machine, to_broker.Attach(job=SECOND)).sink == sink().incarnation
    told = status(machine, SECOND)
    assert (told.id, told.carrier, told.carries) == (SECOND, CARRIER, 0)
    whole = status(machine, CARRIER)
    assert (whole.carries, whole.carrier) == (3, b"")
    assert ask(machine, to_broker.Attach(job=carried_id(CARRIER, 3))).kind == "UsageError"
    again = submit(machine).at
    assert again is not None and again.token == outcome.at.token and len(machine.jobs) == 1
    assert told.options == {} and whole.options == {"order": "roots"}


def test_one_that_is_submitted_once_more_has_a_reader_of_its_own() -> None:
    machine = served()
    first = submit(machine).at
    assert first is not None
    tokens = [first.token]
    for _ in range(2):
        again = submit(machine, new(job=SECOND, carries=0), 1).at
        assert again is not None and again.token > tokens[-1], "it supersedes the reader before it"
        tokens.append(again.token)
    assert len(machine.jobs) == 1
    repeated = submit(machine).at
    assert repeated is not None and repeated.token == first.token, "this is the same message once more"


def test_the_ledger_keeps_how_many_they_are() -> None:
    machine = served()
    submit(machine)
    job = machine.jobs[CARRIER]
    job.cancelled.add(1)
    again = job_of(row_of(job), [(0, 0, 3, 10)])
    assert (again.carries, again.cancelled, again.total, again.closed) == (3, {1}, 3, True)


@pytest.mark.parametrize(
    "stage", [{}, {"ordered": True}, {"stateful": True}], ids=["none", "ordered", "state"]
)
def test_where_jobs_have_a_state_or_no_worker_is_there_they_are_jobs_of_their_own(
    stage: dict[str, bool],
) -> None:
    machine = broker(lease=1000.0)
    hello(machine, sink())
    if stage:
        hello(machine, replace(worker(), **stage))
    outcome = submit(machine)
    assert outcome.apart and list(machine.jobs) == [FIRST, SECOND, carried_id(CARRIER, 2)]
    assert outcome.at is not None
    tokens = [job.reader for job in machine.jobs.values()]
    assert tokens == [outcome.at.token + i for i in range(3)]
    again = submit(machine)
    assert again.apart and len(machine.jobs) == 3, "a repetition is the same jobs"
    roots = [e.args[4] for e in machine.effects if isinstance(e, Record) and e.op == "put_chunk"]
    assert not roots
    cancel(machine, FIRST, 1.0)
    again = submit(machine)
    assert again.at is not None and again.at.state != "cancelled", "one of them does not stand for all"


def test_where_a_stage_has_become_ordered_they_fail_with_a_reason() -> None:
    machine = served()
    submit(machine)
    machine.control(WORKER, to_broker.Leave(incarnation=WORKER), 1.0)
    job = machine.jobs[CARRIER]
    machine.life.wait_again(job)
    other = replace(worker(b"o" * 16), ordered=True)
    hello(machine, other)
    told = status(machine, FIRST)
    assert told.state == "failed" and told.error is not None and "ordered or has reset()" in told.error


@pytest.mark.parametrize(
    "changes",
    [
        {"stream": True, "parts": 0},
        {"job": b"x" + b"j" * 15},
        {"options": {"timeout": 3}},
        {"carries": 4},
        {"meta": pack_many([None, None])},
    ],
    ids=str,
)
def test_what_cannot_travel_together_is_refused(changes: dict[str, Any]) -> None:
    machine = served()
    contents = () if changes.get("stream") else (pack_many([0, 1, 2]),)
    (outcome,) = ask(machine, to_broker.Submit(client=CLIENT, jobs=(new(**changes),), contents=contents))
    assert outcome.kind == "UsageError" and not machine.jobs


def test_one_is_cancelled_and_the_others_go_on_until_all_are() -> None:
    machine = served()
    submit(machine)
    assert ask(machine, to_broker.Cancel(job=SECOND)).state == "cancelled"
    assert machine.jobs[CARRIER].state is JobState.RUNNING
    assert ask(machine, to_broker.Attach(job=SECOND)).state == "cancelled"
    assert status(machine, SECOND).error_kind == "JobCancelled" and status(machine, FIRST).state == "running"
    ended = ask(machine, to_broker.Watch(jobs=(FIRST, SECOND)))
    assert [(job, state) for job, state, *_ in ended] == [(SECOND, "cancelled")]
    for root in (0, 2):
        ask(machine, to_broker.Cancel(job=carried_id(CARRIER, root)))
    assert machine.jobs[CARRIER].state is JobState.CANCELLED


def test_who_waits_for_one_is_told_when_all_have_ended() -> None:
    machine = served()
    submit(machine)
    machine.effects.clear()
    machine.control(CLIENT, to_broker.Watch(ref=9, jobs=(FIRST, SECOND)), 1.0)
    assert not machine.effects
    stamp = machine.jobs[CARRIER].stamp
    assert stamp is not None
    machine.control(stamp.sink, to_broker.Complete(incarnation=stamp.sink, jobs=((CARRIER, 1, 3, 0),)), 2.0)
    (told,) = [e.message for e in machine.effects if isinstance(e, Confirm) and e.to == CLIENT]
    assert told == from_broker.Ok(ref=9, value=((FIRST, "done", None, None), (SECOND, "done", None, None)))
    assert machine.life.history.ended_jobs == 3 and machine.known.table.totals[JobState.DONE] == 3


def test_the_last_one_that_is_let_go_takes_all_with_it() -> None:
    machine = served()
    submit(machine)
    for root in range(3):
        assert CARRIER in machine.jobs
        ask(machine, to_broker.Release(job=carried_id(CARRIER, root)))
        assert ask(machine, to_broker.Attach(job=carried_id(CARRIER, root))).kind == "UsageError"
    history = machine.life.history
    assert CARRIER not in machine.jobs and not history.ended and not history.ended_jobs
    machine.check()


def progress(machine: BrokerMachine, *roots: tuple[int, int, int], epoch: int = 1) -> None:
    """The sink says that these roots have ended: (root, results, failed tasks)."""
    me = sink().incarnation
    machine.control(me, to_broker.Progress(incarnation=me, counts={}, ended={CARRIER: (epoch, roots)}), 2.0)


def test_one_that_has_ended_before_the_others_is_done_for_everybody() -> None:
    machine = served()
    submit(machine)
    machine.control(CLIENT, to_broker.Watch(ref=9, jobs=(FIRST, SECOND)), 1.0)
    machine.effects.clear()
    progress(machine, (1, 4, 1))
    (told,) = [e.message for e in machine.effects if isinstance(e, Confirm) and e.to == CLIENT]
    assert told == from_broker.Ok(ref=9, value=((SECOND, "done", None, None),))
    one = status(machine, SECOND)
    assert (one.state, one.results, one.failed) == ("done", 4, 1)
    assert (status(machine, FIRST).state, status(machine, FIRST).results) == ("running", 0)
    assert status(machine, CARRIER).over == 1
    assert ask(machine, to_broker.Attach(job=SECOND)).state == "done"
    assert ask(machine, to_broker.Watch(jobs=(FIRST, SECOND))) == ((SECOND, "done", None, None),)
    assert ask(machine, to_broker.Cancel(job=SECOND)).state == "done", "it has ended"
    totals = machine.known.table.totals
    assert (totals[JobState.RUNNING], totals[JobState.DONE]) == (2, 1)
    for root in (0, 2):
        assert ask(machine, to_broker.Cancel(job=carried_id(CARRIER, root))).state == "cancelled"
    assert machine.jobs[CARRIER].state is JobState.RUNNING, "the results of one may be read"
    ask(machine, to_broker.Release(job=SECOND))
    assert machine.jobs[CARRIER].state is JobState.CANCELLED, "nobody needs a result"
    assert (totals[JobState.RUNNING], totals[JobState.DONE], totals[JobState.CANCELLED]) == (0, 0, 3)


@pytest.mark.parametrize("epoch, who", [(2, sink().incarnation), (1, WORKER)], ids=["epoch", "sender"])
def test_a_word_on_another_epoch_or_of_another_member_is_dropped(epoch: int, who: bytes) -> None:
    machine = served()
    submit(machine)
    message = to_broker.Progress(incarnation=who, counts={}, ended={CARRIER: (epoch, ((1, 1, 0),))})
    machine.control(who, message, 2.0)
    assert not machine.jobs[CARRIER].over


def test_roots_that_no_job_is_are_dropped() -> None:
    machine = served()
    submit(machine)
    progress(machine, (3, 1, 0))
    assert not machine.jobs[CARRIER].over


def test_a_job_that_starts_over_is_running_again() -> None:
    machine = served()
    submit(machine)
    progress(machine, (0, 1, 0))
    machine.life.wait_again(machine.jobs[CARRIER])
    assert status(machine, FIRST).state == "waiting"
    machine.tick(2.0)
    assert status(machine, FIRST).state == "running" and machine.jobs[CARRIER].epoch == 2
    totals = machine.known.table.totals
    assert (totals[JobState.RUNNING], totals[JobState.DONE]) == (3, 0)
    progress(machine, (0, 1, 0))
    assert status(machine, FIRST).state == "running", "an earlier epoch's word"
    progress(machine, (0, 1, 0), epoch=2)
    assert status(machine, FIRST).state == "done"


def test_the_ledger_keeps_the_numbers_of_each() -> None:
    machine = served()
    submit(machine)
    me = sink().incarnation
    ended = {CARRIER: ((2, 5, 0), (0, 1, 1), (1, 0, 0))}
    machine.control(me, to_broker.Complete(incarnation=me, jobs=((CARRIER, 1, 6, 1),), ended=ended), 2.0)
    job = machine.jobs[CARRIER]
    again = job_of(row_of(job), [])
    assert again.over == {2: (5, 0), 0: (1, 1), 1: (0, 0)} and again.state_of(0) is JobState.DONE
    assert (status(machine, FIRST).results, status(machine, FIRST).failed) == (1, 1)


def test_each_may_have_a_name_of_its_own() -> None:
    machine = served()
    submit(machine, new(names=("a", "b", "c")))
    assert [status(machine, carried_id(CARRIER, root)).name for root in range(3)] == ["a", "b", "c"]
    assert ask(machine, to_broker.Attach(job=SECOND)).name == "b"
    progress(machine, (0, 2, 0))
    ask(machine, to_broker.Release(job=SECOND))
    parts = [(part.root, part.name, part.state, part.results) for part in status(machine, CARRIER).parts]
    assert parts == [(0, "a", "done", 2), (2, "c", "running", 0)]
    assert job_of(row_of(machine.jobs[CARRIER]), [(0, 0, 3, 10)]).names == ("a", "b", "c")


@pytest.mark.parametrize("changes", [{"names": ("a",)}, {"carries": 0, "names": ("a",)}], ids=str)
def test_there_are_as_many_names_as_jobs(changes: dict[str, Any]) -> None:
    machine = served()
    message = to_broker.Submit(client=CLIENT, jobs=(new(**changes),), contents=(pack_many([0, 1, 2]),))
    (outcome,) = ask(machine, message)
    assert outcome.kind == "UsageError" and "names" in outcome.error and not machine.jobs


def test_those_that_are_taken_apart_keep_their_names_and_metas() -> None:
    machine = broker(lease=1000.0)
    hello(machine, sink())
    metas = pack_many([["a"], None, ["c"]])
    assert submit(machine, new(names=("a", "b", "c"), meta=metas)).apart
    assert [job.name for job in machine.jobs.values()] == ["a", "b", "c"]
    roots = [job.cache[0].metas for job in machine.jobs.values()]
    assert roots == [pack_many([["a"]]), None, pack_many([["c"]])]


def test_a_question_about_one_that_its_client_has_read_waits_for_the_sink() -> None:
    machine = served()
    submit(machine)
    machine.effects.clear()
    machine.control(CLIENT, to_broker.Jobs(ref=7, job=SECOND, over=(SECOND,)), 1.0)
    assert not machine.effects
    progress(machine, (1, 4, 1))
    (said,) = [e.message for e in machine.effects if isinstance(e, (Confirm, Reply)) and e.to == CLIENT]
    assert isinstance(said, from_broker.Ok) and said.value.jobs[0].results == 4
    assert ask(machine, to_broker.Jobs(job=FIRST, over=(SECOND,))).jobs[0].state == "running"
