"""How a job ended is settled once, whichever thread learns of it first, and all that wait are told."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from tests.unit.client.played import at
from zturbo.api.result import Result
from zturbo.client.acceptance import Acceptance
from zturbo.client.outcome import JobOutcome
from zturbo.client.reading import JobReading
from zturbo.client.subscriptions import SUPERSEDED
from zturbo.errors import JobCancelled, JobConflict, JobError, JobFailed
from zturbo.wire.control import answers

JOB = b"j" * 16


class Played:
    """A client's connection: what is asked of it, and a thread for callbacks that is this one."""

    def __init__(self) -> None:
        self.watched: list[Callable[[BaseException | None], None]] = []
        self.watch = self
        self.callbacks = self
        self.todo: list[Callable[[], object]] = []

    def check_process(self) -> None: ...

    def add(self, job: bytes, ended: Callable[[BaseException | None], None]) -> None:
        assert job == JOB
        self.watched.append(ended)

    def put(self, call: Callable[[], object]) -> None:
        self.todo.append(call)

    def run(self) -> None:
        """Its thread's turn."""
        while self.todo:
            self.todo.pop(0)()


class Watched:
    """The outcome of a job, and a future that gets it."""

    def __init__(
        self, collect: Callable[[Watched], object] = lambda job: None, *, waiting: bool = False
    ) -> None:
        self.connection: Any = Played()
        self.future: Future[Result] = Future()
        self.reading = JobReading(
            self.connection, JOB, Acceptance() if waiting else Acceptance.of(at(None, 1)), 0
        )
        self.outcome = JobOutcome(self.future, self.reading, lambda _: collect(self))
        self.called: list[bool] = []
        """Of each callback: whether the result was here."""

    def call_back(self) -> None:
        self.outcome.when_collected(lambda future: self.called.append(self.reading.result is not None))


def read_all(job: Watched) -> None:
    job.outcome.collected(Result())


def test_nobody_asks_for_the_end_before_somebody_waits_for_it_and_then_once() -> None:
    job = Watched()
    assert not job.connection.watched and not job.outcome.settled
    job.outcome.watch()
    job.outcome.watch()
    assert len(job.connection.watched) == 1
    job.connection.watched[0](None)
    job.outcome.watch()
    assert job.outcome.settled and len(job.connection.watched) == 1


def test_the_end_is_asked_for_once_the_broker_has_the_job() -> None:
    job = Watched(waiting=True)
    job.outcome.watch()
    assert not job.connection.watched
    job.reading.acceptance.accept(at(None, 1))
    assert len(job.connection.watched) == 1


def test_a_refusal_is_the_outcome() -> None:
    job = Watched(waiting=True)
    job.call_back()
    job.reading.acceptance.refuse(JobConflict("another one"))
    assert isinstance(job.outcome.error, JobConflict)
    assert not job.connection.watched


def test_a_callback_is_called_when_the_result_is_here() -> None:
    job = Watched(read_all)
    job.call_back()
    job.connection.watched[0](None)
    assert not job.outcome.settled and not job.called, "it is read first"
    job.connection.run()
    assert job.called == [True] and job.future.result(0) is job.reading.result


def test_a_callback_that_comes_late_has_the_result_read_too() -> None:
    job = Watched(read_all)
    job.outcome.ended(None)
    job.call_back()
    job.connection.run()
    assert job.called == [True]


def test_of_a_streamed_job_nothing_is_read_unasked() -> None:
    job = Watched(read_all)
    job.call_back()
    job.reading.streamed = True
    job.connection.watched[0](None)
    job.connection.run()
    assert job.outcome.settled and job.called == [False]


def test_who_waits_for_the_end_alone_is_told_without_the_result() -> None:
    job = Watched(read_all)
    job.outcome.when_settled(lambda future: job.called.append(job.reading.result is not None))
    job.connection.watched[0](None)
    assert job.called == [False]


def test_a_result_that_cannot_be_read_is_the_outcome() -> None:
    def broken(job: Watched) -> None:
        raise JobFailed("its results are lost")

    job = Watched(broken)
    job.call_back()
    job.connection.watched[0](None)
    job.connection.run()
    assert job.called == [False] and job.outcome.failed
    with pytest.raises(JobFailed, match="lost"):
        job.future.result(0)


def test_another_reader_does_not_end_the_job() -> None:
    job = Watched()
    job.outcome.reading_ended(JobError(SUPERSEDED))
    assert not job.outcome.settled
    job.outcome.reading_ended(JobError("it is gone"))
    assert job.outcome.failed and str(job.outcome.error) == "it is gone"


@pytest.mark.parametrize("state", ["cancelled", "done"])
def test_a_cancel_counts_if_the_broker_says_so(state: str) -> None:
    job = Watched()
    assert job.outcome.after_cancel(answers.State(state=state)) is (state == "cancelled")
    assert job.outcome.cancelled is (state == "cancelled")
    if state == "cancelled":
        assert isinstance(job.outcome.error, JobCancelled) and not job.outcome.failed


def test_the_first_word_counts() -> None:
    """Also if several threads have one at the same time: the future would raise at a second one."""
    for _ in range(50):
        job = Watched()
        errors: list[BaseException] = []
        begin = threading.Barrier(3)
        words: list[Callable[[], object]] = [
            lambda: job.outcome.collected(Result()),  # noqa: B023 - each is called in its round
            lambda: job.outcome.ended(JobFailed("no")),  # noqa: B023
            lambda: job.outcome.after_cancel(answers.State(state="cancelled")),  # noqa: B023
        ]

        def say(word: Callable[[], object]) -> None:
            begin.wait()  # noqa: B023
            try:
                word()
            except BaseException as error:
                errors.append(error)  # noqa: B023

        threads = [threading.Thread(target=say, args=(word,)) for word in words]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors and job.future.done() and job.outcome.settled


def status(state: str, **fields: Any) -> dict[str, Any]:
    return {"state": state, "error_kind": None, "error": None, **fields}


def test_the_state_that_the_broker_tells_is_noted_if_it_is_an_end() -> None:
    job = Watched()
    assert [job.outcome.state(status(state)) for state in ("waiting", "running")] == ["waiting", "running"]
    assert not job.outcome.settled
    job.outcome.state(status("failed", error_kind="JobFailed", error="why"))
    assert job.outcome.failed and "why" in str(job.outcome.error)
    job.outcome.state(status("done"))
    assert job.outcome.failed, "the first one counts"


def test_a_handle_that_is_let_go_is_gone_at_once_unless_a_caller_waits() -> None:
    job = Watched()
    gone = weakref.ref(job.future)
    job.outcome.watch()
    del job.future
    assert gone() is not None, "the broker is asked, and a callback may wait"
    job.outcome.ended(None)
    assert gone() is None
    job = Watched()
    gone = weakref.ref(job.future)
    del job.future
    assert gone() is None
