"""What a stage has given of a job, in the epoch that the broker stamped."""

from __future__ import annotations

from zturbo.core.order.sequencer import Sequencer
from zturbo.core.worker.job import WorkerJob
from zturbo.wire.messages import Batch, End, Fail, Mark, Stamp

JOB, ME = b"j" * 16, b"m" * 16


def a_job(*, ordered: bool = False) -> WorkerJob:
    return WorkerJob(Stamp(JOB, 1, "p", {}, ME), Sequencer() if ordered else None)


def gave(tasks: int = 0, ends: list[End] | None = None, fails: int = 0) -> Batch:
    failed = [Fail((9, k), 0, b"") for k in range(fails)]
    return Batch(
        JOB, 1, 1, [((0,), tasks)] if tasks else [], tasks, bytes(tasks), ends=ends or [], fails=failed
    )


def test_outputs_failures_and_drops_are_counted_and_other_ends_are_not() -> None:
    job = a_job()
    job.count(gave(3, [End((1,), 0), End((2,), 4)], 2))
    assert (job.done, job.failures) == (3 + 2 + 1, 2)


def test_a_drop_of_the_single_root_counts_at_a_plain_stage_alone() -> None:
    """At an ordered stage the END of all has that path."""
    plain, ordered = a_job(), a_job(ordered=True)
    for job in (plain, ordered):
        job.count(gave(0, [End((), 0)]))
    assert (plain.done, ordered.done) == (1, 0)


def test_failures_from_above_pass_an_ordered_stage_uncounted() -> None:
    job = a_job(ordered=True)
    job.count(gave(1, fails=3), passing=2)
    assert (job.done, job.failures) == (2, 1)


def test_only_marks_of_this_stage_are_heeded_and_those_without_a_kind_are_suspects() -> None:
    marks = (Mark(0, (1,), "", ""), Mark(1, (2,), "", ""), Mark(1, (3,), "WorkerLost", "it killed three"))
    job = a_job()
    job.stamped(Stamp(JOB, 1, "p", {}, ME, marks=marks, revision=1), 1)
    assert job.stamp.revision == 1 and job.marks == marks[1:]
    assert job.suspects == {(2,)}
    job.stamped(Stamp(JOB, 1, "p", {}, ME, revision=2), 1)
    assert job.marks == () and not job.suspects, "a newer stamp stands alone"
