"""A row for tests."""

from __future__ import annotations

from zturbo_broker.ledger.rows import JobRow


def row(job: bytes = b"j" * 16, state: str = "waiting") -> JobRow:
    columns = (job, "n", "p", b"c" * 16, state, 0, b"\x80", b"d", True, False, 0, None, 1.5, None, 0, 0)
    return JobRow(*columns, error_kind=None, error=None, number=1)
