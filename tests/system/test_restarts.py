"""Brokers and sinks that die, workers that are stopped and replaced: nothing is done again without need."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clock import Clock
from tests.support.cluster import Cluster, eventually, stage
from zturbo import Task
from zturbo.deploy.children import worker_children
from zturbo.errors import ResultsLost


def counts(path: Path) -> Counter[str]:
    """How often each content was processed."""
    return Counter(path.read_text().split())


def logged(tmp_path: Path, seconds: float = 0.001) -> list[dict[str, object]]:
    """Two stages that note what they are given."""
    return [
        stage("first", "Log", 2, path=str(tmp_path / "first"), seconds=seconds),
        stage("second", "Log", 2, path=str(tmp_path / "second"), seconds=seconds),
    ]


@pytest.mark.parametrize("durability", ["fsync", "process", "memory"])
@pytest.mark.parametrize("victim", ["broker", "sink-0"])
def test_a_restart_redoes_nothing(victim: str, durability: str, tmp_path: Path) -> None:
    with Cluster({"p": logged(tmp_path)}) as cluster, cluster.client() as client:
        stream = client.map(range(2000), pipeline="p", durability=durability)
        got = [next(stream) for _ in range(50)]
        cluster.kill(victim)
        got += [next(stream) for _ in range(400)]
        cluster.kill(victim)
        (job,) = client.jobs()
        got += list(stream)
        assert got == list(range(2000))
        assert job["epoch"] == 1
        for name in ("first", "second"):
            assert counts(tmp_path / name) == Counter(map(str, range(2000))), "each exactly once"


@pytest.mark.parametrize(
    "role, module, where, when",
    [
        ("sink", "zturbo.runtime.members.sink", "zturbo.runtime.disk.spool:Spool.append", "after"),
        ("sink", "zturbo.runtime.members.sink", "zturbo.runtime.disk.spool:Spool.sync", "before"),
        ("sink", "zturbo.runtime.members.sink", "zturbo.runtime.disk.spool:Spool.sync", "after"),
        ("broker", "zturbo_broker.__main__", "zturbo_broker.ledger.ledger:Ledger.commit", "before"),
        ("broker", "zturbo_broker.__main__", "zturbo_broker.ledger.ledger:Ledger.commit", "after"),
        (
            "broker",
            "zturbo_broker.__main__",
            "zturbo_broker.machine.from_members:FromMembers.complete",
            "before",
        ),
        (
            "broker",
            "zturbo_broker.__main__",
            "zturbo_broker.machine.from_members:FromMembers.complete",
            "after",
        ),
    ],
)
def test_deaths_on_either_side_of_the_disk(
    role: str, module: str, where: str, when: str, tmp_path: Path
) -> None:
    """Between write, sync and ack, around a commit, between the sink's word and the ledger's: three lives."""
    dying = f"{module}|{where}|{when}|%d|3|{tmp_path}"
    # A slow disk has few syncs.
    nth = 1 if where.endswith("complete") else 4 if role == "broker" else 3
    env = {"DYING": dying % nth}
    with (
        Cluster({"p": logged(tmp_path)}, modules={role: "tests.support.dying"}, env=env) as cluster,
        cluster.client() as client,
    ):
        lives, jobs = tmp_path / "lives", 0
        while not jobs or lives.read_bytes() != b"....":  # how many calls a job makes is a matter of speed
            assert list(client.map(range(2000), pipeline="p")) == list(range(2000))
            jobs += 1
        for name in ("first", "second"):
            done = counts(tmp_path / name)
            assert done == Counter({str(i): jobs for i in range(2000)}), "each exactly once"


def test_broker_and_sink_at_once(tmp_path: Path) -> None:
    with Cluster({"p": logged(tmp_path)}) as cluster, cluster.client() as client:
        stream = client.map(range(2000), pipeline="p")
        got = [next(stream) for _ in range(50)]
        cluster.kill("broker")
        cluster.kill("sink-0")
        got += list(stream)
        assert got == list(range(2000))
        assert counts(tmp_path / "first") == Counter(map(str, range(2000)))


def test_an_ordered_stage_goes_on_after_the_brokers_restart() -> None:
    stages = [stage("add", "Add", 2), stage("slow", "Slow", 2, seconds=0.001), stage("sum", "Sum", 1)]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        stream = client.map(range(2000), pipeline="p")
        got = [next(stream) for _ in range(50)]
        cluster.kill("broker")
        got += [next(stream) for _ in range(100)]
        (job,) = client.jobs()
        got += list(stream)
        total, expected = 0, []
        for value in range(2000):
            total = (total * 31 + value + 1) % 1_000_003
            expected.append(total)
        assert got == expected
        assert job["epoch"] == 1, "it was not started over"


def test_results_of_a_finished_job_outlive_the_sink() -> None:
    with Cluster({"p": [stage("count", "Count")]}) as cluster, cluster.client() as client:
        job = client.submit(Task(3000), pipeline="p")
        assert job.result(timeout=20) == list(range(3000))
        cluster.kill("sink-0")
        assert client.attach(job.id).result(timeout=20) == list(range(3000))


def test_a_spool_that_is_gone(tmp_path: Path) -> None:
    with Cluster({"p": logged(tmp_path)}, lease=1.0) as cluster, cluster.client() as client:
        done = client.submit(Task(5), pipeline="p")
        assert done.result(timeout=20) == [5]
        stream = client.map(range(1000), pipeline="p")
        got = [next(stream) for _ in range(50)]
        child = cluster.child("sink-0")
        for file in (cluster.network.state / "sink-0").iterdir():
            file.unlink()
        os.kill(child.pid, signal.SIGKILL)
        got += list(stream)
        assert got == list(range(1000)), "it was run again, past what the client had"
        with pytest.raises(ResultsLost):
            client.attach(done.id).result(timeout=20)


def test_a_damaged_spool_is_not_served(tmp_path: Path) -> None:
    with Cluster({"p": [stage("count", "Count")]}, lease=1.0) as cluster, cluster.client() as client:
        job = client.submit(Task(3000), pipeline="p")
        assert job.result(timeout=20) == list(range(3000))
        (spool,) = (cluster.network.state / "sink-0").glob("*.spool")
        raw = bytearray(spool.read_bytes())
        raw[len(raw) // 2] ^= 1
        spool.write_bytes(raw)
        cluster.kill("sink-0")
        with pytest.raises(ResultsLost):
            client.attach(job.id).result(timeout=20)


def cut_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_all(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize(
    "harm, durability", [(cut_half, "fsync"), (cut_all, "process"), (Path.unlink, "memory")]
)
def test_a_spool_that_lost_its_end(harm: Callable[[Path], None], durability: str, tmp_path: Path) -> None:
    with Cluster({"p": logged(tmp_path)}, lease=1.0) as cluster, cluster.client() as client:
        done = client.submit(Task(5), pipeline="p", durability=durability)
        assert done.result(timeout=20) == [5]
        stream = client.map(range(1000), pipeline="p", durability=durability)
        got = [next(stream) for _ in range(50)]
        child = cluster.child("sink-0")
        os.kill(child.pid, signal.SIGSTOP)
        spools = list((cluster.network.state / "sink-0").glob("*.spool"))
        assert len(spools) == 2
        for path in spools:
            harm(path)
        os.kill(child.pid, signal.SIGKILL)
        got += list(stream)
        assert got == list(range(1000)), "it was run again, past what the client had"
        with pytest.raises(ResultsLost):
            client.attach(done.id).result(timeout=20)


@pytest.mark.parametrize("durability", ["fsync", "process"])
def test_the_sinks_host_was_started_anew(durability: str) -> None:
    stages = [stage("count", "Count")]
    with Cluster({"p": stages}, lease=1.0) as cluster, cluster.client() as client:
        job = client.submit(Task(1000), pipeline="p", durability=durability)
        assert job.result(timeout=20) == list(range(1000))
        (cluster.network.state / "sink-0" / "boot").write_text("another boot")
        cluster.kill("sink-0")
        if durability == "fsync":
            assert client.attach(job.id).result(timeout=20) == list(range(1000))
        else:
            with pytest.raises(ResultsLost):
                client.attach(job.id).result(timeout=20)


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
    with Cluster({"p": stages}, lease=5.0) as cluster, cluster.client() as client:
        for seconds in (60, 4):  # complaints about its silence, of the first time, are void in the second
            job = client.submit(Task(seconds), pipeline="p")
            assert job.result(timeout=120) == [seconds + 1]
            assert job.status()["epoch"] == 1
            assert not job.status()["incidents"]
            assert not [event for event in cluster.events if event[0] == "exited"]


def test_rolling_restart(tmp_path: Path) -> None:
    with Cluster({"p": logged(tmp_path, 0.002)}) as cluster, cluster.client() as client:
        stream = client.map(range(3000), pipeline="p")
        got = [next(stream) for _ in range(50)]
        old = [child for child in cluster.node.children if child.what.role == "worker"]
        for child in old:
            os.kill(child.pid, signal.SIGTERM)
            eventually(lambda pid=child.pid: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]
            got += [next(stream) for _ in range(100)]
        got += list(stream)
        assert got == list(range(3000))
        for name in ("first", "second"):
            assert counts(tmp_path / name) == Counter(map(str, range(3000))), "drained, not killed"


def test_from_one_worker_to_eight_to_two(tmp_path: Path) -> None:
    stages = [stage("slow", "Log", 1, path=str(tmp_path / "log"), seconds=0.01)]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        stream = client.map(range(1500), pipeline="p")
        got = [next(stream) for _ in range(20)]
        for child in worker_children(cluster.network, "p.slow", 7):
            cluster.node.add(child)
        began = time.monotonic()
        eventually(lambda: len([c for c in cluster.node.children if c.is_ready]) == 10)
        got += [next(stream) for _ in range(400)]
        print(f"400 tasks of 10 ms in {time.monotonic() - began:.1f} s with 8 workers, their start included")
        places = [place for place in cluster.node.seats if place.what.name == "p.slow"]
        for place in places[2:]:
            cluster.node.remove(place.what)
        got += list(stream)
        assert got == list(range(1500))
        eventually(lambda: len([c for c in cluster.node.children if c.what.name == "p.slow"]) == 2)
        assert max(counts(tmp_path / "log").values()) == 1


def test_work_behind_a_slow_task_moves_on() -> None:
    with Cluster({"p": [stage("hang", "Hang", 2, which=100)]}) as cluster, cluster.client() as client:
        stream = client.map(range(2000), pipeline="p", ordered=False)
        seen = {next(stream) for _ in range(1999)}
        assert seen == {*range(2000)} - {100}, "all the others were done while it ran"
        stream.close()


def test_small_jobs_pass_a_large_one() -> None:
    with Cluster({"p": [stage("add", "Add", 1)]}) as cluster, cluster.client() as client:
        stop = threading.Event()

        def large() -> None:
            with cluster.client() as other:
                for _ in other.map(range(10**6), pipeline="p", name="large"):
                    if stop.is_set():
                        break

        thread = threading.Thread(target=large)
        thread.start()
        eventually(lambda: any(job["results"] for job in client.jobs()))
        began = time.monotonic()
        for number in range(10):
            assert list(client.map(range(20), pipeline="p", name=f"small-{number}")) == list(range(1, 21))
        took = time.monotonic() - began
        assert any(job["name"] == "large" and job["state"] == "running" for job in client.jobs())
        stop.set()
        thread.join()
        print(f"ten small jobs beside one of a million tasks: {took:.2f} s")


def test_a_wall_clock_that_steps_by_hours(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    with Cluster({"p": logged(tmp_path)}, env=clock.env) as cluster, cluster.client() as client:
        stream = client.map(range(400), pipeline="p", timeout=250.0)
        got = [next(stream) for _ in range(50)]
        created = client.jobs()[0]["created"]
        for step in ("+9h", "-7h", "+200d"):
            clock.step(step)
            got += [next(stream) for _ in range(80)]
            time.sleep(1)
        late = client.submit(Task(-1), pipeline="p")
        assert late.status()["created"] - created > 100 * 86400, "the step was seen"
        got += list(stream)
        assert got == list(range(400))
        for name in ("first", "second"):
            done = counts(tmp_path / name)
            assert max(done.values()) == 1, "nothing was done again"
        assert not [event for event in cluster.events if event[0] == "exited"]
