"""The parts of a network that a launcher starts apart from each other: broker, sink, and each stage."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from zturbo.deploy.network import Network

__all__ = ["KEYS", "PORT", "SHARED_MIB", "STATE", "Part", "parts_of"]

PORT = 5555
"""The broker's port, where the launcher gives it a host of its own."""

STATE = "/var/lib/zturbo"
"""Folder of the state in a container."""

KEYS = "/run/zturbo-keys"
"""Folder of the keys in a container."""

SHARED_MIB = 512
"""MiB of a container's ``/dev/shm``: a process has at most 256 of its own, and as many of others."""


LONGEST_NAME = 50
"""Letters of a part's name: Kubernetes takes 63 in names of containers and in labels."""


@dataclass(frozen=True, slots=True)
class Part:
    """One command that a launcher runs.

    Args:
        name: of the part, of which no other has the same: letters, digits and ``-`` alone, and not too many.
        words: of the command: ``broker``, ``sink``, or ``stage`` and the stage.
        workers: that the network file has; 1 for broker and sink.
        resources: of each worker, as in the network file.
    """

    name: str
    words: tuple[str, ...]
    workers: int = 1
    resources: dict[str, int | float] = field(default_factory=dict)

    @property
    def role(self) -> str:
        """``broker``, ``sink`` or ``stage``."""
        return self.words[0]

    def command(self, file: str) -> list[str]:
        """The words after ``zturbo``, for a network file at this path."""
        return [self.words[0], file, *self.words[1:]]


def parts_of(network: Network) -> list[Part]:
    """The parts of a network, the broker first."""
    parts = [Part("broker", ("broker",)), Part("sink", ("sink",))]
    taken = {part.name for part in parts}
    for pipeline in network.pipelines:
        for stage in pipeline.stages:
            words = ("stage", f"{pipeline.name}.{stage.name}")
            name = _dns(f"{pipeline.name}-{stage.name}")
            if not name or name in taken or len(name) > LONGEST_NAME:
                own = hashlib.sha256(words[1].encode()).hexdigest()[:8]
                name = f"{name[: LONGEST_NAME - 9]}-{own}".strip("-")
            taken.add(name)
            parts.append(Part(name, words, stage.workers, dict(stage.resources)))
    return parts


def _dns(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")
