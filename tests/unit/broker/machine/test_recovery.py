"""A restarted broker sends a root again unless a worker holds it, or all of it has entered its sequencer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zturbo.core.effects import Control, Effect
from zturbo.core.links.custody import Custody
from zturbo.core.links.senders import Senders
from zturbo.core.order.intervals import Intervals
from zturbo.wire.control import from_broker
from zturbo.wire.messages import PathRun, Stamp
from zturbo_broker.jobs.job import Job
from zturbo_broker.machine.recovery import ASK_EVERY, Recovery

ME, JOB, SINK, ONE, TWO, ORDERED = (name * 16 for name in (b"B", b"j", b"s", b"1", b"2", b"o"))
STAGES = {"p": 2}


def a_job(
    *, roots: int = 10, first: int = 0, ordered: dict[int, bytes] | None = None, name: bytes = JOB
) -> Job:
    job = Job(name, "n", "p", b"c" * 16, True, {}, b"d", epoch=3)
    job.stamp = Stamp(name, 3, "p", ordered or {}, SINK)
    job.chunks.append(first, roots, 100)
    return job


class Restarted:
    """A broker that had these jobs, and these workers of first stages."""

    def __init__(self, *jobs: Job, workers: tuple[bytes, ...] = (ONE, TWO)) -> None:
        self.effects: list[Effect] = []
        self.recovery = Recovery(Senders(ME, "h", Custody(), self.effects), self.effects)
        self.recovery.jobs = {job.id: job for job in jobs}
        self.recovery.silent = dict.fromkeys(workers, "p")

    def reports(self, worker: bytes, *runs: PathRun, epoch: int = 3, job: bytes = JOB) -> None:
        items = [(job, epoch, [run], run[1], 1) for run in runs]
        self.recovery.report(worker, tuple(items), 0.0)

    def asked(self, now: float) -> list[bytes]:
        """Who is asked what has entered."""
        self.effects.clear()
        self.recovery.ask(STAGES, now)
        asked = [effect for effect in self.effects if isinstance(effect, Control)]
        assert all(isinstance(effect.message, from_broker.AskEntered) for effect in asked)
        return [effect.to for effect in asked]

    def safe(self, *roots: tuple[int, int], job: bytes = JOB, epoch: int = 3) -> list[tuple[int, int]] | None:
        """What need not go again, after this answer."""
        found = self.recovery.entered(job, epoch, roots)
        return None if found is None else found[1].pairs()


def test_no_sequencer_is_asked_before_all_first_workers_have_reported() -> None:
    """A root may leave its worker and enter meanwhile: asked the other way round, it would be missed."""
    broker = Restarted(a_job())
    assert broker.asked(0.0) == []
    broker.reports(ONE)
    assert broker.asked(1.0) == []
    broker.reports(TWO)
    assert broker.asked(2.0) == [SINK]


def test_a_worker_that_is_gone_is_not_waited_for() -> None:
    broker = Restarted(a_job())
    broker.reports(ONE)
    broker.recovery.lost(TWO)
    assert broker.asked(1.0) == [SINK]


def test_another_pipelines_workers_are_not_waited_for() -> None:
    broker = Restarted(a_job(), workers=())
    broker.recovery.silent = {ONE: "q"}
    assert broker.asked(0.0) == [SINK]


def test_the_first_sequencer_is_asked_again_until_it_answers() -> None:
    broker = Restarted(a_job(ordered={1: ORDERED, 0: ONE}), workers=())
    assert [broker.asked(now) for now in (0.0, ASK_EVERY / 2, ASK_EVERY)] == [[ONE], [], [ONE]]
    assert broker.recovery.deadline() == 2 * ASK_EVERY
    assert broker.safe((0, 10)) == [(0, 10)]
    assert broker.asked(9.0) == [] and broker.recovery.deadline() is None


def test_a_sequencer_that_was_not_there_is_asked_as_soon_as_it_is() -> None:
    broker = Restarted(a_job(), a_job(name=b"k" * 16, ordered={1: ORDERED}), workers=())
    assert sorted(broker.asked(0.0)) == sorted([SINK, ORDERED])
    broker.recovery.ask_again(SINK)
    assert [broker.asked(now) for now in (0.1, 0.2)] == [[SINK], []]


def test_what_is_held_or_has_entered_stays() -> None:
    broker = Restarted(a_job())
    broker.reports(ONE, ((2,), 2))
    broker.reports(TWO, ((5,), 1))
    broker.asked(0.0)
    assert broker.safe((0, 1), (8, 99)) == [(0, 1), (2, 4), (5, 6), (8, 10)]


def test_what_was_held_and_then_given_back_or_lost_goes_again() -> None:
    job = a_job()
    broker = Restarted(job)
    broker.reports(ONE, ((0,), 4))
    broker.reports(TWO, ((4,), 4))
    broker.recovery.returned(job, [((2,), 2)])
    broker.recovery.lost(TWO)
    broker.asked(0.0)
    assert broker.safe() == [(0, 2)]


def test_a_report_counts_once_and_of_this_epoch_alone() -> None:
    broker = Restarted(a_job())
    broker.reports(ONE, ((0,), 2), epoch=2)
    broker.reports(ONE, ((0,), 2))
    broker.reports(TWO, ((4,), 2), job=b"x" * 16)
    broker.asked(0.0)
    assert broker.safe() == []


def test_an_answer_to_no_question_is_not_taken() -> None:
    broker = Restarted(a_job())
    assert broker.safe((0, 10)) is None, "nobody was asked"
    for worker in (ONE, TWO):
        broker.reports(worker)
    broker.asked(0.0)
    assert broker.safe((0, 10), epoch=2) is None and broker.safe((0, 10), job=b"x" * 16) is None
    assert broker.safe((0, 10)) == [(0, 10)]
    assert broker.safe((0, 10)) is None, "it was taken up"


def test_a_job_that_has_ended_is_asked_about_no_more() -> None:
    broker = Restarted(a_job(), a_job(name=b"k" * 16), workers=())
    assert len(broker.asked(0.0)) == 2
    broker.recovery.drop(JOB)
    assert len(broker.asked(5.0)) == 1 and broker.safe((0, 10)) is None


def test_the_single_root_of_a_job_has_no_number() -> None:
    broker = Restarted(a_job(roots=1, first=-1))
    broker.reports(ONE, ((), 1))
    broker.reports(TWO)
    broker.asked(0.0)
    assert broker.safe() == [(0, 1)]
    broker = Restarted(a_job(roots=1, first=-1), workers=())
    broker.asked(0.0)
    assert broker.safe((-1, 0)) == [(0, 1)], "a sequencer calls it -1"


ranges = st.lists(st.tuples(st.integers(0, 11), st.integers(1, 4)), max_size=4)


@given(ranges, ranges, ranges, st.booleans())
def test_each_root_is_sent_again_or_is_with_somebody(
    held: list[tuple[int, int]], back: list[tuple[int, int]], entered: list[tuple[int, int]], lost: bool
) -> None:
    def numbers(parts: list[tuple[int, int]]) -> set[int]:
        return {root for first, n in parts for root in range(first, first + n)}

    job = a_job(roots=10)
    broker = Restarted(job, workers=(ONE,))
    broker.reports(ONE, *(((first,), n) for first, n in held))
    broker.recovery.returned(job, [((first,), n) for first, n in back])
    if lost:
        broker.recovery.lost(ONE)
    broker.asked(0.0)
    safe = broker.safe(*((first, first + n) for first, n in entered))
    assert safe is not None
    again = {root for low, high in Intervals.of(safe).missing(0, 10) for root in range(low, high)}
    kept = (set() if lost else numbers(held) - numbers(back)) | numbers(entered)
    assert again == set(range(10)) - kept
