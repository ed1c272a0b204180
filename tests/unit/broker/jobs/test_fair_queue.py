"""Turns go round between clients, then between jobs; a higher priority comes first."""

from __future__ import annotations

from zturbo_broker.jobs.fair_queue import FairQueue


def turns(queue: FairQueue, n: int) -> list[bytes | None]:
    """Whose turn it is, n times."""
    out = []
    for _ in range(n):
        out.append(queue.first())
        queue.turn()
    return out


def test_turns_go_round_between_clients_then_jobs() -> None:
    queue = FairQueue()
    for name in ("a1", "a2", "a3"):
        queue.add(name.encode(), b"a", 0)
    queue.add(b"b1", b"b", 0)
    taken = turns(queue, 8)
    assert taken.count(b"b1") == 4
    assert {taken.count(name) for name in (b"a1", b"a2", b"a3")} == {1, 2}
    queue.add(b"urgent", b"c", 5)
    assert turns(queue, 3) == [b"urgent"] * 3
    for name in (b"urgent", b"a1", b"a2", b"a3", b"b1", b"b1"):
        queue.remove(name)
    assert queue.first() is None and len(queue) == 0


def test_a_turn_that_was_of_no_use_is_given_back() -> None:
    queue = FairQueue()
    for name in (b"a1", b"a2", b"b1"):
        queue.add(name, name[:1], 0)
    unused = turns(queue, 2)
    assert unused == [b"a1", b"b1"]
    for name in reversed(unused):
        assert name is not None
        queue.back(name)
    assert turns(queue, 3) == [b"a1", b"b1", b"a2"]
