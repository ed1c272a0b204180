"""Tasks a second, and the latency of one task, compared with a hand-written chain in the same run.

python -m benchmarks.speed [--tasks 100000] [--calls 300] [--rounds 3]
"""

from __future__ import annotations

import argparse
import queue
import statistics
import time
from collections.abc import Callable

from benchmarks.chain import Chain, chain
from benchmarks.local import machine, pipeline
from zturbo import Client

STAGES = [{"name": name, "class": "examples.toy.noop:Add"} for name in ("a", "b", "c")]


def rate(n: int, run: Callable[[], list[int]]) -> float:
    """Measure tasks a second, and check the results."""
    began = time.perf_counter()
    out = run()
    seconds = time.perf_counter() - began
    assert out == list(range(3, n + 3)), "wrong or unordered results"
    return n / seconds


def chain_latency(peer: Chain, calls: int) -> list[float]:
    """Seconds of each call."""
    out = []
    for i in range(calls):
        began = time.perf_counter()
        assert peer.one(i) == i + 3
        out.append(time.perf_counter() - began)
    return out


def latency(client: Client, calls: int) -> list[float]:
    """Seconds of each task of a streamed job, one at a time."""
    todo: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    results = client.map(iter(todo.get, None), "p")
    out = []
    for i in range(calls):
        began = time.perf_counter()
        todo.put(i)
        assert next(results) == i + 3
        out.append(time.perf_counter() - began)
    todo.put(None)
    assert list(results) == []
    return out


def tell(name: str, values: list[float]) -> tuple[float, float]:
    """Print p50 and p99."""
    values = sorted(values)
    p50, p99 = statistics.median(values), values[int(0.99 * (len(values) - 1))]
    print(f"{name:34} p50 {1e3 * p50:7.2f} ms   p99 {1e3 * p99:7.2f} ms")
    return p50, p99


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    n = args.tasks
    print(f"{machine()}; three no-op stages, one worker each; {n} small tasks")
    rates: dict[str, list[float]] = {"chain": [], "memory": [], "process": [], "fsync": []}
    with chain() as peer:
        for mode in ("memory", "process", "fsync"):
            with pipeline(STAGES, mode) as (client, _):
                rate(5000, lambda: list(client.map(range(5000), "p")))
                for _ in range(args.rounds):
                    rates["chain"].append(rate(n, lambda: peer.map(n)))
                    rates[mode].append(rate(n, lambda: list(client.map(range(n), "p"))))
                base = tell("chain, one task at a time", chain_latency(peer, args.calls))
                ours = tell(f"zturbo ({mode}), one task at a time", latency(client, args.calls))
                print(f"{'':34} x {ours[0] / base[0]:.1f} of its p50, x {ours[1] / base[1]:.1f} of its p99")
    middle = {name: statistics.median(values) for name, values in rates.items()}
    for name, value in middle.items():
        spread = f"{min(rates[name]):,.0f} to {max(rates[name]):,.0f}"
        print(f"{name:10} {value:12,.0f} tasks/s ({spread})   x {value / middle['chain']:.2f} of the chain")


if __name__ == "__main__":
    main()
