"""What viewers of a trace ask of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

__all__ = ["check_events"]

KINDS = {"X", "M", "i", "s", "f", "C"}


def check_events(events: Sequence[dict[str, Any]]) -> None:
    """Check all that lets Perfetto drop an event without a word.

    Times are whole, since it multiplies fractions as floats. Slices of a track lie in one another or apart.
    Each arrow has two ends, which are in slices, the later one not before the other.
    """
    slices: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    arrows: dict[int, dict[str, int]] = defaultdict(dict)
    for event in events:
        assert event["ph"] in KINDS and {"name", "pid", "tid", "ts"} <= event.keys()
        assert type(event["ts"]) is int, event
        if event["ph"] == "X":
            assert type(event["dur"]) is int and event["dur"] > 0, event
            slices[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for track in slices.values():
        around: list[int] = []
        for begins, ends in sorted(track, key=lambda one: (one[0], -one[1])):
            while around and around[-1] <= begins:
                around.pop()
            assert not around or ends <= around[-1], "slices that overlap"
            around.append(ends)
    for event in events:
        if event["ph"] in "sf":
            assert event["cat"] and event["ph"] not in arrows[event["id"]], event
            arrows[event["id"]][event["ph"]] = event["ts"]
            track = slices[event["pid"], event["tid"]]
            assert any(begins <= event["ts"] < ends for begins, ends in track), "an arrow at no slice"
    assert all(one["s"] <= one["f"] for one in arrows.values()), "an arrow that leads back"
