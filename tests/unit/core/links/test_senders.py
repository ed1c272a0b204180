"""A sender that has lost the word of new credit asks for it."""

from __future__ import annotations

from tests.unit.core.pair import BUSY, Pair


def test_the_word_of_new_credit_got_lost_while_nothing_was_on_the_way() -> None:
    pair = Pair()
    dest = ("p", 1)
    link = pair.senders.links[BUSY]
    link.limit_tasks = link.tasks_sent  # the word that raised it did not come
    assert pair.senders.credit(dest, 100.0) == 0, "somebody has roots, and keeps them until there is credit"
    at = link.deadline()
    assert at is not None and 100.0 < at < 101.0
    assert link.silent(100.5) == 0.5, "and nobody is blamed for the time before"
    pair.senders.tick(at)
    pair.carry(at)
    assert pair.senders.credit(dest, at) > 0 and not link.starved
