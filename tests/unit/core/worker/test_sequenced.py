"""An ordered stage: what has entered is handed out in order, job by job in turn, and once."""

from __future__ import annotations

import pytest

from tests.unit.core.worker.inputs import JOB, ME, OTHER, a_batch
from zturbo.core.effects import Control, Effect, Work
from zturbo.core.order.sequencer import Sequencer
from zturbo.core.worker.adoption import REPORT_EVERY
from zturbo.core.worker.job import WorkerJob
from zturbo.core.worker.sequenced import MAX_WORK, Sequenced
from zturbo.wire.control import to_broker
from zturbo.wire.messages import Batch, End, Fail, Stamp
from zturbo.wire.payload import pack_error


class Stage:
    """One that has these jobs."""

    def __init__(self, *names: bytes, **stamp: bool) -> None:
        self.effects: list[Effect] = []
        self.jobs = {
            name: WorkerJob(Stamp(name, 1, "p", {0: ME}, ME, **stamp), Sequencer()) for name in names
        }  # type: ignore[arg-type]
        self.sequenced = Sequenced(ME, self.jobs, self.effects, 1 << 20)
        for name in names:
            self.sequenced.begin(name)

    def come(self, *batches: Batch) -> None:
        for batch in batches:
            self.sequenced.enter(self.jobs[batch.job], batch)

    def blamed(self, now: float) -> list[tuple[str, str]]:
        self.effects.clear()
        self.sequenced.blame(now)
        failed = [effect.message for effect in self.effects if isinstance(effect, Control)]
        assert all(isinstance(message, to_broker.JobFailed) for message in failed)
        return [(message.kind, message.error) for message in failed]  # type: ignore[attr-defined]


def tasks(work: Work | None) -> list[tuple[int, int]]:
    """(number of the batch, index in it) of what is handed out."""
    assert work is not None
    return [(batch.number, index) for batch, start, stop in work.pieces for index in range(start, stop)]


def end_of(count: int, job: bytes = JOB) -> Batch:
    return Batch(job, 1, 0, ends=[End((), count)], number=99)


def a_failure(at: int) -> Batch:
    error = pack_error(
        {"kind": "TaskError", "type": "E", "message": "no", "stage": "s", "host": "h", "index": 0}
    )
    return Batch(JOB, 1, 0, fails=[Fail((at,), 0, error)], number=98)


def test_nothing_is_handed_out_before_its_turn() -> None:
    stage = Stage(JOB)
    stage.come(a_batch(2, 3, first=2))
    assert stage.sequenced.next() is None
    stage.come(a_batch(1, 2))
    assert tasks(stage.sequenced.next()) == [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    assert stage.sequenced.next() is None and not stage.sequenced.waiting.tasks()


def test_a_copy_is_not_handed_out_again() -> None:
    stage = Stage(JOB)
    stage.come(a_batch(1, 2), a_batch(2, 3))
    assert tasks(stage.sequenced.next()) == [(1, 0), (1, 1), (2, 2)]
    stage.come(a_batch(3, 3))
    assert stage.sequenced.next() is None and not stage.sequenced.waiting.tasks()


def test_the_last_work_is_final_and_comes_once_even_if_it_is_empty() -> None:
    stage = Stage(JOB)
    stage.come(a_batch(1, 2))
    work = stage.sequenced.next()
    assert work is not None and not work.final
    stage.come(end_of(2))
    work = stage.sequenced.next()
    assert work is not None and work.final and not work.pieces
    assert stage.jobs[JOB].finished and stage.sequenced.next() is None


def test_a_failure_passes_by_at_its_turn() -> None:
    stage = Stage(JOB)
    stage.come(a_batch(1, 1, first=2), a_failure(1), a_batch(2, 1, first=0))
    work = stage.sequenced.next()
    assert tasks(work) == [(2, 0), (1, 0)]
    assert work is not None and [index for index, _, _ in work.fails] == [1], "before the second task"


def test_jobs_take_turns() -> None:
    stage = Stage(JOB, OTHER)
    stage.come(a_batch(1, 2 * MAX_WORK + 1), a_batch(2, 1, job=OTHER))
    works = [stage.sequenced.next() for _ in range(4)]
    assert [work and work.job for work in works] == [JOB, OTHER, JOB, JOB]
    assert [work and work.size for work in works] == [MAX_WORK, 1, MAX_WORK, 1]


def test_a_job_that_is_not_here_any_more_misses_its_turn_for_good() -> None:
    stage = Stage(JOB, OTHER)
    stage.come(a_batch(1), a_batch(2, job=OTHER))
    del stage.jobs[JOB]
    assert tasks(stage.sequenced.next()) == [(2, 0)]
    assert stage.sequenced.next() is None


def test_an_item_that_makes_no_sense_does_no_harm_to_what_came_before_it() -> None:
    stage = Stage(JOB)
    batch = a_batch(1, 2)
    batch.ends = [End((-5,), 1)]
    stage.come(batch)
    assert tasks(stage.sequenced.next()) == [(1, 0), (1, 1)]


@pytest.mark.parametrize("fail_fast", [True, False])
def test_the_first_failure_is_told_where_the_job_is_to_end_by_it(fail_fast: bool) -> None:
    stage = Stage(JOB, fail_fast=fail_fast)
    stage.come(a_failure(3), a_failure(4))
    told = stage.blamed(0.0)
    if not fail_fast:
        assert told == [] and stage.sequenced.deadline() is None
        return
    ((kind, error),) = told
    assert kind == "JobFailed" and "E: no" in error
    assert stage.blamed(REPORT_EVERY / 2) == [] and stage.blamed(REPORT_EVERY) == told
    del stage.jobs[JOB]
    assert stage.blamed(99.0) == [] and stage.sequenced.deadline() is None, "the broker has ended it"


def test_two_fan_outs_of_one_task_are_told() -> None:
    stage = Stage(JOB)
    batch = Batch(JOB, 1, 0, ends=[End((1,), 2), End((1,), 3)], number=1)
    stage.come(batch)
    ((kind, error),) = stage.blamed(0.0)
    assert kind == "NondeterministicStage" and "2 children, and then 3" in error
