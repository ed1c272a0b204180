"""Real processes that die, are missing, are told nonsense, or cannot start."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path

import msgpack
import pytest
import zmq

from tests.stages.basic import sums
from tests.support.cluster import Cluster, eventually, stage
from zturbo import Client, Job, Task
from zturbo.errors import BrokerUnavailable, StartError, UsageError, VersionMismatch
from zturbo.runtime.net.sockets import make
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.codec import pack_control
from zturbo.wire.payload import pack_many

N = 3000
EXPECTED_SUM = list(sums(range(1, N + 1)))

PIPELINE = [stage("add", "Add", 2), stage("slow", "Slow", 2, seconds=0.0002), stage("sum", "Sum", 1)]


@pytest.mark.parametrize("victim", ["p.add", "p.slow", "p.sum", "sink-0"])
def test_kill_9_while_a_job_runs(victim: str) -> None:
    with Cluster({"p": PIPELINE}) as cluster, cluster.client() as client:
        stream = client.map(range(N), pipeline="p")
        got = [next(stream) for _ in range(300)]
        pid = cluster.kill(victim)
        got += list(stream)
        assert got == EXPECTED_SUM
        assert not Path(f"/proc/{pid}").exists()
        assert any(
            kind == "exited" and name == victim and "SIGKILL" in text for kind, name, text in cluster.events
        )


def test_kill_9_of_all_workers_of_a_stage() -> None:
    with Cluster({"p": PIPELINE}) as cluster, cluster.client() as client:
        stream = client.map(range(N), pipeline="p")
        got = [next(stream) for _ in range(300)]
        for child in [child for child in cluster.node.children if child.what.name == "p.slow"]:
            os.kill(child.pid, 9)
        got += list(stream)
        assert got == EXPECTED_SUM


def test_kill_9_of_a_worker_and_of_one_above_it_at_once() -> None:
    with Cluster({"p": PIPELINE}) as cluster, cluster.client() as client:
        stream = client.map(range(N), pipeline="p")
        got = [next(stream) for _ in range(300)]
        for child in (cluster.child("p.add"), cluster.child("p.slow")):
            os.kill(child.pid, 9)
        got += list(stream)
        assert got == EXPECTED_SUM


def test_kill_9_in_the_midst_of_a_generator(tmp_path: Path) -> None:
    gate, n = tmp_path / "gate", 100_000
    stages = [
        stage("count", "Count", 2),
        stage("gate", "Gate", 2, path=str(gate), below=400),
        stage("sum", "Sum"),
    ]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        stream = client.submit(Task(n), pipeline="p").stream()
        got = [next(stream) for _ in range(300)]
        counts = [child for child in cluster.node.children if child.what.name == "p.count"]
        (running,) = [child for child in counts if child.running_note.read()]  # it has more than may wait
        os.kill(running.pid, 9)
        gate.touch()
        got += list(stream)
        assert got == list(sums(range(n)))


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


def test_a_job_for_a_stage_without_workers_waits_and_says_so() -> None:
    with Cluster({"p": PIPELINE}, workers=False) as cluster, cluster.client() as client:
        job = client.submit(Job("early", Task(1)), pipeline="p")
        assert job.status()["state"] == "waiting"
        assert job.status()["waiting"] == "a worker of stage p.add"
        from zturbo.deploy.children import worker_children

        for name in ("p.add", "p.slow", "p.sum"):
            for child in worker_children(cluster.network, name):
                cluster.node.add(child)
        assert job.result(timeout=30) == [2]


def test_a_stage_that_cannot_start_is_told_to_all() -> None:
    with Cluster({"p": [stage("bad", "BadInit")]}) as cluster, cluster.client() as client:
        job = client.submit(Task(1), pipeline="p")
        eventually(lambda: "no model file" in str(job.status()["waiting"]))
        assert "a worker of stage p.bad" in job.status()["waiting"]
        assert "no model file" in client.pipelines()[0]["problems"]["bad"]
        assert any(kind == "failed" and "no model file" in text for kind, _, text in cluster.events)
        place = next(place for place in cluster.node.seats if place.what.name == "p.bad")
        eventually(lambda: place.restarts.broken)
        starts = sum(kind == "started" and name == "p.bad" for kind, name, _ in cluster.events)
        assert starts <= 4, "it is not started again in a busy loop"


@pytest.mark.parametrize(
    "cls, said",
    [
        ("tests.stages.nowhere:X", "No module named 'tests.stages.nowhere'"),
        ("tests.stages.basic:Nope", "has no 'Nope'; its Stages are: Add"),
        ("tests.stages.basic:NotAStage", "is neither a subclass of zturbo.Stage nor a function"),
    ],
)
def test_a_class_that_does_not_import(cls: str, said: str) -> None:
    with Cluster({"p": [stage("bad", cls)]}) as cluster:
        eventually(lambda: any(kind == "failed" and said in text for kind, _, text in cluster.events))


def _connect(endpoint: str) -> socket.socket:
    """A bare connection."""
    if endpoint.startswith("ipc://"):
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(endpoint.removeprefix("ipc://"))
        return raw
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    return socket.create_connection((host, int(port)))


def test_garbage_on_every_bound_port() -> None:
    with Cluster({"p": PIPELINE}) as cluster, cluster.client() as client:
        assert client.submit(Task(1), pipeline="p").result(timeout=20) == [2]

        def endpoints() -> list[str]:
            return [f"ipc://{path}" for path in cluster.node._folder.glob("*/in")]

        eventually(lambda: len(endpoints()) == 1 + 1 + 5)
        results = client.submit(Task(1), pipeline="p")._at.results[0]  # type: ignore[union-attr]
        context = zmq.Context()
        truth = msgpack.packb((0x7A74, 1, 1, b"x" * 16))
        rubbish = [
            [b""],
            [b"\xc1" * 100],
            [os.urandom(1000), b"", os.urandom(10)],
            [truth],
            [truth[:-3]],
            [msgpack.packb((0x7A74, 1, 99))],
            [msgpack.packb((0x7A74, 2, 1))],
            [msgpack.packb({"type": "hello"})],
            [msgpack.packb({"type": "submit", "ref": 1})],
            [msgpack.packb({"type": "forget", "jobs": [1, 2]})],
            [msgpack.packb([[[[]]] * 100])],
        ]
        for endpoint in [*endpoints(), cluster.address, results]:
            kind = zmq.PUSH if endpoint.endswith("/in") else zmq.DEALER
            socket_ = make(context, kind, connect=endpoint)
            socket_.poll(5000, zmq.POLLOUT)
            for frames in rubbish:
                socket_.send_multipart(frames)
            socket_.close(linger=2000)
        context.term()
        half_a_greeting = b"\xff" + bytes(8) + b"\x7f\x03"
        for endpoint in [*endpoints(), cluster.address, results]:  # bytes that are not even ZeroMQ's
            for rubbish_bytes in (os.urandom(300), b"GET / HTTP/1.1\r\n\r\n", half_a_greeting):
                with _connect(endpoint) as raw, contextlib.suppress(ConnectionError):
                    raw.sendall(rubbish_bytes)
        assert list(client.map(range(N), pipeline="p")) == EXPECTED_SUM
        assert not [event for event in cluster.events if event[0] == "exited"]


@pytest.mark.parametrize(
    "n, contents, said",
    [
        (3, [1], "no 3 contents"),
        (2, [1, 2, 3], "more than 2"),
        (1 << 63, [1], "field 'n' is to be 1 to"),
        (0, [], "field 'n' is to be 1 to"),
    ],
)
def test_a_feed_that_lies_is_told_so(n: int, contents: list[int], said: str) -> None:
    with Cluster({"p": PIPELINE}) as cluster, cluster.client() as client:
        connection = client.connection
        job, _, message = connection.submissions.stream("lies", "p", {})
        connection.ask(message)
        feed = to_broker.Feed(job=job, seq=0, first=0, n=n, metas=None, contents=(pack_many(contents),))
        with pytest.raises(UsageError, match=said):
            connection.ask(feed)
        connection.ask(feed.but(n=2, contents=(pack_many([1, 2]),)))
        connection.ask(to_broker.CloseFeed(job=job, chunks=1, total=2))
        assert client.attach(job).result(timeout=60) == [2, 2 * 31 + 3], "it is none the worse for that"
        assert list(client.map(range(N), pipeline="p")) == EXPECTED_SUM
        assert not [event for event in cluster.events if event[0] == "exited"]


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
        text = "the client speaks protocol 1, this broker 2"
        ref = msgpack.unpackb(raw)["ref"]
        error = from_broker.Error(ref=ref, kind="VersionMismatch", message=text)
        router.send_multipart([who, *pack_control(error)])

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(VersionMismatch, match="this broker 2"):
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
