"""What the code is given, and when: piece by piece where tasks are slow, and nothing beside a suspect."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.worker.inputs import JOB, ME, OTHER, SENDER, Inputs, a_batch
from zturbo.core.effects import Reclaim, Run, Work
from zturbo.core.links.senders import Senders
from zturbo.core.worker.feed import GIVE_BACK_AFTER, Feed
from zturbo.core.worker.job import WorkerJob
from zturbo.core.worker.produced import Produced
from zturbo.wire.messages import Batch, Path, Stamp

FAST, SLOW = 0.0001, 0.2
"""Seconds a task."""


class Fed:
    """A plain stage's code, and what is fed to it.

    Args:
        seconds: what its tasks took so far; 0 for a stage that has run nothing.
    """

    def __init__(self, seconds: float = FAST, suspects: frozenset[Path] = frozenset(), **kind: Any) -> None:
        self.inputs = Inputs()
        self.senders = Senders(ME, "h", self.inputs.arrivals.custody, self.inputs.effects)
        jobs = {job: WorkerJob(Stamp(job, 1, "p", {}, ME), suspects=suspects) for job in (JOB, OTHER)}
        options = {"batch": 0, "batch_wait": 0.0, "concurrency": 0, **kind}
        arrivals, effects = self.inputs.arrivals, self.inputs.effects
        self.feed = Feed(arrivals, jobs, self.senders, effects, sequenced=None, **options)
        self.feed.peers = True
        self.feed.meter.add(10, 10 * seconds)
        if not seconds:
            self.feed.meter.mean = None

    def come(self, *batches: Batch, now: float = 0.0) -> list[Work]:
        """These come; what the code gets then."""
        self.inputs.come(*batches)
        for batch in batches:
            self.feed.add(batch, now)
        return self.go_on(now)

    def go_on(self, now: float = 0.0) -> list[Work]:
        self.feed.go_on(now)
        self.feed.check()
        runs = [effect.work for effect in self.inputs.effects if isinstance(effect, Run)]
        self.inputs.effects[:] = [effect for effect in self.inputs.effects if not isinstance(effect, Run)]
        return runs

    def finish(self, work: Work, now: float = 0.0, seconds: float = FAST) -> list[Work]:
        """The code is through with it; what it gets next."""
        n = work.size - work.cut
        out = Produced(work.job, work.epoch, [(work.origin, n)], None, n, n * seconds, (work,))
        self.feed.finished(out, now)
        return self.go_on(now)

    @property
    def left(self) -> int:
        """Tasks whose credit has come back."""
        return self.inputs.arrivals.receivers.links[SENDER].window.left_tasks


def numbers(works: list[Work]) -> list[int]:
    return [work.pieces[0][0].number for work in works]


def returned(fed: Fed) -> dict[int, int]:
    """Batch -> index from which its tasks are given back."""
    return {number: index for number, _, index in fed.inputs.said().returns}


def batches(*sizes: int) -> list[Batch]:
    return [a_batch(number, n) for number, n in enumerate(sizes, 1)]


# -- how much the code has ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("seconds", "first", "then"), [(FAST, [1, 2], [3]), (SLOW, [1], [2]), (0.0, [1], [2, 3])]
)
def test_a_second_piece_is_at_hand_if_tasks_are_known_to_be_fast(
    seconds: float, first: list[int], then: list[int]
) -> None:
    fed = Fed(seconds)
    works = fed.come(*batches(40, 40, 40))
    assert numbers(works) == first
    assert numbers(fed.finish(works[0], seconds=seconds or FAST)) == then


def test_as_many_pieces_are_handed_out_as_a_batching_code_takes_twice() -> None:
    for seconds in (FAST, SLOW):
        fed = Fed(seconds, batch=40)
        assert numbers(fed.come(*batches(20, 20, 20, 20, 20, 20))) == [1, 2, 3, 4]


def test_many_small_pieces_are_at_hand_if_tasks_are_known_to_be_fast() -> None:
    assert numbers(Fed(FAST / 10).come(*batches(*[1] * 90))) == [*range(1, 65)]
    assert numbers(Fed(0.001).come(*batches(*[1] * 90))) == [1, 2], "they take two milliseconds"


def test_as_many_tasks_are_handed_out_as_the_code_runs_at_a_time() -> None:
    fed = Fed(concurrency=4)
    works = fed.come(*batches(3, 3, 3))
    assert numbers(works) == [1, 2]
    out = Produced(JOB, 1, [(works[1].origin, 3)], None, 3, 0.1, (works[1],))
    fed.feed.finished(out, 0.0)
    assert numbers(fed.go_on()) == [3], "the second has overtaken the first"


def test_a_code_whose_outputs_are_not_taken_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fed = Fed()
    monkeypatch.setattr(Senders, "pressed", True)
    assert fed.come(*batches(1, 1)) == []
    monkeypatch.setattr(Senders, "pressed", False)
    assert len(fed.go_on()) == 2


# -- credit -------------------------------------------------------------------------------------
def test_credit_of_fast_tasks_comes_back_when_they_are_handed_out() -> None:
    fed = Fed(FAST)
    fed.come(*batches(40, 30, 4))
    assert fed.left == 70 and fed.feed.owed() == [((SENDER, 3, 0), 4, a_batch(3, 4).nbytes)]


def test_credit_of_slow_tasks_comes_back_when_they_are_finished() -> None:
    fed = Fed(SLOW)
    (work,) = fed.come(*batches(2, 3))
    assert fed.left == 0 and [key for key, _, _ in fed.feed.owed()] == [(SENDER, 2, 0), (SENDER, 1, 0)]
    fed.finish(work, seconds=SLOW)
    assert fed.left == 2


def test_credit_of_tasks_that_overlap_comes_back_one_by_one() -> None:
    fed = Fed(concurrency=4)
    (work,) = fed.come(*batches(4))
    for done, left in ((1, 1), (2, 3), (9, 4)):
        fed.feed.finished(Produced(JOB, 1, [(work.origin, done)], None, done, 0.1), 0.0)
        assert fed.left == left
        fed.feed.check()
    assert fed.feed.owed() == []


# -- suspects -----------------------------------------------------------------------------------
def test_a_suspect_runs_alone_when_nothing_else_is_here() -> None:
    fed = Fed(suspects=frozenset({(1,)}))
    before, behind = fed.come(a_batch(1, 3))
    assert (before.pieces[0][1:], behind.pieces[0][1:]) == ((0, 1), (2, 3))
    assert fed.feed.paused, "so that it gets its turn"
    assert fed.finish(before) == []
    (alone,) = fed.finish(behind)
    assert alone.pieces[0][1:] == (1, 2)
    assert fed.come(a_batch(2, 2, first=5)) == [] and fed.feed.paused, "whatever comes waits for it"
    assert numbers(fed.finish(alone)) == [2] and not fed.feed.paused


def test_nothing_is_given_back_while_a_suspect_runs() -> None:
    """It may kill this worker: that is to be known of it before it is tried elsewhere."""
    fed = Fed(suspects=frozenset({(0,)}))
    fed.come(a_batch(1, 1))
    assert fed.feed.give_back_at() is None


# -- giving back --------------------------------------------------------------------------------
def test_what_is_behind_a_long_task_goes_back_if_there_are_others_to_run_it() -> None:
    fed = Fed(FAST)
    fed.come(*batches(1, 1, 1), now=5.0)
    at = fed.feed.give_back_at()
    assert at is not None and at >= 5.0 + GIVE_BACK_AFTER
    fed.feed.peers = False
    assert fed.feed.give_back_at() is None


def test_a_single_task_has_nothing_behind_it() -> None:
    fed = Fed(FAST)
    fed.come(a_batch(1, 1))
    assert fed.feed.give_back_at() is None


def test_the_rest_of_the_work_is_asked_back_once() -> None:
    fed = Fed(SLOW)
    (work,) = fed.come(*batches(4, 2))
    fed.feed.give_back(1.0)
    fed.feed.give_back(2.0)
    asked = [effect.work for effect in fed.inputs.effects if isinstance(effect, Reclaim)]
    assert asked == [work] and fed.feed.paused
    assert returned(fed) == {2: 0}
    fed.feed.reclaimed(work, 1, 2.0)
    assert returned(fed) == {1: 1, 2: 0}
    fed.feed.reclaimed(Work(JOB, 1, work.pieces, work.origin, []), 0, 2.0)
    assert returned(fed) == {1: 1, 2: 0}, "that is not the code's any more"


def test_what_comes_meanwhile_goes_back_at_once_and_no_longer_than_the_task_runs() -> None:
    fed = Fed(SLOW)
    (work,) = fed.come(*batches(1, 1))
    fed.feed.give_back(1.0)
    assert fed.come(a_batch(3, 2), now=1.5) == [] and not fed.feed.queue
    assert returned(fed) == {2: 0, 3: 0}
    fed.finish(work, 2.0, seconds=SLOW)
    assert not fed.feed.given_back and not fed.feed.paused
    assert numbers(fed.come(a_batch(4, 1), now=2.5)) == [4]


# -- jobs and senders ---------------------------------------------------------------------------
def test_what_is_queued_of_an_ended_job_is_acked_and_its_credit_comes_back() -> None:
    fed = Fed(SLOW)
    fed.come(a_batch(1, 1), a_batch(2, 3, job=OTHER), a_batch(3, 2))
    fed.feed.drop_job(OTHER, 1.0)
    assert fed.left == 3 and fed.inputs.said().ranges == [(2, 2)]
    assert [part.batch.number for part in fed.feed.queue.parts()] == [3]


def test_what_a_lost_sender_sent_is_not_run() -> None:
    fed = Fed(SLOW)
    fed.come(a_batch(1, 1), a_batch(1, 3, source=OTHER), a_batch(2, 2))
    fed.feed.drop_senders({OTHER})
    assert [part.key for part in fed.feed.queue.parts()] == [(SENDER, 2, 0)]


sizes = st.lists(st.integers(1, 4), min_size=1, max_size=6)


@given(sizes, st.sampled_from([FAST, SLOW]), st.integers(0, 3), st.sets(st.integers(0, 3), max_size=2))
def test_each_task_is_run_once_and_all_credit_comes_back(
    sizes: list[int], seconds: float, concurrency: int, bad: set[int]
) -> None:
    fed = Fed(seconds, frozenset((k,) for k in bad), concurrency=concurrency)
    works = fed.come(*batches(*sizes))
    ran = []
    while works:
        work = works.pop(0)
        batch, start, stop = work.pieces[0]
        ran += [(batch.number, index) for index in range(start, stop)]
        works += fed.finish(work, seconds=seconds)
    assert sorted(ran) == [(number, k) for number, n in enumerate(sizes, 1) for k in range(n)]
    assert fed.left == sum(sizes) and fed.feed.owed() == [] and not fed.feed.handed
