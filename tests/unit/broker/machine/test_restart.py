"""Jobs go on after a restart of their broker or their sink, with what the other processes still have."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.broker.driven import ME, SINK, WORKER, broker, hello, sink, worker
from zturbo.core.effects import Control
from zturbo.errors import DecodeError
from zturbo.jobstates import JobState
from zturbo.slotted import replace
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.view import Member
from zturbo.wire.messages import Stamp
from zturbo_broker.jobs.job import Job
from zturbo_broker.machine.machine import BrokerMachine

JOB, ORDERED, NEXT, SPOOL = b"j" * 16, b"o" * 16, b"t" * 16, b"spool"


def a_sink(name: bytes = SINK) -> Member:
    return replace(sink(), incarnation=name, spool=SPOOL)


def a_job(state: JobState = JobState.RUNNING, **fields: Any) -> Job:
    """As the ledger has it: ten roots, in its second epoch."""
    stamp = Stamp(JOB, 2, "p", {}, SINK, spool=SPOOL)
    job = Job(
        JOB, "n", "p", b"c" * 16, True, {}, b"d", state=state, epoch=2, stamp=stamp, total=10, closed=True
    )
    job.chunks.append(0, 10, 100)
    for name, value in fields.items():
        setattr(job, name, value)
    return job


def restarted(job: Job, *members: Member) -> BrokerMachine:
    """A broker on a ledger that has this job, and these members."""
    machine = broker(lease=5.0)
    machine.restore(list(members or (worker(), a_sink())), [job], 0.0)
    return machine


def said(machine: BrokerMachine, kind: type) -> list[Any]:
    """What members are told of this kind, since the last look."""
    messages = [effect.message for effect in machine.effects if isinstance(effect, Control)]
    machine.effects.clear()
    return [message for message in messages if isinstance(message, kind)]


def held(machine: BrokerMachine, *items: Any, broker: bytes = ME) -> None:
    machine.control(WORKER, to_broker.Held(incarnation=WORKER, broker=broker, items=items), 1.0)


def entered(machine: BrokerMachine, *roots: tuple[int, int]) -> None:
    machine.control(SINK, to_broker.Entered(incarnation=SINK, job=JOB, epoch=2, roots=roots), 1.0)


# -- the broker ---------------------------------------------------------------------------------
def test_a_job_goes_on_in_its_epoch_and_only_what_nobody_has_goes_again() -> None:
    machine = restarted(a_job())
    job = machine.jobs[JOB]
    assert (job.state, job.epoch, job.recovering) == ("running", 2, True)
    assert not said(machine, from_broker.AskEntered)
    held(machine, (JOB, 2, (((3,), 2),), 2, 20))
    assert len(said(machine, from_broker.AskEntered)) == 1
    entered(machine, (0, 3), (6, 7))
    assert not job.recovering and job.backlog == 4
    assert list(job.todo) == [(5, 6), (7, 10)]
    machine.check()


def test_a_job_whose_ordered_worker_is_gone_starts_over() -> None:
    stamp = Stamp(JOB, 2, "p", {0: ORDERED}, SINK, spool=SPOOL)
    machine = restarted(a_job(stamp=stamp))
    job = machine.jobs[JOB]
    assert not job.recovering and job.epoch == 3, "it was placed anew"


@pytest.mark.parametrize("state", [JobState.DONE, JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_has_ended_stays_so_and_its_last_counts_are_asked_for(state: JobState) -> None:
    machine = restarted(a_job(state))
    assert machine.jobs[JOB].state is state and not machine.life.recovery.jobs
    assert JOB in machine.known.counts.ending
    final = restarted(a_job(state, counts_final=True))
    assert JOB not in final.known.counts.ending


def test_a_job_that_waited_waits_again_with_all_its_roots() -> None:
    machine = restarted(a_job(JobState.WAITING, stamp=None, epoch=0), worker())
    job = machine.jobs[JOB]
    assert (job.state, job.waiting, job.backlog) == ("waiting", "a sink", 10)


def test_a_job_of_a_pipeline_that_is_not_served_any_more_waits() -> None:
    machine = restarted(a_job(pipeline="old"))
    assert machine.jobs[JOB].state == "waiting"
    machine.tick(1.0)
    machine.check()


@pytest.mark.parametrize("n", [1, 3])
def test_a_report_that_contradicts_itself_is_refused(n: int) -> None:
    machine = restarted(a_job())
    with pytest.raises(DecodeError, match="malformed"):
        held(machine, (JOB, 2, (((3,), 2),), n, 20))
    assert WORKER in machine.life.recovery.silent, "it is still to report"


def test_a_report_for_another_broker_is_not_confirmed() -> None:
    machine = restarted(a_job())
    held(machine, broker=b"A" * 16)
    assert not said(machine, from_broker.HeldOk) and WORKER in machine.life.recovery.silent
    for _ in range(2):
        held(machine)
        assert said(machine, from_broker.HeldOk) == [from_broker.HeldOk(broker=ME)], "as often as it reports"


def test_a_sink_that_came_back_before_the_broker_did_is_not_waited_for() -> None:
    """An ended job's stamp names the sink that died after it; the spool has another sink since."""
    machine = broker(lease=5.0)
    now = replace(a_sink(), incarnation=NEXT)
    running = a_job(id=b"k" * 16, stamp=Stamp(b"k" * 16, 2, "p", {}, NEXT, spool=SPOOL))
    machine.restore([worker(), now], [a_job(JobState.DONE), running], 0.0)
    assert SPOOL not in machine.life.lost_sinks
    machine.departures.give_up_sinks(1000.0)
    assert (running.state, running.epoch) == ("running", 2)


# -- failures that were given out ---------------------------------------------------------------
def test_no_root_goes_out_before_it_is_known_which_failures_stand() -> None:
    machine = restarted(a_job(failures_known=False))
    job = machine.jobs[JOB]
    assert JOB in machine.life.unknown_failures
    for sender, epoch in ((NEXT, 2), (SINK, 1)):
        message = to_broker.KnownFailures(incarnation=sender, job=JOB, epoch=epoch, failures=())
        machine.control(sender, message, 1.0)
        assert not job.failures_known, "neither another sink's word, nor one of another epoch"
    message = to_broker.KnownFailures(incarnation=SINK, job=JOB, epoch=2, failures=((0, (4,), 1),))
    machine.control(SINK, message, 1.0)
    assert job.failures_known and JOB not in machine.life.unknown_failures
    (mark,) = job.marks
    assert (mark.stage, mark.path, mark.given) == (0, (4,), 1)
    assert job.stamp is not None and job.stamp.revision == 1 and job.stamp.marks == job.marks


# -- the sink -----------------------------------------------------------------------------------
def recovered(machine: BrokerMachine, *damaged: bytes) -> None:
    hello(machine, a_sink(NEXT))
    machine.effects.clear()
    machine.control(NEXT, to_broker.Recovered(incarnation=NEXT, jobs=(), damaged=damaged), 1.0)


def running() -> BrokerMachine:
    """A broker whose job has been taken up."""
    machine = restarted(a_job())
    held(machine)
    entered(machine)
    return machine


def test_a_sink_that_comes_back_with_its_spool_has_its_jobs_in_their_epoch() -> None:
    machine = running()
    recovered(machine)
    job = machine.jobs[JOB]
    assert job.stamp is not None and (job.epoch, job.stamp.sink, job.stamp.revision) == (2, NEXT, 1)
    assert job.placed is not None and job.placed.sink == NEXT
    assert [stamp.stamp.sink for stamp in said(machine, from_broker.NewStamp)].count(NEXT) >= 1
    machine.check()


def test_it_is_confirmed_as_often_as_it_is_told() -> None:
    machine = running()
    recovered(machine)
    machine.control(NEXT, to_broker.Recovered(incarnation=NEXT, jobs=(), damaged=()), 2.0)
    assert len(said(machine, from_broker.RecoveredOk)) == 2
    assert machine.jobs[JOB].stamp.revision == 1  # type: ignore[union-attr]


def test_a_job_whose_results_are_damaged_starts_over() -> None:
    machine = running()
    recovered(machine, JOB)
    job = machine.jobs[JOB]
    assert job.epoch == 3 and any("damaged" in incident for incident in job.incidents)


def test_a_sink_that_is_no_member_is_not_heard() -> None:
    machine = running()
    machine.control(NEXT, to_broker.Recovered(incarnation=NEXT, jobs=(), damaged=(JOB,)), 1.0)
    assert machine.jobs[JOB].epoch == 2 and not said(machine, from_broker.RecoveredOk)
