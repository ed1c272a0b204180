"""The commands that ask a broker, as processes, on a real cluster."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, eventually, stage
from zturbo import Client, Job, JobHandle, Task

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pipelines = {
        "count": [stage("count", "Count"), stage("picky", "Picky", 2)],
        "gate": [stage("gate", "GateEach", 2)],
        "talks": [stage("talks", "tests.stages.cli:Talks")],
        "steers": [stage("steers", "tests.stages.cli:Steers")],
        "keys": [stage("keys", "tests.stages.cli:Keys")],
    }
    with Cluster(pipelines) as cluster:
        with cluster.client() as client:
            eventually(lambda: all(all(p["workers"]) for p in client.pipelines()), 60)
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Client]:
    with cluster.client() as client:
        yield client


def start(cluster: Cluster, *words: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "zturbo", *words],
        cwd=ROOT,
        env={**os.environ, "ZTURBO_BROKER": cluster.address, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Done:
    """A command that has ended.

    Args:
        process: it.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.out, self.err = process.communicate(timeout=60)
        self.code = process.returncode
        assert "Traceback" not in self.err, self.err

    @property
    def lines(self) -> list[Any]:
        """What it printed, each line as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


def run(cluster: Cluster, *words: str, **env: str) -> Done:
    return Done(start(cluster, *words, **env))


def a_job(client: Client, name: str, pipeline: str, content: Any) -> JobHandle:
    handle = client.submit(Job(name, Task(content)), pipeline=pipeline)
    handle.exception(30)
    return handle


def test_job_tells_all_of_one(cluster: Cluster, client: Client) -> None:
    handle = a_job(client, "ten", "count", 10)
    told = run(cluster, "job", handle.id[:10])
    assert told.code == 0
    assert re.search(rf"job +{handle.id}\n", told.out)
    assert re.search(r"state +done\n", told.out) and re.search(r"failed tasks +2\n", told.out)
    eventually(lambda: handle.status()["counts"][1]["done"] == 10)
    told = run(cluster, "job", "ten")
    assert re.search(r"STAGE +QUEUED +RUNNING +DONE +FAILED\n", told.out)
    assert re.search(r"picky +0 +0 +10 +2\n", told.out)
    assert f"zturbo retry {handle.id[:12]} --failed" in told.out
    as_json = json.loads(run(cluster, "job", "ten", "--json").out)
    assert as_json["id"] == handle.id and as_json["counts"][1]["failed"] == 2


def test_job_tells_failures_with_their_remote_traceback(cluster: Cluster, client: Client) -> None:
    handle = a_job(client, "four", "count", 4)
    told = run(cluster, "job", handle.id, "--failures")
    assert told.code == 0 and "in stage picky" in told.out
    assert 'raise ValueError(task.content, "is not wanted")' in told.out
    failures = json.loads(run(cluster, "job", handle.id, "--failures", "--json").out)["failures"]
    (failure,) = failures
    assert failure["content"] == 3 and failure["stage"] == "picky" and failure["host"]
    assert "is not wanted" in failure["error"] and failure["traceback"].startswith("Traceback")


def test_a_job_that_goes_on(cluster: Cluster, client: Client, tmp_path: Path) -> None:
    handle = client.submit(Job("goes on", Task([str(tmp_path / "gate"), 5])), pipeline="gate")
    eventually(lambda: handle.status()["counts"][0]["running"] == 1)
    told = run(cluster, "job", "goes on")
    assert re.search(r"state +running\n", told.out)
    assert re.search(
        r"STAGE +QUEUED +RUNNING +DONE +FAILED +BUSY +IDLE +START +WANT +RATE +P50 +P99 +CODE/IN/HELD/OWN\n",
        told.out,
    )
    busy = re.compile(
        r"gate +0 +1 +0 +0 +1 +1 +0 +2 .* \d+/\d+/\d+/\d+ %\n"
    )  # workers are measured once a second
    eventually(lambda: busy.search(run(cluster, "job", "goes on").out) is not None)
    now = json.loads(run(cluster, "job", "goes on", "--json").out)
    assert [one["stage"] for one in now["stages"]] == ["gate"] and now["bottleneck"]
    listed = run(cluster, "jobs")
    assert re.search(
        rf"{handle.id[:12]} +goes on +gate +running +\S+ +- +6\.\d kB +0 B +0 +0 +gate 0\+1\n", listed.out
    )
    late = run(cluster, "result", "goes on", "--timeout", "0.2")
    assert late.code == 1 and "ResultTimeout" in late.err
    early = run(cluster, "retry", "goes on", "--failed")
    assert early.code == 2 and "has not ended yet: it is running" in early.err
    (tmp_path / "gate").touch()
    got = run(cluster, "result", "goes on")
    assert (got.code, got.out) == (0, "5\n")


def test_result_goes_on_or_begins_again(cluster: Cluster, client: Client) -> None:
    handle = a_job(client, "five", "count", 5)
    first = run(cluster, "result", handle.id[:8])
    assert first.code == 1 and first.lines == [0, 1, 2, 4] and "is not wanted" in first.err
    again = run(cluster, "result", handle.id).lines  # from the cursor on, wherever that is by now
    assert again == first.lines[len(first.lines) - len(again) :]
    eventually(lambda: "have been read before: --from-start" in run(cluster, "result", "five").err)
    whole = run(cluster, "result", "five", "--from-start", "--json")
    assert whole.code == 1
    assert [line["success"] for line in whole.lines] == [True, True, True, False, True]
    failed = run(cluster, "job", handle.id, "--failures", "--json").out
    assert [whole.lines[3]] == json.loads(failed)["failures"], "told in the same way"
    assert {"error", "stage", "host", "traceback", "content", "meta"} < {*whole.lines[3]}


def test_ctrl_c_in_result_leaves_the_job(cluster: Cluster, client: Client, tmp_path: Path) -> None:
    handle = client.submit(Task([str(tmp_path / "gate"), 6]), pipeline="gate")
    process = start(cluster, "result", handle.id, "--from-start")
    eventually(lambda: _blocked(process.pid))
    process.send_signal(signal.SIGINT)
    done = Done(process)
    assert done.code == 130
    assert not handle.done()
    (tmp_path / "gate").touch()
    assert handle.result(30) == [6]


def _blocked(pid: int) -> bool:
    """Whether it has its client's thread: it waits for results, or is about to."""
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir())) >= 4
    except FileNotFoundError:
        return False


def test_cancel(cluster: Cluster, client: Client, tmp_path: Path) -> None:
    handle = client.submit(Job("to be ended", Task([str(tmp_path / "gate"), 5])), pipeline="gate")
    done = run(cluster, "cancel", "to be ended")
    assert done.code == 0 and done.out == f"{handle.id[:12]} to be ended: cancelled\n"
    assert handle.cancelled()
    ended = a_job(client, "has ended", "count", 1)
    late = run(cluster, "cancel", "has ended")
    assert late.code == 1 and "had ended before, done" in late.out
    as_json = run(cluster, "cancel", ended.id, "--json")
    assert json.loads(as_json.out) == {ended.id: "done"}


def test_ctrl_c_in_submit_cancels(cluster: Cluster, client: Client, tmp_path: Path) -> None:
    content = json.dumps([str(tmp_path / "gate"), 5])
    process = start(cluster, "submit", "gate", content, "--content-json", "--name", "interrupted")

    def running() -> bool:
        found = [job for job in client.jobs() if job["name"] == "interrupted"]
        return bool(found) and found[0]["state"] == "running"

    eventually(running)
    process.send_signal(signal.SIGINT)
    done = Done(process)
    assert done.code == 130 and "the job was cancelled" in done.err
    assert [job["state"] for job in client.jobs() if job["name"] == "interrupted"] == ["cancelled"]


def test_retry_runs_just_what_failed(cluster: Cluster, client: Client) -> None:
    handle = a_job(client, "nine", "count", 9)
    bare = run(cluster, "retry", "nine")
    assert bare.code == 2 and "--failed" in bare.err
    again = run(cluster, "retry", handle.id[:12], "--failed", "--json")
    assert again.code == 1 and [line["content"] for line in again.lines] == [3, 7]
    detached = run(cluster, "retry", "nine", "--failed", "--detach")
    assert detached.code == 0 and re.fullmatch(r"[0-9a-f]{32}\n", detached.out)
    assert client.attach(detached.out.strip()).exception(30) is None
    a_job(client, "all right", "count", 2)
    none = run(cluster, "retry", "all right", "--failed")
    assert none.code == 2 and "no failed tasks" in none.err


def test_jobs_that_are_not_there(cluster: Cluster, client: Client) -> None:
    handle = a_job(client, "holiday", "count", 1)
    near = run(cluster, "job", "holyday")
    assert near.code == 2 and "did you mean 'holiday'?" in near.err
    digits = handle.id[:11] + ("0" if handle.id[11] != "0" else "1")
    near = run(cluster, "result", digits)
    assert near.code == 2 and f"did you mean {handle.id[:12]!r}?" in near.err
    a_job(client, "holiday", "count", 1)
    both = run(cluster, "cancel", "holiday")
    assert both.code == 2 and "may be any of 2 jobs" in both.err and handle.id[:12] in both.err


def test_submit(cluster: Cluster) -> None:
    detached = run(
        cluster, "submit", "count", "3", "--content-json", "--detach", "--priority", "2", "--name", "three"
    )
    assert detached.code == 0
    assert run(cluster, "result", detached.out.strip()).lines == [0, 1, 2]
    assert json.loads(run(cluster, "job", "three", "--json").out)["options"] == {"priority": 2}
    tasks = run(cluster, "submit", "count", "1", "--content-json", "--json")
    assert tasks.lines == [{"content": 0, "meta": {}, "success": True}]
    left = run(cluster, "submit", "count", "3", "--content-json", "--detach", "--json")
    assert run(cluster, "result", json.loads(left.out)["job"]).lines == [0, 1, 2]
    assert run(cluster, "submit", "count", "[1", "--content-json").code == 2
    keys = run(cluster, "submit", "keys", "x")
    assert keys.lines == [{"(1, 2)": "01", "path": "x"}]
    fast = run(cluster, "submit", "count", "9", "--content-json", "--fail-fast")
    assert fast.code == 1 and "JobFailed" in fast.err
    unknown = run(cluster, "submit", "cuont", "3")
    assert unknown.code == 2 and "no pipeline 'cuont' here; did you mean 'count'?" in unknown.err


def test_flag_over_environment(cluster: Cluster, tmp_path: Path) -> None:
    nowhere = f"ipc://{tmp_path}/nowhere"
    assert run(cluster, "jobs", "--json", "--broker", cluster.address, ZTURBO_BROKER=nowhere).code == 0
    assert run(cluster, "jobs", "--broker", nowhere).code == 3
    wrong = run(cluster, "jobs", ZTURBO_BROKER="localhost")
    assert wrong.code == 2 and "'localhost' is not an address of a broker" in wrong.err


def test_colours(cluster: Cluster, client: Client) -> None:
    a_job(client, "colourful", "count", 1)
    forced = run(cluster, "jobs", "--all", FORCE_COLOR="1", NO_COLOR="").out
    assert "\x1b[32mdone" in forced
    plain = run(cluster, "jobs", "--all", FORCE_COLOR="1", NO_COLOR="1").out
    assert "\x1b" not in plain and "colourful" in plain
    assert "\x1b" not in run(cluster, "jobs", FORCE_COLOR="", NO_COLOR="").out


def test_many_jobs_that_have_ended_are_hidden(cluster: Cluster, client: Client) -> None:
    for n in range(22):
        a_job(client, f"many {n}", "count", 1)
    listed = run(cluster, "jobs").out
    assert "many 21" in listed and "many 0 " not in listed and "--all shows them" in listed
    assert "many 0 " in run(cluster, "jobs", "--all").out
    assert len(json.loads(run(cluster, "jobs", "--json").out)["jobs"]) >= 22


def test_logs_tell_of_jobs_deaths_and_what_was_logged(cluster: Cluster, client: Client) -> None:
    handle = a_job(client, "talker", "talks", "this")

    def said() -> bool:
        return "a warning of this" in run(cluster, "logs", "talks.talks").out

    eventually(said)
    entries = run(cluster, "logs", handle.id[:12], "--json").lines
    assert {entry["job"] for entry in entries} == {handle.id}
    said_by = {entry["source"] for entry in entries}
    assert said_by == {"broker", "talks.talks"}
    assert any("'talker' in talks is done: 1 results" in entry["text"] for entry in entries)
    pid = cluster.kill("talks.talks")
    eventually(lambda: f"(process {pid} on" in run(cluster, "logs", "talks.talks").out)
    told = run(cluster, "logs").out
    assert "not to be told" not in told
    assert "died: SIGKILL" in told and "talks.talks has joined" in told
    near = run(cluster, "logs", "talks.tolks")
    assert near.code == 2 and "did you mean 'talks.talks'?" in near.err


def test_logs_follow(cluster: Cluster, client: Client) -> None:
    process = start(cluster, "logs", "--follow", "--json")
    lines: list[str] = []
    assert process.stdout is not None
    stdout = process.stdout
    reader = threading.Thread(target=lambda: lines.extend(stdout))
    reader.start()
    eventually(lambda: bool(lines))
    handle = a_job(client, "followed", "count", 1)
    eventually(lambda: any(json.loads(line)["job"] == handle.id for line in list(lines)))
    process.send_signal(signal.SIGINT)
    reader.join(20)
    assert process.wait(20) == 130
    stdout.close()
    assert process.stderr is not None and "Traceback" not in process.stderr.read()
    process.stderr.close()
    numbers = [json.loads(line)["number"] for line in lines]
    assert numbers == sorted(set(numbers))


HOSTILE = "a\x1b[2J\x9b2J\u202eb\r[/bold]\njobs all done"
"""What would clear a terminal, turn its writing, and look like a line of its own."""


def test_no_text_of_another_steers_the_terminal(cluster: Cluster, client: Client) -> None:
    handle = client.submit(Job(HOSTILE, Task(HOSTILE)), pipeline="steers")
    assert len(handle.result(timeout=30).failed_tasks) == 1
    eventually(lambda: any("a warning of" in entry["text"] for entry in client.logs(source="steers.steers")))
    short = handle.id[:12]
    commands = [
        ("jobs", "--all"),
        ("job", short, "--failures"),
        ("job", short),
        ("logs",),
        ("logs", short),
        ("result", short, "--from-start"),
        ("retry", short, "--failed"),
        ("cancel", short),
        ("jobs\x1b[2J",),
        ("logs", "x\x1b[2J"),
        ("submit", "no\x1b[2J", "x"),
        ("submit", "steers", HOSTILE, "--name", HOSTILE),
    ]
    running = [start(cluster, *words) for words in commands]
    for words, process in zip(commands, running, strict=True):
        out, err = process.communicate(timeout=60)
        text = out + err
        assert text and not set(text) & set("\x1b\x9b\u202e\r"), (words, text)
        assert not any(line.startswith("jobs all done") for line in text.splitlines()), (words, text)
