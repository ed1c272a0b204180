"""A first stage numbers the roots that it holds anew for a broker that was started again."""

from __future__ import annotations

from zturbo.core.links.custody import Custody
from zturbo.core.worker.held_roots import HeldRoots
from zturbo.wire.messages import Batch


def test_a_new_broker_is_told_what_is_held_and_numbers_it_from_one() -> None:
    custody: Custody[tuple[bytes, int, int]] = Custody()
    roots = HeldRoots(custody)
    for number in (4, 5, 6):
        batch = Batch(b"j" * 16, 2, 0, [((10 * number,), 3)], 3, bytes(30))
        batch.source, batch.number = b"old", number
        custody.admit((b"old", number, 0), 3)
        roots.note(batch)
    roots.done((b"old", 5, 0))
    roots.cut((b"old", 6, 0), 1)
    told = roots.adopt(b"new")
    assert [(job, epoch, runs, n) for job, epoch, runs, n, _ in told] == [
        (b"j" * 16, 2, (((40,), 3),), 3),
        (b"j" * 16, 2, (((60,), 1),), 1),
    ]
    assert [roots.now((b"old", number, 0)) for number in (4, 6)] == [(b"new", 1, 0), (b"new", 2, 0)]
    assert len(roots) == 2
