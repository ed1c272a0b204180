"""Whole worlds, each made by its seed. A seed that fails is printed, with the command that replays it."""

from __future__ import annotations

import os

import pytest

from tests.sim.world import World

FIXED = range(1, 61)
FRESH = 40
"""How many seeds nobody has seen before."""


@pytest.mark.parametrize("seed", FIXED)
def test_known_seeds(seed: int) -> None:
    World(seed).run()


def test_fresh_seeds() -> None:
    first = int.from_bytes(os.urandom(4), "big")
    for seed in range(first, first + FRESH):
        try:
            World(seed).run()
        except Exception as error:
            raise AssertionError(f"replay: python -m tests.sim {seed}") from error


def test_without_faults_nothing_is_done_twice() -> None:
    for seed in range(20):
        world = World(seed, faults=False)
        world.run()
        assert world.net.lost == 0
        assert all(worker.machine.outlet.redelivered == 0 for worker in world.workers)
        assert all(job.epoch == 1 for job in world.broker.machine.jobs.values())
