"""Worker and sink answer alike what they are asked about their jobs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from zturbo.core.effects import Control, Effect
from zturbo.core.member_jobs import MemberJobs
from zturbo.core.order.sequencer import Sequencer
from zturbo.wire.control import to_broker
from zturbo.wire.messages import Stamp

ME, JOB, OTHER = b"m" * 16, b"j" * 16, b"o" * 16


@dataclass
class Job:
    stamp: Stamp
    sequencer: Sequencer | None


class Known:
    """A member that has one job, in its third epoch."""

    def __init__(self, sequencer: Sequencer | None = None) -> None:
        self.effects: list[Effect] = []
        self.jobs = {JOB: Job(Stamp(JOB, 3, "p", {}, ME, revision=2), sequencer)}
        self.known = MemberJobs(ME, self.jobs, self.effects)

    def told(self, job: bytes, epoch: int) -> to_broker.Entered:
        self.known.say_entered(job, epoch)
        effect = self.effects.pop()
        assert isinstance(effect, Control) and isinstance(effect.message, to_broker.Entered)
        assert not self.effects, "one answer to a question"
        return effect.message


def test_a_batch_is_missed_unless_its_job_has_ended_or_was_started_over() -> None:
    known = Known().known
    assert [known.is_over(JOB, epoch) for epoch in (2, 3, 4)] == [True, False, False]
    assert not known.is_over(OTHER, 1), "its stamp may still be on the way"
    known.ended.add(OTHER, None, 0.0)
    assert known.is_over(OTHER, 99), "whatever epoch it has, nobody wants it"


def test_each_job_is_told_with_the_rank_of_its_stamp() -> None:
    assert Known().known.ranks() == [(JOB, 3, 2)]


def test_jobs_are_named_some_at_a_time_and_then_those_that_are_waited_for() -> None:
    known = Known()
    for number in range(4):
        name = bytes([number]) * 16
        known.jobs[name] = Job(Stamp(name, 1, "p", {}, ME), None)
    waited = [(OTHER, 7, 0), (ME, 8, 0)]
    all_of_them = known.known.ranks() + waited
    assert len(all_of_them) == 7
    for most in (1, 2, 3, 5, 7, 9):
        said = [known.known.named(after, most, waited) for after in range(0, 7, most)]
        assert [one for some in said for one in some] == all_of_them
        assert all(0 < len(some) <= most for some in said) and known.known.named(7, most, waited) == []


@pytest.mark.parametrize(
    ("job", "epoch"), [(JOB, 2), (JOB, 4), (OTHER, 3)], ids=["an older epoch", "a newer epoch", "unknown"]
)
def test_of_another_epoch_or_an_unknown_job_nothing_has_entered(job: bytes, epoch: int) -> None:
    sequencer = Sequencer()
    sequencer.enter_run((0,), 4, None, 0)
    answer = Known(sequencer).told(job, epoch)
    assert (answer.incarnation, answer.job, answer.epoch, answer.roots) == (ME, job, epoch, ())


def test_the_roots_that_have_wholly_entered_are_told() -> None:
    sequencer = Sequencer()
    sequencer.enter_run((0,), 4, None, 0)
    sequencer.enter_run((6,), 2, None, 0)
    sequencer.enter_run((4, 0), 1, None, 0)
    known = Known(sequencer)
    assert known.told(JOB, 3).roots == ((0, 4), (6, 8)), "more of root 4 may come"
    sequencer.enter_end((4,), 1, None)
    assert known.told(JOB, 3).roots == ((0, 5), (6, 8))


def test_where_nothing_puts_items_in_order_no_root_has_entered() -> None:
    assert Known(None).told(JOB, 3).roots == ()
