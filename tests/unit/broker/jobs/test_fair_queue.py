"""Turns go round between clients, then between jobs; a higher priority comes first."""

from __future__ import annotations

from zturbo_broker.jobs.fair_queue import FairQueue


def test_turns_go_round_between_clients_then_jobs() -> None:
    queue = FairQueue()
    for name in ("a1", "a2", "a3"):
        queue.add(name.encode(), b"a", 0)
    queue.add(b"b1", b"b", 0)
    turns = [queue.next() for _ in range(8)]
    assert turns.count(b"b1") == 4
    assert {turns.count(name) for name in (b"a1", b"a2", b"a3")} == {1, 2}
    queue.add(b"urgent", b"c", 5)
    assert [queue.next() for _ in range(3)] == [b"urgent"] * 3
    for name in (b"urgent", b"a1", b"a2", b"a3", b"b1", b"b1"):
        queue.remove(name)
    assert queue.next() is None and len(queue) == 0
