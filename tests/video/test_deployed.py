"""The video example on several hosts, brought there by ``zturbo deploy``, with keys."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cv2", reason="needs opencv-python-headless: scripts/test installs it")

from examples.video import clips
from examples.video.stages import Decode, Detect, Render, Track
from tests.support.sshd import HERE, Lab, need_sshd
from zturbo import Task
from zturbo.system.debug import run_debug

pytestmark = pytest.mark.video

ROOT = Path(__file__).parents[2]
CLIENT = """
import json, sys
from zturbo import Client, Task

with Client("tcp://10.99.0.1:5555", keys=sys.argv[1]) as client:
    (summary,) = client.submit(Task(json.loads(sys.argv[2])), "video").result()
    print(json.dumps([summary, {h["address"]: len(h["processes"]) for h in client.hosts()}]))
"""


def test_four_hosts_give_the_tracks_of_one_process(tmp_path: Path) -> None:
    need_sshd()
    clip = min(clips.find(), key=lambda path: path.stat().st_size)
    (alone,) = run_debug(
        [Decode, Detect, Track, Render], Task({"clip": str(clip), "out": str(tmp_path / "alone")})
    )
    with Lab("abcd") as lab:
        (lab.project / "examples").symlink_to(ROOT / "examples")
        file = (ROOT / "examples/video/video.toml").read_text()
        (lab.project / "net.toml").write_text(file + lab.hosts_of("abcd", a='address = "10.99.0.1"'))
        code, _, err = lab.deploy()
        assert code == 0, err + lab.logs()
        keys, content = (
            str(lab.project / ".zturbo/net.keys"),
            json.dumps({"clip": str(clip), "out": str(tmp_path / "far")}),
        )
        client = lab.start(HERE, sys.executable, "-c", CLIENT, keys, content, stdout=subprocess.PIPE)
        out, _ = client.communicate(timeout=120)
        assert client.returncode == 0, lab.logs()
        far, hosts = json.loads(out)
        assert hosts == {"10.99.0.1": 3, "10.99.0.2": 2, "10.99.0.3": 1, "10.99.0.4": 1}
        assert Path(far["json"]).read_text() == Path(alone["json"]).read_text()
        assert [far[key] for key in ("frames", "detections", "tracks")] == [
            alone[key] for key in ("frames", "detections", "tracks")
        ]
        assert lab.deploy("down")[0] == 0 and not any(lab.pids(host) for host in "abcd")
