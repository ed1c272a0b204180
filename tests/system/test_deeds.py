"""What a stage's code does to its process, to descriptors and signals, and with other processes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.stages.deeds import DEEDS
from tests.support.cluster import Cluster, eventually, stage
from zturbo import Client, Task
from zturbo.errors import WorkerLost

DEADLY = ("close_all", "close_and_open", "close_one")
LEAVE = ("leave_processes", "leave_processes_and_wait")
ROOT = Path(__file__).parents[2]
LASTING = ("elsewhere", "ignore_signals", "block_signals", "odd_settings")
"""What changes the process also for the tasks that come after it."""
AFTER = list(range(20))


def deeds(folder: Path, cls: str = "Deeds", workers: int = 1) -> dict[str, object]:
    return stage("deeds", f"tests.stages.deeds:{cls}", workers, folder=str(folder))


def give(client: Client, deed: str) -> list[object]:
    """What a job gives in which this deed comes first."""
    return list(client.map([deed, *AFTER], pipeline="p", on_error="return"))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="zt-deeds-") as name:
        yield Path(name)


def test_what_harms_nobody(folder: Path) -> None:
    """Each of these leaves the worker able to go on, with its own task done as well."""
    harmless = [name for name in DEEDS if name not in (*DEADLY, *LEAVE, *LASTING, "late_alarm")]
    with Cluster({"p": [deeds(folder)]}) as cluster, cluster.client() as client:
        broker = cluster.child("broker").pid
        for deed in harmless:
            assert give(client, deed) == [deed, *AFTER], deed
        assert list(client.map(["late_alarm"], pipeline="p")) == ["late_alarm"]
        eventually((folder / "alarm").exists)  # it raises while no task runs
        assert list(client.map(AFTER, pipeline="p")) == AFTER
        for deed in LASTING:
            print(deed, flush=True)
            print(deed, flush=True)
            assert give(client, deed) == [deed, *AFTER], deed
        assert cluster.child("broker").pid == broker
        died = [event for event in cluster.events if event[0] == "exited"]
        # A SIGTERM, even of its own, makes a worker leave once it has finished what it has.
        assert [text for _, _, text in died] == ["exit code 0"], died
    # It is told to stop by the pipe, whatever has become of its signals.
    assert [event[2] for event in cluster.events if event[0] == "exited" and event[1] == "p.deeds"][
        -1
    ] == "exit code 0"


@pytest.mark.timeout(900)  # twelve deaths and more, each with a new worker
@pytest.mark.parametrize("cls", ["Deeds", "OrderedDeeds", "BatchDeeds", "AsyncDeeds"])
def test_closed_descriptors_cost_their_own_task_alone(cls: str, tmp_path: Path) -> None:
    with Cluster({"p": [deeds(tmp_path, cls, 2)]}) as cluster, cluster.client() as client:
        for deed in DEADLY:
            got = give(client, deed)
            first = [content for content in got if content not in AFTER]
            assert sorted(content for content in got if content in AFTER) == AFTER, deed
            assert len(first) == 1
            if first != ["close_one"]:  # of one alone the effect may come late, when its task is done
                assert isinstance(first[0], WorkerLost), first
                assert "task 0 killed its worker" in str(first[0])


@pytest.mark.parametrize("deed", ["time-out", "cancel", "kill", "end"])
def test_processes_end_with_their_worker(deed: str, tmp_path: Path) -> None:
    table = deeds(tmp_path)
    if deed == "time-out":
        table["task_timeout"] = 15.0
    with Cluster({"p": [table]}) as cluster, cluster.client() as client:
        what = "leave_processes" if deed == "end" else "leave_processes_and_wait"
        job = client.submit(Task(what), pipeline="p")
        eventually(lambda: any(tmp_path.glob("*.pids")))
        processes = started(tmp_path)
        if deed == "cancel":
            job.cancel()
        elif deed == "kill":
            cluster.kill("p.deeds")
        if deed != "end":
            eventually(lambda: not any(alive(process) for process in processes))
            job.cancel()
    assert not any(alive(process) for process in processes)


ALONE = """
import sys
from pathlib import Path
from tests.support.cluster import Cluster, stage
from zturbo import Task

deeds = stage("deeds", "tests.stages.deeds:Deeds", folder=sys.argv[1])
with Cluster({"p": [deeds]}, state=Path(sys.argv[2])) as cluster, cluster.client() as client:
    client.submit(Task("leave_processes_and_wait"), pipeline="p").result()
"""


def test_processes_end_with_a_killed_node(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="zt-test-") as state:
        program = subprocess.Popen([sys.executable, "-c", ALONE, str(tmp_path), state], cwd=ROOT)
        try:
            eventually(lambda: any(tmp_path.glob("*.pids")))
            processes = started(tmp_path)
        finally:
            children = psutil.Process(program.pid).children(recursive=True)
            program.kill()
            program.wait()
            psutil.wait_procs(children, 30)  # they write to its state until they end
        eventually(lambda: not any(alive(process) for process in processes))


def started(folder: Path) -> list[psutil.Process]:
    """The processes of which a stage has left word."""
    (path,) = folder.glob("*.pids")
    return [psutil.Process(int(pid)) for pid in path.read_text().split()]


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
