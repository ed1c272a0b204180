"""Connections that never shake hands, more than a process takes, beside good clients."""

from __future__ import annotations

from tests.system.faults.half_open import attack
from zturbo.runtime.net.crowd import HALF_OPEN


def test_half_open_connections_keep_no_good_client_out() -> None:
    """``python -m tests.system.faults.half_open`` does it with 5,000."""
    seen = attack(300, 0.7, secured=True, descriptors=256, listen="half_open = 24")
    assert seen["during"] and seen["clients"] >= 3
    assert seen["closed"] > 24, "more than there may be at a time"
    assert HALF_OPEN in seen["log"]
    assert seen["files"] < 250
    assert "Too many open files" not in seen["log"] and "Traceback" not in seen["log"], seen["log"]
