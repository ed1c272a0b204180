"""A reader gets all results that have come before it sees the end, or the error in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from zturbo.client.acceptance import Acceptance
from zturbo.client.incoming import Incoming
from zturbo.client.pushed import Pushed
from zturbo.client.subscription import Subscription
from zturbo.errors import JobFailed, UsageError
from zturbo.wire.messages import Results

JOB = b"j" * 16


class Thread:
    """Stands for the client's I/O thread: each of its steps is one call here."""

    def __init__(self) -> None:
        self.complete: Any = set()
        self.results = self
        self.pushed = Pushed()
        self.woken = 0
        self.left: list[bool] = []
        self.looks = 0
        self.incoming = Incoming(self, JOB, 0, Acceptance(), self._wake, tell=True)  # type: ignore[arg-type]

    def subscribe(self, sub: Subscription, at: object) -> None:
        self.sub = sub
        sub.stream.turn(1)

    def unsubscribe(self, sub: Subscription, *, tell: bool) -> None:
        assert sub is self.sub
        self.left.append(tell)

    def check_process(self) -> None:
        raise UsageError("a copy in a forked child")

    def post(self, call: Callable[[float], None]) -> bool:
        call(0.0)
        self.looks += 1
        return True

    def _wake(self) -> None:
        self.woken += 1

    def hear(self, first: int, n: int, total: int | None = None, size: int = 1) -> tuple[Results, int | None]:
        """The first half of what it does with a sink's message. Each result has ``size`` bytes."""
        results = Results(JOB, 1, first, n, total=total)
        return results, self.sub.stream.results(results, n * size, 0.0)

    def bring(self, first: int, n: int, total: int | None = None, size: int = 1) -> None:
        """Both halves."""
        results, skip = self.hear(first, n, total, size)
        self.sub.deliver(results, n if skip is None else skip)


def taken(incoming: Incoming) -> list[int]:
    """Indices of results that are here, until the end is seen."""
    out: list[int] = []
    while incoming.arrived and (part := incoming.take()) is not None:
        results, skip = part
        out += range(results.first + skip, results.first + results.n)
    return out


def test_results_are_taken_in_order_and_then_the_end() -> None:
    io = Thread()
    assert not io.incoming.arrived
    io.bring(0, 3)
    io.bring(1, 4)
    assert io.woken == 2 and taken(io.incoming) == [0, 1, 2, 3, 4], "what came twice is skipped"
    assert not io.incoming.arrived and not io.complete, "more may come"
    io.bring(5, 1, total=6)
    assert taken(io.incoming) == [5]
    assert io.complete == {JOB} and io.incoming.stream.taken == 6


def test_the_end_is_not_seen_before_the_last_results_are_here() -> None:
    """A reader may look while the I/O thread is between the stream's count and the hand-over."""
    io = Thread()
    results, skip = io.hear(0, 2, total=2)
    assert io.incoming.stream.complete and skip == 0
    assert not io.incoming.arrived, "it has to wait for these two"
    io.sub.deliver(results, skip)
    assert taken(io.incoming) == [0, 1] and io.complete == {JOB}


def test_an_error_comes_after_what_was_there() -> None:
    io = Thread()
    io.bring(0, 2)
    io.incoming.fail(JobFailed("no"))
    results, _ = io.incoming.take() or (None, 0)
    assert results is not None and results.n == 2
    with pytest.raises(JobFailed, match="no"):
        io.incoming.take()
    assert not io.complete


def test_what_comes_after_the_end_does_not_undo_it() -> None:
    io = Thread()
    io.bring(0, 1, total=1)
    io.incoming.fail(JobFailed("the client is closed"))
    assert taken(io.incoming) == [0] and io.complete == {JOB}


def test_the_thread_looks_again_if_the_caller_has_taken_all_that_it_had_asked_for() -> None:
    io = Thread()
    want = io.sub.stream.want(0.0)
    assert want is not None
    io.bring(0, want.limit, size=1 << 20)
    io.incoming.ask_on()
    assert io.looks == 0, "the caller has taken none of it"
    io.incoming.stream.taken = want.limit - 1
    io.incoming.ask_on()
    assert io.looks == 1
    assert io.sub.stream.want(0.1) is not None
    io.incoming.ask_on()
    assert io.looks == 1, "more is on its way"


def test_a_reader_that_is_late_says_how_far_it_came() -> None:
    io = Thread()
    io.incoming.stream.taken = 7
    assert "7 were" in str(io.incoming.late())


def test_the_sink_is_told_once_how_far_the_caller_came() -> None:
    io = Thread()
    io.incoming.close()
    io.incoming.close()
    assert io.left == [True]


def test_in_a_forked_child_nothing_is_waited_for() -> None:
    with pytest.raises(UsageError, match="forked"):
        Thread().incoming.check_process()


def test_results_that_came_before_their_reader_are_taken_without_the_thread() -> None:
    thread, accepted = Thread(), Acceptance()
    thread.pushed.expect(JOB, 7, b"s")
    thread.pushed.take(Results(JOB, 7, 0, 2, b"ab"), 2)
    assert thread.pushed.give_all(JOB) is None, "there may be more"
    thread.pushed.take(Results(JOB, 7, 2, 1, b"c", total=3), 1)
    incoming = Incoming(thread, JOB, 0, accepted, thread._wake, tell=True)  # type: ignore[arg-type]
    assert taken(incoming) == [0, 1, 2] and JOB in thread.complete
    incoming.close()
    assert not thread.left, "it has no subscription"
    assert not accepted.take_turn(), "the next reader asks for a turn of its own"
