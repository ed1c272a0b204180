"""A ledger whose file was cut off, or has other bits: what is served is what was written, or nothing."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from zturbo.errors import StartError
from zturbo.slotted import replace
from zturbo_broker.ledger.ledger import Ledger
from zturbo_broker.ledger.rows import JobRow, LedgerCorrupt

JOBS = [bytes([letter]) * 16 for letter in b"XYZ"]
CHUNKS = 3
SEEDS = [*range(100), pytest.param(int.from_bytes(os.urandom(4), "big"), id="fresh")]


@dataclass
class Contents:
    """All that a ledger serves."""

    cluster: Any
    view: Any
    members: Any
    jobs: Any
    index: Any
    chunks: Any


def job(name: bytes, epoch: int) -> JobRow:
    """A job's row with something in each column."""
    return JobRow(
        *(name, f"job {name[:1]!r}", "p", b"c" * 16, "running", epoch, b"\x80", b"d" * 32, True, False),
        *(CHUNKS, b"stamp" * 8, 1.5, None, epoch, 0, None, None, b"n" * 100),
    )


def write(ledger: Ledger, step: int) -> None:
    """What a step adds: the first one chunks, and each one the jobs anew."""
    for name in JOBS:
        ledger.put_job(job(name, step))
        for seq in range(CHUNKS):
            if not step:
                ledger.put_chunk(name, seq, seq, 1, name[:1] * 3000, b"m" * seq, [bytes([seq]) * 9])
    ledger.set_view(step)
    ledger.set_members([bytes([step]) * 40] * 20)
    ledger.commit()


def contents(ledger: Ledger) -> Contents:
    """Read everything; what is damaged reads as None."""

    def read(what: Callable[[], Any]) -> Any:
        try:
            return what()
        except LedgerCorrupt as error:
            assert str(ledger.path) in str(error)
            return None

    return Contents(
        read(lambda: ledger.cluster_id),
        read(ledger.view),
        read(ledger.members),
        read(lambda: list(ledger.jobs())),
        [read(lambda: ledger.chunk_index(name)) for name in JOBS],  # noqa: B023
        [read(lambda: ledger.chunk(name, seq)) for name in JOBS for seq in range(CHUNKS)],  # noqa: B023
    )


def damage(rng: random.Random, path: Path) -> str:
    """Cut a file off, or flip bits of it; returns what was done."""
    raw = bytearray(path.read_bytes())
    if rng.random() < 0.3:
        at = rng.randrange(len(raw))
        del raw[at:]
        done = f"cut off at {at}"
    else:
        places = [rng.randrange(len(raw)) for _ in range(rng.choice([1, 1, 1, 2, 20]))]
        for at in places:
            raw[at] ^= 1 << rng.randrange(8)
        done = f"bits flipped in bytes {sorted(places)}"
    path.write_bytes(raw)
    return f"{path.name} {done}"


def check(path: Path, allowed: list[Contents], done: str) -> None:
    """Nothing is served but what one of these has."""
    try:
        ledger = Ledger(path)
    except StartError as error:
        assert f"the ledger {path} " in str(error), done
        return
    try:
        seen = contents(ledger)
    finally:
        ledger.close()
    for one in allowed:
        for name in ("cluster", "view", "members", "jobs"):
            if getattr(seen, name) is None:
                one = replace(one, **{name: None})
        for name in ("index", "chunks"):
            pairs = zip(getattr(seen, name), getattr(one, name), strict=True)
            one = replace(one, **{name: [there and here for there, here in pairs]})
        if seen == one:
            return
    raise AssertionError(f"{done}: {seen}")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_file(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    ledger = Ledger(path)
    write(ledger, 0)
    before = contents(ledger)
    ledger.close()
    assert None not in (before.view, before.members, before.jobs, *before.index, *before.chunks)
    check(path, [before], f"seed {seed}: {damage(random.Random(seed), path)}")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_write_ahead_log(seed: int, tmp_path: Path) -> None:
    """What comes after the damage counts as not written: all of a commit, or nothing of it."""
    path = tmp_path / "there" / "l.db"
    ledger = Ledger(path)
    states = [contents(ledger)]
    for step in range(4):
        write(ledger, step)
        states.append(contents(ledger))
    killed = tmp_path / "killed"
    shutil.copytree(path.parent, killed)
    ledger.close()
    done = damage(random.Random(seed), killed / "l.db-wal")
    check(killed / "l.db", states, f"seed {seed}: {done}")
