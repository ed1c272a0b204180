"""What a run says: a table with ratios first, and a JSON file with everything."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.machine import described
from benchmarks.registry import BASE, PEERS, WORKS
from benchmarks.run import Measurement
from benchmarks.work import shown

__all__ = ["Results"]


class Results:
    """All measurements of a run.

    Args:
        measurements: of the run.
        facts: the machine and the run's arguments.
    """

    def __init__(self, measurements: Iterable[Measurement], facts: dict[str, Any]) -> None:
        self.all = list(measurements)
        self.facts = facts
        self.peers = [name for name in PEERS if any(done.peer == name for done in self.all)]
        self.works = [name for name in WORKS if any(done.work == name for done in self.all)]

    # -- values -------------------------------------------------------------------------------
    def figures(self, work: str) -> list[tuple[str, float | None, bool]]:
        """Name, size and direction of each figure that some peer has for a work."""
        found: dict[tuple[str, float | None, bool], None] = {}
        for done in self.all:
            if done.work == work:
                found.update(dict.fromkeys((f.name, f.at, f.less) for f in done.found.figures))
        return sorted(found, key=lambda key: (key[1] is not None, [*found].index(key)))

    def values(self, work: str, peer: str, name: str, at: float | None) -> dict[int, float]:
        """Round -> value of a figure."""
        return {
            done.round: figure.value
            for done in self.all
            if (done.work, done.peer) == (work, peer)
            for figure in done.found.figures
            if (figure.name, figure.at) == (name, at)
        }

    def ratio(self, work: str, peer: str, name: str, at: float | None) -> float | None:
        """How many times the value that the chain had in the same round, in the median of the rounds."""
        mine, base = (self.values(work, who, name, at) for who in (peer, BASE))
        both = [mine[turn] / base[turn] for turn in mine if base.get(turn)]
        return median(both) if both else None

    # -- the table ----------------------------------------------------------------------------
    def table(self) -> str:
        """A table in Markdown: a row for each figure, a column for each peer; notes below."""
        lines = [f"{described(self.facts)}; {self._run()}", ""]
        lines += [f"| | {' | '.join(self.peers)} |", f"| --- |{' --- |' * len(self.peers)}"]
        for work in self.works:
            for name, at, less in self.figures(work):
                size = "" if at is None else f", {at:,.0f} {WORKS[work].axis}"
                cells = [self._cell(work, peer, name, at) for peer in self.peers]
                lines.append(f"| {work} {name}{size}{' ↓' if less else ''} | {' | '.join(cells)} |")
        lines += ["", f"{BASE} = 1 ×; then the value, and its range; ↓: less is better; –: see below.", ""]
        lines += [f"- {name}: {WORKS[name].title}" for name in self.works]
        return "\n".join([*lines, "", *self._notes()])

    def _run(self) -> str:
        return f"{self.facts['rounds']} rounds of about {self.facts['seconds']:g} s for a measurement"

    def _cell(self, work: str, peer: str, name: str, at: float | None) -> str:
        values = sorted(self.values(work, peer, name, at).values())
        if not values:
            return "–"
        text = shown(median(values))
        if len(values) > 1:
            text += f" ({shown(values[0])} to {shown(values[-1])})"
        ratio = self.ratio(work, peer, name, at)
        return text if ratio is None else f"**{shown(ratio)} ×** {text}"

    def _notes(self) -> list[str]:
        notes: list[str] = []
        for peer in self.peers:
            mine = [done for done in self.all if done.peer == peer]
            known = next((done.found for done in mine if done.found.versions), None)
            if known is not None:
                versions = ", ".join(f"{name} {version}" for name, version in known.versions.items())
                notes.append(f"- {peer} ({versions}): what survives a process's death: {known.keeps}")
            for work in dict.fromkeys(done.work for done in mine):
                why = dict.fromkeys(done.found.why for done in mine if done.work == work and done.found.why)
                notes += [f"- {peer}, {work}: {text}" for text in why]
        stolen = [done.found.stolen for done in self.all] or [0.0]
        others = [done.found.others for done in self.all] or [0.0]
        notes.append(
            f"- CPUs taken by the hypervisor: {median(stolen):.2f} in the median, {max(stolen):.2f} at most; "
            f"used by other processes: {median(others):.2f}, {max(others):.2f}"
        )
        return notes

    # -- the file -----------------------------------------------------------------------------
    def write(self, file: Path) -> None:
        """Write everything as JSON."""
        everything = {"facts": self.facts, "measurements": [asdict(done) for done in self.all]}
        file.write_text(json.dumps(everything, indent=1) + "\n")
