"""decode -> detect -> track -> render: tracks moving objects in a clip.

``decode`` yields a task per frame. ``detect`` works on single frames, so it may have any number of workers.
``track`` and ``render`` need the frames in order, so they are ordered stages. Their ``reset()`` makes all
state of a clip, so that several clips can share a worker (``interleave``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from examples.video.clips import locate
from examples.video.tracker import Box, Tracker
from zturbo import ReorderStage, Stage, Task

OUT = "out"
"""Folder for the files that are written, if the task names none."""

STILLS = 3
"""Number of frames of a clip that the contact sheet shows."""

__all__ = ["Decode", "Detect", "Render", "Track"]

SMALL = 320
"""Width of the copy in which motion is detected, in pixels."""

LAG = 2
"""Distance of the two frames that are compared."""


def _small(frame: Any) -> Any:
    """A small grey copy of a frame: (height, 320) uint8."""
    height = round(frame.shape[0] * SMALL / frame.shape[1])
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    return cv2.GaussianBlur(cv2.resize(grey, (SMALL, height), interpolation=cv2.INTER_AREA), (5, 5), 0)


class Decode(Stage):
    """Gives a clip's frames. Each comes with a small copy of the frame ``LAG`` frames before."""

    def process(self, task: Task) -> Iterator[Task]:
        """Give a task for each frame of a clip.

        The content is the clip's path, or ``{"clip": path, "out": folder}``.
        """
        content = task.content
        if not isinstance(content, dict):
            content = {"clip": content}
        clip, out = locate(str(content["clip"])), content.get("out", OUT)
        capture = cv2.VideoCapture(clip)
        if not capture.isOpened():
            raise ValueError(f"{clip} cannot be opened as a video")
        expected = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = capture.get(cv2.CAP_PROP_FPS) or 25.0
        before: list[Any] = []
        more, frame = capture.read()
        index = 0
        while more:
            small = _small(frame)
            more, following = capture.read()
            yield Task(
                {
                    "clip": clip,
                    "out": out,
                    "index": index,
                    "expected": expected,
                    "fps": fps,
                    "last": not more,
                    "frame": frame,
                    "small": small,
                    "before": before[0] if before else small,
                }
            )
            before = [*before, small][-LAG:]
            frame = following
            index += 1
        capture.release()


class Detect(Stage):
    """Finds boxes around moving objects and around faces.

    Args:
        threshold: least change that counts as motion, in grey levels.
        min_area: least area of a moving object, as part of the picture (0 to 1).
    """

    def __init__(self, threshold: int = 14, min_area: float = 0.004) -> None:
        super().__init__()
        self.threshold = threshold
        self.min_area = min_area

    def init(self, worker_id: int = 0) -> None:
        """Load the face model of OpenCV's own wheel."""
        super().init(worker_id)
        cv2.setNumThreads(1)
        self.faces = cv2.CascadeClassifier(
            os.path.join(cv2.data.haarcascades, "haarcascade_frontalface_default.xml")
        )

    def process(self, task: Task) -> Task:
        """Add ``boxes``, each (x, y, width, height, label), and ``cut``: whether a new scene begins."""
        content = task.content
        small, before = content.pop("small"), content.pop("before")
        scale = content["frame"].shape[1] / SMALL
        moving, cut = self._motion(small, before)
        faces = self._faces(small)
        # A moving face is one object, so its motion gets no box of its own.
        boxes = [(*box, "face") for box in faces]
        boxes += [(*box, "moving") for box in moving if not any(_covers(box, face) for face in faces)]
        content["boxes"] = [
            (round(x * scale), round(y * scale), round(w * scale), round(h * scale), label)
            for x, y, w, h, label in boxes
        ]
        content["cut"] = cut
        return task

    def _motion(self, small: Any, before: Any) -> tuple[list[Box], bool]:
        shift, _ = cv2.phaseCorrelate(before.astype(np.float32), small.astype(np.float32))
        if max(abs(shift[0]), abs(shift[1])) > 0.3:  # the camera moves: shift the older frame with it
            move = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
            before = cv2.warpAffine(before, move, small.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        changed = cv2.absdiff(small, before)
        mask = (changed > self.threshold).astype(np.uint8)
        if mask.mean() > 0.5:
            return [], True
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        mask = cv2.dilate(mask, np.ones((9, 9), np.uint8), iterations=2)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        boxes = []
        for contour in contours:
            x, y, w, h = cv2.boundingRect(contour)
            grown = 8  # dilation has made the box larger
            x, y, w, h = x + grown, y + grown, w - 2 * grown, h - 2 * grown
            if w > 4 and h > 4 and w * h >= self.min_area * mask.size:
                boxes.append((int(x), int(y), int(w), int(h)))
        boxes.sort(key=lambda box: (-box[2] * box[3], box))
        return boxes[:8], False

    def _faces(self, small: Any) -> list[Box]:
        found = self.faces.detectMultiScale(small, scaleFactor=1.1, minNeighbors=8, minSize=(48, 48))
        return sorted(tuple(int(v) for v in box) for box in found)  # type: ignore[misc]


def _covers(box: Box, face: Box) -> bool:
    """Whether a face lies mostly within a moving box, or the box within the face."""
    x = min(box[0] + box[2], face[0] + face[2]) - max(box[0], face[0])
    y = min(box[1] + box[3], face[1] + face[3]) - max(box[1], face[1])
    smaller = min(box[2] * box[3], face[2] * face[3])
    return x > 0 and y > 0 and x * y > 0.5 * smaller


class Track(ReorderStage):
    """Follows boxes from frame to frame."""

    interleave = True

    def reset(self) -> None:
        """Begin a new clip."""
        self.tracker = Tracker()

    def get_sequence_id(self, task: Task) -> int:
        """The frame's number."""
        index: int = task.content["index"]
        return index

    def process(self, task: Task) -> Task:
        """Add ``tracks``: id -> (x, y, width, height, label) of each object in this frame."""
        content = task.content
        content["tracks"] = self.tracker.update(content["index"], content["boxes"], content["cut"])
        return task


class Render(ReorderStage):
    """Writes the clip with its tracks drawn into it, and the tracks as JSON. Gives one summary per clip.

    Files get their names only when they are complete. So a job that starts over, or runs twice, leaves the
    same files.
    """

    interleave = True

    def reset(self) -> None:
        """Begin a new clip."""
        self.writer: Any = None
        self.temporary = Path()
        self.seen: dict[int, dict[str, Any]] = {}
        self.frames = 0
        self.detections = 0
        self.stills: dict[int, tuple[tuple[int, int], int, Any]] = {}
        """Part of the clip -> its frame with the most to see: how much, the index, the picture."""

    def process(self, task: Task) -> Task | None:
        """Draw a frame; the last one gives the summary."""
        content = task.content
        out = Path(content["out"])
        name = Path(content["clip"]).stem
        frame = np.array(content["frame"])
        if self.writer is None:
            self._open(out, name, frame, content["fps"])
        for track_id, (x, y, w, h, label) in content["tracks"].items():
            seen = self.seen.setdefault(track_id, {"id": track_id, "label": label, "boxes": []})
            seen["label"] = label
            seen["boxes"].append([content["index"], x, y, w, h])
        self.frames += 1
        self.detections += len(content["boxes"])
        self._draw(frame, content["tracks"])
        self.writer.write(frame)
        self._choose(frame, content)
        if not content["last"]:
            return None
        return Task(self._finish(out, name))

    def _open(self, out: Path, name: str, frame: Any, fps: float) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.temporary = out / f".{name}.{os.getpid()}.mp4"
        size = (frame.shape[1], frame.shape[0])
        self.writer = cv2.VideoWriter(str(self.temporary), cv2.VideoWriter_fourcc(*"mp4v"), fps, size)
        if not self.writer.isOpened():
            raise OSError(f"{self.temporary} cannot be written as a video")

    def _draw(self, frame: Any, tracks: dict[int, Any]) -> None:
        size = max(0.35, frame.shape[1] / 1400)
        thick = max(1, frame.shape[1] // 480)
        for track_id, (x, y, w, h, label) in tracks.items():
            colour = _colour(track_id)
            cv2.rectangle(frame, (x, y), (x + w, y + h), colour, thick)
            trail = [(b[1] + b[3] // 2, b[2] + b[4] // 2) for b in self.seen[track_id]["boxes"][-20:]]
            cv2.polylines(frame, [np.int32(trail)], False, colour, thick)
            text = f"{label} {track_id}"
            (tw, th), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
            x = max(0, min(x, frame.shape[1] - tw - 2))  # so that the whole label is in the picture
            top = y - 4 if y > th + 6 else y + th + 4
            cv2.rectangle(frame, (x, top - th - 3), (x + tw + 2, top + 3), colour, -1)
            cv2.putText(frame, text, (x + 1, top), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1, cv2.LINE_AA)

    def _choose(self, frame: Any, content: dict[str, Any]) -> None:
        """Keep the frame if it shows more than those before it in its part of the clip."""
        known = [label for track_id, (*_, label) in content["tracks"].items() if self._is_true(track_id)]
        shows = (len(known), known.count("face"))
        position = content["index"] * STILLS / max(content["expected"], 1)
        part = min(int(position), STILLS - 1)
        if part > 0 and position - part < 0.2:  # it may be too similar to the still of the part before
            shows = (-1, 0)
        if part not in self.stills or shows > self.stills[part][0]:
            self.stills[part] = (shows, content["index"], frame)

    def _is_true(self, track_id: int) -> bool:
        return len(self.seen[track_id]["boxes"]) >= Tracker.TRUE

    def _still(self, out: Path, name: str, frame: Any, index: int) -> str:
        path = out / f"{name}-{index:04d}.png"
        part = out / f".{path.name}.{os.getpid()}.png"
        cv2.imwrite(str(part), frame)
        part.replace(path)
        return str(path)

    def _finish(self, out: Path, name: str) -> dict[str, Any]:
        self.writer.release()
        video, tracks = out / f"{name}.mp4", out / f"{name}.json"
        self.temporary.replace(video)
        part = out / f".{name}.{os.getpid()}.json"
        stills = [
            self._still(out, name, frame, index) for _, (_, index, frame) in sorted(self.stills.items())
        ]
        kept = [seen for track_id, seen in self.seen.items() if self._is_true(track_id)]
        kept.sort(key=lambda seen: seen["id"])
        part.write_text(json.dumps({"frames": self.frames, "tracks": kept}, indent=1))
        part.replace(tracks)
        for left in out.glob(f".{name}[.-]*"):  # left by a worker that was killed
            left.unlink(missing_ok=True)
        return {
            "clip": name,
            "frames": self.frames,
            "detections": self.detections,
            "tracks": len(kept),
            "video": str(video),
            "json": str(tracks),
            "stills": stills,
        }


def _colour(track_id: int) -> tuple[int, int, int]:
    hue = np.uint8([[[track_id * 47 % 180, 200, 255]]])
    b, g, r = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0]
    return int(b), int(g), int(r)
