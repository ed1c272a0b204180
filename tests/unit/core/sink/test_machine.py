"""What a sink reports to the broker, and what it counts."""

from __future__ import annotations

from tests.support.steps import steps
from zturbo.core.effects import Control, Store
from zturbo.core.sink.machine import SinkMachine
from zturbo.core.sink.pace import HIGH, LONGEST
from zturbo.wire.control import to_broker
from zturbo.wire.control.view import Member, View
from zturbo.wire.messages import Batch, End, Greet, Stamp

ME, BROKER, JOB = b"s" * 16, b"b" * 16, b"j" * 16


def a_sink() -> SinkMachine:
    """A sink with a link from the broker."""
    sink = SinkMachine(ME)
    members = {
        ME: Member(ME, "sink", "", -1, "h", ()),
        BROKER: Member(BROKER, "broker", "", -1, "h", ()),
    }
    sink.view(View(1, members), 0.0)
    sink.data(Greet(BROKER, ME, 1), 0.0)
    return sink


def test_a_sink_reports_a_stage_that_is_not_deterministic() -> None:
    sink = a_sink()
    for number, count in ((1, 3), (2, 4)):
        stamp = Stamp(JOB, 1, "p", {}, ME) if number == 1 else None
        batch = Batch(JOB, 1, 1, ends=[End((), count)], stamp=stamp, number=number, source=BROKER, target=ME)
        sink.data(batch, 0.0)
        sink.stored([number], 0.0)
    said = [effect.message for effect in sink.effects if isinstance(effect, Control)]
    (report,) = [message for message in said if isinstance(message, to_broker.JobFailed)]
    assert report.kind == "NondeterministicStage" and "3 children, and then 4" in report.error


def test_tasks_of_an_old_epoch_are_acked_counted_and_not_stored() -> None:
    sink = a_sink()
    first = Batch(JOB, 2, 1, ends=[End((), 9)], stamp=Stamp(JOB, 2, "p", {}, ME), number=1)
    old = Batch(JOB, 1, 1, [((0,), 2)], 2, b"\x01\x02", number=2)
    for batch in (first, old):
        batch.source, batch.target = BROKER, ME
        sink.data(batch, 0.0)
    stored = [effect.batch for effect in sink.effects if isinstance(effect, Store)]
    assert stored == [first]
    assert sink.stale == 2
    sink.stored([1], 0.0)
    assert sink.receivers.links[BROKER].acked == 2


def test_no_credit_is_given_while_results_wait_for_a_reader_or_the_disk_is_full() -> None:
    sink = a_sink()
    link = sink.receivers.links[BROKER]

    def given() -> bool:
        before = link.window.limit_tasks
        link.window.leave(1, 1)
        sink.rounds.event(now)
        return link.window.limit_tasks > before

    now = 1.0
    assert given()
    sink.pace.nbytes = HIGH + 1
    assert not given()
    due = sink.deadline()
    assert due is not None and due <= now + LONGEST
    sink.paused = True
    now += LONGEST
    assert not given()
    later = sink.deadline()
    assert later is None or later > now, (
        "the pause has ended, though the disk is full: nothing is due for ever"
    )
    sink.paused = False
    assert given(), "it rests from pauses"


def with_results_of(jobs: int) -> SinkMachine:
    """A sink that keeps results of so many jobs that have ended, and collects those of one."""
    sink = a_sink()
    names = [number.to_bytes(16, "big") for number in range(1, jobs + 2)]
    for number, name in enumerate(names, 1):
        stamp = Stamp(name, 1, "p", {}, ME)
        ends = [End((), 1)] if number <= jobs else []
        batch = Batch(name, 1, 1, [((0,), 1)], 1, b"\x01", ends=ends, stamp=stamp, number=number)
        batch.source, batch.target = BROKER, ME
        sink.data(batch, 0.0)
        sink.stored([number], 0.0)
        sink.rounds.end(0.0)
        sink.effects.clear()
    sink.confirm(names[:jobs], 0.0)
    sink.rounds.end(0.0)
    assert [job.confirmed for job in sink.jobs.values()] == [True] * jobs + [False]
    sink.check()
    return sink


def test_what_it_says_now_and_then_costs_the_same_however_many_jobs_have_ended() -> None:
    few, many = with_results_of(10), with_results_of(500)
    for sink in (few, many):
        assert sink.progress().counts.keys() == {[*sink.jobs][-1]}
        assert sink.load() == (0, 1) and sink.idle

    def said(sink: SinkMachine) -> list[int]:
        calls = (sink.progress, sink.load, lambda: sink.known(5, 5), lambda: sink.idle)
        return [steps(call) for call in calls]

    assert said(few) == said(many)


def test_a_job_that_had_ended_goes_on_where_its_broker_has_lost_that() -> None:
    sink = with_results_of(3)
    name = next(iter(sink.jobs))
    sink.stamp(Stamp(name, 2, "p", {}, ME), 1.0)
    sink.rounds.end(1.0)
    sink.check()
    assert sink.progress().counts.keys() == {name, [*sink.jobs][-1]}
    said = [effect.message for effect in sink.effects if isinstance(effect, Control)]
    (told,) = [message for message in said if isinstance(message, to_broker.Complete)]
    assert told.jobs == ((name, 2, 1, 0),)
    sink.confirm([name], 1.0)
    sink.check()
