"""One pool and its processes: what one has packed, another reads; and when memory is used again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgpack
import numpy as np
import pytest

from zturbo.errors import DecodeError
from zturbo.runtime.shared import opened, segments
from zturbo.runtime.shared.contents import SHARED_FROM, SharedContents, has_references
from zturbo.runtime.shared.folder import pool_path, remove, sweep
from zturbo.runtime.shared.opened import Gone
from zturbo.wire.messages import Buffer

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


@pytest.fixture(autouse=True)
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZTURBO_SHM", str(tmp_path))
    return tmp_path / f"zturbo-{os.geteuid()}"


def member(incarnation: bytes) -> SharedContents:
    made = SharedContents.make(incarnation)
    assert made is not None
    made.wanted = True
    return made


@pytest.fixture
def a() -> Iterator[SharedContents]:
    made = member(A)
    yield made
    made.close()


@pytest.fixture
def b() -> Iterator[SharedContents]:
    made = member(B)
    yield made
    made.close()


def some(seed: int, nbytes: int = SHARED_FROM) -> memoryview:
    return memoryview(bytes([seed]) * nbytes)


def put(owner: SharedContents, view: memoryview) -> memoryview:
    kept = owner.put(view)
    assert kept is not None
    return kept


def message(owner: SharedContents, *buffers: memoryview, to: bytes = B) -> list[Buffer]:
    frames = owner.outgoing(to, [b"header", b"blob", *buffers])
    assert has_references(frames)
    return frames


def test_a_buffer_goes_by_reference(a: SharedContents, b: SharedContents) -> None:
    frames = message(a, put(a, some(1)), memoryview(b"small"), put(a, some(2, SHARED_FROM + 1)))
    assert sum(len(frame) for frame in frames) < 200
    header, blob, first, small, second = b.incoming(frames)
    assert (header, blob, small) == (b"header", b"blob", b"small")
    assert (first, second) == (some(1), some(2, SHARED_FROM + 1))
    assert first.readonly and second.readonly


def test_a_buffer_that_has_come_in_a_message_can_go_on_by_reference(
    a: SharedContents, b: SharedContents
) -> None:
    small, large, there = bytes(9), some(3), put(a, some(4))
    taken = a.take_in([small, large, there])
    assert taken[0] is small and taken[2] is there
    assert a.outgoing(B, [b"head", b"blob", *taken])[0] != b"head"
    assert has_references(a.outgoing(B, [b"head", b"blob", *taken])) and bytes(taken[1]) == bytes(large)


def test_small_buffers_and_those_that_no_peer_reads_stay(a: SharedContents) -> None:
    assert a.put(some(1, SHARED_FROM - 1)) is None
    a.wanted = False
    assert a.put(some(1)) is None


def test_a_peer_without_the_pool_gets_frames(a: SharedContents) -> None:
    kept = put(a, some(1))
    frames = [b"header", b"blob", kept]
    assert a.outgoing(C, list(frames)) == frames, "it has no folder here"


def test_a_segment_is_used_again_once_no_process_reads_it(a: SharedContents, b: SharedContents) -> None:
    kept = put(a, some(1))
    stale = message(a, kept)
    view = b.incoming(stale)[2]
    del kept
    second = put(a, some(2))
    assert view == some(1), "it was read, so the second buffer got memory of its own"
    two = a.segments.nbytes
    array = np.frombuffer(view, np.uint8)[10:20]
    del view, second
    third = put(a, some(3))
    fourth = put(a, some(4))
    assert a.segments.nbytes == two + two // 2, "of the two one was free"
    assert array.tobytes() == b"\1" * 10, "the stage has kept an array of it"
    del array, third, fourth
    kept = [put(a, some(seed)) for seed in (5, 6, 7)]
    assert a.segments.nbytes == two + two // 2
    with pytest.raises(Gone):
        b.incoming(stale)
    assert b.lost == 1
    assert [b.incoming(message(a, one))[2] for one in kept] == [some(5), some(6), some(7)]


def test_an_array_goes_on_without_a_copy(a: SharedContents, b: SharedContents) -> None:
    c = member(C)
    numbers = np.arange(SHARED_FROM, dtype=np.uint8)
    array = np.frombuffer(b.incoming(message(a, put(a, memoryview(numbers))))[2], np.uint8)
    whole = put(b, memoryview(array))
    part = put(
        b,
        memoryview(
            np.frombuffer(b.incoming(message(a, put(a, some(9, 2 * SHARED_FROM))))[2], np.uint8)[
                7 : 7 + SHARED_FROM
            ]
        ),
    )
    assert b.segments.nbytes == 0
    a.close()  # that does not matter to what B has
    whole_there, part_there = c.incoming(message(b, whole, part, to=C))[2:]
    assert whole_there == memoryview(numbers)
    assert part_there == some(9)
    c.close()


def test_what_code_may_still_change_is_copied(a: SharedContents) -> None:
    array = np.zeros(SHARED_FROM, np.uint8)
    kept = put(a, memoryview(array))
    array[:] = 1
    assert kept == some(0)


def test_no_room(
    a: SharedContents, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(segments, "MOST_BYTES", 3 * SHARED_FROM)
    kept = [a.put(some(seed)) for seed in range(5)]
    assert [one is None for one in kept] == [False, False, False, True, True]
    assert caplog.text.count("not in shared memory") == 1
    del kept[0]
    assert a.put(some(9)) is not None
    assert a.put(some(9, 2 * SHARED_FROM)) is None
    del kept
    assert a.put(some(9, 3 * SHARED_FROM)) == some(9, 3 * SHARED_FROM), "free ones make room for a larger one"


def test_a_full_file_system(a: SharedContents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(a.folder, "room", lambda nbytes: False)
    assert a.put(some(1)) is None


def test_memory_that_was_not_used_for_a_while_is_given_back(
    a: SharedContents, b: SharedContents, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = b.incoming(message(a, put(a, some(1))))[2]
    monkeypatch.setattr(segments, "KEEP", -1.0)
    monkeypatch.setattr(opened, "KEEP", -1.0)
    a.trim()
    b.trim()
    assert view == some(1) and a.segments.nbytes == 0
    del view
    b.trim()
    assert sorted(os.listdir(pool / A.hex())) == sorted(os.listdir(pool / B.hex())) == ["reads"]
    assert maps_of(pool) == 0


def maps_of(pool: Path) -> int:
    return sum(str(pool) in line for line in Path("/proc/self/maps").read_text().splitlines())


def test_beyond_a_number_of_extents_they_are_copied(
    a: SharedContents, b: SharedContents, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "MOST", 2)
    kept = [put(a, some(seed)) for seed in range(4)]
    views = [b.incoming(message(a, one))[2] for one in kept]
    assert views == [some(seed) for seed in range(4)]
    assert len(os.listdir(pool / B.hex())) == 2 + 1


def test_a_logout_that_removes_all(a: SharedContents, b: SharedContents, pool: Path) -> None:
    kept = put(a, some(1))
    sent = message(a, kept)
    for folder in pool.iterdir():
        for file in folder.iterdir():
            file.unlink()
    with pytest.raises(Gone):
        b.incoming(sent)
    frames = [b"header", b"blob", kept]
    assert a.outgoing(B, list(frames)) == frames


def test_a_process_that_cannot_open_segments_gets_frames_from_then_on(
    a: SharedContents, b: SharedContents, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = put(a, some(1))
    sent = message(a, kept)

    def no_memory(*args: object, **options: object) -> int:
        raise OSError(12, "no memory")

    monkeypatch.setattr(opened, "map_file", no_memory)
    with pytest.raises(DecodeError):
        b.incoming(sent)
    frames = [b"header", b"blob", kept]
    assert a.outgoing(B, list(frames)) == frames


def reference(owner: object, *references: object) -> list[Buffer]:
    return [b"zth1" + msgpack.packb((owner, references)), b"header", b"blob"]


def test_hostile_references(a: SharedContents, b: SharedContents, pool: Path) -> None:
    size = SHARED_FROM
    kept = put(a, some(1))
    (name,) = {path.name for path in (pool / A.hex()).iterdir()} - {"reads"}
    number = int(name)
    folder = pool / A.hex()
    (folder / "7001").symlink_to("/etc/passwd")
    (folder / "7002").mkdir()
    os.mkfifo(folder / "7003")
    assert b.incoming(reference(A, (2, number, 0, size)))[2] == kept
    for frames in (
        reference(A, (2, number, 1, size)),
        reference(A, (2, number, 0, 1 << 40)),
        reference(A, (2, number, 1 << 62, 1)),
        reference(A, (2, number, 0, 0)),
        reference(A, (2, number, -1, 1)),
        reference(A, (2, number, 0, True)),
        reference(A, (1, number, 0, size)),
        reference(A, (3, number, 0, size)),
        reference(A, (2, 7001, 0, 1)),
        reference(A, (2, 7002, 0, 1)),
        reference(A, (2, 7003, 0, 1)),
        reference(A, (2, "../x", 0, 1)),
        reference(A, (2, number, 0)),
        reference(A, 5),
        reference("../" + "a" * 13, (2, number, 0, size)),
        reference(b"../", (2, number, 0, size)),
        [b"zth1", b"header", b"blob"],
        [b"zth1\x92", b"header", b"blob"],
    ):
        with pytest.raises(DecodeError):
            b.incoming(frames)
    assert not [path.name for path in (pool / B.hex()).iterdir() if path.name != "reads"], "a link has stayed"


def test_a_pool_of_another_user_or_for_all_is_not_used(
    pool: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool.mkdir()
    pool.chmod(0o755)
    assert SharedContents.make(A) is None
    assert "not this user's alone" in caplog.text
    pool.rmdir()
    pool.symlink_to(pool.parent)
    assert SharedContents.make(A) is None
    monkeypatch.setenv("ZTURBO_SHM", "")
    assert SharedContents.make(A) is None and pool_path() is None
    monkeypatch.setenv("ZTURBO_SHM", str(pool / "missing"))
    assert SharedContents.make(A) is None


def test_a_pool_is_removed_with_its_last_folder(pool: Path) -> None:
    one, other = member(A), member(B)
    one.close()
    assert pool.is_dir()
    other.close()
    assert not pool.exists()


HOLDS = """
import sys
from zturbo.runtime.shared.contents import SharedContents
made = SharedContents.make(b"d" * 16)
made.wanted = True
kept = made.put(memoryview(bytes(1 << 20)))
print("ready", flush=True)
sys.stdin.read()
"""


def test_folders_of_killed_processes_are_swept(a: SharedContents, pool: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdin is not None and other.stdout is not None
    assert other.stdout.readline() == b"ready\n"
    sweep()
    names = {A.hex(), "64" * 16}
    assert {path.name for path in pool.iterdir()} == names, "both live"
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    other.stdin.close()
    other.stdout.close()
    sweep()
    assert {path.name for path in pool.iterdir()} == {A.hex()}


def test_removing_what_is_not_there() -> None:
    remove(A)


def test_a_forked_process_keeps_what_it_has(a: SharedContents, b: SharedContents) -> None:
    view = b.incoming(message(a, put(a, some(1))))[2]
    go, wait = os.pipe(), os.pipe()
    b.forking()
    pid = os.fork()
    if not pid:  # it uses the view after its parent has let go of it
        os.write(wait[1], b"x")
        os.read(go[0], 1)
        right = bytes(view[:10]) == b"\1" * 10
        del view
        os._exit(0 if right else 1)
    os.read(wait[0], 1)
    del view
    kept = put(a, some(2))
    os.write(go[1], b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert kept == some(2)
    later = b.incoming(message(a, kept))[2]
    assert later == some(2)
    for fd in (*go, *wait):
        os.close(fd)


def test_a_forked_process_ends_no_view_of_its_parent(
    a: SharedContents, b: SharedContents, pool: Path
) -> None:
    view = b.incoming(message(a, put(a, some(1))))[2]
    before = sorted(os.listdir(pool / B.hex()))
    pid = os.fork()
    if not pid:
        del view
        os._exit(0 if b.put(some(2)) is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "it writes to no segment of its parent's"
    assert sorted(os.listdir(pool / B.hex())) == before
    assert view == some(1)


def test_what_is_made_in_shared_memory_goes_on_without_a_copy(a: SharedContents, b: SharedContents) -> None:
    room = a.room(SHARED_FROM)
    assert room is not None
    array = np.frombuffer(room, np.uint8)
    array[:] = 7
    kept = a.put(memoryview(array), True)
    assert kept is not None and kept.readonly
    array[0] = 8  # its code has promised not to do this: it shows that there is no copy
    assert kept[0] == 8
    *_, got = b.incoming(message(a, kept))
    assert np.frombuffer(got, np.uint8).tolist() == array.tolist()
    before = a.segments.nbytes
    del room, array, kept
    again = a.room(SHARED_FROM)
    assert again is not None and a.segments.nbytes > before, "the other has the first one open"
    del got, again
    views = [a.room(SHARED_FROM) for _ in range(2)]
    assert None not in views and a.segments.nbytes == 2 * before, "both are used again"


def test_what_its_code_may_change_is_copied(a: SharedContents) -> None:
    room = a.room(SHARED_FROM)
    assert room is not None
    array = np.frombuffer(room, np.uint8)
    array[:] = 7
    kept = a.put(memoryview(array), False)
    array[0] = 8
    assert kept is not None and kept[0] == 7


def test_there_is_no_room_for_small_arrays_nor_without_peers(a: SharedContents) -> None:
    assert a.room(SHARED_FROM - 1) is None
    a.wanted = False
    assert a.room(SHARED_FROM) is None
