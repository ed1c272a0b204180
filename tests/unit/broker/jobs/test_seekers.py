"""Clients that have asked where results are are told when that may have changed."""

from __future__ import annotations

from zturbo.core.effects import Control, Effect
from zturbo.wire.control import from_broker
from zturbo_broker.jobs.seekers import Seekers

J, K, L = b"j" * 16, b"k" * 16, b"l" * 16


class Told:
    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.seekers = Seekers(5.0, self.effects)

    def take(self) -> list[tuple[bytes, tuple[bytes, ...]]]:
        """(client, jobs) of what was said since."""
        said: list[tuple[bytes, tuple[bytes, ...]]] = []
        for effect in self.effects:
            assert isinstance(effect, Control) and isinstance(effect.message, from_broker.Moved)
            said.append((effect.to, effect.message.jobs))
        self.effects.clear()
        return said


def test_each_client_is_told_once_for_a_question() -> None:
    told = Told()
    for client in (b"c", b"d"):
        told.seekers.asks(client, J, 0.0)
    told.seekers.asks(b"c", K, 0.0)
    told.seekers.moved(J)
    assert told.take() == [(b"c", (J,)), (b"d", (J,))]
    told.seekers.moved(J)
    assert told.take() == []
    told.seekers.asks(b"c", J, 0.0)
    told.seekers.sink_came()
    assert told.take() == [(b"c", (K, J))]
    told.seekers.sink_came()
    assert told.take() == [] and not len(told.seekers)


def test_an_old_question_is_forgotten() -> None:
    told = Told()
    told.seekers.asks(b"c", J, 0.0)
    told.seekers.asks(b"d", K, 1.0)
    told.seekers.asks(b"c", J, 4.0)
    told.seekers.asks(b"e", L, 7.0)
    told.seekers.sink_came()
    assert told.take() == [(b"c", (J,)), (b"e", (L,))]
