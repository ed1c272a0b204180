"""A row that makes no sense is told by its name."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.broker.ledger.rows import row
from zturbo.slotted import replace
from zturbo_broker.ledger.rows import LedgerCorrupt, job_of, member_of


@pytest.mark.parametrize(
    "change",
    [{"state": "lost"}, {"options": b"\xc1"}, {"notes": b"\x80"}, {"stamp": b"\x93\x01\x02\x03"}],
)
def test_a_row_that_is_no_job_is_told_by_name(change: dict[str, Any]) -> None:
    with pytest.raises(LedgerCorrupt, match=r"job 6a6a\w+ of table job"):
        job_of(replace(row(), **change), [])


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x01"])
def test_a_row_that_is_no_member_is_told_by_name(raw: bytes) -> None:
    with pytest.raises(LedgerCorrupt, match="row 'members' of table meta"):
        member_of(raw)
