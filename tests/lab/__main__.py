"""Real hosts that are cut off, slow, dead, new, or restarted with other code, under jobs with known results.

Hosts are network namespaces, so this needs root and Linux. Each round starts a job of each pipeline, and
lets one or two things happen to hosts and links, chosen from the seed. Then the jobs end. All results have
to be there, in order, each once, and of one code. It prints what happened, how long results stood still, and
a verdict; the exit code is 1 if something is wrong, and 2 where hosts cannot be made.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
import time
from collections import defaultdict

import pytest

from tests.lab.faults import FAULTS
from tests.lab.load import Load
from tests.lab.network import LEASE, LabNetwork
from tests.support.hosts import Hosts, need_hosts

SHORT = ("moves", "mute", "from-broker", "slow", "rolls")
"""What happens in the short form: what no other test does to hosts."""

AFTERWARDS = 8.0
"""Seconds that a round takes beside what happens in it, about: who chooses has to know."""


class Lab:
    """One run.

    Args:
        net: the hosts, with a network on them.
        rng: everything that is chosen comes of it.
    """

    def __init__(self, net: LabNetwork, rng: random.Random) -> None:
        self.net = net
        self.rng = rng
        self.rounds = 0
        self.problems: list[str] = []
        self.gaps: dict[str, list[float]] = defaultdict(list)

    def say(self, text: str) -> None:
        """A line, with the time."""
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stdout.flush()

    def choose(self, left: float, only: str | None) -> list[tuple[str, float]]:
        """(what happens, for how long) of one round, that fits into so many seconds if something does."""
        names = [only] if only else sorted(FAULTS)
        every = [(name, seconds) for name in names for seconds in FAULTS[name].seconds]
        fit = [one for one in every if one[1] + AFTERWARDS < left] or [min(every, key=lambda one: one[1])]
        name = self.rng.choice(sorted({name for name, _ in fit}))
        chosen = [self.rng.choice([one for one in fit if one[0] == name])]
        if not FAULTS[name].alone and self.rng.random() < 0.4:
            chosen += self.rng.sample([one for one in fit if not FAULTS[one[0]].alone], 1)
        return chosen

    def round(self, chosen: list[tuple[str, float]]) -> None:
        """Two jobs, and these while they run."""
        self.rounds += 1
        self.say(f"round {self.rounds}: {' and '.join(f'{name} for {s:g} s' for name, s in chosen)}")
        loads = [Load(pipeline, f"{pipeline}-{self.rounds}") for pipeline in ("keep", "anew")]
        for load in loads:
            load.flows()
        wrong: list[str] = []

        def happen(name: str, seconds: float, rng: random.Random) -> None:
            began = time.monotonic()
            try:
                self.say(f"    {name}: {FAULTS[name].does(self.net, rng, seconds)}")
            except Exception as error:  # whatever it is, it was to go well
                wrong.append(f"{name}: {type(error).__name__}: {error}")
            ended = time.monotonic()
            for load in loads:
                load.flows()
            pauses = [s for load in loads for at, s in load.gaps if began - 1 < at + s and at < ended]
            self.gaps[name].append(max(pauses, default=0.0))

        threads = []
        for name, seconds in chosen:
            own = random.Random(self.rng.random())
            threads.append(threading.Thread(target=happen, args=(name, seconds, own)))
            threads[-1].start()
            time.sleep(self.rng.random())
        for thread in threads:
            thread.join()
        if any(unit.version < self.net.version for unit in self.net.units):
            wrong += self._new_code(loads)
        for load in loads:
            if (problem := load.end()) is not None:
                wrong.append(f"{load.name}: {problem}")
        for unit in [unit for unit in self.net.units if unit.version < self.net.version]:
            self.net.remove(unit)
        told = ", ".join(f"{load.seen} results of {load.name}, code {load.codes}" for load in loads)
        self.say(f"    {told}")
        for problem in wrong:
            self.problems.append(f"round {self.rounds} ({chosen}): {problem}")
            self.say(f"    WRONG: {problem}")

    def _new_code(self, loads: list[Load]) -> list[str]:
        """A job that begins now has the new code, beside one that goes on with the old."""
        load = Load("keep", f"new-{self.rounds}")
        load.flows()
        loads.append(load)
        old, new = loads[0].codes, load.codes
        wanted = [{self.net.version}] * 2
        return [] if new == wanted else [f"a new job had code {new}, not {wanted}; the old job had {old}"]

    def verdict(self) -> int:
        """Print the sum of it; the exit status."""
        self.say("while and after it happened, results stood still for, in seconds:")
        for name in FAULTS:
            gaps = sorted(self.gaps[name])
            if gaps:
                middle, longest = gaps[len(gaps) // 2], gaps[-1]
                self.say(f"    {name:12} {len(gaps):4} x, median {middle:5.2f}, longest {longest:5.2f}")
        for problem in self.problems:
            self.say(problem)
        self.say(
            f"{self.rounds} rounds: " + (f"{len(self.problems)} WRONG" if self.problems else "all right")
        )
        return 1 if self.problems else 0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="scripts/lab", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long (default: 2)")
    parser.add_argument("--seed", type=int, help="default: one that nobody has seen; it is printed")
    parser.add_argument("--fault", choices=sorted(FAULTS), help="this alone")
    parser.add_argument("--short", action="store_true", help=f"a round each of {', '.join(SHORT)}")
    args = parser.parse_args()
    try:
        need_hosts()
    except pytest.skip.Exception as error:
        sys.stderr.write(f"NOTHING WAS TESTED ON HOSTS: {error}\n")
        return 2
    seed = int.from_bytes(os.urandom(3), "big") if args.seed is None else args.seed
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell has had SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    end = time.monotonic() + 60 * args.minutes
    with Hosts(list(LabNetwork.NAMES)) as hosts:
        net = LabNetwork(hosts)
        lab = Lab(net, random.Random(seed))
        how_long = "short" if args.short else f"{args.minutes:g} minutes"
        lab.say(f"seed {seed}, {how_long}, lease {LEASE:g} s")
        for pipeline in ("keep", "anew"):
            net.there(pipeline, 2)
        try:
            for name in SHORT if args.short else ():
                lab.round([(name, FAULTS[name].seconds[0])])
            while not args.short and (not lab.rounds or time.monotonic() + AFTERWARDS < end):
                lab.round(lab.choose(end - time.monotonic(), args.fault))
        except KeyboardInterrupt:
            lab.verdict()
            return 130
        if lab.problems:
            sys.stdout.write(hosts.logs())
        return lab.verdict()


if __name__ == "__main__":
    sys.exit(main())
