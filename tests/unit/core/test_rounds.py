"""A machine settles after each event, or once after all events of a round."""

from __future__ import annotations

from zturbo.core.rounds import Rounds


def test_without_rounds_each_event_settles() -> None:
    settled: list[float] = []
    rounds = Rounds(settled.append)
    rounds.event(1.0)
    rounds.event(2.0)
    assert settled == [1.0, 2.0] and not rounds.due
    rounds.end(3.0)
    assert settled == [1.0, 2.0], "nothing has happened since"


def test_a_round_settles_once_at_its_end() -> None:
    settled: list[float] = []
    rounds = Rounds(settled.append)
    rounds.together = True
    rounds.event(1.0)
    rounds.event(2.0)
    assert not settled and rounds.due
    rounds.end(3.0)
    rounds.end(4.0)
    assert settled == [3.0]


def test_what_happens_while_a_machine_settles_is_of_the_next_round() -> None:
    settled: list[float] = []

    def settle(now: float) -> None:
        settled.append(now)
        if len(settled) == 1:
            rounds.event(now)

    rounds = Rounds(settle)
    rounds.together = True
    rounds.event(1.0)
    rounds.end(1.0)
    assert rounds.due
    rounds.end(2.0)
    assert settled == [1.0, 2.0] and not rounds.due
