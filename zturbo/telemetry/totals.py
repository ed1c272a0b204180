"""Sums over members that come and go: they never fall, as counters of Prometheus must not."""

from __future__ import annotations

from typing import Any, NamedTuple

from zturbo.telemetry.histogram import added, subtracted

__all__ = ["SUMS", "Key", "Totals"]

SUMS = ("code", "input", "held", "own", "cpu", "tasks", "outputs", "failed", "waited")
"""Fields of a report that are sums since the member's start."""

HISTOGRAMS = ("times", "waits")


class Key(NamedTuple):
    """What is summed up together."""

    pipeline: str
    stage: str
    host: str


class Totals:
    """What all members that were ever seen have done, by pipeline, stage and host."""

    def __init__(self) -> None:
        self.sums: dict[Key, dict[str, int]] = {}
        self.histograms: dict[Key, dict[str, tuple[int, ...]]] = {}
        self._seen: dict[str, dict[str, Any]] = {}
        """Incarnation of each member -> its report that was added last."""

    def add(self, telemetry: dict[str, Any]) -> None:
        """Add what has been done since the last call.

        Args:
            telemetry: as :meth:`zturbo.Client.telemetry` gives it.
        """
        seen, self._seen = self._seen, {}
        for member in telemetry["members"]:
            latest = member["latest"]
            if latest is None:
                continue
            before = seen.get(member["incarnation"], {})
            self._seen[member["incarnation"]] = latest
            name = member["name"].rpartition(".")[2]
            key = Key(member["pipeline"], name, member["host"])
            sums = self.sums.setdefault(key, dict.fromkeys(SUMS, 0))
            for field in SUMS:
                sums[field] += max(0, latest[field] - before.get(field, 0))
            histograms = self.histograms.setdefault(key, dict.fromkeys(HISTOGRAMS, ()))
            for field in HISTOGRAMS:
                new = subtracted(latest[field], before.get(field, ()))
                histograms[field] = added(histograms[field], new)
