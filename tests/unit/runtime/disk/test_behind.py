"""Large files are written early; small ones are left alone, and a closed file ends nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import eventually
from zturbo.runtime.disk import spool as spools
from zturbo.runtime.disk.behind import WriteBehind
from zturbo.runtime.disk.spool import Spool


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file is large from 100 kB on, and is written in steps of 20."""
    monkeypatch.setattr(spools, "FROM", 100_000)
    monkeypatch.setattr(spools, "STEP", 20_000)
    yield


@pytest.mark.usefixtures("steps")
def test_a_large_file_is_written_early_and_stays_as_it_is(tmp_path: Path) -> None:
    behind = WriteBehind()
    spool = Spool(tmp_path / "s", behind)
    record = [os.urandom(10_000)]
    places = [spool.append(record) for _ in range(9)]
    assert behind.written == 0, "it is not large yet"
    places += [spool.append(record) for _ in range(30)]
    eventually(lambda: behind.written > spool.size - 60_000)
    assert behind.written <= spool.size
    assert all(bytes(spool.read(place)[0]) == record[0] for place in places)
    spool.close()


def test_what_is_no_file_any_more_ends_nothing(tmp_path: Path) -> None:
    behind = WriteBehind()
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    behind.grown(write, 0, 1 << 30)  # a file that is closed
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        file.write(bytes(5000))
        file.flush()
        behind.grown(file.fileno(), 0, 5000)
        eventually(lambda: behind.written == 5000)
