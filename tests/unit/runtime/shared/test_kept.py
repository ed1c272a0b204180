"""Contents that a record names: in memory, on the disk, for a successor, and for nobody any more."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from zturbo.errors import StartError
from zturbo.runtime.disk.spool import SpoolCorrupt
from zturbo.runtime.shared import kept as kept_module
from zturbo.runtime.shared.contents import SHARED_FROM, SharedContents
from zturbo.runtime.shared.extent import part_of
from zturbo.runtime.shared.folder import pool_path, sweep
from zturbo.runtime.shared.kept import ABANDONED, AbandonedContents, KeptContents, kept_numbers
from zturbo.runtime.shared.moved import MovedSegments
from zturbo.wire.messages import Buffer

SIZE = 2 * SHARED_FROM


@pytest.fixture(autouse=True)
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZTURBO_SHM", str(tmp_path))
    monkeypatch.setattr(kept_module, "AGE", 1e6)
    return tmp_path / f"zturbo-{os.geteuid()}"


@pytest.fixture
def writer() -> Iterator[SharedContents]:
    made = SharedContents.make(b"a" * 16)
    assert made is not None
    made.wanted = True
    yield made
    made.close()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path / "spool" / "kept"


def some(seed: int, nbytes: int = SIZE) -> memoryview:
    return memoryview(bytes([seed]) * nbytes)


def put(writer: SharedContents, seed: int) -> memoryview:
    view = writer.put(some(seed))
    assert view is not None
    return view


def links(pool: Path) -> list[str]:
    return sorted(path.name for path in pool.glob("kept-x/*") if path.name.isdigit())


def kept_by_one_that_dies(
    writer: SharedContents, disk: Path, seeds: range, moved: tuple[int, ...] = ()
) -> list[list[Buffer]]:
    """The records of a process that has kept these, has moved some of them, and has died without a word."""
    views = [put(writer, seed) for seed in seeds]
    there, here = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kept = KeptContents("x", disk)
            records = [kept.keep([b"header", view]) for view in views]
            for number in moved:
                kept.move(number)
            os.write(here, msgpack.packb([[bytes(frame) for frame in record] for record in records]))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(here)
    with open(there, "rb") as file:
        told = file.read()
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    return msgpack.unpackb(told)  # type: ignore[no-any-return]


def test_a_record_names_what_lies_in_memory(writer: SharedContents, disk: Path, pool: Path) -> None:
    kept = KeptContents("x", disk)
    frames: list[Buffer] = [b"header", put(writer, 1), b"blob", put(writer, 2)]
    record = kept.keep(frames)
    assert sum(memoryview(frame).nbytes for frame in record) < 100
    assert (kept_numbers(record), links(pool)) == ([1, 2], ["1", "2"])
    assert kept.frames(record) == frames
    assert kept.without(record) == [b"header", b"", b"blob", b""]
    del frames
    again = put(writer, 3)
    assert kept.frames(record) == [b"header", some(1), b"blob", some(2)], "the writer has taken other memory"
    kept.free([1, 2])
    assert (links(pool), kept.nbytes) == ([], 0)
    with pytest.raises(SpoolCorrupt, match="not there"):
        kept.frames(record)
    del again
    kept.close()
    assert not (pool / "kept-x").exists() and not disk.exists()


def test_what_lies_elsewhere_stays_in_the_record(writer: SharedContents, disk: Path) -> None:
    kept = KeptContents("x", disk)
    extent: Any = put(writer, 1).obj
    frames: list[Buffer] = [b"header", some(7), part_of(extent, 0, SIZE // 4)]
    assert kept.keep(frames) == frames == kept.frames(frames)
    assert kept_numbers(frames) == []
    kept.close()


def test_without_room_it_stays_in_the_record(
    writer: SharedContents, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_module, "MOST_BYTES", 3 * SIZE)
    monkeypatch.setattr(kept_module, "HIGH", 2.0)  # so that nothing moves to the disk meanwhile
    kept = KeptContents("x", disk)
    records = [kept.keep([b"header", put(writer, seed)]) for seed in range(5)]
    assert [len(kept_numbers(record)) for record in records] == [1, 1, 1, 0, 0]
    kept.free(kept_numbers(records[0]))
    assert kept_numbers(kept.keep([b"header", put(writer, 9)])) == [4]
    kept.close()


@pytest.mark.parametrize("direct", [True, False])
def test_what_moves_to_the_disk_is_read_there(
    direct: bool, writer: SharedContents, disk: Path, pool: Path
) -> None:
    kept = KeptContents("x", disk)
    records = [kept.keep([b"header", put(writer, seed)]) for seed in range(3)]
    for number in (1, 2, 3):
        kept.move(number, direct=direct)
    assert (links(pool), kept.nbytes) == ([], 0)
    assert [kept.frames(record)[1] for record in records] == [some(0), some(1), some(2)]
    kept.free([2])
    with pytest.raises(SpoolCorrupt):
        kept.frames(records[1])
    kept.close()
    kept = KeptContents("x", disk)
    kept.recovered([1, 3])
    assert [kept.frames(records[at])[1] for at in (0, 2)] == [some(0), some(2)]
    assert kept_numbers(kept.keep([b"header", put(writer, 9)])) == [4]
    kept.free([1, 3, 4])
    kept.close()
    assert not disk.exists()


def test_the_oldest_move_by_themselves(
    writer: SharedContents, disk: Path, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_module, "AGE", 0.0)
    kept = KeptContents("x", disk)
    record = kept.keep([b"header", put(writer, 1)])
    pause, until = threading.Event(), time.monotonic() + 60
    while kept.nbytes:
        assert time.monotonic() < until
        pause.wait(0.01)
    assert kept.frames(record)[1] == some(1)
    kept.close()


def test_a_successor_finds_what_a_dead_process_has_kept(
    writer: SharedContents, disk: Path, pool: Path
) -> None:
    records = kept_by_one_that_dies(writer, disk, range(4), moved=(1,))
    writer.close()
    sweep()
    second = KeptContents("x", disk)
    assert [second.frames(record)[1] for record in records] == [some(seed) for seed in range(4)]
    second.recovered([1, 3])
    assert links(pool) == ["3"], "no record speaks of the others"
    second.move(3)
    second.move(4)
    assert [second.frames(records[at])[1] for at in (0, 2)] == [some(0), some(2)]
    second.close()


def test_a_folder_has_one_owner(writer: SharedContents, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_module, "PATIENCE", 0.0)
    kept = KeptContents("x", disk)
    kept.keep([b"header", put(writer, 1)])
    with pytest.raises(StartError, match="in use"):
        KeptContents("x", disk)
    kept.close()


def test_what_a_broken_off_move_has_written_is_not_used(writer: SharedContents, disk: Path) -> None:
    (record,) = kept_by_one_that_dies(writer, disk, range(1), moved=(1,))
    (path,) = disk.iterdir()
    os.truncate(path, path.stat().st_size - 1)
    second = KeptContents("x", disk)
    with pytest.raises(SpoolCorrupt):
        second.frames(record)
    second.close()
    assert not disk.exists()


def test_damage_on_the_disk_is_found(writer: SharedContents, disk: Path) -> None:
    kept = KeptContents("x", disk)
    record = kept.keep([b"header", put(writer, 1)])
    kept.move(1)
    (path,) = disk.iterdir()
    with open(path, "r+b") as file:
        file.seek(SIZE // 2)
        file.write(b"\0")
    with pytest.raises(SpoolCorrupt, match="damaged"):
        kept.frames(record)
    kept.close()


def test_on_a_full_disk_it_stays_in_memory(
    writer: SharedContents, disk: Path, pool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = KeptContents("x", disk)
    record = kept.keep([b"header", put(writer, 1)])
    disk.write_bytes(b"no folder can be made here")
    kept.close()
    assert links(pool) == ["1"] and caplog.text.count("cannot move") == 1
    disk.unlink()
    kept = KeptContents("x", disk)
    assert kept.frames(record)[1] == some(1)
    kept.close()


def test_without_a_pool_nothing_is_kept(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZTURBO_SHM", "")
    kept = KeptContents("x", disk)
    assert kept.keep([b"header", some(1)]) == [b"header", some(1)]
    kept.close()


# -- without an owner -------------------------------------------------------------------------
def test_a_node_moves_what_has_no_owner_for_a_while(writer: SharedContents, disk: Path, pool: Path) -> None:
    (record,) = kept_by_one_that_dies(writer, disk, range(1))
    node = AbandonedContents()
    kept = KeptContents("x", disk)
    assert node.look(0.0) is None and node.look(ABANDONED) is None and links(pool) == ["1"], "it has an owner"
    disk.write_bytes(b"no folder can be made here")
    kept.close()
    disk.unlink()
    assert node.look(2 * ABANDONED) is None and links(pool) == ["1"], "its successor may come"
    thread = node.look(3 * ABANDONED)
    assert thread is not None
    thread.join()
    assert not (pool / "kept-x").exists()
    kept = KeptContents("x", disk)
    assert kept.frames(record)[1] == some(0)
    kept.close()


def test_what_no_record_can_name_is_removed(writer: SharedContents, disk: Path, pool: Path) -> None:
    kept_by_one_that_dies(writer, disk, range(1))
    disk.parent.rmdir()
    assert AbandonedContents().look(0.0) is None
    assert not (pool / "kept-x").exists()


def test_there_is_nothing_to_look_for() -> None:
    assert pool_path() is not None
    assert AbandonedContents().look(0.0) is None


# -- on the disk ------------------------------------------------------------------------------
def test_files_go_when_nothing_in_them_is_needed(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zturbo.runtime.shared.moved.MOST_BYTES", 2 * SIZE)
    moved = MovedSegments(disk)
    for number in range(1, 6):
        moved.add(number, some(number), direct=False)
    assert len(list(disk.iterdir())) == 3
    moved.free([1])
    used = sum(512 * path.stat().st_blocks for path in disk.iterdir())
    assert used < 5 * SIZE, "it was punched out"
    moved.free([2])
    assert len(list(disk.iterdir())) == 2
    assert [moved.read(number, 1, 2) for number in (3, 4, 5)] == [bytes([number] * 2) for number in (3, 4, 5)]
    moved.close()
    moved = MovedSegments(disk)
    assert sorted(moved.numbers()) == [3, 4, 5] and 4 in moved
    for number in (3, 4, 5):
        moved.free([number])
    moved.close()
    assert not disk.exists()


def test_a_file_goes_with_the_last_segment_in_it_and_another_is_begun(disk: Path) -> None:
    moved = MovedSegments(disk)
    for number in (1, 2):
        moved.add(number, some(number), direct=False)
    moved.free([1])
    assert moved.read(2, 1, 2) == bytes([2, 2])
    moved.free([2])
    assert not list(disk.iterdir()), "not even the heads are left"
    moved.add(3, some(3), direct=False)
    assert moved.read(3, 1, 2) == bytes([3, 3])
    moved.close()
