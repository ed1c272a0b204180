"""The ledger: what was committed is there, damage is found, and a full disk only waits."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.broker.ledger.rows import row
from zturbo.runtime.shared.contents import SharedContents
from zturbo.slotted import replace
from zturbo_broker.ledger.ledger import Ledger, LedgerFull
from zturbo_broker.ledger.rootfiles import OPEN
from zturbo_broker.ledger.rows import JobRow, LedgerCorrupt, job_of
from zturbo_broker.ledger.schema import row_crc

ROOT = Path(__file__).parents[4]


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
        "from tests.unit.broker.ledger.rows import row\n"
        "ledger = Ledger(sys.argv[1]); ledger.put_job(row(b'1' * 16)); ledger.commit()\n"
        "ledger.put_job(row(b'2' * 16)); os._exit(9)"
    )
    root = Path(__file__).parents[4]
    env = {**os.environ, "PYTHONPATH": str(root / "src")}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "l.db")], check=False, cwd=root, env=env)
    ledger = Ledger(tmp_path / "l.db")
    assert [job.id for job in ledger.jobs()] == [b"1" * 16]
    ledger.close()


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


@pytest.mark.parametrize("column", [name for name in JobRow.__annotations__ if name != "number"])
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


LARGE = bytes(range(256)) * 1024


def folder_of(ledger: Ledger) -> Path:
    return ledger.path.with_name(f"roots-{ledger.cluster_id.hex()[:16]}")


def with_large_chunks(path: Path) -> Ledger:
    ledger = Ledger(path)
    ledger.put_job(row())
    ledger.put_chunk(b"j" * 16, 0, 0, 1, b"small", None, [])
    ledger.put_chunk(b"j" * 16, 1, 1, 1, b"b", None, [LARGE, memoryview(LARGE)])
    ledger.put_chunk(b"j" * 16, 2, 2, 1, LARGE, b"m", [])
    ledger.commit()
    return ledger


def test_large_chunks_are_in_a_file_of_their_job(tmp_path: Path) -> None:
    with_large_chunks(tmp_path / "l.db").close()
    ledger = Ledger(tmp_path / "l.db")
    (file,) = folder_of(ledger).iterdir()
    assert file.name == (b"j" * 16).hex() and file.stat().st_size > 3 * len(LARGE)
    assert [nbytes > len(LARGE) for *_, nbytes in ledger.chunk_index(b"j" * 16)] == [False, True, True]
    chunks = [ledger.chunk(b"j" * 16, seq) for seq in range(3)]
    assert [(chunk.blob, chunk.metas) for chunk in chunks] == [(b"small", None), (b"b", None), (LARGE, b"m")]
    assert [bytes(buffer) for buffer in chunks[1].buffers] == [LARGE, LARGE]
    ledger.drop_job(b"j" * 16)
    assert file.exists(), "not before the commit"
    ledger.commit()
    assert not file.exists()
    ledger.close()
    assert not list(tmp_path.glob("roots-*"))


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "another"])
def test_a_large_chunk_that_is_damaged_is_never_served(tmp_path: Path, damage: str) -> None:
    ledger = with_large_chunks(tmp_path / "l.db")
    file = folder_of(ledger) / (b"j" * 16).hex()
    ledger.close()
    content = bytearray(file.read_bytes())
    content[len(content) // 4] ^= 1
    if damage == "flipped":
        file.write_bytes(content)
    elif damage == "cut":
        os.truncate(file, 1000)
    elif damage == "gone":
        file.unlink()
    ledger = Ledger(tmp_path / "l.db")
    if damage == "another":
        (payload,) = ledger._db.execute("SELECT payload FROM chunk WHERE seq = 2").fetchone()
        head = ledger._db.execute("SELECT job, seq, first, n, nbytes FROM chunk WHERE seq = 1").fetchone()
        head = (*head, zlib.crc32(payload))
        ledger._db.execute(
            "UPDATE chunk SET payload = ?, crc = ?, head = ? WHERE seq = 1",
            (payload, head[-1], row_crc(*head)),
        )
    with pytest.raises(LedgerCorrupt, match=r"chunk 1 of job 6a6a\w+ is damaged"):
        ledger.chunk(b"j" * 16, 1)
    assert ledger.chunk(b"j" * 16, 0).blob == b"small"
    ledger.close()


def test_files_of_jobs_that_are_gone_are_removed_and_those_of_another_ledger_are_let_be(
    tmp_path: Path,
) -> None:
    ledger = with_large_chunks(tmp_path / "l.db")
    folder = folder_of(ledger)
    ledger.close()
    (folder / (b"k" * 16).hex()).write_bytes(b"left by a crash")
    other = tmp_path / "roots-0123456789abcdef"
    other.mkdir()
    (other / (b"k" * 16).hex()).write_bytes(b"another's")
    Ledger(tmp_path / "l.db").close()
    assert [path.name for path in folder.iterdir()] == [(b"j" * 16).hex()]
    assert len(list(other.iterdir())) == 1


def test_a_full_disk_keeps_large_chunks_that_are_queued(tmp_path: Path) -> None:
    """They are written once, however often the commit is tried."""
    ledger = Ledger(tmp_path / "l.db")
    (pages,) = ledger._db.execute("PRAGMA page_count").fetchone()
    ledger._db.execute(f"PRAGMA max_page_count = {pages}")
    ledger.put_job(replace(row(), name="n" * 50_000))
    ledger.put_chunk(b"j" * 16, 0, 0, 1, LARGE, None, [])
    sizes = []
    for _ in range(3):
        with pytest.raises(LedgerFull):
            ledger.commit()
        sizes.append((folder_of(ledger) / (b"j" * 16).hex()).stat().st_size)
    assert sizes[0] == sizes[-1]
    ledger._db.execute("PRAGMA max_page_count = 1000000")
    ledger.commit()
    assert ledger.chunk(b"j" * 16, 0).blob == LARGE
    ledger.close()


def test_many_files_share_a_few_descriptors(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    jobs = [n.to_bytes(16, "big") for n in range(2 * OPEN)]
    for job in jobs:
        ledger.put_chunk(job, 0, 0, 1, LARGE + job, None, [])
    before = len(os.listdir("/proc/self/fd"))
    ledger.commit()
    assert len(os.listdir("/proc/self/fd")) <= before + OPEN
    assert all(ledger.chunk(job, 0).blob == LARGE + job for job in jobs)
    ledger.close()


def test_chunks_that_were_trimmed_give_their_space_back(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    for seq in range(6):
        ledger.put_chunk(b"j" * 16, seq, seq, 1, LARGE + bytes([seq]), None, [])
    ledger.commit()
    file = folder_of(ledger) / (b"j" * 16).hex()
    blocks = file.stat().st_blocks
    ledger.trim_chunks(b"j" * 16, 4)
    assert len(ledger.chunk_index(b"j" * 16)) == 6, "not before the commit"
    ledger.commit()
    assert [seq for seq, *_ in ledger.chunk_index(b"j" * 16)] == [4, 5]
    assert ledger.chunk(b"j" * 16, 4).blob == LARGE + bytes([4])
    assert file.stat().st_blocks < blocks / 2
    ledger.close()
    ledger = Ledger(tmp_path / "l.db")
    ledger.put_chunk(b"j" * 16, 6, 6, 1, LARGE, None, [])
    ledger.trim_chunks(b"j" * 16, 6)
    ledger.commit()
    assert [seq for seq, *_ in ledger.chunk_index(b"j" * 16)] == [6]
    assert ledger.chunk(b"j" * 16, 6).blob == LARGE
    ledger.close()


# -- contents that stay in shared memory ----------------------------------------------------
@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SharedContents]:
    (tmp_path / "shm").mkdir()
    monkeypatch.setenv("ZTURBO_SHM", str(tmp_path / "shm"))
    made = SharedContents.make(b"a" * 16)
    assert made is not None
    made.wanted = True
    yield made
    made.close()


def shared(writer: SharedContents, seed: int) -> memoryview:
    view = writer.put(memoryview(bytes([seed]) * len(LARGE)))
    assert view is not None
    return view


def put_shared(ledger: Ledger, writer: SharedContents, seqs: range) -> None:
    for seq in seqs:
        ledger.put_chunk(b"j" * 16, seq, seq, 1, b"blob", b"m", [shared(writer, seq)], in_memory=True)
    ledger.commit()


def kept_folder(tmp_path: Path, ledger: Ledger) -> Path:
    pool = tmp_path / "shm" / f"zturbo-{os.geteuid()}"
    return pool / f"kept-roots-{ledger.cluster_id.hex()}"


def segments(folder: Path) -> int:
    return sum(path.name.isdigit() for path in folder.iterdir()) if folder.exists() else 0


def test_roots_in_shared_memory_stay_there(tmp_path: Path, writer: SharedContents) -> None:
    ledger = Ledger(tmp_path / "l.db")
    put_shared(ledger, writer, range(4))
    ledger.put_chunk(b"j" * 16, 4, 4, 1, b"safe", None, [shared(writer, 9)])
    ledger.commit()
    folder = kept_folder(tmp_path, ledger)
    assert segments(folder) == 4, "one chunk has to outlive the host"
    chunk = ledger.chunk(b"j" * 16, 2)
    assert (chunk.blob, chunk.metas) == (b"blob", b"m")
    assert [bytes(buffer) for buffer in chunk.buffers] == [bytes([2]) * len(LARGE)]
    ledger.trim_chunks(b"j" * 16, 3)
    ledger.commit()
    assert segments(folder) == 1
    ledger.drop_job(b"j" * 16)
    ledger.commit()
    assert segments(folder) == 0
    ledger.close()
    assert not folder.exists() and not list(tmp_path.glob("roots-*")) and not list(tmp_path.glob("kept-*"))


def test_a_ledger_that_is_closed_has_moved_them_to_the_disk(tmp_path: Path, writer: SharedContents) -> None:
    ledger = Ledger(tmp_path / "l.db")
    put_shared(ledger, writer, range(3))
    folder = kept_folder(tmp_path, ledger)
    ledger.close()
    assert not folder.exists()
    ledger = Ledger(tmp_path / "l.db")
    assert [bytes(ledger.chunk(b"j" * 16, seq).buffers[0][:1]) for seq in range(3)] == [b"\0", b"\1", b"\2"]
    ledger.drop_job(b"j" * 16)
    ledger.commit()
    ledger.close()
    assert not list(tmp_path.glob("kept-*"))


DYING = """
import os, signal, sys
from pathlib import Path
from tests.unit.broker.ledger.test_ledger import put_shared
from zturbo.runtime.shared.contents import SharedContents
from zturbo_broker.ledger.ledger import Ledger
writer = SharedContents.make(b"b" * 16)
writer.wanted = True
ledger = Ledger(Path(sys.argv[1]))
put_shared(ledger, writer, range(3))
ledger.trim_chunks(b"j" * 16, 1)
ledger.commit()
ledger.put_chunk(b"j" * 16, 3, 3, 1, b"blob", b"m", [writer.put(memoryview(bytes(1 << 18)))], in_memory=True)
ledger._write_files(sync=False)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_broker_loses_none_and_leaves_none(tmp_path: Path, writer: SharedContents) -> None:
    """Its successor finds those that rows name, and removes the others."""
    done = subprocess.run([sys.executable, "-c", DYING, str(tmp_path / "l.db")], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    ledger = Ledger(tmp_path / "l.db")
    assert segments(kept_folder(tmp_path, ledger)) == 2
    assert [bytes(ledger.chunk(b"j" * 16, seq).buffers[0][:1]) for seq in (1, 2)] == [b"\1", b"\2"]
    put_shared(ledger, writer, range(3, 5))
    assert [bytes(ledger.chunk(b"j" * 16, seq).buffers[0][:1]) for seq in (2, 3)] == [b"\2", b"\3"]
    ledger.drop_job(b"j" * 16)
    ledger.commit()
    assert segments(kept_folder(tmp_path, ledger)) == 0
    ledger.close()


def test_a_content_that_is_gone_is_never_served(tmp_path: Path, writer: SharedContents) -> None:
    ledger = Ledger(tmp_path / "l.db")
    put_shared(ledger, writer, range(2))
    ledger.close()
    (moved,) = tmp_path.glob("kept-*")
    shutil.rmtree(moved)
    ledger = Ledger(tmp_path / "l.db")
    put_shared(ledger, writer, range(2, 4))
    with pytest.raises(LedgerCorrupt, match=r"chunk 0 of job 6a6a\w+ is damaged"):
        ledger.chunk(b"j" * 16, 0)
    assert bytes(ledger.chunk(b"j" * 16, 2).buffers[0][:1]) == b"\2", "no number is used twice"
    ledger.close()
