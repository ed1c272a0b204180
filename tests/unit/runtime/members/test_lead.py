"""One thread at a time runs the loop: the code's thread without work, the follower while code runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest

from zturbo.runtime.members.lead import Lead

WAIT = 30.0
"""Seconds after which a test has failed."""


class Loop:
    """A loop whose rounds note which thread makes them, and wait until they are woken or get a call."""

    def __init__(self) -> None:
        self.stopping = False
        self.calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.inside = 0
        self.clashed = False
        """Whether two threads have run the loop at once."""
        self.rounds: list[tuple[str, float]] = []
        self.went_on = 0
        self.ran = threading.Condition()

    def wake(self) -> None:
        self.calls.put(None)

    def turn(self, longest: float) -> None:
        self.inside += 1
        self.clashed |= self.inside != 1
        with self.ran:
            self.rounds.append((threading.current_thread().name, longest))
            self.ran.notify_all()
        call = None
        if longest:
            call = self.calls.get(timeout=min(longest, WAIT))
        elif not self.calls.empty():
            call = self.calls.get()
        if call is not None:
            call()
        self.inside -= 1

    def go_on(self) -> None:
        self.went_on += 1

    def until(self, true: Callable[[], bool]) -> None:
        """Wait until this is true of the rounds."""
        with self.ran:
            assert self.ran.wait_for(true, WAIT)

    def by(self, name: str) -> int:
        return sum(name == who for who, _ in self.rounds)


@pytest.fixture
def loop() -> Iterator[tuple[Loop, Lead]]:
    """A loop with a follower."""
    loop = Loop()
    lead = Lead(loop, loop.turn, loop.go_on)
    follower = threading.Thread(target=lead.follow, name="follower")
    follower.start()
    yield loop, lead
    loop.stopping = True
    lead.lead(lambda: True)
    loop.wake()
    follower.join(WAIT)
    assert not follower.is_alive() and not loop.clashed


def test_the_follower_leads_until_the_code_thread_wants_to(loop: tuple[Loop, Lead]) -> None:
    its, lead = loop
    its.until(lambda: its.by("follower") == 1)
    work: list[int] = []
    its.calls.put(lambda: work.append(1))  # the follower's: it waits in a round
    its.until(lambda: its.by("follower") == 2)
    assert work == [1]
    threading.Timer(0.01, its.calls.put, [lambda: work.append(2)]).start()
    lead.lead(lambda: len(work) == 2)
    assert work == [1, 2] and its.rounds[-1][0] == "MainThread"


def test_what_was_handed_over_is_done_first(loop: tuple[Loop, Lead]) -> None:
    its, lead = loop
    lead.lead(lambda: True)
    assert its.went_on == 1 and not its.by("MainThread"), "there was enough already"


def test_it_leads_no_longer_than_it_is_to(loop: tuple[Loop, Lead]) -> None:
    its, lead = loop
    lead.lead(lambda: True)
    its.calls.put(None)
    lead.lead(lambda: False, 0.0)
    assert its.went_on == 2 and not its.by("MainThread")


def test_while_code_runs_for_long_the_follower_leads(loop: tuple[Loop, Lead]) -> None:
    its, lead = loop
    lead.lead(lambda: True)
    before = len(its.rounds)
    its.until(lambda: (("follower", float("inf"))) in its.rounds[before:])  # this thread runs code meanwhile
    kinds = [longest for who, longest in its.rounds[before:] if who == "follower"]
    assert kinds[-1] == float("inf") and not any(kinds[:-1]), "first rounds without a wait"


def test_a_follower_that_sleeps_wakes_up_when_code_begins(loop: tuple[Loop, Lead]) -> None:
    its, lead = loop
    work: list[int] = []
    for number in range(3):
        timer = threading.Timer(0.3, its.calls.put, [lambda number=number: work.append(number)])
        timer.start()  # the code's thread has nothing to do for longer than the follower looks
        lead.lead(lambda number=number: len(work) > number)
        timer.join()
        before = its.by("follower")
        its.until(lambda before=before: its.by("follower") > before)


def test_a_round_amid_code_is_made_unless_the_follower_leads(loop: tuple[Loop, Lead]) -> None:
    its, lead = loop
    its.until(lambda: its.by("follower") == 1)
    lead.turn()
    assert not its.by("MainThread"), "the follower leads"
    seen: list[bool] = []
    lead.lead(lambda: True)
    its.calls.put(lambda: seen.append(lead.by_code))
    for _ in range(1000):  # the follower may make a round at any time
        lead.turn()
        if True in seen:
            break
        lead.lead(lambda: True)
        its.calls.put(lambda: seen.append(lead.by_code))
    assert True in seen and not lead.by_code


def test_the_follower_leads_at_once_where_it_is_told_to(loop: tuple[Loop, Lead]) -> None:
    its, lead = loop
    lead.lead(lambda: True)
    before = len(its.rounds)
    lead.hand_over()
    its.until(lambda: (("follower", float("inf"))) in its.rounds[before:])


def test_two_threads_never_run_the_loop_at_once(loop: tuple[Loop, Lead]) -> None:
    its, lead = loop
    done = 0
    for number in range(300):
        its.calls.put(lambda: None)
        lead.lead(lambda number=number: len(its.rounds) > number)
        lead.turn()
        done += 1
    assert done == 300 and its.went_on == 300
