"""The ledger: what was committed is there, damage is found, and a full disk only waits."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from broker.jobs import TRANSITIONS, InvalidTransition, check_transition
from broker.ledger import JobRow, Ledger, LedgerCorrupt, LedgerFull
from broker.schema import MIGRATIONS, migrate
from zturbo.errors import StartError


def row(job: bytes = b"j" * 16, state: str = "waiting") -> JobRow:
    return JobRow(
        job, "n", "p", b"c" * 16, state, 0, b"\x80", b"d", True, False, 0, None, 1.5, None, 0, 0, None, None
    )


def test_what_was_committed_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "state" / "ledger.db"
    ledger = Ledger(path)
    cluster = ledger.cluster_id
    ledger.put_job(row())
    ledger.put_chunk(b"j" * 16, 0, 0, 3, memoryview(b"\x01\x02\x03"), None, [])
    ledger.put_chunk(b"j" * 16, 1, 3, 1, b"\x04", b"m", [b"large"])
    ledger.set_view(7)
    ledger.set_members([b"one", b"two"])
    ledger.commit()
    ledger.put_job(row(state="running"))
    ledger.close()
    assert oct(path.stat().st_mode)[-3:] == "600" and oct(path.parent.stat().st_mode)[-3:] == "700"
    again = Ledger(path)
    assert again.cluster_id == cluster and again.view() == 7 and again.members() == [b"one", b"two"]
    assert list(again.jobs()) == [row(state="running")]
    assert [entry[:3] for entry in again.chunk_index(b"j" * 16)] == [(0, 0, 3), (1, 3, 1)]
    chunk = again.chunk(b"j" * 16, 1)
    assert (chunk.first, chunk.n, chunk.blob, chunk.metas, chunk.buffers) == (3, 1, b"\x04", b"m", [b"large"])
    again.drop_job(b"j" * 16)
    again.commit()
    assert not list(again.jobs()) and not again.chunk_index(b"j" * 16)
    again.close()


def test_what_was_not_committed_is_lost_in_a_crash(tmp_path: Path) -> None:
    code = (
        "import os, sys; from broker.ledger import Ledger; from tests.unit.broker.test_ledger import row\n"
        "ledger = Ledger(sys.argv[1]); ledger.put_job(row(b'1' * 16)); ledger.commit()\n"
        "ledger.put_job(row(b'2' * 16)); os._exit(9)"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "l.db")], check=False, cwd=Path(__file__).parents[3]
    )
    ledger = Ledger(tmp_path / "l.db")
    assert [job.id for job in ledger.jobs()] == [b"1" * 16]
    ledger.close()


def test_a_second_broker_is_refused_by_name(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    with pytest.raises(StartError, match="in use by another broker"):
        Ledger(tmp_path / "l.db")
    ledger.close()
    Ledger(tmp_path / "l.db").close()


def test_a_damaged_chunk_is_never_served(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    ledger.put_chunk(b"j" * 16, 0, 0, 1, b"\x01", None, [])
    ledger.commit()
    ledger._db.execute("UPDATE chunk SET payload = x'00'")
    with pytest.raises(LedgerCorrupt, match=r"chunk 0 of job 6a6a\w+ is damaged"):
        ledger.chunk(b"j" * 16, 0)
    with pytest.raises(LedgerCorrupt, match=r"chunk 1 .* is not there"):
        ledger.chunk(b"j" * 16, 1)
    ledger.close()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    path.write_bytes(b"this is no database" * 300)
    with pytest.raises(StartError, match=r"is damaged .* restore it from a backup"):
        Ledger(path)


def test_a_full_disk_keeps_what_is_queued(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    (pages,) = ledger._db.execute("PRAGMA page_count").fetchone()
    ledger._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    ledger.put_job(row())
    ledger.put_chunk(b"j" * 16, 0, 0, 1, b"x" * 100_000, None, [])
    for _ in range(2):
        with pytest.raises(LedgerFull):
            ledger.commit()
    assert not list(ledger.jobs()), "all of it, or nothing"
    ledger._db.execute("PRAGMA max_page_count = 1000000")
    ledger.commit()
    assert list(ledger.jobs()) == [row()] and len(ledger.chunk(b"j" * 16, 0).blob) == 100_000
    ledger.close()


def test_migrations_are_in_order_and_applied_once(tmp_path: Path) -> None:
    assert [version for version, _ in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))
    connection = sqlite3.connect(tmp_path / "m.db", isolation_level=None)
    assert migrate(connection) == migrate(connection) == len(MIGRATIONS)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StartError, match="newer zturbo"):
        Ledger(tmp_path / "m.db")


def test_transitions() -> None:
    for before in TRANSITIONS:
        for after in TRANSITIONS:
            if after in TRANSITIONS[before]:
                check_transition(before, after)
            else:
                with pytest.raises(InvalidTransition):
                    check_transition(before, after)
    assert not any(TRANSITIONS[state] for state in ("done", "failed", "cancelled"))
