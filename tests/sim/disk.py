"""A sink's disk in a simulated world: what was written, and what of it was synced."""

from __future__ import annotations

from typing import Any

from zturbo.wire.codec import decode
from zturbo.wire.messages import Batch

__all__ = ["Disk"]


class Disk:
    """The spool files of one sink.

    Args:
        slow: seconds that a sync takes at most.
    """

    def __init__(self, slow: float) -> None:
        self.slow = slow
        self.records: dict[bytes, list[list[Any]]] = {}
        self.synced: dict[bytes, int] = {}
        """Job -> records that a power cut leaves."""
        self.full_until = 0.0
        self.damaged: list[bytes] = []
        """Jobs whose files were not whole, until the broker knows."""

    def append(self, job: bytes, frames: list[Any]) -> None:
        """One record, not synced."""
        self.records.setdefault(job, []).append([bytes(frame) for frame in frames])

    def drop(self, job: bytes) -> None:
        """The file is removed."""
        self.records.pop(job, None)
        self.synced.pop(job, None)

    def clear_damaged(self, jobs: list[bytes]) -> None:
        """The broker knows of these."""
        self.damaged = [job for job in self.damaged if job not in jobs]

    def power_cut(self) -> list[bytes]:
        """What was not synced is gone. Returns the jobs that were not to be synced: their files are void."""
        void = []
        for job, records in list(self.records.items()):
            stamps = [m.stamp for m in map(decode, records) if isinstance(m, Batch) and m.stamp is not None]
            if stamps and stamps[-1].durability != "fsync":
                void.append(job)
                self.drop(job)
            else:
                del records[self.synced.get(job, 0) :]
        self.damaged.extend(void)
        return void
