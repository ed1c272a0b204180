"""Contents in shared memory: they are right whoever dies, and nothing stays in the memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stages.large import frame, is_shared, number_of
from tests.support.cluster import Cluster, eventually, stage
from zturbo import Client, Task
from zturbo.errors import ResultsLost
from zturbo.runtime.shared import opened

FRAMES = 60

pytestmark = pytest.mark.usefixtures("pool")


def large(name: str, cls: str, workers: int = 1, **args: Any) -> dict[str, Any]:
    return stage(name, f"tests.stages.large:{cls}", workers, **args)


def segments(pool: Path) -> list[Path]:
    """All segments and links to them."""
    return [path for path in pool.rglob("*") if path.name.isdigit()]


def test_stages_read_frames_where_the_first_one_has_written_them(pool: Path) -> None:
    frames = 4 * FRAMES  # more than the links' windows have room for
    stages = [large("make", "Frames"), large("pass", "Keeps"), large("lies", "Lies")]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        assert client.submit(Task(frames), pipeline="p").result(timeout=60) == [True] * frames
        inodes = set()
        for path in segments(pool):
            with contextlib.suppress(FileNotFoundError):  # links go while this looks
                inodes.add(path.stat().st_ino)
        assert len(inodes) < frames, "segments were used again"


def test_stages_make_frames_where_others_read_them(pool: Path) -> None:
    stages = [large("make", "Made"), large("pass", "Keeps"), large("lies", "Lies")]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        assert client.submit(Task(FRAMES), pipeline="p").result(timeout=30) == [True] * FRAMES


def test_a_client_reads_results_where_they_are(pool: Path) -> None:
    with Cluster({"p": [large("make", "Frames")]}) as cluster:
        with cluster.client() as client:
            result = list(client.submit(Task(FRAMES), pipeline="p").result(timeout=30))
            assert [number_of(array) for array in result] == list(range(FRAMES))
        shared = [number for number, array in enumerate(result) if is_shared(array)]
        assert shared, "the sink had those that were last in memory"
        cluster.kill("p.make")
        cluster.kill("sink-0")
        assert [number_of(result[number]) for number in shared] == shared, "the program has kept them"


def test_a_client_that_keeps_all_has_most_in_memory_of_its_own(
    pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "MOST", 5)
    with Cluster({"p": [large("make", "Frames")]}) as cluster, cluster.client() as client:
        result = client.submit(Task(FRAMES), pipeline="p").result(timeout=30)
        assert [number_of(array) for array in result] == list(range(FRAMES))
        assert sum(is_shared(array) for array in result) <= 5


def test_a_client_that_comes_late_reads_the_spool(pool: Path) -> None:
    with Cluster({"p": [large("make", "Frames")]}) as cluster, cluster.client() as client:
        job = client.submit(Task(FRAMES), pipeline="p")
        client.wait_jobs([job])
        for _ in range(2):
            again = client.attach(job.id, from_start=True).stream(timeout=30)
            assert [number_of(array) for array in again] == list(range(FRAMES))


def kept(pool: Path) -> list[Path]:
    """What a sink has kept in shared memory."""
    folders = [folder for folder in pool.glob("kept-*") if not folder.name.startswith("kept-roots-")]
    return [path for folder in folders for path in folder.glob("*") if path.name.isdigit()]


def moved(cluster: Cluster) -> int:
    """Bytes of what a sink has moved to the disk, without holes."""
    return sum(512 * path.stat().st_blocks for path in cluster.state.rglob("*.moved"))


def test_results_are_let_go_as_they_are_taken(pool: Path) -> None:
    with Cluster({"p": [large("make", "Frames")]}, durability="process") as cluster:
        with cluster.client() as client:
            job = client.submit(Task(FRAMES), pipeline="p")
            stream = job.stream(timeout=60, keep=False)
            assert [number_of(array) for array in stream] == list(range(FRAMES))
            with pytest.raises(ResultsLost, match="once they are taken"):
                job.result(timeout=60)
            job.release()
            eventually(lambda: not kept(pool) and not moved(cluster))


@pytest.mark.parametrize("when", ["killed", "killed late", "stopped"])
def test_a_sink_ends_that_keeps_results_in_memory(when: str, pool: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    stages = [large("wait", "Keeps", kept=0, wait=str(go))]
    with Cluster({"p": stages}, durability="process") as cluster, cluster.client() as client:
        stream = client.map((frame(number) for number in range(FRAMES)), pipeline="p")
        got = [number_of(next(stream))]  # so the sink knows that results are read once
        go.touch()
        eventually(lambda: bool(kept(pool)) or moved(cluster) > 0)
        if when == "killed late":
            eventually(lambda: not kept(pool))
        cluster.away.add("sink-0")
        os.kill(cluster.child("sink-0").pid, signal.SIGTERM if when == "stopped" else signal.SIGKILL)
        eventually(lambda: ("exited", "sink-0") in [event[:2] for event in cluster.events])
        assert when != "stopped" or not kept(pool), "it has moved them"
        cluster.let_back("sink-0")
        got += [number_of(array) for array in stream]
        assert got == list(range(FRAMES))
        eventually(lambda: not kept(pool) and not moved(cluster))


def test_roots_of_a_client_are_read_where_it_has_written_them(pool: Path) -> None:
    with Cluster({"p": [large("lies", "Lies")]}) as cluster, cluster.client() as client:
        jobs = [client.submit(Task(frame(number)), pipeline="p") for number in range(5)]
        assert [list(job.result(timeout=30)) for job in jobs] == [[True]] * 5
        assert list(client.map((frame(number) for number in range(FRAMES)), pipeline="p")) == [True] * FRAMES


def test_roots_come_from_the_ledger_where_a_broker_was_killed(pool: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with Cluster({"p": [large("wait", "Keeps", wait=str(go))]}, lease=1.0) as cluster:
        with cluster.client() as client:
            stream = client.map((frame(number) for number in range(FRAMES)), pipeline="p")
            got = [number_of(next(stream)) for _ in range(10)]
            cluster.kill("broker")
            cluster.kill("p.wait")
            go.touch()
            got += [number_of(array) for array in stream]
            assert got == list(range(FRAMES))


CLIENT = """
import sys
from zturbo import Client, Task
client = Client(sys.argv[1], timeout=30)
stream = client.submit(Task(60), pipeline="p").stream()
kept = [next(stream) for _ in range(3)]
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_killed_client(pool: Path) -> None:
    with Cluster({"p": [large("make", "Frames")]}) as cluster:
        for name in ("broker", "sink-0", "p.make"):
            cluster.child(name)
        before = {path.name for path in pool.iterdir()}
        command = [sys.executable, "-c", CLIENT, cluster.address]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
            assert program.stdout is not None and program.stdout.readline() == b"ready\n"
            assert len({path.name for path in pool.iterdir()} - before) == 1
            program.kill()
        eventually(lambda: {path.name for path in pool.iterdir()} == before)


def test_without_a_pool_they_go_in_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZTURBO_SHM", "/dev/shm/there-is-no-such-folder")
    stages = [large("make", "Frames"), large("pass", "Keeps"), large("lies", "Lies")]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        tasks = list(client.submit(Task(3), pipeline="p").tasks(timeout=30))
        assert [task.content for task in tasks] == [False] * 3, tasks[0].error


def test_bytes_and_parts_of_arrays(pool: Path) -> None:
    stages = [large("make", "Frames"), large("halve", "Halves"), large("pass", "Passes")]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        results = client.submit(Task(9), pipeline="p").result(timeout=30)
        for number, (raw, array) in enumerate(results):
            assert type(raw) is bytes
            assert int.from_bytes(raw[:8], "little") == number
            assert array[-1] == number + 2 * len(array) - 1


@pytest.mark.parametrize("role", ["p.make", "p.first", "p.second", "sink-0", "broker"])
def test_each_role_is_killed(role: str, pool: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    stages = [
        large("make", "Frames"),
        large("first", "Keeps", kept=2),
        large("second", "Keeps", wait=str(go)),
    ]
    with Cluster({"p": stages}, lease=1.0, durability="process") as cluster, cluster.client() as client:
        job = client.submit(Task(FRAMES), pipeline="p")
        stream = job.stream(timeout=60)
        got = [number_of(next(stream)) for _ in range(10)]
        eventually(lambda: bool(segments(pool)))
        victim = cluster.child(role)
        cluster.kill(role)
        eventually(lambda: victim not in cluster.node.children)
        assert not (pool / victim.incarnation.hex()).exists(), "its node has removed what it had"
        go.touch()
        got += [number_of(array) for array in stream]
        assert got == list(range(FRAMES))


@pytest.mark.parametrize("workers", [1, 3])
def test_what_a_killed_worker_has_passed_on_stays(workers: int, pool: Path, tmp_path: Path) -> None:
    """An ordered stage acks at once; and the next stage has frames of a worker that is gone."""
    go = tmp_path / "go"
    stages = [
        large("make", "Frames"),
        large("order", "Orders"),
        large("last", "Keeps", workers, wait=str(go)),
    ]
    with Cluster({"p": stages}, lease=1.0) as cluster, cluster.client() as client:
        stream = client.submit(Task(FRAMES), pipeline="p").stream(timeout=60)
        got = [number_of(next(stream)) for _ in range(10)]
        cluster.kill("p.make")
        go.touch()
        got += [number_of(array) for array in stream]
        assert got == list(range(FRAMES))


NETWORK = """
[broker]
bind = "ipc://{folder}/broker"
state = "{folder}/state"
[[pipeline]]
name = "p"
[[pipeline.stage]]
name = "make"
class = "tests.stages.large:Frames"
[[pipeline.stage]]
name = "pass"
class = "tests.stages.large:Keeps"
args = {{wait = "{folder}/never"}}
"""


def test_all_processes_of_a_node_are_killed(pool: Path, tmp_path: Path) -> None:
    (tmp_path / "net.toml").write_text(NETWORK.format(folder=tmp_path))
    command = [sys.executable, "-m", "zturbo", "up", str(tmp_path / "net.toml")]

    def run() -> tuple[subprocess.Popen[bytes], Client]:
        node = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client = Client(f"ipc://{tmp_path}/broker", timeout=30)
        client.submit(Task(FRAMES), pipeline="p")
        eventually(lambda: len(segments(pool)) > 5)
        return node, client

    node, client = run()
    node.kill()  # its children see that it is gone
    node.wait()
    client.close()
    eventually(lambda: not pool.exists())

    node, client = run()
    family = [node.pid, *child_pids(node.pid)]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)  # none of them sees another one die
    for pid in family:
        os.kill(pid, signal.SIGKILL)
    node.wait()
    client.close()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family))
    left = {path.name for path in pool.iterdir()}
    assert len(left) >= 2, "those of the workers"
    with Cluster({"p": [large("make", "Frames")]}) as cluster, cluster.client() as client:
        client.submit(Task(1), pipeline="p").result(timeout=30)
        assert not left & {path.name for path in pool.iterdir()}, "the next start has swept"


def child_pids(pid: int) -> list[int]:
    return [
        int(word)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for word in path.read_text().split()
    ]
