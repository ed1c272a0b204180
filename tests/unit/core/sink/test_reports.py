"""A sink reports how its jobs stand, until the broker has heard it."""

from __future__ import annotations

from tests.unit.core.sink.jobs import JOB, ME, a_batch, a_fail, a_job, enter, stamp
from zturbo.core.effects import Control, Effect
from zturbo.core.sink.job import SinkJob, SinkJobState
from zturbo.core.sink.reports import (
    LARGE_BYTES,
    MAX_KNOWN_FAILURES,
    PAUSE_EVERY,
    REPORT_AFTER,
    TRIM_BYTES,
    TRIM_EVERY,
    Reports,
)
from zturbo.wire.control import to_broker
from zturbo.wire.control.message import Message
from zturbo.wire.messages import End, Fail, Taken

WORKER = b"w" * 16


class Told:
    """Reports, and what the broker hears of them."""

    def __init__(self, share: int = 1 << 30) -> None:
        self.effects: list[Effect] = []
        self.reports = Reports(ME, self.effects, share)

    def at(self, job: SinkJob, now: float) -> list[Message]:
        """What is told at this time."""
        self.reports.outcome(job, now)
        self.reports.crowding(job, now)
        self.reports.say_complete()
        return self.heard()

    def heard(self) -> list[Message]:
        told = [effect.message for effect in self.effects if isinstance(effect, Control)]
        self.effects.clear()
        return told


def done(**fields: object) -> SinkJob:
    """A job of which all is here: two results and a failure."""
    job = a_job(**fields)
    enter(job, 1, a_batch(0, 1, ends=3, fails=(a_fail((2,)),)))
    return job


def test_of_a_job_that_goes_on_there_is_nothing_to_report() -> None:
    job = a_job()
    enter(job, 1, a_batch(0, 1))
    told = Told()
    assert told.reports.deadline(job) is None
    assert told.at(job, 9.0) == []


def test_a_complete_job_is_reported_until_the_broker_confirms_it() -> None:
    job, told = done(), Told()
    report = to_broker.Complete(incarnation=ME, jobs=((JOB, 1, 2, 1),), ended={}, large=())
    assert told.reports.deadline(job) == 0.0
    assert told.at(job, 0.0) == [report]
    assert told.at(job, REPORT_AFTER / 2) == [], "the answer may be on its way"
    assert told.reports.deadline(job) == REPORT_AFTER and told.at(job, REPORT_AFTER) == [report]
    job.move(SinkJobState.CONFIRMED)
    assert told.reports.deadline(job) is None
    assert told.at(job, 99.0) == []


def test_a_job_is_not_complete_for_the_broker_before_its_results_are_safe() -> None:
    job, told = done(), Told()
    job.unsafe.add(1)
    assert told.reports.deadline(job) is None
    assert told.at(job, 5.0) == []
    job.unsafe.clear()
    assert len(told.at(job, 5.0)) == 1


def test_a_failure_ends_a_job_with_fail_fast_and_that_is_all_that_is_told() -> None:
    job, told = done(fail_fast=True), Told()
    (report,) = told.at(job, 0.0)
    assert isinstance(report, to_broker.JobFailed) and report.kind == "JobFailed"
    assert "ValueError: no" in report.error
    assert told.at(job, REPORT_AFTER / 2) == [] and told.at(job, REPORT_AFTER) == [report]


def test_a_stage_that_gives_two_fan_outs_is_told_before_any_failure() -> None:
    job, told = a_job(fail_fast=True), Told()
    batch = a_batch(fails=(a_fail((2,)),))
    batch.ends = [End((1,), 1), End((1,), 2)]
    enter(job, 1, batch)
    (report,) = told.at(job, 0.0)
    assert isinstance(report, to_broker.JobFailed) and report.kind == "NondeterministicStage"


def test_sources_are_paused_while_nobody_reads_and_no_longer() -> None:
    job, told = a_job(), Told(share=5)
    enter(job, 1, a_batch(*range(10)))
    pause = to_broker.Pause(incarnation=ME, job=JOB, epoch=1)
    assert told.at(job, 0.0) == [pause]
    assert told.reports.deadline(job) == PAUSE_EVERY
    assert told.at(job, PAUSE_EVERY / 2) == [] and told.at(job, PAUSE_EVERY) == [pause]
    job.take(9)
    assert told.at(job, 9.0) == []


def test_a_complete_job_has_no_sources_to_pause() -> None:
    told = Told(share=0)
    assert [type(message) for message in told.at(done(), 0.0)] == [to_broker.Complete]


def started_over(fails: tuple[Fail, ...], ordered: dict[int, bytes], **fields: object) -> list[Message]:
    """What is told of a job that has given out these failures and then started over."""
    told = Told()
    job = a_job(ordered=ordered, **fields)
    enter(job, 1, a_batch(fails=fails))
    told.reports.known_failures(job)
    assert told.heard() == [], "nothing is told in the first epoch"
    job.start_over(stamp(2, ordered, **fields))
    told.reports.known_failures(job)
    return told.heard()


def test_failures_that_were_given_out_stand_if_an_ordered_stage_saw_them() -> None:
    fails = tuple(a_fail((k,), stage) for k, stage in enumerate((2, 0, 1)))
    (report,) = started_over(fails, {1: WORKER})
    assert isinstance(report, to_broker.KnownFailures) and report.epoch == 2
    assert report.failures == ((0, (1,), 0), (1, (2,), 0)), "the other one is below the ordered stage"


def test_failures_that_wait_for_the_end_stand_too() -> None:
    (report,) = started_over((a_fail((0,), 0),), {1: WORKER}, order="meta:at")
    assert isinstance(report, to_broker.KnownFailures) and report.failures == ((0, (0,), 0),)


def test_without_an_ordered_stage_no_failure_has_to_stand() -> None:
    assert started_over((a_fail((0,), 0),), {}) == []


def test_more_failures_than_can_be_kept_end_the_job() -> None:
    fails = tuple(a_fail((k,), 0) for k in range(MAX_KNOWN_FAILURES + 1))
    (report,) = started_over(fails, {1: WORKER})
    assert isinstance(report, to_broker.JobFailed) and report.kind == "ResultsLost"
    assert str(MAX_KNOWN_FAILURES + 1) in report.error


def test_a_large_job_is_reported_as_one() -> None:
    job, told = done(), Told()
    job.stored_bytes = LARGE_BYTES
    (report,) = told.at(job, 0.0)
    assert isinstance(report, to_broker.Complete) and report.large == (JOB,)


def read_once(told: Told, job: SinkJob, taken: int, now: float) -> list[Message]:
    """A reader that reads once has taken so many results: what the broker is told at this time."""
    job.take(taken)
    job.free(taken)
    told.reports.trimming(job, now)
    return told.heard()


def roots_taken(*taken: int) -> Message:
    return to_broker.RootsTaken(incarnation=ME, job=JOB, epoch=1, taken=taken)


def test_roots_go_as_their_results_are_taken() -> None:
    job, told = a_job(trims=True), Told()
    enter(job, 1, a_batch(0, 1, 2, 3, 4, fails=(a_fail((5,)),)))
    enter(job, 2, a_batch(6, first=6))
    assert read_once(told, job, 0, 0.0) == []
    assert read_once(told, job, 2, 0.0) == [roots_taken(2, 2, 0)]
    assert read_once(told, job, 3, TRIM_EVERY / 2) == [], "soon, with others"
    assert read_once(told, job, 6, TRIM_EVERY) == [roots_taken(6, 6, 1)]
    assert read_once(told, job, 6, 9.0) == [], "nothing new"
    enter(job, 3, a_batch(ends=7))
    assert read_once(told, job, 7, 99.0) == [], "its end tells more"


def test_many_bytes_of_results_let_roots_go_sooner() -> None:
    job, told = a_job(trims=True), Told()
    enter(job, 1, a_batch(*range(9)))
    assert read_once(told, job, 1, 0.0) == [roots_taken(1, 1, 0)]
    job.stored_bytes = 9 * TRIM_BYTES
    assert read_once(told, job, 2, 0.0) == [roots_taken(2, 2, 0)]


def test_roots_stay_where_the_stamp_does_not_let_them_go() -> None:
    job, told = a_job(), Told()
    enter(job, 1, a_batch(0, 1))
    assert read_once(told, job, 2, 9.0) == []
    job = a_job(trims=True)
    enter(job, 1, a_batch(0, 1))
    job.start_over(stamp(epoch=2))
    assert read_once(told, job, 2, 9.0) == []


def test_a_job_whose_first_results_were_taken_elsewhere_goes_on_behind_them() -> None:
    job, told = a_job(trims=True, taken=Taken(3, 5, 2)), Told()
    assert (job.released, job.cursor, job.gone, job.good, job.failed) == (5, 5, 5, 3, 2)
    enter(job, 1, a_batch(1, 2, 3, 4, first=1))  # two of them were taken
    assert (job.released, job.good, job.failed) == (7, 5, 2)
    assert job.between(5, 7) == ([(1, 2, 4)], [], []) and job.let_go() == []
    assert read_once(told, job, 6, 0.0) == [roots_taken(4, 6, 2)]
    assert job.let_go() == [(1, 2, 3)]
    enter(job, 2, a_batch(ends=6, fails=(a_fail((5,)),)))
    assert job.complete and (job.good, job.failed) == (5, 3)
