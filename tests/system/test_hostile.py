"""Strangers who know only the address, beside a client whose jobs go on exactly right."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
from tests.support.cluster import Cluster, stage
from tests.unit.runtime.net.raw import EMPTY, accept, connect, frame
from zturbo import Client
from zturbo.runtime.net.host import host_name
from zturbo.version import __version__
from zturbo.wire.codec import encode
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.codec import pack_control, read_answer
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import Member
from zturbo.wire.messages import PROTOCOL, Batch, Want

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
        for pid in running:
            assert psutil.Process(pid).memory_info().rss < FAT


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
        job=job,
        name="wild",
        pipeline="p",
        stream=False,
        options=options,
        meta=meta,
        digest=b"",
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
