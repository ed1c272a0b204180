"""A small tracker: boxes of neighbouring frames that overlap are the same object."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Box", "Tracker"]

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels."""

Labelled = tuple[int, int, int, int, str]


@dataclass(slots=True)
class _Thing:
    id: int
    box: Labelled
    seen: int
    """Number of the frame in which the object was last seen."""


class Tracker:
    """Greedy matching by overlap, best pairs first; boxes are smoothed a little."""

    TRUE = 15
    """Least number of frames of a true track."""
    PATIENCE = 8
    """Most frames in a row in which an object may be unseen."""
    OVERLAP = 0.2

    def __init__(self) -> None:
        self._things: list[_Thing] = []
        self._next = 1

    def update(self, frame: int, boxes: list[Labelled], cut: bool) -> dict[int, Labelled]:
        """Match a frame's boxes with the tracks; returns track id -> box of each object in the frame."""
        if cut:
            self._things = []
        self._things = [thing for thing in self._things if frame - thing.seen <= self.PATIENCE]
        pairs = sorted(
            (-overlap, i, j)
            for i, thing in enumerate(self._things)
            for j, box in enumerate(boxes)
            if (overlap := _overlap(thing.box, box)) >= self.OVERLAP
        )
        out: dict[int, Labelled] = {}
        matched: set[int] = set()
        taken: set[int] = set()
        for _, i, j in pairs:
            if i in taken or j in matched:
                continue
            taken.add(i)
            matched.add(j)
            thing = self._things[i]
            thing.box = _smooth(thing.box, boxes[j])
            thing.seen = frame
            out[thing.id] = thing.box
        for j, box in enumerate(boxes):
            if j not in matched:
                self._things.append(_Thing(self._next, box, frame))
                out[self._next] = box
                self._next += 1
        return out


def _overlap(a: Labelled, b: Labelled) -> float:
    """Intersection over union."""
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / (a[2] * a[3] + b[2] * b[3] - w * h)


def _smooth(old: Labelled, new: Labelled) -> Labelled:
    x, y, w, h = ((a + 2 * b) // 3 for a, b in zip(old[:4], new[:4], strict=True))
    # A face that turns away keeps its label, although only its motion is found in this frame.
    return x, y, w, h, "face" if "face" in (old[4], new[4]) else new[4]
