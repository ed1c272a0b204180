"""Rows that were written as they stand and make no sense: a broker starts without them, and says so."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest

from zturbo.wire.control.view import Member
from zturbo_broker.ledger.ledger import Ledger
from zturbo_broker.server import Broker


def member(name: bytes, endpoint: str) -> bytes:
    one = Member(name * 16, "worker", "p", 0, "h", (endpoint,))
    return bytes(msgpack.packb(one.to_wire()))


BAD = {
    "no path": member(b"1", "ipc://"),
    "no port": member(b"2", "tcp:bogus"),
    "no scheme": member(b"3", "bogus://x"),
    "too long": member(b"4", "ipc:///" + "x" * 300),
    "no member": bytes(msgpack.packb([1, 2])),
    "no msgpack": b"\xc1",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_broker_starts_without_a_member_that_nobody_can_reach(
    bad: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(tmp_path / "state" / "ledger.db")
    ledger.set_members([bad, member(b"g", f"ipc://{tmp_path}/good")])
    ledger.commit()
    broker = Broker(
        bind=f"ipc://{tmp_path}/broker", ledger=ledger, pipelines=[], host="h", folder=tmp_path / "sockets"
    )
    try:
        assert b"g" * 16 in broker.machine.membership
        assert len(broker.machine.membership.view().members) == 2  # it and the broker
        assert "row 'members' of table meta cannot be read" in caplog.text
        assert "starting without it" in caplog.text
    finally:
        broker.close()
