"""Sums find damage, and are the same with numpy and without it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zturbo.runtime.disk import checksum
from zturbo.runtime.disk.checksum import BLOCK, LARGE, has_fast_sums, sums_of
from zturbo.runtime.disk.spool import Spool, SpoolCorrupt


@pytest.fixture
def without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksum, "numpy_here", lambda: None)


sizes = st.one_of(st.integers(0, 40), st.integers(2 * BLOCK - 9, 2 * BLOCK + 17))


@settings(max_examples=30, deadline=None)
@given(sizes, st.randoms(use_true_random=False))
def test_they_are_the_same_without_numpy(size: int, random: object) -> None:
    assert has_fast_sums()
    data = memoryview(random.randbytes(size))  # type: ignore[attr-defined]
    fast = sums_of(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checksum, "numpy_here", lambda: None)
        assert sums_of(data) == fast
    assert len(fast) == 8 * (size // BLOCK + 1) + 4


def written(path: Path, frames: list[bytes]) -> bytearray:
    spool = Spool(path)
    location = spool.append(frames)
    assert [bytes(frame) for frame in spool.read(location)] == frames
    spool.close()
    return bytearray(path.read_bytes())


def is_damaged(path: Path, raw: bytes) -> bool:
    path.write_bytes(raw)
    spool = Spool(path)
    try:
        list(spool.recover())
    except SpoolCorrupt:
        return True
    finally:
        spool.close()
    return False


def test_damage_to_a_large_frame_is_found(tmp_path: Path) -> None:
    path = tmp_path / "s"
    large = os.urandom(LARGE + 13)
    raw = written(path, [b"head", large, b"small"])
    assert raw.startswith(b"zts2") and not is_damaged(path, raw)
    for at in (0, 5, 17, 30, 40, 60, 70, 4096, BLOCK, len(raw) - 20, len(raw) - 8, len(raw) - 1):
        flipped = bytearray(raw)
        flipped[at] ^= 1 << (at % 8)
        assert is_damaged(path, flipped), f"the byte at {at}"
    page = bytearray(raw)
    page[8192:12288] = bytes(4096)
    assert is_damaged(path, page), "a page of zeros"
    start = raw.index(large)
    swapped = bytearray(raw)
    swapped[start : start + BLOCK] = large[BLOCK : 2 * BLOCK]
    swapped[start + BLOCK : start + 2 * BLOCK] = large[:BLOCK]
    assert is_damaged(path, swapped), "two blocks in one another's place"


def test_a_record_with_sums_is_read_without_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = written(tmp_path / "s", [os.urandom(LARGE), os.urandom(LARGE + 5)])
    monkeypatch.setattr(checksum, "numpy_here", lambda: None)
    assert not is_damaged(tmp_path / "s", raw)
    raw[2 * LARGE] ^= 1
    assert is_damaged(tmp_path / "s", raw)


@pytest.mark.usefixtures("without_numpy")
def test_without_numpy_all_is_in_the_crc(tmp_path: Path) -> None:
    raw = written(tmp_path / "s", [os.urandom(LARGE)])
    assert raw.startswith(b"zts1")


def test_a_users_file_of_that_name_is_not_taken_for_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("numpy.py", "numpy/__init__.py"):
        file = tmp_path / Path(name).parent / Path(name).name
        file.parent.mkdir(exist_ok=True)
        file.write_text("raise SystemExit('the file of a user')\n")
        monkeypatch.delitem(sys.modules, "numpy", raising=False)
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        monkeypatch.chdir(tmp_path)
        checksum.numpy_here.cache_clear()
        assert not has_fast_sums()
        file.unlink()
    checksum.numpy_here.cache_clear()
