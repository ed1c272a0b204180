"""Jobs on their way to a broker that the test plays: what goes together, what waits, who is told what."""

from __future__ import annotations

import threading

import pytest

from tests.unit.client.played import Played, at
from zturbo.client import outbox as module
from zturbo.client.acceptance import Acceptance
from zturbo.client.io import ClientIO
from zturbo.client.outbox import APART, FEW, JOBS, MANY, TOGETHER, Outbox
from zturbo.client.submissions import Small, Submission
from zturbo.errors import BrokerUnavailable, JobConflict, UnknownPipeline, UsageError
from zturbo.wire.carried import carried_id
from zturbo.wire.control import answers, to_broker
from zturbo.wire.control.fields import MAX_CONTROL
from zturbo.wire.control.newjob import NewJob
from zturbo.wire.messages import Buffer
from zturbo.wire.payload import pack_many, pack_root_meta, unpack_many


def new(i: int, parts: int = 0) -> NewJob:
    name = i.to_bytes(16, "big")
    return NewJob(
        job=name, name=str(i), pipeline="p", stream=not parts, options={}, meta=None, digest=b"", parts=parts
    )


def taken() -> answers.Outcome:
    return answers.Outcome(at=at(None, 1), kind=None, error=None)


def submitted(broker: Played) -> to_broker.Submit:
    message = broker.asked()
    assert isinstance(message, to_broker.Submit)
    return message


@pytest.fixture
def broker(played: list[Played]) -> Played:
    return played[0]


def held_up(io: ClientIO) -> threading.Event:
    """The I/O thread does nothing until this is set."""
    there, go = threading.Event(), threading.Event()

    def hold(now: float) -> None:
        there.set()
        go.wait(10)

    io.post(hold)
    assert there.wait(10)
    return go


def test_what_has_come_together_goes_in_one_message(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 10.0)
    go = held_up(io)
    frames: list[list[Buffer]] = [[b"a"], [b"b", b"c"], []]
    found = [outbox.put(Submission(new(i, len(part)), part)) for i, part in enumerate(frames)]
    go.set()
    message = submitted(broker)
    assert [job.name for job in message.jobs] == ["0", "1", "2"]
    assert [bytes(frame) for frame in message.contents] == [b"a", b"b", b"c"]
    refusal = answers.Outcome(at=None, kind="JobConflict", error="another one")
    broker.answer(message, (taken(), refusal, taken()))
    assert found[0].result(10).token == 1 and found[2].result(10).token == 1
    with pytest.raises(JobConflict, match="another one"):
        found[1].result(10)
    assert outbox.flush(10.0)


def test_few_messages_are_under_way(io: ClientIO, broker: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOBS", 2)
    outbox = Outbox(io, 60.0)
    go = held_up(io)
    for i in range(2 * module.UNDER_WAY + 3):
        outbox.put(Submission(new(i), []))
    go.set()
    first = [submitted(broker) for _ in range(module.UNDER_WAY)]
    assert [len(message.jobs) for message in first] == [2] * module.UNDER_WAY
    assert not outbox.flush(0.0)
    for message in first:
        broker.answer(message, (taken(), taken()))
    rest = [submitted(broker), submitted(broker)]
    assert [len(message.jobs) for message in rest] == [2, 1]
    for message in rest:
        broker.answer(message, (taken(),) * len(message.jobs))
    assert outbox.flush(10.0)


def test_a_question_waits_for_the_jobs_before_it(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 60.0)
    outbox.wait_for_answers()
    outbox.put(Submission(new(0), []))
    asked = threading.Thread(target=outbox.wait_for_answers)
    asked.start()
    message = submitted(broker)
    assert asked.is_alive() and outbox.waiting
    broker.answer(message, (taken(),))
    asked.join(10)
    assert not asked.is_alive() and not outbox.waiting


def test_a_large_job_goes_alone(io: ClientIO, broker: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BYTES", 1000)
    outbox = Outbox(io, 10.0)
    go = held_up(io)
    outbox.put(Submission(new(0, 1), [b"x" * 5000]))
    outbox.put(Submission(new(1, 1), [b"y"]))
    go.set()
    assert [len(submitted(broker).jobs) for _ in range(2)] == [1, 1]


def test_with_very_many_jobs_a_caller_waits(
    io: ClientIO, broker: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_JOBS", 2)
    outbox = Outbox(io, 10.0)
    outbox.put(Submission(new(0), []))
    message = submitted(broker)
    outbox.put(Submission(new(1), []))
    found: list[Acceptance] = []
    caller = threading.Thread(target=lambda: found.append(outbox.put(Submission(new(2), []))))
    caller.start()
    assert not outbox.has_room()
    broker.answer(message, (taken(),))
    left = 2
    while left:  # in one message or in two
        message = submitted(broker)
        broker.answer(message, (taken(),) * len(message.jobs))
        left -= len(message.jobs)
    caller.join(10)
    assert found[0].result(10).token == 1


def test_a_broker_that_does_not_answer_is_told_by_handle_and_flush(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 0.1)
    first = outbox.put(Submission(new(0), []))
    with pytest.raises(BrokerUnavailable):
        first.result(10)
    assert outbox.flush(0.0), "its handle has told it"
    outbox.put(Submission(new(1), []))
    with pytest.raises(BrokerUnavailable):
        outbox.flush(10.0)
    assert outbox.flush(0.0), "it was told"


def test_a_refusal_that_nobody_has_asked_for_is_logged(
    io: ClientIO, broker: Played, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox(io, 10.0)
    outbox.put(Submission(new(0), []))
    broker.answer(submitted(broker), (answers.Outcome(at=None, kind="JobConflict", error="another one"),))
    assert outbox.flush(10.0)
    assert "job '0' was not taken: another one" in caplog.text


def test_a_job_that_no_message_can_carry_is_refused_and_holds_up_no_other(
    io: ClientIO, broker: Played
) -> None:
    outbox = Outbox(io, 10.0)
    large = outbox.put(Submission(new(0).but(meta=bytes(MAX_CONTROL)), []))
    with pytest.raises(UsageError, match="does not take this"):
        large.result(10)
    outbox.put(Submission(new(1), []))
    broker.answer(submitted(broker), (taken(),))
    assert outbox.flush(10.0)


def test_an_answer_for_fewer_jobs_leaves_nobody_waiting(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 10.0)
    acceptance = outbox.put(Submission(new(0), []))
    broker.answer(submitted(broker), ())
    assert acceptance.exception(10) is not None


def test_a_client_that_ends_leaves_nobody_waiting(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 60.0)
    sent = outbox.put(Submission(new(0), []))
    submitted(broker)
    io.close()
    with pytest.raises(BrokerUnavailable):
        sent.result(10)
    with pytest.raises(BrokerUnavailable, match="closed"):
        outbox.put(Submission(new(1), []))
    assert outbox.has_room()


def test_a_client_that_is_let_go_sends_what_is_here(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 60.0)
    outbox.put(Submission(new(0), []))
    outbox.when_empty(io.stop)
    message = submitted(broker)
    assert not io.closed
    broker.answer(message, (taken(),))
    io._thread.join(10)
    assert io.closed


def small(i: int, pipeline: str = "p") -> Small:
    return Small((pipeline, "memory", None), "job", pack_many([i]))


def together(outbox: Outbox, io: ClientIO, n: int) -> list[tuple[bytes, Acceptance]]:
    """Small jobs that wait to be sent at the same time."""
    go = held_up(io)
    found = [outbox.put_small(small(i)) for i in range(n)]
    go.set()
    return found


def test_many_small_jobs_travel_together(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 10.0)
    found = together(outbox, io, 40)
    message = submitted(broker)
    (carrier,) = message.jobs
    assert (carrier.carries, carrier.options, carrier.stream) == (40, {"durability": "memory"}, False)
    assert [job for job, _ in found] == [carried_id(carrier.job, root) for root in range(40)]
    assert unpack_many(bytes(message.contents[0]), 40) == list(range(40))
    broker.answer(message, (taken(),))
    assert {acceptance.result(10).token for _, acceptance in found} == {1}
    assert all(io.results.has_ended(job) is False for job, _ in found), "their results are expected"
    assert outbox.flush(10.0)


def test_a_few_small_jobs_are_jobs_of_their_own(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 10.0)
    together(outbox, io, TOGETHER - 1)
    message = submitted(broker)
    assert [new.carries for new in message.jobs] == [0] * (TOGETHER - 1)
    broker.answer(message, tuple(taken() for _ in message.jobs))
    assert outbox.flush(10.0)


def test_small_jobs_of_two_kinds_travel_in_two_crowds_however_they_are_mixed(
    io: ClientIO, broker: Played
) -> None:
    outbox = Outbox(io, 10.0)
    go = held_up(io)
    found = [outbox.put_small(small(i, "pq"[i % 2]))[0] for i in range(2 * JOBS)]
    go.set()
    jobs = [new for _ in range(2) for new in submitted(broker).jobs]
    assert [(new.pipeline, new.carries) for new in jobs] == [("p", JOBS // 2), ("q", JOBS // 2)] * 2
    roots = [carried_id(new.job, root) for new in jobs for root in range(new.carries)]
    assert sorted(found) == sorted(roots)


def test_small_jobs_do_not_overtake_one_that_goes_alone(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 10.0)
    go = held_up(io)
    for i in range(2 * TOGETHER):
        if i == TOGETHER:
            outbox.put(Submission(new(0), []))
        outbox.put_small(small(i))
    go.set()
    assert [job.carries for job in submitted(broker).jobs] == [TOGETHER, 0, TOGETHER]


def test_small_jobs_keep_their_names_and_metas(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 10.0)
    go = held_up(io)
    for i in range(TOGETHER):
        meta = pack_root_meta({"i": i}, None) if i % 2 else None
        outbox.put_small(Small(("p", None, 3), f"n{i}", pack_many([i]), meta))
    go.set()
    (job,) = submitted(broker).jobs
    assert job.names == tuple(f"n{i}" for i in range(TOGETHER)) and job.options == {"priority": 3}
    metas = unpack_many(job.meta or b"", TOGETHER)
    assert metas[0] is None and metas[0::2] == [None] * (TOGETHER // 2)
    assert b"".join(pack_many([meta]) for meta in metas) == job.meta and None not in metas[1::2]


def test_small_jobs_gather_as_long_as_an_answer_is_awaited(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 60.0)
    outbox.put_small(small(0))
    first = submitted(broker)
    for i in range(5):
        outbox.put_small(small(i))
    done = threading.Event()
    io.post(lambda now: done.set())
    assert done.wait(10)
    broker.answer(first, (taken(),))
    assert len(submitted(broker).jobs) == 5, "in one message, once the first is answered"


def with_many_under_way(io: ClientIO, sink: Played) -> Outbox:
    """An outbox with a small job, of a client that waits for the results of many."""
    outbox = Outbox(io, 60.0)
    go = held_up(io)
    for i in range(MANY):
        io.results.expect(i.to_bytes(16, "big"), at(sink, 1))
    outbox.put_small(small(0))
    go.set()
    return outbox


def test_while_many_jobs_are_under_way_a_few_wait_a_moment_and_travel(
    io: ClientIO, played: list[Played]
) -> None:
    broker, sink, *_ = played
    outbox = with_many_under_way(io, sink)
    came = threading.Event()
    io.post(lambda now: came.set())
    assert came.wait(10)
    for i in range(1, FEW):
        outbox.put_small(small(i))
    message = submitted(broker)
    (carrier,) = message.jobs
    assert carrier.carries == FEW


def test_a_single_one_goes_after_a_moment(io: ClientIO, played: list[Played]) -> None:
    broker, sink, *_ = played
    with_many_under_way(io, sink)
    (alone,) = submitted(broker).jobs
    assert not alone.carries


def test_what_was_taken_apart_is_tried_again_soon_and_then_later(
    io: ClientIO, broker: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    outbox = Outbox(io, 1e6)

    def carried(*, apart: bool) -> bool:
        """Whether the next jobs travel together. If they do, the broker takes them apart, or does not."""
        together(outbox, io, 20)
        message = submitted(broker)
        travel = bool(message.jobs[0].carries)
        broker.answer(message, tuple(taken().but(apart=apart and travel) for _ in message.jobs))
        assert outbox.flush(10.0)
        return travel

    assert carried(apart=True) and not carried(apart=True)
    now += APART
    assert carried(apart=True)
    now += APART
    assert not carried(apart=True), "the second time it is twice as long"
    now += APART
    assert carried(apart=False) and carried(apart=True) and not carried(apart=True)
    now += APART
    assert carried(apart=False), "it has begun anew"


def test_jobs_that_the_broker_takes_apart_have_tokens_of_their_own(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 10.0)
    found = together(outbox, io, 20)
    message = submitted(broker)
    broker.answer(message, (taken().but(apart=True),))
    assert [acceptance.result(10).token for _, acceptance in found] == list(range(1, 21))
    assert all(io.results.has_ended(job) is None for job, _ in found)
    together(outbox, io, 20)
    assert len(submitted(broker).jobs) == 20, "the next ones are sent apart"


def test_a_refusal_is_that_of_all_jobs_that_travel_together(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 10.0)
    found = together(outbox, io, 20)
    broker.answer(submitted(broker), (answers.Outcome(at=None, kind="UnknownPipeline", error="none"),))
    for _, acceptance in found:
        with pytest.raises(UnknownPipeline, match="none"):
            acceptance.result(10)


def full(after: float = 0.01) -> answers.Outcome:
    return answers.Outcome(at=None, kind="BrokerUnavailable", error="2 jobs are not finished", after=after)


def test_what_finds_no_room_goes_again_by_itself_and_as_it_was(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 10.0)
    go = held_up(io)
    first = outbox.put(Submission(new(0), []))
    some = [outbox.put_small(small(i)) for i in range(TOGETHER)]
    go.set()
    message = submitted(broker)
    broker.answer(message, (taken(), full(after=0.1)))
    outbox.wait_for_answers()
    later = outbox.put(Submission(new(1), []))
    again = submitted(broker)
    assert again.jobs == message.jobs[1:] and again.contents == message.contents, "nothing overtakes it"
    assert first.done() and not later.done()
    assert {acceptance.held for _, acceptance in some} == {"2 jobs are not finished"}
    assert not outbox.flush(0.0)
    broker.answer(again, (taken(),))
    assert {acceptance.result(10).token for _, acceptance in some} == {1}
    assert some[0][1].held == ""
    broker.answer(submitted(broker), (taken(),))
    assert later.result(10).token == 1 and outbox.flush(10.0)


def test_a_program_that_fails_waits_for_no_room(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 10.0)
    job = outbox.put(Submission(new(0), []))
    broker.answer(submitted(broker), (full(after=60.0),))
    outbox.wait_for_answers()
    outbox.wait_for_no_room()
    broker.answer(submitted(broker), (full(after=60.0),))
    with pytest.raises(BrokerUnavailable, match="2 jobs are not finished"):
        job.result(10)
    assert outbox.flush(10.0)


def test_a_question_does_not_wait_for_a_job_without_room(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 10.0)
    job = outbox.put(Submission(new(0), []))
    broker.answer(submitted(broker), (full(after=60.0),))
    outbox.wait_for_answers()
    assert job.held and outbox.waiting and not outbox.flush(0.0)
    io.close()
    with pytest.raises(BrokerUnavailable, match="closed"):
        job.result(10)


def test_a_question_does_not_wait_for_a_job_behind_one_without_room(io: ClientIO, broker: Played) -> None:
    outbox = Outbox(io, 10.0)
    go = held_up(io)
    outbox.put(Submission(new(0), []))
    go.set()
    message = submitted(broker)
    behind = outbox.put(Submission(new(1), []))
    second = submitted(broker)
    broker.answer(message, (full(after=60.0),))
    broker.answer(second, (full(after=60.0),))
    outbox.wait_for_answers()
    last = outbox.put(Submission(new(2), []))  # it is not sent now: it would overtake them
    asking = threading.Thread(target=outbox.wait_for_answers, daemon=True)
    asking.start()
    asking.join(10)
    assert not asking.is_alive()
    assert behind.held == last.held == "2 jobs are not finished"
    io.close()


def test_of_many_messages_without_room_one_tries_again(
    io: ClientIO, broker: Played, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "JOBS", 2)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    outbox = Outbox(io, 60.0)
    go = held_up(io)
    found = [outbox.put(Submission(new(i), [])) for i in range(2 * module.UNDER_WAY)]
    go.set()
    messages = [submitted(broker) for _ in range(module.UNDER_WAY)]
    for message in messages:
        broker.answer(message, (full(), full()))
    names = []
    for _ in messages:
        message = submitted(broker)
        names += [job.name for job in message.jobs]
        broker.answer(message, (taken(), taken()))
    assert names == [str(i) for i in range(2 * module.UNDER_WAY)], "in their order"
    assert all(acceptance.result(10).token == 1 for acceptance in found)
    assert "jobs are not submitted yet, and will be by themselves: 2 jobs are not finished" in caplog.text
    assert outbox.flush(10.0) and "takes jobs again" in caplog.text
