"""What members measure: kept while they live, given in pages, built once for all viewers."""

from __future__ import annotations

from tests.unit.broker.machine.test_newcomers_code import NoArchive
from zturbo.core.effects import Reply
from zturbo.wire.control import answers, from_broker, to_broker
from zturbo.wire.control.fields import MAX_PAGE
from zturbo.wire.control.report import Report
from zturbo.wire.control.view import Member
from zturbo_broker.machine.known import Known, PipelineInfo
from zturbo_broker.machine.lifecycle import Lifecycle
from zturbo_broker.machine.telemetry import BUILD_EVERY, Telemetry


def worker(number: int) -> Member:
    return Member(number.to_bytes(16, "big"), "worker", "p", 0, "h", ("tcp://10.0.0.1:1",))


def broker(workers: int = 1) -> tuple[Known, Telemetry]:
    known = Known(
        Member(b"B" * 16, "broker", "", -1, "h", ("ipc://x",)),
        [PipelineInfo("p", ["a", "b"])],
        view=1,
        lease=5.0,
        version="1",
        cluster=b"",
        archive=NoArchive(),  # type: ignore[arg-type]
    )
    for number in range(1, workers + 1):
        known.membership.join(worker(number), b"n", number, 0, 0.0)
    return known, Telemetry(known, Lifecycle(known, keep=1.0, feed_timeout=1.0, grace=1.0))


def ask(known: Known, telemetry: Telemetry, now: float, after: int = 0) -> answers.Telemetry:
    telemetry.answer(b"c", to_broker.Telemetry(ref=7, after=after), now)
    (effect,) = known.effects
    known.effects.clear()
    assert isinstance(effect, Reply) and isinstance(effect.message, from_broker.Ok)
    assert effect.message.ref == 7 and isinstance(effect.message.value, answers.Telemetry)
    return effect.message.value


def say(telemetry: Telemetry, number: int, tasks: int, now: float) -> None:
    report = Report(clock=round(now * 1e6) + 1, tasks=tasks)
    member = worker(number).incarnation
    telemetry.measured(member, to_broker.Measured(incarnation=member, report=report), now)


def test_a_report_is_shown_with_its_age_until_its_member_leaves() -> None:
    known, telemetry = broker()
    (before,) = ask(known, telemetry, 0.0).members
    assert before.latest is None and before.name == "p.a"
    say(telemetry, 1, 5, 1.0)
    (shown,) = ask(known, telemetry, 3.0).members
    assert shown.latest is not None and shown.latest.tasks == 5 and shown.age == 2.0
    known.membership.remove(worker(1).incarnation)
    assert ask(known, telemetry, 4.0).members == ()


def test_a_report_of_nobody_is_not_kept() -> None:
    known, telemetry = broker()
    say(telemetry, 9, 5, 1.0)
    assert known.membership.reports(worker(9).incarnation) is None


def test_many_viewers_get_the_same_answer() -> None:
    known, telemetry = broker()
    first = ask(known, telemetry, 1.0)
    assert ask(known, telemetry, 1.0 + BUILD_EVERY / 2) is first
    assert ask(known, telemetry, 1.0 + BUILD_EVERY) is not first


def test_pages_have_all_members_once() -> None:
    known, telemetry = broker(MAX_PAGE + 2)
    first = ask(known, telemetry, 0.0)
    second = ask(known, telemetry, 0.0, first.next)
    assert (len(first.members), len(second.members), second.next) == (MAX_PAGE, 2, 0)
    assert len({one.incarnation for one in first.members + second.members}) == MAX_PAGE + 2
    beyond = ask(known, telemetry, 0.0, 1 << 53)
    assert (beyond.members, beyond.next) == ((), 0)


def test_what_nodes_want_is_shown_while_they_are_heard() -> None:
    known, telemetry = broker()
    known.membership.wants(b"n", {"p.a": 2, "sink": 1}, 0.0)
    known.membership.wants(b"m", {"p.a": 1}, 1.0)
    assert ask(known, telemetry, 1.0).pipelines[0].wanted == (3, 0)
    assert ask(known, telemetry, 10.5).pipelines[0].wanted == (1, 0)
