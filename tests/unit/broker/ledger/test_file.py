"""A ledger's file: damage is told from a new one, and two brokers do not share one."""

from __future__ import annotations

from pathlib import Path

import pytest

from zturbo.errors import StartError
from zturbo_broker.ledger.ledger import Ledger


def test_a_second_broker_is_refused_by_name(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    with pytest.raises(StartError, match="in use by another broker"):
        Ledger(tmp_path / "l.db")
    ledger.close()
    Ledger(tmp_path / "l.db").close()


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
