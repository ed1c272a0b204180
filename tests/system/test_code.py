"""One job, one code: a stage's file is edited while its jobs run, and its workers start anew."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, eventually, stage
from zturbo import Client, JobHandle, Task
from zturbo.cli import main

N = 300

STAGE = """
import time
from pathlib import Path
from zturbo import Stage, Task

VERSION = {version}

class Work(Stage):
    '''Gives its version with the content; all but the first fifty wait for a file.'''
    def process(self, task):
        while task.content >= 50 and not Path({gate!r}).exists():
            time.sleep(0.005)
        return Task([VERSION, task.content])
"""


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


class Work:
    """The stage's file and its gate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gate = folder / "gate"
        self.edit(1)

    def edit(self, version: int) -> None:
        """Write the stage's file."""
        text = STAGE.format(version=version, gate=str(self.gate))
        (self.folder / "edited.py").write_text(text)

    def cluster(self, workers: int, **options: Any) -> Cluster:
        return Cluster({"p": [stage("work", "edited:Work", workers)]}, path=str(self.folder), **options)


def codes(client: Client) -> dict[int, str]:
    """Process -> code of each worker that has joined."""
    processes = [process for host in client.hosts() for process in host["processes"]]
    return {process["pid"]: process["code"] for process in processes if process["name"] == "p.work"}


def start_anew(client: Client, pids: list[int], workers: int) -> None:
    """kill -9, and wait for other workers in their place."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(now := codes(client)) == workers and not {*pids} & {*now})


def begin(client: Client) -> tuple[Iterator[Any], JobHandle, list[Any]]:
    """A job, of which some results are here and others wait for the gate."""
    stream = client.map(range(N), pipeline="p", name="long")
    got = [next(stream) for _ in range(50)]
    return stream, client.attach("long"), got


def test_a_job_goes_on_with_its_code_and_new_jobs_get_the_new_one(
    work: Work, capsys: pytest.CaptureFixture[str]
) -> None:
    with work.cluster(2) as cluster, cluster.client() as client:
        eventually(lambda: len(codes(client)) == 2)
        stream, _, got = begin(client)
        (old,) = {*codes(client).values()}
        assert (
            main(["jobs", "--broker", cluster.address]) == main(["hosts", "--broker", cluster.address]) == 0
        )
        assert old not in capsys.readouterr().out, "one code is not worth a word"
        work.edit(2)
        start_anew(client, [min(codes(client))], 2)
        now = {code: pid for pid, code in codes(client).items()}
        (new,) = {*now} - {old}
        assert (
            main(["jobs", "--broker", cluster.address]) == main(["hosts", "--broker", cluster.address]) == 0
        )
        told = capsys.readouterr().out
        assert f"workers of work have different code, the newest last: {old} x1, {new} x1" in told
        assert all(f"p.work x1  processes {pid} with code {code}" in told for code, pid in now.items()), told
        eventually(lambda: any("no job goes to both" in entry["text"] for entry in client.logs()))
        assert client.submit(Task(7), pipeline="p").result(timeout=60) == [[2, 7]]
        work.gate.touch()
        assert got + list(stream) == [[1, n] for n in range(N)]


def test_a_job_whose_code_has_gone_says_so_and_goes_on_when_it_is_back(work: Work) -> None:
    with work.cluster(1) as cluster, cluster.client() as client:
        eventually(lambda: len(codes(client)) == 1)
        (old,) = codes(client).values()
        stream, handle, got = begin(client)
        work.edit(2)
        start_anew(client, [*codes(client)], 1)
        (new,) = codes(client).values()
        eventually(lambda: f"p.work with code {old}" in (handle.status()["waiting"] or ""))
        assert f"code {new} now" in handle.status()["waiting"]
        assert client.submit(Task(7), pipeline="p").result(timeout=60) == [[2, 7]], "it holds up no other job"
        work.edit(1)
        work.gate.touch()
        start_anew(client, [*codes(client)], 1)
        assert got + list(stream) == [[1, n] for n in range(N)]


def test_a_job_starts_over_with_the_new_code_where_the_file_wants_that(work: Work) -> None:
    with work.cluster(1, code="restart") as cluster, cluster.client() as client:
        eventually(lambda: len(codes(client)) == 1)
        stream, handle, got = begin(client)
        work.edit(2)
        start_anew(client, [*codes(client)], 1)
        eventually(lambda: handle.status()["epoch"] == 2)
        assert any("p.work have other code now" in line for line in handle.status()["incidents"])
        work.gate.touch()
        rest = list(stream)
        assert got == [[1, n] for n in range(50)], "what was given out stays"
        assert rest == [[2, n] for n in range(50, N)]


def test_a_worker_with_other_code_is_refused_where_the_file_wants_one_code(work: Work) -> None:
    with work.cluster(2, code="same") as cluster, cluster.client() as client:
        eventually(lambda: len(codes(client)) == 2)
        stream, _, got = begin(client)
        before = codes(client)
        work.edit(2)
        os.kill(min(before), signal.SIGKILL)
        eventually(lambda: any("refused on" in entry["text"] for entry in client.logs()))
        assert {*codes(client).values()} == {*before.values()}
        work.gate.touch()
        assert got + list(stream) == [[1, n] for n in range(N)]


def test_a_job_may_have_several_codes_where_the_file_allows_it(work: Work) -> None:
    with work.cluster(1, code="any") as cluster, cluster.client() as client:
        eventually(lambda: len(codes(client)) == 1)
        stream, handle, got = begin(client)
        work.edit(2)
        start_anew(client, [*codes(client)], 1)
        assert handle.status()["epoch"] == 1
        work.gate.touch()
        assert got + list(stream) == [[1 if n < 50 else 2, n] for n in range(N)]


def test_doctor_compares_the_code_of_a_host_with_that_of_the_workers(
    work: Work, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(work.folder))
    file = work.folder / "network.toml"
    file.write_text(
        '[[pipeline]]\nname = "p"\n[[pipeline.stage]]\nname = "work"\nclass = "edited:Work"\n'
        f'[broker]\nstate = "{work.folder}/state"\n'
    )
    with work.cluster(1) as cluster, cluster.client() as client:
        eventually(lambda: len(codes(client)) == 1)
        (theirs,) = codes(client).values()
        command = ["doctor", str(file), "--broker", cluster.address]
        assert main(command) == 0
        assert f"p.work has the code here with which its workers run ({theirs})" in capsys.readouterr().out
        work.edit(2)
        assert main(command) == 1
        (fault,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAULT")]
        assert "code: p.work has other code here (" in fault and fault.count(theirs) == 1
        work.gate.parent.joinpath("edited.py").write_text("import no_such_module")
        assert main(command) == 1
        assert "cannot import edited: ModuleNotFoundError" in capsys.readouterr().out
