"""The ledger's migrations."""

from __future__ import annotations

import sqlite3
import zlib
from operator import attrgetter
from pathlib import Path

import msgpack
import pytest

from tests.unit.broker.ledger.rows import row
from zturbo.errors import StartError
from zturbo_broker.ledger.ledger import Ledger
from zturbo_broker.ledger.rows import JobRow
from zturbo_broker.ledger.schema import MIGRATIONS, migrate


def test_migrations_are_in_order_and_applied_once(tmp_path: Path) -> None:
    assert [version for version, _ in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))
    connection = sqlite3.connect(tmp_path / "m.db", isolation_level=None)
    assert migrate(connection) == migrate(connection) == len(MIGRATIONS)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StartError, match="newer zturbo"):
        Ledger(tmp_path / "m.db")


def test_a_ledger_without_checksums_is_given_them(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    old = sqlite3.connect(path, isolation_level=None)
    for _, statements in MIGRATIONS[:2]:
        for statement in statements:
            old.execute(statement)
    old.execute("PRAGMA user_version = 2")
    old.execute("INSERT INTO meta VALUES ('cluster', ?), ('view', ?)", (b"c" * 16, b"\0" * 7 + b"\x07"))
    columns = ", ".join(JobRow.__annotations__)
    values = attrgetter(*JobRow.__annotations__)(row(state="running"))
    old.execute(f"INSERT INTO job ({columns}) VALUES ({', '.join('?' * len(values))})", values)
    payload = msgpack.packb([b"blob", None, []])
    old.execute(
        "INSERT INTO chunk VALUES (?, 0, 0, 3, ?, ?, ?)",
        (b"j" * 16, len(payload), zlib.crc32(payload), payload),
    )
    old.close()
    for _ in range(2):
        ledger = Ledger(path)
        assert ledger.cluster_id == b"c" * 16 and ledger.view() == 7
        assert list(ledger.jobs()) == [row(state="running")]
        assert ledger.chunk_index(b"j" * 16) == [(0, 0, 3, len(payload))]
        assert ledger.chunk(b"j" * 16, 0).blob == b"blob"
        ledger.put_job(row(state="running"))
        ledger.close()
