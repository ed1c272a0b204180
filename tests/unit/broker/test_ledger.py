"""The ledger: what was committed is there, damage is found, and a full disk only waits."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import zlib
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from zturbo.errors import StartError
from zturbo_broker.jobs.states import TRANSITIONS, InvalidTransition, check_transition
from zturbo_broker.ledger.ledger import Ledger, LedgerFull
from zturbo_broker.ledger.rows import JobRow, LedgerCorrupt, job_of, member_of
from zturbo_broker.ledger.schema import MIGRATIONS, migrate


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
        "import os, sys; from zturbo_broker.ledger.ledger import Ledger\n"
        "from tests.unit.broker.test_ledger import row\n"
        "ledger = Ledger(sys.argv[1]); ledger.put_job(row(b'1' * 16)); ledger.commit()\n"
        "ledger.put_job(row(b'2' * 16)); os._exit(9)"
    )
    root = Path(__file__).parents[3]
    env = {**os.environ, "PYTHONPATH": str(root / "src")}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "l.db")], check=False, cwd=root, env=env)
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
    with pytest.raises(StartError, match=r"is damaged \(file is not a database\): put a backup"):
        Ledger(path)


def test_a_ledger_cut_down_to_nothing_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    Ledger(path).close()
    path.write_bytes(b"")
    with pytest.raises(StartError, match=r"is damaged .the file is empty"):
        Ledger(path)
    path.unlink()
    (tmp_path / "l.db-wal").write_bytes(b"of another ledger")
    with pytest.raises(StartError, match=r"it is gone, and its l\.db-wal is there"):
        Ledger(path)


def test_one_that_was_half_made_is_made_anew(tmp_path: Path) -> None:
    for name in ("l.db.new", "l.db.new-journal"):
        (tmp_path / name).write_bytes(b"half of it")
    ledger = Ledger(tmp_path / "l.db")
    assert len(ledger.cluster_id) == 16 and not list(ledger.jobs())
    ledger.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["l.db", "l.db.lock"]


def test_what_says_nothing_of_the_contents_is_not_called_damage(tmp_path: Path) -> None:
    (tmp_path / "l.db").mkdir()
    with pytest.raises(StartError, match=r"l\.db cannot be opened: unable to open"):
        Ledger(tmp_path / "l.db")


@pytest.mark.parametrize("column", [field.name for field in fields(JobRow)])
def test_a_damaged_job_is_never_served(column: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    ledger.put_job(row())
    ledger.commit()
    other: Any = getattr(row(state="running"), column)
    other = b"other" if isinstance(other, bytes) or other is None else "other" if type(other) is str else 77
    ledger._db.execute(f"UPDATE job SET {column} = ?", (other,))
    with pytest.raises(LedgerCorrupt, match="row 1 of table job is damaged"):
        list(ledger.jobs())
    ledger.close()


@pytest.mark.parametrize("change", ["value = x'0102'", "key = 'guests'"])
def test_a_damaged_meta_row_is_never_served(change: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    ledger.set_members([b"one"])
    ledger.commit()
    ledger._db.execute(f"UPDATE meta SET {change} WHERE key = 'members'")
    for read in (ledger.members, ledger.view):
        with pytest.raises(LedgerCorrupt, match=r"row '(members|guests)' of table meta is damaged"):
            read()
    ledger._db.execute("DELETE FROM meta")
    with pytest.raises(LedgerCorrupt, match="row 'cluster' of table meta is not there"):
        _ = ledger.cluster_id
    ledger.close()


@pytest.mark.parametrize("column", ["job", "seq", "first", "n", "nbytes", "crc"])
def test_a_damaged_head_of_a_chunk_is_never_served(column: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    ledger.put_chunk(b"j" * 16, 0, 0, 1, b"\x01", None, [])
    ledger.commit()
    other = b"o" * 16 if column == "job" else 5
    ledger._db.execute(f"UPDATE chunk SET {column} = ?", (other,))
    job, seq = (other if column == "job" else b"j" * 16), (5 if column == "seq" else 0)
    assert isinstance(job, bytes)
    for read in (lambda: ledger.chunk(job, seq), lambda: ledger.chunk_index(job)):
        with pytest.raises(LedgerCorrupt, match=f"a chunk of job {job.hex()} is damaged"):
            read()
    ledger.close()


def test_a_chunk_that_is_missing_is_told(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    for seq in range(3):
        ledger.put_chunk(b"j" * 16, seq, 4 * seq, 4, b"\x01", None, [])
    ledger.commit()
    ledger._db.execute("DELETE FROM chunk WHERE seq = 1")
    with pytest.raises(LedgerCorrupt, match=r"chunk 1 of job 6a6a.* is not there"):
        ledger.chunk_index(b"j" * 16)
    ledger.close()


@pytest.mark.parametrize(("gone", "left"), [("seq = 2", 8), ("seq >= 0", 0)])
def test_the_last_chunks_of_a_closed_job_are_missed(gone: str, left: int, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    for seq in range(3):
        ledger.put_chunk(b"j" * 16, seq, 4 * seq, 4, b"\x01", None, [])
    ledger.commit()
    closed = replace(row(state="running"), closed=True, total=12)
    assert job_of(closed, ledger.chunk_index(closed.id)).total == 12
    ledger._db.execute(f"DELETE FROM chunk WHERE {gone}")
    index = ledger.chunk_index(closed.id)
    with pytest.raises(LedgerCorrupt, match=f"has {left} of its 12 roots in table chunk"):
        job_of(closed, index)
    assert job_of(replace(closed, closed=False), index).total == left, "of an open feed nobody knows"
    assert job_of(replace(closed, state="done"), index).total == 12, "an ended one needs no roots"
    ledger.close()


def test_a_ledger_without_checksums_is_given_them(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    old = sqlite3.connect(path, isolation_level=None)
    for _, statements in MIGRATIONS[:2]:
        for statement in statements:
            old.execute(statement)
    old.execute("PRAGMA user_version = 2")
    old.execute("INSERT INTO meta VALUES ('cluster', ?), ('view', ?)", (b"c" * 16, b"\0" * 7 + b"\x07"))
    columns = ", ".join(field.name for field in fields(JobRow))
    values = astuple(row(state="running"))
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
