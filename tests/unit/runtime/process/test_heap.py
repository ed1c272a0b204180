"""Freed memory stays as long as large buffers come, and goes back to the kernel then."""

from __future__ import annotations

import subprocess
import sys

from zturbo.runtime.process.heap import Heap
from zturbo.runtime.process.tunables import with_tunables

FREES = """
from zturbo.runtime.process.heap import Heap

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

heap = Heap()
before = resident()
buffers = [b"x" * (10 << 20) for _ in range(8)]
heap.used()
del buffers
heap.look()
kept = resident() - before
heap.look()
print(kept >> 20, (resident() - before) >> 20)
"""


def test_memory_is_given_back_at_the_second_look_without_a_large_buffer() -> None:
    heap = Heap()
    assert not heap.look(), "there was none yet"
    heap.used()
    assert not heap.look(), "there was one since the last look"
    heap.used()
    assert not heap.look()
    assert heap.look()
    assert not heap.look(), "it was given back"


def test_a_child_keeps_what_it_frees_and_then_gives_it_back() -> None:
    out = subprocess.run(
        [sys.executable, "-c", FREES], env=with_tunables({}), capture_output=True, text=True, check=True
    )
    kept, left = map(int, out.stdout.split())
    assert kept >= 70 and left < 20
