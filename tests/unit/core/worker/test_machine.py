"""Tasks behind a long one are given back, and their sender does not send them there again."""

from __future__ import annotations

from tests.unit.core.pair import BUSY, JOB, Pair
from zturbo.core.worker.produced import Produced


def test_what_is_given_back_waits_for_another_or_for_the_end_of_the_long_task() -> None:
    pair = Pair()
    for number in range(4):
        pair.put(number, 0.001)
    assert len(pair.runs) == 2, "one runs, one is at hand, two are queued"
    for now in (1.0, 1.01, 1.02):
        pair.worker.tick(now)
        pair.senders.tick(now)
        pair.carry(now)
    assert pair.said[-1].busy and not pair.said[-1].returns
    assert pair.senders.pending_tasks == pair.senders.returned == 2, (
        "not sent there again, for all its credit"
    )
    assert pair.senders.links[BUSY].limit_tasks > pair.senders.links[BUSY].tasks_sent

    first = pair.runs[0].work
    pair.worker.produced(Produced(JOB, 1, [(first.origin, 1)], None, 1, 1.0, (first,)), 1.03)
    pair.carry(1.03)
    assert not pair.said[-1].busy
    assert pair.senders.pending_tasks == 0
