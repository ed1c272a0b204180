"""Strangers who know only an address, beside clients whose jobs go on exactly right."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import psutil
import pytest
import zmq
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.property.test_control import MESSAGES
from tests.property.test_from_broker import PLAIN
from tests.property.test_wild import messages as wild_data
from tests.support.cluster import Cluster, eventually, stage
from tests.support.hosts import need_hosts
from tests.support.sums import EXPECTED_SUM, PIPELINE, N
from tests.unit.runtime.net.raw import EMPTY, accept, connect, frame
from zturbo import Client, Task
from zturbo.deploy.children import worker_children
from zturbo.deploy.network import Network
from zturbo.errors import UsageError
from zturbo.runtime.net.host import host_name
from zturbo.runtime.net.sockets import make
from zturbo.runtime.node.node import Node
from zturbo.slotted import replace
from zturbo.version import __version__
from zturbo.wire.codec import encode
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.codec import pack_control, read_answer
from zturbo.wire.control.message import Message
from zturbo.wire.control.newjob import NewJob
from zturbo.wire.control.view import Member
from zturbo.wire.messages import PROTOCOL, Batch, Want
from zturbo.wire.payload import pack_many

FAT = 800 << 20
"""Bytes that no process of such a small cluster needs. Without a limit each of these floods takes more."""


TASKS = 50


@dataclass
class Attacked:
    """A cluster, a good client, and a stranger's sockets."""

    cluster: Cluster
    client: Client
    control: zmq.Socket[bytes]
    context: zmq.Context[zmq.Socket[bytes]]
    members: dict[bytes, Member]
    pids: set[int]

    def tcp(self, role: str) -> str:
        """Where members of a role take messages of peers."""
        (one, *_) = [member for member in self.members.values() if member.role == role]
        return next(endpoint for endpoint in one.endpoints if endpoint.startswith("tcp:"))

    def check(self) -> None:
        """All is well: the good client's jobs, and every process."""
        assert list(self.client.map(range(TASKS), pipeline="p")) == list(range(2, TASKS + 2))
        running = {child.pid for child in self.cluster.node.children}
        assert running == self.pids, self.cluster.events
        eventually(lambda: all(psutil.Process(pid).memory_info().rss < FAT for pid in running))


@pytest.fixture(scope="module")
def attacked() -> Iterator[Attacked]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        bind = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    stages = [stage("add", "Add", 2), stage("more", "Add")]
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with (
        Cluster({"p": stages}, broker={"bind": bind}, address="127.0.0.1", max_task_bytes=1 << 20) as cluster,
        cluster.client() as client,
        contextlib.closing(context.socket(zmq.DEALER)) as control,
    ):
        list(client.map(range(TASKS), pipeline="p"))
        for name in ("p.add", "p.more", "broker"):
            cluster.child(name)
        control.linger = 0
        control.connect(bind)
        control.send_multipart(pack_control(to_broker.GetView()))
        answer = read_answer(control.recv_multipart())
        assert isinstance(answer, from_broker.NewView)
        pids = {child.pid for child in cluster.node.children}
        yield Attacked(cluster, client, control, context, dict(answer.view.members), pids)
    context.destroy(linger=0)


SUBMITS = st.builds(
    lambda job, content, meta, options: to_broker.Submit(
        ref=1,
        client=job,
        jobs=(
            NewJob(
                job=job,
                name="wild",
                pipeline="p",
                stream=False,
                options=options,
                meta=meta,
                digest=b"",
                parts=1,
            ),
        ),
        contents=(content,),
    ),
    st.binary(min_size=16, max_size=16),
    PLAIN.map(msgpack.packb) | st.sampled_from([b"\xc1", b"\x91" * 900 + b"\x90", b"\xc7\x00\x1e"]),
    st.none() | PLAIN.map(msgpack.packb) | PLAIN.map(lambda meta: msgpack.packb([meta, meta])),
    st.sampled_from([{}, {}, {"order": "meta:a"}, {"fail_fast": True}, {"max_retry": 1}]),
)


def test_wild_values_harm_nobody(attacked: Attacked) -> None:
    """What the schema lets a stranger say, in each role, and to each member's sockets."""
    ends = {
        name: next((e for e in member.endpoints if e.startswith("tcp:")), "")
        for name, member in attacked.members.items()
    }
    inboxes = {name: attacked.context.socket(zmq.PUSH) for name in ends}
    (sink,) = [member for member in attacked.members.values() if member.role == "sink"]
    results = attacked.context.socket(zmq.DEALER)
    results.connect(sink.results[0])
    for name, inbox in inboxes.items():
        inbox.linger = 0
        inbox.connect(ends[name])

    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(MESSAGES | SUBMITS | wild_data, min_size=20, max_size=60))
    def say(said: list[Any]) -> None:
        for message in said:
            if isinstance(message, Message):
                attacked.control.send_multipart(pack_control(message))
            elif isinstance(message, Want):
                results.send_multipart(encode(message))
            else:
                for name, inbox in inboxes.items():
                    known = {"number": 1} if isinstance(message, Batch) else {}
                    inbox.send_multipart(encode(replace(message, target=name, **known)))
        while attacked.control.poll(0):
            attacked.control.recv_multipart()
        attacked.check()

    try:
        say()
    finally:
        for socket_ in (results, *inboxes.values()):
            socket_.close()


def flood(raw: socket.socket, junk: bytes) -> None:
    """Send this again and again until the other end has had enough."""
    raw.setblocking(False)
    rest = memoryview(junk)
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 4 << 30:
            readable, writable, _ = select.select([raw], [raw], [], 60)
            assert readable or writable
            if readable and not raw.recv(1 << 16):
                return
            if writable:
                n = raw.send(rest)
                sent += n
                rest = rest[n:] or memoryview(junk)
    assert sent < 4 << 30, "nobody minds"


@pytest.mark.parametrize("role", ["broker", "worker", "sink", "control", "results"])
def test_a_message_without_an_end_fattens_nobody(attacked: Attacked, role: str) -> None:
    if role == "results":
        (sink,) = [member for member in attacked.members.values() if member.role == "sink"]
        where, kind = sink.results[0], b"DEALER"
    elif role == "control":
        where, kind = attacked.cluster.address, b"DEALER"
    else:
        where, kind = attacked.tcp(role), b"PUSH"
    with connect(where, kind) as raw:
        flood(raw, frame(b"x" * 1000, more=True) * 100 if role in ("control", "broker") else EMPTY * 50_000)
    attacked.check()


def test_a_member_that_floods_its_peers_fattens_nobody(attacked: Attacked) -> None:
    """It has joined; so the broker connects to it, and gets what no PUSH wants."""
    me = os.urandom(16)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        endpoint = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        member = Member(me, "worker", "p", 0, host_name(), (endpoint,))
        hello = to_broker.Hello(
            member=member,
            node=os.urandom(16),
            pid=1,
            protocol=PROTOCOL,
            version=__version__,
            python="3",
            stage_name="add",
            code="",
            view=0,
            jobs=(),
        )
        joining = attacked.context.socket(zmq.DEALER)
        joining.linger = 0
        joining.identity = me
        joining.connect(attacked.cluster.address)
        joining.send_multipart(pack_control(hello))
        assert joining.poll(20_000)
        answer = read_answer(joining.recv_multipart())
        assert isinstance(answer, from_broker.Welcome), answer
        with accept(listening, b"PULL") as raw:
            flood(raw, EMPTY * 50_000)
        attacked.check()
        joining.close()


def _connect(endpoint: str) -> socket.socket:
    """A bare connection."""
    if endpoint.startswith("ipc://"):
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(endpoint.removeprefix("ipc://"))
        return raw
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    return socket.create_connection((host, int(port)))


def test_garbage_on_every_bound_port(capfd: pytest.CaptureFixture[str]) -> None:
    with Cluster({"p": PIPELINE}) as cluster, cluster.client() as client:
        assert client.submit(Task(1), pipeline="p").result(timeout=20) == [2]

        def endpoints() -> list[str]:
            return [f"ipc://{path}" for path in cluster.node.folder.glob("*/in")]

        eventually(lambda: len(endpoints()) == 1 + 1 + 5)
        results = client.submit(Task(1), pipeline="p").reading.acceptance.result().results[0]
        context = zmq.Context()
        with contextlib.closing(context.socket(zmq.DEALER)) as control:
            control.connect(cluster.address)
            control.send_multipart(pack_control(to_broker.GetView()))
            answer = read_answer(control.recv_multipart())
        assert isinstance(answer, from_broker.NewView)
        (results,) = [member.results[0] for member in answer.view.members.values() if member.role == "sink"]
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
        states: dict[str, dict[str, Any]] = {}

        def each_has_counted_it() -> bool:
            for child in cluster.node.children:
                os.kill(child.pid, signal.SIGUSR1)
            for text in re.findall(r"state (\{.*\})", capfd.readouterr().err):
                state = json.loads(text)
                states[state["incarnation"]] = state
            return len(states) == 1 + 1 + 5 and all(state["bad"] > 0 for state in states.values())

        eventually(each_has_counted_it)
        assert not any(state["failed"] for state in states.values()), "no handler has raised"
        assert [state["stale"] for state in states.values() if state["name"] == "sink"] == [0]


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
        submission = connection.submissions.stream("lies", "p", {})
        job = submission.job
        connection.submit(submission).result()
        feed = to_broker.Feed(job=job, seq=0, first=0, n=n, metas=None, contents=(pack_many(contents),))
        with pytest.raises(UsageError, match=said):
            connection.ask(feed)
        connection.ask(feed.but(n=2, contents=(pack_many([1, 2]),)))
        connection.ask(to_broker.CloseFeed(job=job, chunks=1, total=2))
        assert client.attach(job).result(timeout=60) == [2, 2 * 31 + 3], "it is none the worse for that"
        assert list(client.map(range(N), pipeline="p")) == EXPECTED_SUM
        assert not [event for event in cluster.events if event[0] == "exited"]


@pytest.fixture
def own_address() -> Iterator[str]:
    """An address of this machine that is none of the loopback addresses, on its loopback interface."""
    need_hosts()
    address = f"10.98.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
    subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)
    yield address
    subprocess.run(["ip", "addr", "del", f"{address}/32", "dev", "lo"], check=True)


def test_a_stranger_on_the_endpoint_of_a_dead_worker(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], own_address: str
) -> None:
    table = {
        "broker": {"bind": f"ipc://{tmp_path}/broker", "state": str(tmp_path / "state")},
        "pipeline": [
            {
                "name": "p",
                "stage": [
                    stage("first", "Slow", 1, seconds=0.001),
                    stage("second", "Gate", 2, path=str(tmp_path / "gate"), below=100),
                ],
            },
            {"name": "q", "stage": [stage("other", "Log", 1, path=str(tmp_path / "other"))]},
        ],
    }
    network = Network.parse(table, str(tmp_path / "n.toml"))
    with Cluster({}, network=network, address=own_address) as cluster:
        elsewhere = Node(cluster.address, host="elsewhere")
        specs = worker_children(cluster.network, "p.second", address=own_address)
        for child in specs:
            elsewhere.add(child)
        thread = threading.Thread(target=elsewhere.run)
        thread.start()
        for child in worker_children(cluster.network, "p.first", address=own_address):
            cluster.node.add(child)
        try:
            with cluster.client() as client:
                stream = client.map(range(3000), pipeline="p")
                got = [next(stream) for _ in range(100)]
                eventually(lambda: client.pipelines()[0]["workers"] == (1, 2))
                victim = elsewhere.children[0]
                endpoint = _tcp_endpoint(victim.pid)
                # It holds a task that it cannot end: an ack is owed.
                eventually(lambda: bool(victim.running_note.read()))
                elsewhere.remove(victim.what)
                broker = cluster.child("broker").pid
                os.kill(broker, signal.SIGSTOP)  # nobody is told of the death, and all goes on as before
                os.kill(victim.pid, 9)
                (stranger,) = worker_children(cluster.network, "q.other", address=own_address)
                stranger.spec["tcp"] = endpoint
                eventually(lambda: not Path(f"/proc/{victim.pid}").exists())
                elsewhere.add(stranger)
                eventually(lambda: any(c.what is stranger and c.is_ready for c in elsewhere.children))
                (pid,) = (child.pid for child in elsewhere.children if child.what is stranger)

                def strays() -> int:
                    os.kill(pid, signal.SIGUSR1)
                    said.append(capfd.readouterr().err)
                    return max(map(int, re.findall(r'"strays": (\d+)', "".join(said))), default=0)

                said: list[str] = []
                eventually(lambda: strays() > 0)
                os.kill(broker, signal.SIGCONT)
                (tmp_path / "gate").touch()
                got += list(stream)
                assert got == list(range(3000))
                assert list(client.map(["own"], pipeline="q")) == ["own"]
                assert (tmp_path / "other").read_text() == "own\n", "it ran no foreign task"
        finally:
            elsewhere.stop()
            thread.join()
            elsewhere.close()


def _tcp_endpoint(pid: int) -> str:
    """Where a process listens."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            ip, port = fields[1].split(":")
            return f"tcp://{socket.inet_ntoa(bytes.fromhex(ip)[::-1])}:{int(port, 16)}"
    raise AssertionError("it listens nowhere")
