"""Workers that are stopped past their lease are replaced; those that hold the interpreter are busy."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, eventually, stage
from tests.support.logged import logged
from zturbo import Task


def test_a_zombie_does_no_harm_and_leaves(tmp_path: Path) -> None:
    with Cluster({"p": logged(tmp_path)}, lease=1.0) as cluster, cluster.client() as client:
        stream = client.map(range(3000), pipeline="p")
        got = [next(stream) for _ in range(50)]
        eventually(lambda: client.pipelines()[0]["workers"] == (2, 2))
        zombie = cluster.child("p.second")
        os.kill(zombie.pid, signal.SIGSTOP)
        got += list(stream)
        assert got == list(range(3000))
        eventually(lambda: sum(client.pipelines()[0]["workers"]) < 4)
        woken = time.monotonic()
        os.kill(zombie.pid, signal.SIGCONT)
        eventually(lambda: not Path(f"/proc/{zombie.pid}").exists())
        print(f"the zombie left {time.monotonic() - woken:.2f} s after it was woken")
        assert list(client.map(range(500), pipeline="p")) == list(range(500))


def test_code_that_holds_the_interpreter_is_busy_and_not_dead() -> None:
    stages = [stage("hold", "HoldGil", 1), stage("add", "Add", 1)]
    with Cluster({"p": stages}, lease=2.0) as cluster, cluster.client() as client:
        for seconds in (
            20,
            4,
        ):  # ten leases; complaints of the first time are void in the second
            job = client.submit(Task(seconds), pipeline="p")
            assert job.result(timeout=120) == [seconds + 1]
            assert job.status()["epoch"] == 1
            assert not job.status()["incidents"]
            assert not [event for event in cluster.events if event[0] == "exited"]


def test_what_a_zombie_says_is_counted_and_dropped_and_it_leaves_by_itself(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gate = tmp_path / "gate"
    stages = [stage("gate", "Gate", 2, path=str(gate), below=100)]
    with Cluster({"p": stages}, lease=1.0) as cluster, cluster.client() as client:
        said: list[str] = []
        sink = cluster.child("sink-0").pid
        broker = cluster.child("broker").pid

        def strays() -> int:
            """How many messages the sink has dropped so far, since they came of nobody in its view."""
            states = len(re.findall(r"state (\{.*\})", "".join(said)))
            os.kill(sink, signal.SIGUSR1)

            def told() -> bool:
                said.append(capfd.readouterr().err)
                return len(re.findall(r"state (\{.*\})", "".join(said))) > states

            eventually(told)
            return int(json.loads(re.findall(r"state (\{.*\})", "".join(said))[-1])["strays"])

        stream = client.map(range(300), pipeline="p")
        got = [next(stream) for _ in range(100)]

        def held() -> bool:
            """Whether both workers hold a task that waits at the gate."""
            (counts,) = client.jobs()[0]["counts"]
            return bool(counts["running"] == 2 and counts["done"] == 100)

        eventually(held)
        zombie = cluster.child("p.gate")
        os.kill(zombie.pid, signal.SIGSTOP)
        eventually(lambda: client.pipelines()[0]["workers"] == (1,))
        gate.touch()
        got += list(stream)
        assert got == list(range(300)), "others have done its work"
        before = strays()
        os.kill(broker, signal.SIGSTOP)  # who would tell it that it is out before it has spoken
        try:
            os.kill(zombie.pid, signal.SIGCONT)
            eventually(lambda: strays() > before)
        finally:
            os.kill(broker, signal.SIGCONT)
        eventually(lambda: not Path(f"/proc/{zombie.pid}").exists())
        eventually(lambda: ("exited", "p.gate") in [event[:2] for event in cluster.events])
        (text,) = [event[2] for event in cluster.events if event[:2] == ("exited", "p.gate")]
        assert text == "exit code 3", "by itself, since the broker refused it"
        assert list(client.map(range(500), pipeline="p")) == list(range(500)), "the next job is untouched"
