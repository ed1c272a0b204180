"""A sink's folder: one sink at a time, and what was not whole is known until the broker knows it too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zturbo.errors import StartError
from zturbo.runtime.disk.spool import SpoolCorrupt
from zturbo.runtime.disk.spoolfolder import SpoolFolder

JOB = b"j" * 16


def test_its_id_outlives_the_sink_and_its_lock_does_not(tmp_path: Path) -> None:
    folder = SpoolFolder(tmp_path / "sink-0")
    with pytest.raises(StartError, match="in use by another sink"):
        SpoolFolder(folder.path)
    folder.close()
    again = SpoolFolder(folder.path)
    assert again.id == folder.id
    again.close()


def test_a_mark_stays_until_the_broker_knows(tmp_path: Path) -> None:
    folder = SpoolFolder(tmp_path)
    spool = folder.open(JOB)
    spool.append([b"results"])
    spool.close()
    assert list(folder.jobs()) == [JOB]
    folder.mark_damaged(JOB)
    assert not list(folder.jobs())
    folder.close()
    again = SpoolFolder(tmp_path)  # killed before it could tell the broker
    assert again.damaged() == [JOB]
    again.clear_damaged([JOB])
    assert not again.damaged()
    again.close()


def test_a_start_of_the_host_is_noted_once_what_it_cost_is_marked(tmp_path: Path) -> None:
    folder = SpoolFolder(tmp_path)
    assert not folder.rebooted, "there is nothing that could have been lost"
    folder.open(JOB).close()
    assert folder.rebooted, "nobody knows whether the spool is of this boot"
    folder.note_boot()
    assert not folder.rebooted
    before = (tmp_path / "boot").stat().st_ino
    folder.note_boot()
    assert (tmp_path / "boot").stat().st_ino == before, "not written again: a sink may start on a full disk"
    (tmp_path / "boot").write_text("another")
    assert folder.rebooted
    folder.close()


def test_what_was_acked_and_is_not_there_is_noticed(tmp_path: Path) -> None:
    folder = SpoolFolder(tmp_path)
    spool = folder.open(JOB)
    spool.append([b"acked"])
    folder.note_safe(JOB, spool.size)
    safe = spool.size
    spool.append([b"not acked"])
    folder.check(JOB, spool)
    os.truncate(spool.path, safe)
    spool.close()
    folder.close()
    folder = SpoolFolder(tmp_path)
    spool = folder.open(JOB)
    folder.check(JOB, spool)
    assert not folder.missing()
    spool.close()
    os.truncate(spool.path, safe - 1)
    spool = folder.open(JOB)
    assert not list(spool.recover())
    with pytest.raises(SpoolCorrupt, match=f"but {safe} were safe"):
        folder.check(JOB, spool)
    spool.delete()
    assert folder.missing() == [JOB]
    folder.mark_damaged(JOB)
    assert not folder.missing() and folder.damaged() == [JOB]
    folder.close()


def test_a_spool_that_nobody_wants_is_not_missed(tmp_path: Path) -> None:
    folder = SpoolFolder(tmp_path)
    spool = folder.open(JOB)
    folder.note_safe(JOB, 100)
    folder.drop(JOB, spool)
    folder.note_safe(JOB, 200)  # the syncer was late
    folder.close()
    again = SpoolFolder(tmp_path)
    assert not again.missing() and not list(again.jobs())
    again.close()
