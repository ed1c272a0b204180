"""Attacks on a network with keys, from a host of it, each with the wrong key. Prints what came of each.

    python -m tests.support.intruder BROKER KEYS JOB

JOB is a job of the client ``ann`` that runs. KEYS has the keys of ``ann`` and ``bob`` (clients), ``eve`` (a
viewer), ``gpu1`` (a node that has members) and an admin, with whose help the intruder knows all ids; and
``old.key``, a client's key that was revoked.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from zturbo import Client
from zturbo.errors import ZturboError
from zturbo.runtime.net.keys import ASKING, Security, read_keys
from zturbo.runtime.net.sockets import Dealer, make, send_frames
from zturbo.wire.codec import decode, encode
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.codec import pack_control, read_answer
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import Member
from zturbo.wire.messages import PROTOCOL, Batch, Statement, Want

CANARY = "canary-of-a-payload"
WAIT = 2.0


class Intruder:
    def __init__(self, broker: str, keys: Path, job: bytes) -> None:
        self.broker = broker
        self.keys = keys
        self.job = job
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(1)
        self.said: dict[str, Any] = {}

    def key(self, name: str) -> Security:
        return read_keys(next(self.keys.glob(f"*{name}.key")), ("node", *ASKING, "broker"))

    def control(self, key: str, identity: bytes | None = None) -> Dealer:
        identity = identity or os.urandom(16)
        made = make(
            self.context,
            zmq.DEALER,
            connect=self.broker,
            identity=identity + os.urandom(16),
            security=self.key(key),
        )
        assert isinstance(made, Dealer)
        end = time.monotonic() + 10
        while not made.connected():
            assert time.monotonic() < end, key
            made.changes.poll(100)
        return made

    def asks(self, key: str, message: Message, identity: bytes | None = None) -> str:
        """What the broker answers to a message; empty for nothing."""
        dealer = self.control(key, identity)
        send_frames(dealer, pack_control(message))
        answer = ""
        while dealer.poll(int(WAIT * 1000) if hasattr(message, "ref") else 200):
            got = read_answer(dealer.recv_multipart())
            if isinstance(got, from_broker.Error):
                answer = got.kind
                break
            answer = got.type_name
        dealer.close()
        return answer

    def client(self, key: str | None, what: Callable[[Client], object] = lambda client: None) -> list[Any]:
        """The error that a client gets, and after how many seconds."""
        began = time.monotonic()
        path = None if key is None else next(self.keys.glob(f"*{key}.key"))
        try:
            with Client(self.broker, keys=path) as client:
                what(client)
        except ZturboError as error:
            return [type(error).__name__, str(error), time.monotonic() - began]
        return ["", "", time.monotonic() - began]

    def push(self, key: str, member: dict[str, Any], server: str, *messages: Any) -> bool:
        """Send messages to a member's inbox. Returns whether there was a connection to send them."""
        socket = make(self.context, zmq.PUSH, connect=tcp_of(member), security=self.key(key), server=server)
        there = bool(socket.poll(int(WAIT * 1000), zmq.POLLOUT))
        for message in messages if there else ():
            socket.send_multipart(encode(message))
        time.sleep(0.2)
        socket.close(1000)
        return there

    def wants(
        self, key: str, address: str, server: str, identity: bytes | None = None, token: int = 1 << 60
    ) -> str | None:
        """What a sink says to a question for the job's results, if nothing else is said with the highest of
        all tokens."""
        made = make(
            self.context,
            zmq.DEALER,
            connect=address,
            identity=identity or os.urandom(16),
            security=self.key(key),
            server=server,
        )
        made.poll(1)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                send_frames(made, encode(Want(self.job, token, 0, 1000)))
            except zmq.Again:
                time.sleep(0.05)
                continue
            if made.poll(1000):
                problem: str | None = getattr(decode(made.recv_multipart()), "problem", "?")
                made.close()
                return problem
        made.close()
        return "no answer"

    def get_in(self, ends: dict[str, tuple[int, str, str]]) -> dict[str, list[str]]:
        """Port -> the keys whose connections shake hands there, all tried at once.

        Args:
            ends: name -> kind of socket, address, and public key of the process there.
        """
        tried: list[tuple[str, str, zmq.Socket[bytes]]] = []
        for end, (kind, address, server) in ends.items():
            for name in ("nobody", "old", "foreign", "eve", "bob", "gpu1"):
                security = None if name == "nobody" else self.key(name)
                identity = os.urandom(32) if kind == zmq.DEALER else None
                options = {"identity": identity, "security": security, "server": server}
                tried.append((end, name, make(self.context, kind, connect=address, **options)))
        found: dict[str, list[str]] = {end: [] for end in ends}
        until = time.monotonic() + WAIT + 1.0  # an unknown key waits for so long
        while time.monotonic() < until:
            for end, name, socket in tried:
                there = socket.connected() if isinstance(socket, Dealer) else socket.poll(0, zmq.POLLOUT)
                if there and name not in found[end]:
                    found[end].append(name)
            time.sleep(0.02)
        for _, _, socket in tried:
            socket.close()
        return {end: sorted(names) for end, names in found.items()}

    def run(self) -> None:
        with Client(self.broker, keys=self.keys / "admin-admin.key") as admin:
            members = {one["name"]: one for host in admin.hosts() for one in host["processes"]}
            at = admin.connection.ask(to_broker.Attach(job=self.job))
        sink, first = members["sink"], members["p.first"]
        ids = (bytes.fromhex(one["incarnation"]) for one in (sink, first, members["broker"]))
        sink_id, first_id, broker_id = ids
        local, said = self.key("local").public, self.said
        said["gets in"] = self.get_in(
            {
                "broker": (zmq.DEALER, self.broker, self.key("local").broker),
                "roots": (zmq.PUSH, tcp_of(members["broker"]), self.key("local").broker),
                "sink": (zmq.PUSH, tcp_of(sink), local),
                "worker": (zmq.PUSH, tcp_of(first), local),
                "results": (zmq.DEALER, at.results[0], at.key),
            }
        )
        said["no key"] = self.client(None)
        said["revoked"] = self.client("old")
        said["other network"] = self.client("foreign")
        said["viewer cancels"] = self.client("eve", lambda client: client.attach(self.job).cancel())
        said["viewer submits"] = self.client("eve", lambda client: client.submit(_task(), "p").accepted())
        said["other's job"] = self.client("bob", lambda client: client.attach(self.job))
        said["jobs of bob"] = self.client("bob", lambda client: _assert(client.jobs() == []))
        said["other's results"] = self.wants("bob", at.results[0], at.key)
        stolen = os.urandom(16)  # ann's, who has asked first
        said["own results"] = self.wants("ann", at.results[0], at.key, stolen, token=0)
        said["stolen id: results"] = self.wants("bob", at.results[0], at.key, stolen)
        said["node submits"] = self.asks("gpu1", to_broker.Submit(ref=1, client=b"c" * 16, jobs=()))
        said["node cancels"] = self.asks("gpu1", to_broker.Cancel(ref=1, job=self.job))
        said["node reads"] = self.asks("gpu1", to_broker.Attach(ref=1, job=self.job))
        new = os.urandom(16)
        said["client joins"] = self.asks("bob", self._hello(new), new)
        said["client completes"] = self.asks(
            "bob", to_broker.Complete(incarnation=new, jobs=((self.job, 1, 0, 0),)), new
        )
        said["client logs"] = self.asks(
            "bob",
            to_broker.Log(incarnation=new, source="sink", records=(("INFO", b"", (), CANARY),), dropped=0),
            new,
        )
        for message in (
            to_broker.Leave(incarnation=sink_id),
            to_broker.Complete(incarnation=sink_id, jobs=((self.job, 1, 0, 0),)),
            to_broker.JobFailed(incarnation=sink_id, job=self.job, epoch=1, kind="JobFailed", error=CANARY),
        ):
            said[f"stolen id: {message.type_name}"] = self.asks("gpu1", message, sink_id)
        said["stolen id: answers"] = self.asks("gpu1", to_broker.Members(ref=1), sink_id)
        forged = Batch(
            self.job,
            1,
            2,
            [((i,), 1) for i in range(60)],
            60,
            b"\x00" * 60,
            number=1,
            source=first_id,
            target=sink_id,
        )
        ack = Statement(sink_id, first_id, 1 << 40, 1 << 40, [], 1 << 40, 1 << 40)
        said["stolen id: batch"] = self.push("gpu1", sink, local, forged)
        said["stolen id: ack"] = self.push("gpu1", first, local, ack)
        false_ack = Statement(first_id, broker_id, 1 << 40, 1 << 40, [], 1 << 40, 1 << 40)
        said["stolen id: ack to the broker"] = self.push(
            "gpu1", members["broker"], self.key("local").broker, false_ack
        )
        said["client at an inbox"] = self.push("bob", sink, local, forged)
        self.context.destroy(0)
        print(json.dumps(said), flush=True)

    def _hello(self, incarnation: bytes) -> to_broker.Hello:
        return to_broker.Hello(
            member=Member(incarnation, "worker", "p", 1, "x", ("tcp://10.99.0.3:5000",)), node=b"n" * 16,
            pid=1, protocol=PROTOCOL, version="", python="", stage_name="second", code="", view=0, jobs=(),
        )  # fmt: skip


def tcp_of(member: dict[str, Any]) -> str:
    """Where a member takes messages of others."""
    return next(str(end) for end in member["addresses"] if end.startswith("tcp:"))


def _task() -> Any:
    from zturbo import Task

    return Task(CANARY)


def _assert(holds: bool) -> None:
    assert holds


if __name__ == "__main__":
    Intruder(sys.argv[1], Path(sys.argv[2]), bytes.fromhex(sys.argv[3])).run()
