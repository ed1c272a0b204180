"""Whole worlds, each made by its seed. A seed that fails is printed, with the command that replays it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.pool import Pool

import pytest

from tests.sim.__main__ import CAUGHT, catch, run_world
from tests.sim.bugs import BUGS
from tests.sim.stages import DEADLY, PIPELINES
from tests.sim.world import World

FIXED = (*range(1, 21), 3708133719, 4265552332)
FRESH = 12
"""Worlds that nobody has seen before. ``python -m tests.sim --seeds 1000`` runs more."""
RECORDED: dict[str, list[tuple[int, str]]] = json.loads(CAUGHT.read_text())


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Processes in which sets of bytes have the same order each time, so that a world can be replayed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "0")
        with get_context("spawn").Pool() as pool:
            yield pool


def check(pool: Pool, seeds: Sequence[int]) -> None:
    found = pool.map(run_world, seeds, chunksize=4)
    wrong = [f"python -m tests.sim {seed}: {what}" for seed, what in zip(seeds, found, strict=True) if what]
    assert not wrong, "\n".join(wrong)


def test_known_seeds(pool: Pool) -> None:
    check(pool, FIXED)


@pytest.mark.timeout(1800)
def test_fresh_seeds(pool: Pool) -> None:
    first = int.from_bytes(os.urandom(4), "big")
    check(pool, range(first, first + FRESH))


def caught(number: int) -> bool:
    """Whether one of its recorded worlds catches this bug."""
    return bool(catch((number, RECORDED.get(BUGS[number].name, []), 1))[1])


@pytest.mark.timeout(1800)
def test_planted_bugs_are_caught(pool: Pool) -> None:
    """Each by a recorded world; how many fresh ones it takes, ``python -m tests.sim --bugs`` says."""
    found = pool.map(caught, range(len(BUGS)), chunksize=1)
    stale = [bug.name for bug, known in zip(BUGS, found, strict=True) if not known]
    assert not stale, "record them anew: python -m tests.sim 1 --bugs --seeds 1000 --record"


def test_without_faults_nothing_is_done_twice() -> None:
    tame = tuple(sorted(name for name, stages in PIPELINES.items() if not DEADLY & {*stages}))
    for seed in range(10):
        world = World(seed, faults=False, within=tame)
        world.run()
        assert world.net.lost == 0
        assert all(worker.machine.senders.redelivered == 0 for worker in world.workers)
        assert all(job.epoch == 1 for job in world.broker.jobs().values())
