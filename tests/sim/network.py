"""A lying network on a virtual clock: it delays, drops, doubles, and resets, as ZeroMQ over TCP may.

What travels is what the codecs make, so that nothing is shared by reference between machines.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Clock", "Faults", "Network"]


class Clock:
    """Virtual time and what is to happen when."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Let this happen then."""
        self._count += 1
        heapq.heappush(self._queue, (when if when > self.now else self.now, self._count, call))

    def step(self) -> bool:
        """Let the next thing happen. False if there is none."""
        if not self._queue:
            return False
        when, _, call = heapq.heappop(self._queue)
        self.now = when  # none is put into the past
        call()
        return True


@dataclass(slots=True)
class Faults:
    """Probabilities per message, until :attr:`until` seconds."""

    drop: float = 0.0
    """The connection is reset: this message and all that are on the way behind it are lost."""
    double: float = 0.0
    delay: float = 0.01
    """Seconds a message travels at most."""
    until: float = 30.0


@dataclass(slots=True)
class _Channel:
    generation: int = 0
    last: float = 0.0
    """When the last message on the way arrives: a channel keeps its order."""


@dataclass(slots=True)
class Network:
    """Channels between named ends."""

    clock: Clock
    rng: random.Random
    faults: Faults
    receivers: dict[bytes, Callable[[bytes, list[Any]], None]] = field(default_factory=dict)
    channels: dict[tuple[bytes, bytes, str], _Channel] = field(default_factory=dict)
    lost: int = 0
    carried: int = 0
    cuts: dict[tuple[bytes, bytes], float] = field(default_factory=dict)
    """(source, target) -> until when no data gets through."""

    where: dict[bytes, str] = field(default_factory=dict)
    """End -> its host."""
    walls: dict[bytes, float] = field(default_factory=dict)
    """Target -> until when it gets no data from other hosts."""

    def wall(self, end: bytes, seconds: float) -> None:
        """A firewall keeps data of other hosts from an end for a while. What the end says gets through."""
        self.walls[end] = self.clock.now + seconds

    def is_cut(self, one: bytes, other: bytes) -> bool:
        """Whether data is kept off in one direction at least."""
        return self._is_kept_off(one, other) or self._is_kept_off(other, one)

    def _is_kept_off(self, source: bytes, target: bytes) -> bool:
        now = self.clock.now
        if now < self.cuts.get((source, target), 0.0):
            return True
        return now < self.walls.get(target, 0.0) and self.where.get(source) != self.where.get(target)

    def cut(self, one: bytes, other: bytes, seconds: float) -> None:
        """The link between two ends is broken for a while, without notice."""
        for ends in ((one, other), (other, one)):
            self.cuts[ends] = self.clock.now + seconds

    def reset(self, end: bytes) -> None:
        """The end has died: what is on the way to it and from it is lost."""
        for (source, target, _), channel in self.channels.items():
            if end in (source, target):
                channel.generation += 1

    def send(self, source: bytes, target: bytes, kind: str, frames: list[Any]) -> None:
        """Put a message on the way; ``kind`` tells channels between the same ends apart."""
        key = (source, target, kind)
        channel = self.channels.setdefault(key, _Channel())
        frames = [bytes(frame) for frame in frames]
        if kind == "data" and self._is_kept_off(source, target):
            channel.generation += 1
            self.lost += 1
            return
        faulty = self.clock.now < self.faults.until
        if faulty and self.rng.random() < self.faults.drop:
            channel.generation += 1
            self.lost += 1
            return
        copies = 2 if faulty and self.rng.random() < self.faults.double else 1
        for _ in range(copies):
            arrival = max(channel.last, self.clock.now + self.rng.random() * self.faults.delay)
            channel.last = arrival
            self._deliver(key, channel, channel.generation, arrival, frames)

    def _deliver(
        self,
        key: tuple[bytes, bytes, str],
        channel: _Channel,
        generation: int,
        arrival: float,
        frames: list[Any],
    ) -> None:
        def arrive() -> None:
            receiver = self.receivers.get(key[1])
            if generation != channel.generation or receiver is None:
                self.lost += 1
                return
            self.carried += 1
            receiver(key[0], frames)

        self.clock.at(arrival, arrive)
