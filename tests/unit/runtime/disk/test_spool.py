"""The spool: records come back, a torn end is cut off, damage is never served."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zturbo.runtime.disk.spool import Location, Spool, SpoolCorrupt, SpoolFull

records = st.lists(st.lists(st.binary(max_size=50), max_size=5), max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records)
def test_records_come_back(tmp_path: Path, frames: list[list[bytes]]) -> None:
    path = tmp_path / "s"
    spool = Spool(path)
    locations = [spool.append(record) for record in frames]
    spool.sync()
    for location, record in zip(locations, frames, strict=True):
        assert [bytes(frame) for frame in spool.read(location)] == record
    spool.close()
    again = Spool(path)
    got = [(location, [bytes(frame) for frame in read]) for location, read in again.recover()]
    assert got == list(zip(locations, frames, strict=True))
    again.delete()
    assert not path.exists()


def test_a_torn_end_is_cut_off_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "s"
    spool = Spool(path)
    spool.append([b"first"])
    whole = spool.size
    spool.append([b"second", b"record"])
    spool.close()
    raw = path.read_bytes()
    for length in range(whole, len(raw)):
        path.write_bytes(raw[:length])
        torn = Spool(path)
        assert [[bytes(f) for f in frames] for _, frames in torn.recover()] == [[b"first"]]
        assert torn.size == whole == path.stat().st_size
        location = torn.append([b"third"])
        assert bytes(torn.read(location)[0]) == b"third"
        torn.close()


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "s"
    spool = Spool(path)
    location = spool.append([b"some", b"frames"])
    end = spool.size
    spool.append([b"after"])
    spool.close()
    raw = bytearray(path.read_bytes())
    for at in range(end):
        raw[at] ^= 1 << (at % 8)
        path.write_bytes(raw)
        damaged = Spool(path)
        with pytest.raises(SpoolCorrupt):
            damaged.read(location)
        with pytest.raises(SpoolCorrupt):
            list(damaged.recover())
        damaged.close()
        raw[at] ^= 1 << (at % 8)


def test_a_wrong_place_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    spool.append([b"some", b"frames"])
    for location in (Location(3, 10), Location(0, 5), Location(10_000, 5)):
        with pytest.raises(SpoolCorrupt):
            spool.read(location)
    spool.close()


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    location = spool.append([b"fits"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(SpoolFull):
            spool.append([b"x" * 5000])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "s").stat().st_size == spool.size
    after = spool.append([b"x" * 5000])
    assert bytes(spool.read(location)[0]) == b"fits" and len(spool.read(after)[0]) == 5000
    spool.close()
