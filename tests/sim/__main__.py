"""Run simulated worlds.

python -m tests.sim 17                  one world, whose story is printed if it fails
python -m tests.sim 1 --seeds 1000      a thousand, from seed 1 on
python -m tests.sim --bugs --seeds 100  each planted bug in up to 100 worlds, until one catches it
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from multiprocessing import Pool

from tests.sim.bugs import BUGS
from tests.sim.world import FAULTS, World

__all__ = ["catch", "run_world"]


def run_world(seed: int, only: tuple[str, ...] = FAULTS, limit: float = 200.0) -> str | None:
    """What is wrong with a world; None if nothing is."""
    try:
        World(seed, only=only).run(limit)
    except Exception as error:  # whatever it is, a bug has shown
        return f"{type(error).__name__}: {error}"
    return None


def catch(job: tuple[int, int, int]) -> tuple[int, int | None, str]:
    """(bug, first seed, seeds): the first of these worlds that catches it, and how."""
    number, first, seeds = job
    with BUGS[number].planted():
        for seed in range(first, first + seeds):
            problem = run_world(seed, BUGS[number].only or FAULTS, limit=100.0)
            if problem is not None:
                return number, seed, problem
    return number, None, ""


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.sim", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seed", type=int, nargs="?", help="default: one that nobody has seen")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from SEED on")
    parser.add_argument("--bugs", action="store_true", help="plant each bug, and see whether it is caught")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes; default: one per CPU")
    args = parser.parse_args()
    seed = int.from_bytes(os.urandom(4), "big") if args.seed is None else args.seed
    began = time.monotonic()
    if args.seeds == 1 and not args.bugs:
        World(seed).run()
        return 0
    failed = 0
    with Pool(args.jobs) as pool:
        if args.bugs:
            todo = [(number, seed, args.seeds) for number in range(len(BUGS))]
            for number, caught, problem in pool.imap(catch, todo):
                failed += caught is None
                at = "NOT CAUGHT" if caught is None else f"world {caught - seed + 1:3d}"
                sys.stdout.write(f"{at}: {BUGS[number].name} [{problem[:90]}]\n")
                sys.stdout.flush()
            sys.stdout.write(f"{len(BUGS)} bugs, {failed} not caught, ")
        else:
            seeds = range(seed, seed + args.seeds)
            for number, found in zip(seeds, pool.imap(run_world, seeds, chunksize=8), strict=True):
                if found is not None:
                    failed += 1
                    sys.stdout.write(f"seed {number}: {found}\n")
                    sys.stdout.flush()
            sys.stdout.write(f"{args.seeds} worlds from seed {seed} on, {failed} failed, ")
    sys.stdout.write(f"{time.monotonic() - began:.0f} s\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
