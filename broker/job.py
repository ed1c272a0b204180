"""A job as the broker has it in memory."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

from broker.placement import Placed
from zturbo.wire.messages import Batch, Stamp

__all__ = ["ENDED", "Chunks", "Job"]

ENDED = frozenset({"done", "failed", "cancelled"})
"""States that a job does not leave."""


class Chunks:
    """Where a job's roots lie: 16 bytes for each chunk of them, since there may be millions."""

    __slots__ = ("_nbytes", "_stops", "first", "nbytes")

    def __init__(self) -> None:
        self._stops = array("q")
        self._nbytes = array("q")
        self.first = 0
        """The first root: 0, or -1 for a job's single one, which has no number in its path."""
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._stops)

    def append(self, first: int, n: int, nbytes: int) -> None:
        """The next chunk."""
        if not self._stops:
            self.first = first
        self._stops.append(first + n)
        self._nbytes.append(nbytes)
        self.nbytes += nbytes

    def __getitem__(self, seq: int) -> tuple[int, int, int]:
        """(first root, roots, bytes) of a chunk."""
        first = self._stops[seq - 1] if seq else self.first
        return first, self._stops[seq] - first, self._nbytes[seq]

    @property
    def total(self) -> int:
        """Roots in all chunks."""
        return self._stops[-1] - self.first if self._stops else 0

    def find(self, root: int) -> int:
        """Which chunk has this root."""
        return bisect_right(self._stops, root)


@dataclass(slots=True)
class Job:
    """One job: what was asked, where it runs, how far its roots are."""

    id: bytes
    name: str
    pipeline: str
    client: bytes
    stream: bool
    """Whether its roots come in chunks, as long as the feed is open."""
    options: dict[str, Any]
    digest: bytes
    """Tells a repeated submit from another job under the same id."""
    state: str = "waiting"
    waiting: str | None = None
    """What a waiting job waits for, as a sentence's object."""
    epoch: int = 0
    created: float = 0.0
    """Wall time, for the record only."""
    chunks: Chunks = field(default_factory=Chunks)
    total: int = 0
    """Roots so far; all of them once the feed is closed."""
    closed: bool = False
    placed: Placed | None = None
    stamp: Stamp | None = None
    results: int = 0
    failed: int = 0
    error_kind: str | None = None
    error: str | None = None
    ended_at: float = 0.0
    next_chunk: int = 0
    """The chunk that is being sent."""
    next_root: int = 0
    """How many of its roots have been sent."""
    ended_roots: bool = False
    """Whether the END of all roots has been sent in this epoch."""
    cache: dict[int, Batch] = field(default_factory=dict)
    loading: set[int] = field(default_factory=set)
    backlog_tasks: int = 0
    backlog_bytes: int = 0
    held_acks: list[tuple[bytes, int]] = field(default_factory=list)
    """(identity, ref) of feeds that are answered when the backlog is smaller."""
