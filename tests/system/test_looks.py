"""Looks at real workers: stacks and profiles, through their node."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, eventually, stage
from tests.unit.telemetry.traced import check_events
from zturbo import Job, Task
from zturbo.cli import main
from zturbo.errors import TaskError, UsageError


def test_a_task_that_holds_the_interpreter_shows_where_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = [stage("calm", "tests.stages.contents:Same", 1), stage("stuck", "tests.stages.stuck:Stuck", 1)]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        cluster.child("p.calm")
        job = client.submit(Job("lost", Task("a" * 40 + "!")), pipeline="p")
        found: list[dict[str, Any]] = []

        def seen() -> bool:
            found[:] = [one for one in client.stacks() if one["name"] == "p.stuck"]
            return bool(found) and bool(found[0]["frames"])

        eventually(seen)
        (one,) = client.stacks("stuck")
        assert [frame["function"] for frame in one["frames"]] == ["hold", "process"]
        (task,) = one["tasks"]
        assert (task["job"], task["path"]) == (job.id, []) and task["seconds"] > 0
        assert one["pid"] == cluster.child("p.stuck").pid and one["note"] == ""
        assert "lost" in job._repr_html_() and "p.stuck" in client._repr_html_()
        assert len(one["threads"]) > 1, "the thread with the sockets is there, too"

        broker = ["--broker", cluster.address]
        assert main(["stack", *broker]) == 0
        said = capsys.readouterr().out
        assert re.search(r"p\.stuck  host .*\n  task \(root\) of job \w+ \(lost\), for \d+\.\d s\n", said)
        assert "stuck.py:" in said and "in hold" in said and "at this moment: p.calm x1" in said
        file = tmp_path / "stuck.svg"
        assert main(["profile", "stuck", "--seconds", "1", "-o", str(file), *broker]) == 0
        assert "hold (stuck.py)" in file.read_text()
        assert main(["stack", "stukc", *broker]) == 2
        assert "p.stuck" in capsys.readouterr().err
        job.cancel()


def test_each_coroutine_shows_the_await_at_which_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waits = stage("waits", "tests.stages.coroutines:Waits", 1, path=str(tmp_path / "cancelled"))
    with Cluster({"p": [waits]}) as cluster, cluster.client() as client:
        jobs = [client.submit(Job(f"job {i}", Task("forever")), pipeline="p") for i in range(3)]
        found: list[dict[str, Any]] = []

        def seen() -> bool:
            found[:] = [task for one in client.stacks() for task in one["tasks"] if task["frames"]]
            return len(found) == 3

        eventually(seen)
        assert {task["job"] for task in found} == {job.id for job in jobs}
        for task in found:
            assert [frame["function"] for frame in task["frames"]] == ["wait", "process"]
            assert task["frames"][1]["file"].endswith("coroutines.py")
        assert main(["stack", "--broker", cluster.address]) == 0
        assert capsys.readouterr().out.count("coroutines.py:") == 3
        profile = client.profile("waits", seconds=1)
        assert profile and client.stacks("waits")[0]["note"] == ""
        for job in jobs:
            job.cancel()


def test_a_look_does_no_harm_to_threads_that_go_on_meanwhile(capsys: pytest.CaptureFixture[str]) -> None:
    """A dump of other threads' frames, as faulthandler makes it, would end the worker."""
    with Cluster({"p": [stage("restless", "tests.stages.stuck:Restless", 1)]}) as cluster:
        with cluster.client() as client:
            pid = cluster.child("p.restless").pid
            job = client.submit(Job("waits", Task(1)), pipeline="p")
            eventually(lambda: job.status()["state"] == "running")  # then its workers have joined
            eventually(lambda: bool(client.stacks("restless")[0]["tasks"]))
            ((_, profile),) = client.profile("restless", seconds=2)
            assert profile is not None and profile.samples > 0
            for _ in range(20):
                (one,) = client.stacks("restless")
                assert (one["pid"], one["note"]) == (pid, "")
                assert "process" in [frame["function"] for frame in one["frames"]]
            assert main(["stack", "--all", "--broker", cluster.address]) == 0
            said = capsys.readouterr().out
            assert "  main thread\n" in said and " in busy\n" in said, "the other thread is there, too"
            assert cluster.child("p.restless").pid == pid
            job.cancel()


def test_a_failed_task_runs_again_in_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Cluster({"p": [stage("odd", "Odd", 1)]}) as cluster, cluster.client() as client:
        broker = ["--broker", cluster.address]
        results = client.map_tasks(["raise", "exit", "fine"], "p")
        job = client.jobs()[0]["id"]
        errors = [task.error for task in results if not task.success]
        assert [
            (error.stage, error.path, error.content) for error in errors if isinstance(error, TaskError)
        ] == [
            ("odd", (0,), "raise"),
            ("odd", (1,), "exit"),
        ]
        handle = client.submit(Job("bad", Task("raise")), pipeline="p")
        with pytest.raises(ValueError, match="on purpose"):
            handle.failed[0].replay("tests.stages.basic:Odd")
        replay = ["replay", "bad", "--stage", "tests.stages.basic:Odd", *broker]
        assert main(replay) == 1
        said = capsys.readouterr()
        assert "task root at stage odd, input 'raise'" in said.out and "ValueError: on purpose" in said.err
        monkeypatch.setattr("sys.stdin", io.StringIO("p task.content * 2\nq\n"))
        assert main([*replay, "--pdb"]) == 1
        assert "'raiseraise'" in capsys.readouterr().out, "it stops in process()"
        assert main(["replay", "bad", "7", *replay[2:]]) == 2
        assert "no failed task has that path; there are\n    root  odd: ValueError" in capsys.readouterr().err
        assert job


def test_what_a_stage_prints_and_logs_is_there_after_the_jobs_end(capsys: pytest.CaptureFixture[str]) -> None:
    with Cluster({"p": [stage("loud", "tests.stages.loud:Loud", 1)]}) as cluster:
        with cluster.client() as client:
            job = client.submit(Job("noise", Task("\x1b[31mred")), pipeline="p")
            assert job.result(30) == ["\x1b[31mred"]
            eventually(lambda: len(client.logs(job.id, source="p.loud")) == 3)
            lines = client.logs("noise", source="p.loud")
            assert [line["text"].split()[0] for line in lines] == ["printed", "told", "logged"]
            pid = cluster.child("p.loud").pid
            assert {(line["level"], line["job"], line["pid"]) for line in lines} == {("INFO", job.id, pid)}
            assert client.logs(job.id, source="p.loud", level="WARNING") == []
            assert main(["logs", "noise", "--broker", cluster.address]) == 0
            said = capsys.readouterr().out
            assert f":{pid} [{job.id[:12]}]: printed \\x1b[31mred" in said and "\x1b[31m" not in said
            (file,) = (cluster.state / "logs").glob(f"p.loud-*-{pid}.log")
            assert file.read_text().count("red") == 3
        cluster.kill("broker")
        with cluster.client() as client:
            eventually(lambda: len(client.logs(job.id, source="p.loud")) == 3)  # from disk


def test_a_trace_follows_tasks_through_the_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = [stage("nap", "Nap", 1, seconds=0.03), stage("again", "Nap", 1, seconds=0.03)]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        assert sum(1 for _ in client.map(range(20), "p")) == 20
        pid = cluster.kill("p.again")

        def restarted() -> bool:
            names = [one["name"] for one in client.telemetry()["members"] if one["pid"] != pid]
            return "p.again" in names

        eventually(restarted)
        file = tmp_path / "trace.json"
        assert main(["trace", "--last", "10m", "-o", str(file), "--broker", cluster.address]) == 0
        assert str(file) in capsys.readouterr().out
        events = json.loads(file.read_text())["traceEvents"]
        check_events(events)
        tracks = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
        assert len(tracks) == 3, "that of the dead worker is there, too"
        code = [event for event in events if event["name"] == "code"]
        ran = sum(event["args"].get("tasks", 0) for event in code)
        assert 40 <= ran <= 43, "acks of the last ones may have been on their way: these run again"
        assert all(event["dur"] > 0 for event in code)
        assert sum(event["ph"] == "s" for event in events) >= 15
        assert any(event["cat"] == "death" for event in events if event["ph"] == "i")


def test_a_report_shows_which_stage_limits_a_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = [stage("count", "Count", 1), stage("slow", "Slow", 1, seconds=0.02), stage("odd", "Odd", 1)]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        assert client.submit(Task(2), pipeline="p").result(60) == [0, 1]
        with client.report(tmp_path / "run.html"):
            job = client.submit(Job("many", Task(60)), pipeline="p")
            assert job.result(60) == list(range(60))
        text = (tmp_path / "run.html").read_text()
        assert "Run of many" in text and "<polyline" in text and "p.slow" in text
        file = tmp_path / "job.html"
        assert main(["report", "many", "-o", str(file), "--broker", cluster.address]) == 0
        assert "3 workers, 0 failed tasks" in capsys.readouterr().out
        text = file.read_text()
        assert "Job many" in text and job.id in text and "p.slow" in text and "<rect" in text
        assert "<h2>Memory</h2>" in text and "<polyline" in text
        with pytest.raises(UsageError, match="no folder"):
            client.report(tmp_path / "none" / "run.html")
        assert main(["report", "mnay", "-o", str(file), "--broker", cluster.address]) == 2
