"""Run simulated worlds: ``python -m tests.sim SEED`` replays one, ``--seeds N`` runs N from a seed on."""

from __future__ import annotations

import argparse
import sys
import time

from tests.sim.world import World


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--seeds", type=int, default=1, help="how many, from SEED on")
    args = parser.parse_args()
    began = time.monotonic()
    failed = []
    for seed in range(args.seed, args.seed + args.seeds):
        try:
            World(seed).run()
        except Exception as error:
            if args.seeds == 1:
                raise
            failed.append(seed)
            sys.stdout.write(f"seed {seed}: {type(error).__name__}: {error}\n")
    sys.stdout.write(f"{args.seeds} worlds, {len(failed)} failed, {time.monotonic() - began:.1f} s\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
