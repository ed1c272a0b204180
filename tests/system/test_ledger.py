"""The ledger as one who runs a cluster sees it: backed up, moved, put back, and damaged."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, eventually, stage
from zturbo import Job, Task
from zturbo.deploy.children import sink_child, worker_children
from zturbo.errors import JobFailed
from zturbo.runtime.net.host import host_name
from zturbo.runtime.node.node import Node
from zturbo_broker.ledger.ledger import Ledger
from zturbo_broker.ledger.rows import JobRow

N = 2000

SOCKET = shutil.ignore_patterns("broker")
"""The tests' brokers listen in their state folders."""


@pytest.fixture
def moved() -> Iterator[Path]:
    """Where a state folder is moved to: a short path, since sockets are to be in it."""
    folder = Path(tempfile.mkdtemp(prefix="zt-test-"))
    yield folder / "state"
    shutil.rmtree(folder)


def gated(gate: Path) -> dict[str, list[dict[str, object]]]:
    """A stage that holds back the second half until the gate is open."""
    return {"p": [stage("gate", "Gate", 2, path=str(gate), below=N // 2)]}


def backup(ledger: Path, copy: Path) -> None:
    """As the documentation has it."""
    if shutil.which("sqlite3"):
        command = ["sqlite3", str(ledger), f".backup {copy}"]
    else:
        code = "import sqlite3, sys; a, b = map(sqlite3.connect, sys.argv[1:]); a.backup(b); b.close()"
        command = [sys.executable, "-c", code, str(ledger), str(copy)]
    subprocess.run(command, check=True, timeout=60)


def stop_broker(cluster: Cluster) -> None:
    """Stop it, and it alone; it is not started again."""
    broker = cluster.child("broker")
    cluster.node.remove(broker.what)
    eventually(lambda: ("exited", "broker") in [event[:2] for event in cluster.events])


def stop_node(cluster: Cluster) -> None:
    """The node and all that it has started; what waits at the gate would not end by itself."""
    cluster.node.stop()
    cluster.node.stop()
    cluster.thread.join()


def jobs(ledger: Path) -> list[JobRow]:
    """What a ledger that no broker has says of its jobs."""
    opened = Ledger(ledger)
    try:
        return list(opened.jobs())
    finally:
        opened.close()


def test_a_backup_that_is_made_while_the_broker_runs_is_put_back(moved: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Cluster(gated(gate)) as cluster, cluster.client() as client:
        done = client.submit(Task(5), pipeline="p")
        assert done.result(timeout=20) == [5]
        stream = client.map(range(N), pipeline="p", name="long")
        got = [next(stream) for _ in range(50)]
        (long,) = [job["id"] for job in client.jobs() if job["name"] == "long"]
        eventually(lambda: client.jobs(long)[0]["fed"] == N and client.jobs(long)[0]["total"] == N)
        backup(cluster.network.state / "ledger.db", tmp_path / "copy.db")
        later = client.submit(Task(6), pipeline="p", wait=True)
        assert len(jobs(tmp_path / "copy.db")) == 2, "the broker goes on, and the copy stays as it was"
        stop_broker(cluster)
        stop_node(cluster)
        shutil.copytree(cluster.network.state, moved, ignore=SOCKET)
    for suffix in ("-wal", "-shm"):
        (moved / f"ledger.db{suffix}").unlink(missing_ok=True)
    (tmp_path / "copy.db").replace(moved / "ledger.db")
    gate.touch()
    with Cluster(gated(gate), state=moved) as cluster, cluster.client() as client:
        assert client.attach(done.id).result(timeout=20) == [5]
        handle = client.attach(long, from_start=True)
        assert list(handle.stream(timeout=60)) == list(range(N))
        assert got == list(range(50))
        assert later.id not in [job["id"] for job in client.jobs()], "it came after the backup"


def test_all_of_the_state_is_moved(moved: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Cluster(gated(gate)) as cluster, cluster.client() as client:
        done = client.submit(Task(5), pipeline="p")
        assert done.result(timeout=20) == [5]
        stream = client.map(range(N), pipeline="p", name="long")
        assert [next(stream) for _ in range(50)] == list(range(50))
        (long,) = [job["id"] for job in client.jobs() if job["name"] == "long"]
        eventually(lambda: client.jobs(long)[0]["total"] == N)
        stop_broker(cluster)
        stop_node(cluster)
        assert not (cluster.network.state / "ledger.db-wal").exists(), "the file alone is the ledger"
        shutil.copytree(cluster.network.state, moved, ignore=SOCKET)
    with Cluster(gated(gate), state=moved) as cluster, cluster.client() as client:
        assert client.attach(done.id).result(timeout=20) == [5]
        assert client.jobs(long)[0]["state"] in ("waiting", "running"), "it was not finished"
        gate.touch()
        assert list(client.attach(long, from_start=True).stream(timeout=60)) == list(range(N))


def test_the_broker_alone_is_moved(moved: Path, tmp_path: Path) -> None:
    """Its ledger moves; sinks and workers stay, on the same folders, and are started with the new address."""
    gate = tmp_path / "gate"
    moved.mkdir(mode=0o700)
    with Cluster(gated(gate)) as here, here.client() as client:
        done = client.submit(Task(5), pipeline="p")
        assert done.result(timeout=20) == [5]
        stream = client.map(range(N), pipeline="p", name="long")
        assert [next(stream) for _ in range(50)] == list(range(50))
        (long,) = [job["id"] for job in client.jobs() if job["name"] == "long"]
        eventually(lambda: client.jobs(long)[0]["total"] == N)
        stop_broker(here)
        assert here.child("sink-0") and here.child("p.gate"), "they go on"
        shutil.copy(here.network.state / "ledger.db", moved)
        there = Cluster(gated(gate), state=moved, workers=False, sinks=0)
        stop_node(here)
        node = Node(there.address, host=host_name())
        node.add(sink_child(here.network))
        for child in worker_children(here.network, "p.gate"):
            node.add(child)
        thread = threading.Thread(target=node.run)
        thread.start()
        try:
            with there.client() as other:
                assert other.attach(done.id).result(timeout=20) == [5]
                assert other.jobs(long)[0]["state"] in ("waiting", "running"), "it was not finished"
                gate.touch()
                assert list(other.attach(long, from_start=True).stream(timeout=60)) == list(range(N))
        finally:
            node.stop()
            thread.join()
            node.close()
            there.close()


def test_large_roots_move_with_the_ledger_and_one_that_is_gone_ends_its_job_alone(
    moved: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    stages = {"p": [stage("gate", "Gate", 1, path=str(gate))]}
    contents = [bytes([n]) * 300_000 for n in range(3)]
    with Cluster(stages) as cluster, cluster.client() as client:
        handles = [client.submit(Task(content), pipeline="p", wait=True) for content in contents]
        stop_broker(cluster)
        stop_node(cluster)
        shutil.copytree(cluster.network.state, moved, ignore=SOCKET)
    (folder,) = moved.glob("roots-*")
    assert {path.name for path in folder.iterdir()} == {handle.id for handle in handles}
    (folder / handles[1].id).unlink()
    gate.touch()
    with Cluster(stages, state=moved) as cluster, cluster.client() as client:
        for n in (0, 2):
            assert client.attach(handles[n].id).result(timeout=60) == [contents[n]]
        with pytest.raises(JobFailed, match=r"chunk 0 of job \w+ is damaged"):
            client.attach(handles[1].id).result(timeout=60)
        eventually(lambda: not list(folder.iterdir()))


@pytest.mark.parametrize("what", ["cut off", "a job's row"])
def test_a_broker_does_not_start_on_a_damaged_ledger_and_says_what_to_do(
    what: str, moved: Path, tmp_path: Path
) -> None:
    moved.mkdir(mode=0o700)
    state = moved
    stages = {"p": [stage("add", "Add")]}
    with Cluster(stages) as cluster, cluster.client() as client:
        job = client.submit(Job("a name that is there once", Task(5)), pipeline="p")
        assert job.result(timeout=20) == [6]
        backup(cluster.network.state / "ledger.db", tmp_path / "backup.db")
        shutil.copy(tmp_path / "backup.db", state / "ledger.db")
    raw = bytearray((state / "ledger.db").read_bytes())
    if what == "cut off":
        del raw[len(raw) // 2 :]
    else:
        raw[raw.index(b"a name that is there once")] ^= 1
    (state / "ledger.db").write_bytes(raw)
    with Cluster(stages, state=state) as cluster:
        eventually(lambda: any(event[:2] == ("failed", "broker") for event in cluster.events))
        text = next(event[2] for event in cluster.events if event[:2] == ("failed", "broker"))
        assert f"the ledger {state}/ledger.db is damaged (" in text
        assert "put a backup in its place, or move it away" in text
        assert "row 1 of table job" in text or what == "cut off"
        for name in ("ledger.db-wal", "ledger.db-shm"):
            (state / name).unlink(missing_ok=True)
        shutil.copy(tmp_path / "backup.db", state / "ledger.new")
        (state / "ledger.new").replace(state / "ledger.db")
        with cluster.client() as client:
            assert client.jobs(job.id)[0]["name"] == "a name that is there once", "the backup serves"
            assert client.submit(Task(1), pipeline="p").result(timeout=20) == [2]
