"""Brokers that die, are away, or are not alone: jobs go on, and nothing is done again."""

from __future__ import annotations

import os
import socket
import threading
from collections import Counter
from pathlib import Path

import msgpack
import pytest
import zmq

from tests.support.cluster import Cluster, eventually, stage
from tests.support.lives import dies_beside_the_disk, redoes_nothing
from tests.support.logged import counts, logged
from tests.support.sums import EXPECTED_SUM, PIPELINE, N
from zturbo import Client, Job, Task
from zturbo.errors import BrokerUnavailable, StartError, VersionMismatch
from zturbo.runtime.net.sockets import make
from zturbo.wire.control import from_broker
from zturbo.wire.control.codec import pack_control
from zturbo.wire.messages import PROTOCOL


def test_a_job_outlives_the_broker(tmp_path: Path) -> None:
    gate = tmp_path / "open"
    stages = [stage("gate", "Gate", path=str(gate)), stage("add", "Add")]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        job = client.submit(Job("acknowledged", Task(1)), pipeline="p")
        eventually(lambda: job.status()["state"] == "running")
        cluster.kill("broker")
        assert job.status()["state"] in ("waiting", "running"), "the same client, without doing anything"
        gate.touch()
        assert job.result(timeout=30) == [2]
        assert client.submit(Task(5), pipeline="p").result(timeout=30) == [6]


def test_a_streamed_job_outlives_the_broker() -> None:
    with Cluster({"p": PIPELINE}) as cluster, cluster.client() as client:
        stream = client.map(range(N), pipeline="p")
        got = [next(stream) for _ in range(100)]
        cluster.kill("broker")
        got += list(stream)
        assert got == EXPECTED_SUM


def test_two_brokers_on_one_address() -> None:
    with Cluster({"p": PIPELINE}) as cluster:
        cluster.child("broker")
        context = zmq.Context()
        with pytest.raises(StartError, match="in use: is another broker running there"):
            make(context, zmq.ROUTER, bind=f"tcp://127.0.0.1:{_taken()}")
        context.term()


_HELD: list[socket.socket] = []


def _taken() -> int:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    _HELD.append(taken)
    return int(taken.getsockname()[1])


def test_a_broker_of_another_version() -> None:
    context = zmq.Context()
    router = make(context, zmq.ROUTER, bind="tcp://127.0.0.1:*")
    address = router.getsockopt_string(zmq.LAST_ENDPOINT)

    def answer() -> None:
        who, raw = router.recv_multipart()
        text = f"the client speaks protocol 1, this broker {PROTOCOL}"
        ref = msgpack.unpackb(raw)["ref"]
        error = from_broker.Error(ref=ref, kind="VersionMismatch", message=text)
        router.send_multipart([who, *pack_control(error)])

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(VersionMismatch, match=f"this broker {PROTOCOL}"):
        Client(address)
    thread.join()
    router.close()
    context.term()


def test_a_client_survives_a_broker_that_is_away() -> None:
    with Cluster({"p": PIPELINE}) as cluster, cluster.client() as client:
        client.timeout = 0.5
        os.kill(cluster.child("broker").pid, 19)  # SIGSTOP
        with pytest.raises(BrokerUnavailable):
            client.jobs()
        os.kill(next(c.pid for c in cluster.node.children if c.what.name == "broker"), 18)
        client.timeout = 20
        assert client.submit(Task(1), pipeline="p").result(timeout=20) == [2]


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


@pytest.mark.parametrize("durability", ["fsync", "process", "memory"])
def test_a_restart_redoes_nothing(durability: str, tmp_path: Path) -> None:
    redoes_nothing("broker", durability, tmp_path)


@pytest.mark.parametrize(
    "where, when",
    [
        ("zturbo_broker.ledger.ledger:Ledger.commit", "before"),
        ("zturbo_broker.ledger.ledger:Ledger.commit", "after"),
        ("zturbo_broker.machine.job_reports:JobReports.complete", "before"),
        ("zturbo_broker.machine.job_reports:JobReports.complete", "after"),
    ],
)
def test_deaths_on_either_side_of_the_disk(where: str, when: str, tmp_path: Path) -> None:
    """Around a commit, and between the sink's word and the ledger's: three lives."""
    dies_beside_the_disk("broker", "zturbo_broker.__main__", where, when, tmp_path)
