"""What a node tells of one of its processes: stacks, a profile, or the records of a trace; or what it sees at
the ports of another.

A node packs it, and a client unpacks it and checks it: the broker between them reads none of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgpack

from zturbo.telemetry.ring import SIZE
from zturbo.telemetry.stacks import Frame

__all__ = ["Profile", "Reached", "Task", "Traced", "Traces", "Unreadable", "Where", "pack", "read_profile"]
__all__ += ["read_reached", "read_stack", "read_traces"]

TEXT = 256 << 10
"""Characters of a text with stacks at most."""
TASKS = 1000
"""Tasks that are named at most."""
ENDS = 64
"""Addresses at most."""
STACKS = 20_000
"""Different stacks of a profile at most."""


class Unreadable(Exception):
    """An answer that no node gives."""


class Task(NamedTuple):
    """A task that runs."""

    job: bytes
    epoch: int
    path: tuple[int, ...]
    given: int
    """Outputs so far."""
    seconds: float
    """How long it has run."""


class Where(NamedTuple):
    """What a process does now."""

    tasks: tuple[Task, ...]
    text: str
    """The stacks of its threads, as :mod:`faulthandler` writes them; may be empty."""
    note: str
    """Why there is no stack; else empty."""


class Profile(NamedTuple):
    """What a process did, seen many times."""

    seconds: float
    samples: int
    missed: int
    """Looks without an answer in time."""
    interval: float
    stacks: tuple[tuple[tuple[Frame, ...], int], ...]
    """(stack of the main thread, the innermost call first; number of samples)."""
    note: str = ""


class Traced(NamedTuple):
    """The records of one process."""

    pid: int
    incarnation: bytes
    died: float
    """Seconds since 1970; 0.0 if it lives."""
    how: str
    """How it died."""
    raw: bytes
    """Its records, compressed; :mod:`zturbo.telemetry.ring` reads them."""
    tasks: tuple[Task, ...] = ()
    """Tasks that run."""


class Traces(NamedTuple):
    """The records of a process, and of the one before it at its place."""

    wall: float
    """Seconds since 1970 at the time ``clock`` of the clock that the records have."""
    clock: float
    processes: tuple[Traced, ...]


class Reached(NamedTuple):
    """What the node's host sees at addresses of a process on another host."""

    ends: tuple[tuple[str, bool, str], ...]
    """(address, whether it takes connections, what is seen there)."""


def pack(value: Where | Profile | Traces | Reached) -> bytes:
    """The bytes of an answer."""
    packed: bytes = msgpack.packb(value)
    return packed


def _unpack(data: bytes) -> list[Any]:
    try:
        value = msgpack.unpackb(data, use_list=True, strict_map_key=False)
    except Exception as error:
        raise Unreadable(f"not msgpack: {error}") from None
    if type(value) is not list:
        raise Unreadable("no list")
    return value


def _check(values: Sequence[Any], *types: type) -> None:
    if len(values) != len(types):
        raise Unreadable(f"{len(values)} values in place of {len(types)}")
    for value, kind in zip(values, types, strict=True):
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise Unreadable(f"a {type(value).__name__} in place of a {kind.__name__}")


def _ints(values: Iterable[Any]) -> tuple[int, ...]:
    found = tuple(values)
    _check(found, *[int] * len(found))
    return found


def _tasks(values: Sequence[Any]) -> tuple[Task, ...]:
    tasks = []
    for task in values[:TASKS]:
        if type(task) is not list:
            raise Unreadable("a task that is not a list")
        _check(task, bytes, int, list, int, float)
        tasks.append(Task(task[0], task[1], _ints(task[2]), task[3], float(task[4])))
    return tuple(tasks)


def _opened(packed: bytes) -> bytes:
    """The copy of a ring, which cannot be larger than a ring."""
    try:
        return zlib.decompressobj().decompress(packed, SIZE)
    except zlib.error as error:
        raise Unreadable(f"records that are not compressed: {error}") from None


def read_stack(data: bytes) -> Where:
    """The answer to a look of kind ``stack``; raises Unreadable."""
    value = _unpack(data)
    _check(value, list, str, str)
    return Where(_tasks(value[0]), value[1][:TEXT], value[2][:1000])


def read_profile(data: bytes) -> Profile:
    """The answer to a look of kind ``profile``; raises Unreadable."""
    value = _unpack(data)
    _check(value, float, int, int, float, list, str)
    stacks = []
    for pair in value[4][:STACKS]:
        if type(pair) is not list:
            raise Unreadable("a stack that is not a list")
        _check(pair, list, int)
        frames = []
        for frame in pair[0]:
            if type(frame) is not list:
                raise Unreadable("a frame that is not a list")
            _check(frame, str, int, str)
            frames.append(Frame(*frame))
        stacks.append((tuple(frames), pair[1]))
    return Profile(float(value[0]), value[1], value[2], float(value[3]), tuple(stacks), value[5][:1000])


def read_reached(data: bytes) -> Reached:
    """The answer to a look of kind ``reach``; raises Unreadable."""
    value = _unpack(data)
    _check(value, list)
    ends = []
    for end in value[0][:ENDS]:
        if type(end) is not list:
            raise Unreadable("an address that is not a list")
        _check(end, str, bool, str)
        ends.append((end[0][:1000], end[1], end[2][:1000]))
    return Reached(tuple(ends))


def read_traces(data: bytes) -> Traces:
    """The answer to a look of kind ``trace``, its records no longer compressed; raises Unreadable."""
    value = _unpack(data)
    _check(value, float, float, list)
    processes = []
    for one in value[2][:16]:
        if type(one) is not list:
            raise Unreadable("a process that is not a list")
        _check(one, int, bytes, float, str, bytes, list)
        raw = _opened(one[4])
        processes.append(Traced(one[0], one[1], float(one[2]), one[3][:1000], raw, _tasks(one[5])))
    return Traces(float(value[0]), float(value[1]), tuple(processes))
