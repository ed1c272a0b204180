"""The video example on its real clips: in one process, in many, and while workers are killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

cv2 = pytest.importorskip("cv2", reason="needs opencv-python-headless: scripts/test installs it")

from examples.video import clips, demo  # noqa: E402
from examples.video.sheet import write_sheet  # noqa: E402
from examples.video.stages import Decode, Detect, Render, Track  # noqa: E402
from examples.video.tracker import Tracker  # noqa: E402
from zturbo import Task  # noqa: E402
from zturbo.system.debug import run_debug  # noqa: E402

pytestmark = pytest.mark.video

Summaries = dict[str, dict[str, Any]]
DEATHS = 8
"""Processes that are killed in the time that one process takes for all clips."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Summaries:
    """What one process gives, in debug mode."""
    out = tmp_path_factory.mktemp("alone")
    summaries = {}
    for clip in clips.find():
        task = Task({"clip": str(clip), "out": str(out)})
        began = time.monotonic()
        result = run_debug([Decode, Detect, Track, Render], task)
        assert not result.failed_tasks
        (summary,) = result
        summaries[clip.stem] = {**summary, "seconds": time.monotonic() - began}
    return summaries


def same_tracks(alone: Summaries, summaries: list[dict[str, Any]], paths: list[Path]) -> None:
    assert [summary["clip"] for summary in summaries] == [path.stem for path in paths]
    for summary in summaries:
        expected = alone[summary["clip"]]
        assert Path(summary["json"]).read_text() == Path(expected["json"]).read_text()
        for key in ("frames", "detections", "tracks"):
            assert summary[key] == expected[key]
        assert Path(summary["video"]).stat().st_size == Path(expected["video"]).stat().st_size


@pytest.mark.parametrize("clip", clips.find(), ids=lambda clip: clip.stem)
def test_frames_and_tracks(alone: Summaries, clip: Path) -> None:
    capture = cv2.VideoCapture(str(clip))
    frames = 0
    while capture.read()[0]:
        frames += 1
    summary = alone[clip.stem]
    assert summary["frames"] == frames
    written = cv2.VideoCapture(summary["video"])
    assert int(written.get(cv2.CAP_PROP_FRAME_COUNT)) == frames
    tracks = json.loads(Path(summary["json"]).read_text())["tracks"]
    assert len(tracks) == summary["tracks"] >= 1
    for track in tracks:
        seen = [box[0] for box in track["boxes"]]
        assert len(seen) >= 15 and seen == sorted(set(seen))


@pytest.mark.parametrize("name", ["bikes", "bigbuckbunny"])
def test_boxes_sit_on_what_moves(alone: Summaries, name: str) -> None:
    """Where boxes are, the picture changes more from frame to frame than where none is."""
    capture = cv2.VideoCapture(str(next(clip for clip in clips.find() if clip.stem == name)))
    boxes: dict[int, list[list[int]]] = {}
    for track in json.loads(Path(alone[name]["json"]).read_text())["tracks"]:
        for index, *box in track["boxes"]:
            boxes.setdefault(index, []).append(box)
    inside = outside = 0.0
    before = None
    index = 0
    while (read := capture.read())[0]:
        grey = cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY)
        if before is not None and index in boxes:
            change = cv2.absdiff(grey, before)
            mask = change * 0
            for x, y, w, h in boxes[index]:
                mask[max(0, y) : y + h, max(0, x) : x + w] = 1
            inside += float(change[mask == 1].mean())
            outside += float(change[mask == 0].mean())
        before = grey
        index += 1
    assert inside > 1.5 * outside


def small_clips() -> Iterator[Path]:
    """All but the largest, again and again; it is there while deaths come again and again."""
    return cycle(clip for clip in clips.find() if clip.stem != "bikes")


@pytest.mark.parametrize(
    "stage, clip",
    list(zip(["decode", "detect", "track", "render"], small_clips(), strict=False)),
    ids=lambda value: value.stem if isinstance(value, Path) else value,
)
def test_kill_9_changes_nothing(alone: Summaries, tmp_path: Path, stage: str, clip: Path) -> None:
    said: list[str] = []

    class Listener(demo.Progress):
        def say(self, line: str) -> None:
            said.append(line)

    summaries = demo.run_clips([clip], tmp_path, kill=stage, progress=Listener(show=False))
    assert any(line.startswith("kill -9") for line in said), "it was killed while it worked"
    assert any("SIGKILL" in line for line in said)
    same_tracks(alone, summaries, [clip])
    assert not list(tmp_path.glob(".*")), "nothing half written stays behind"


def test_a_death_again_and_again_changes_nothing(alone: Summaries, tmp_path: Path) -> None:
    every = sum(summary["seconds"] for summary in alone.values()) / DEATHS
    said: list[str] = []

    class Listener(demo.Progress):
        def say(self, line: str) -> None:
            said.append(line)

    summaries = demo.run_clips(clips.find(), tmp_path, deaths=every, progress=Listener(show=False))
    same_tracks(alone, summaries, clips.find())
    assert sum(line.startswith("kill -9") for line in said) >= 2
    sheet = tmp_path / "sheet.png"
    write_sheet([summary["stills"] for summary in summaries], sheet)
    picture = cv2.imread(str(sheet))
    assert picture.shape[1] == 3 * 480 and picture.std() > 20


def test_a_clip_may_be_named_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the README does it, in a folder without such a file."""
    monkeypatch.chdir(tmp_path)
    first = next(Decode().process(Task("bikes.mp4")))
    assert first.content["clip"] == str(clips.find()[0]) and first.content["out"] == "out"
    with pytest.raises(FileNotFoundError, match=r"gone\.mp4 is no file where this stage runs; .* bikes.mp4"):
        next(Decode().process(Task("gone.mp4")))


@pytest.mark.parametrize("clip", clips.find(), ids=lambda clip: clip.stem)
def test_stills_show_what_is_found(alone: Summaries, clip: Path) -> None:
    summary = alone[clip.stem]
    tracks = json.loads(Path(summary["json"]).read_text())["tracks"]
    found = {box[0] for track in tracks for box in track["boxes"]}
    shown = [int(Path(still).stem.rpartition("-")[2]) for still in summary["stills"]]
    assert len(shown) == 3 and shown == sorted(set(shown)) and found.issuperset(shown)


def test_a_face_stays_one(alone: Summaries) -> None:
    tracks = json.loads(Path(alone["carphone_pristine"]["json"]).read_text())["tracks"]
    assert max(tracks, key=lambda track: len(track["boxes"]))["label"] == "face"
    tracker = Tracker()
    labels = ["moving", "face", "moving", "moving", "face"]
    given = [tracker.update(frame, [(10, 10, 50, 50, label)], False) for frame, label in enumerate(labels)]
    assert [tracks[1][4] for tracks in given] == ["moving", "face", "face", "face", "face"]
