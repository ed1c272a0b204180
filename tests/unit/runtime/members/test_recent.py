"""A sink remembers the last batches, within bounds, and forgets a job's at once."""

from __future__ import annotations

import pytest

from zturbo.runtime.members import recent
from zturbo.runtime.members.recent import RecentBatches
from zturbo.wire.messages import Batch


def batch(job: bytes, size: int) -> Batch:
    return Batch(job, 1, 0, [((), 1)], 1, bytes(size))


def test_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MOST_BYTES", 4 * batch(b"a", 1000).nbytes)
    batches = RecentBatches()
    for token in range(10):
        batches.add(token, batch(b"ab"[token % 2 : token % 2 + 1], 1000))
    assert [token for token in range(10) if batches.get(token)] == [6, 7, 8, 9]
    batches.forget(b"a")
    assert [token for token in range(10) if batches.get(token)] == [7, 9]
    batches.add(11, batch(b"c", 100_000))
    assert batches.get(11) is not None and len(batches) == 1, "one that is too large stays until the next"
    batches.add(11, batch(b"c", 10))
    assert batches.nbytes == batch(b"c", 10).nbytes, "one that is stored again counts once"
    batches.forget(b"c")
    batches.forget(b"nobody")
    assert len(batches) == batches.nbytes == 0
