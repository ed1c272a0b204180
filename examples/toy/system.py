"""The toy through ``System``: nine jobs of random sizes. ``python -m examples.toy.system [--debug]``."""

from __future__ import annotations

import random
import sys

from examples.toy.stages import Count, Divide, Negate, Times
from zturbo import Job, Resources, Stage, System, Task

__all__ = ["Toy", "jobs"]


class SharedTimes(Times):
    """Times seven, on three workers."""

    def allocate_resource(self, resources: Resources, **custom: object) -> list[Resources]:
        """Three workers, however many CPUs the host has."""
        return [resources] * 3


class SharedDivide(Divide):
    """Divided by seven, on two workers."""

    def allocate_resource(self, resources: Resources, **custom: object) -> list[Resources]:
        """Two workers, however many CPUs the host has."""
        return [resources] * 2


class Toy(System):
    """Count, times, divide, negate."""

    def get_stages(self, resources: Resources) -> list[Stage]:
        """The four stages, one of each kind."""
        return [Count(resources), SharedTimes(), SharedDivide(resources), Negate(resources)]


def jobs(seed: int) -> list[tuple[Job, list[int]]]:
    """Nine jobs of 200 to 400 tasks, and the expected results of each."""
    rng = random.Random(seed)
    out = []
    for i in range(9):
        first, count = rng.randrange(1000), rng.randrange(199, 400)
        job = Job(f"job {i}", Task([first, count]), length=count + 1)
        out.append((job, [-number for number in range(first, first + count + 1)]))
    return out


def main() -> int:
    """Run all jobs and check their results; returns the exit code."""
    wanted = {job.name: (job, expected) for job, expected in jobs(seed=1)}
    right = 0
    with Toy(debug="--debug" in sys.argv) as system:
        system.add_jobs([job for job, _ in wanted.values()])
        for job in system.wait_jobs(len(wanted), job_timeout=60):
            right += job.results == wanted[job.name][1]
    print(f"{right} of {len(wanted)} jobs gave what they should")
    return 0 if right == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
