"""Run simulated worlds.

python -m tests.sim 17                  one world, whose story is printed if it fails
python -m tests.sim 1 --seeds 1000      a thousand, from seed 1 on
python -m tests.sim --bugs --seeds 100  each planted bug in up to 100 worlds, until one catches it
python -m tests.sim 1 --bugs --seeds 100 --record   and note the three cheapest, for the test
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from functools import partial
from math import inf
from multiprocessing import Pool
from pathlib import Path

from tests.sim.bugs import BUGS, Bug
from tests.sim.stages import PIPELINES
from tests.sim.world import FAULTS, World

__all__ = ["CAUGHT", "catch", "run_world"]

CAUGHT = Path(__file__).with_name("caught.json")
"""Planted bug -> worlds that caught it. Several: a change of the product gives each world another story."""
RECORDED = 3
"""Worlds noted for each bug."""


def run_world(seed: int, only: tuple[str, ...] = FAULTS, within: tuple[str, ...] = ()) -> str | None:
    """What is wrong with a world; None if nothing is."""
    try:
        World(seed, only=only, within=within).run()
    except AssertionError as error:
        return str(error)
    except Exception as error:  # of the simulation itself
        return f"the simulation raised {type(error).__name__}: {error}"
    return None


Known = tuple[int, str]
"""A world: its seed and its pipeline."""


def pipeline_of(seed: int, bug: Bug) -> str:
    """The pipeline of the world that this seed gives for this bug."""
    name: str = random.Random(seed).choice(sorted(bug.within or PIPELINES))
    return name


def catch(
    job: tuple[int, Sequence[int | Known], int], *, cheapest: bool = False
) -> tuple[int, list[Known], str]:
    """(bug, seeds or known worlds, how many to find): the worlds that catch it, and how the last does.

    Args:
        job: of which bug, where, and how many.
        cheapest: try all of these worlds, and give those with the fewest steps, in that order, without such
            as go wrong without the bug, too.
    """
    number, worlds, most = job
    bug = BUGS[number]
    found: list[tuple[float, Known]] = []
    problem = ""
    with bug.planted():
        for known in dict.fromkeys(
            (world, pipeline_of(world, bug)) if isinstance(world, int) else (world[0], world[1])
            for world in worlds
        ):
            enough = len(found) == most
            if enough and not cheapest:
                break
            world = World(known[0], only=bug.only or FAULTS, within=(known[1],))
            try:
                world.run(found[-1][0] if enough else inf)
            except AssertionError as error:
                problem = str(error)
                found.append((world.steps, known))
                if cheapest:
                    found.sort()
                    del found[most:]
            except Exception:
                continue  # the simulation itself, on what the bug made of its world: it does not count
    if cheapest:
        found = [one for one in found if run_world(one[1][0], bug.only or FAULTS, (one[1][1],)) is None]
    return number, [known for _, known in found], problem


def main() -> int:
    """The command."""
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of bytes have the same order in each run
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.sim", *sys.argv[1:]])
    parser = argparse.ArgumentParser(
        prog="python -m tests.sim", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seed", type=int, nargs="?", help="default: one that nobody has seen")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from SEED on")
    parser.add_argument("--bugs", action="store_true", help="plant each bug, and see whether it is caught")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes; default: one per CPU")
    parser.add_argument("--record", action="store_true", help=f"with --bugs: write {CAUGHT.name}")
    args = parser.parse_args()
    seed = int.from_bytes(os.urandom(4), "big") if args.seed is None else args.seed
    began = time.monotonic()
    if args.seeds == 1 and not args.bugs:
        World(seed).run()
        return 0
    failed = 0
    record: dict[str, list[Known]] = {}
    with Pool(args.jobs) as pool:
        if args.bugs:
            fresh = range(seed, seed + args.seeds)
            known = json.loads(CAUGHT.read_text())
            first = [known.get(bug.name, []) if args.record else [] for bug in BUGS]
            most = RECORDED if args.record else 1
            todo = [(number, [*first[number], *fresh], most) for number in range(len(BUGS))]
            for number, caught, problem in pool.imap(partial(catch, cheapest=args.record), todo):
                failed += not caught
                if caught:
                    record[BUGS[number].name] = caught
                at = " and ".join(f"world {seed:5d}, {name}" for seed, name in caught) or "NOT CAUGHT"
                sys.stdout.write(f"{at}: {BUGS[number].name} [{problem[:90]}]\n")
                sys.stdout.flush()
            sys.stdout.write(f"{len(BUGS)} bugs, {failed} not caught, ")
            if args.record:
                lines = (f" {json.dumps(name)}: {json.dumps(worlds)}" for name, worlds in record.items())
                CAUGHT.write_text("{\n" + ",\n".join(lines) + "\n}\n")
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
