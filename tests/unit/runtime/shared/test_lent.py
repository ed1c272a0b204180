"""What a sink keeps for clients that have not opened it."""

from __future__ import annotations

from zturbo.runtime.shared import lent
from zturbo.runtime.shared.lent import Lent

A, B, JOB, OTHER = b"a" * 16, b"b" * 16, b"j" * 16, b"o" * 16


def test_until_the_client_asks_for_more() -> None:
    kept = Lent()
    for first in range(4):
        kept.lend((A, JOB, 1), first, [b"12", b"3"], float(first))
    kept.lend((B, JOB, 1), 0, [b"1"], 0.0)
    kept.lend((A, OTHER, 1), 0, [b"1"], 0.0)
    kept.got((A, JOB, 1), -1)
    assert kept.nbytes == 14
    kept.got((A, JOB, 1), 3)
    assert kept.nbytes == 5
    kept.got((A, JOB, 1), 4)
    kept.got((A, JOB, 1), 4)
    assert kept.nbytes == 2


def test_not_for_ever() -> None:
    kept = Lent()
    kept.lend((A, JOB, 1), 0, [b"1"], 0.0)
    kept.lend((A, JOB, 1), 1, [b"1"], lent.KEEP)
    kept.trim(lent.KEEP)
    assert kept.nbytes == 2
    kept.trim(lent.KEEP + 1)
    assert kept.nbytes == 1
    assert not kept.full
    kept.lend((A, JOB, 1), 2, [memoryview(bytes(1 << 20)) for _ in range(lent.MOST_BYTES >> 20)], 0.0)
    assert kept.full
