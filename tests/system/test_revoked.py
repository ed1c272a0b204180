"""Keys that are revoked while connections under them stand: from then on nothing is taken under them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import zmq

from tests.support.cluster import eventually
from tests.support.intruder import Intruder, tcp_of
from tests.system.faults.half_open import running
from zturbo import Client, Task
from zturbo.runtime.net import keys
from zturbo.runtime.net.sockets import make, send_frames
from zturbo.wire.codec import decode, encode
from zturbo.wire.control import to_broker
from zturbo.wire.control.codec import pack_control, read_answer
from zturbo.wire.control.message import Message
from zturbo.wire.messages import Ping, Want
from zturbo_broker.keyring import LOOK_EVERY

SOON = 10.0
"""Seconds in which a revocation has to be in force here. A second is promised; a busy machine may be late."""


def test_from_a_revocation_on_nothing_is_taken_under_that_key(tmp_path: Path) -> None:
    with running(tmp_path, "", None, True) as (_, address):
        folder = tmp_path / "keys"
        for role, name in (("node", "gpu1"), ("client", "ann"), ("client", "bob")):
            keys.add(folder, role, name)
        command = [sys.executable, "-m", "zturbo", "stage", str(tmp_path / "network.toml"), "p.add"]
        words = ["--keys", str(folder / "node-gpu1.key"), "--address", "127.0.0.1"]
        with open(tmp_path / "stage", "wb") as log:
            stage = subprocess.Popen([*command, *words], stdout=log, stderr=log)
        try:
            with Client(address, keys=folder / "admin-admin.key", timeout=60) as admin:
                _revoke(address, folder, admin, stage)
        finally:
            if stage.poll() is None:
                stage.terminate()
                stage.wait(20)


def test_a_stage_under_a_key_with_which_it_can_never_join_ends_with_a_code_of_its_own(tmp_path: Path) -> None:
    with running(tmp_path, "", None, True):
        network = (tmp_path / "network.toml").read_text()
        (tmp_path / "plain.toml").write_text(network.replace(f'keys = "{tmp_path}/keys"', ""))
        keys.make_folder(tmp_path / "other")
        keys.add(tmp_path / "other", "node", "gpu1")
        cases = {
            "it wants a key, and this process has none": ["plain.toml", "p.add"],
            "the keys of another network": ["plain.toml", "p.add", "--keys", "other/node-gpu1.key"],
        }
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ZTURBO_LOCAL_KEYS": "never"}
        command = [sys.executable, "-m", "zturbo", "stage"]
        stages = [
            subprocess.Popen([*command, *words], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
            for words in cases.values()
        ]
        for stage, why in zip(stages, cases, strict=True):
            _, told = stage.communicate(timeout=120)
            assert stage.returncode == 4 and why in told, told


def _revoke(address: str, folder: Path, admin: Client, stage: subprocess.Popen[bytes]) -> None:
    def workers() -> int:
        return sum(admin.pipelines()[0]["workers"])

    def told(text: str) -> bool:
        return any(text in line["text"] for line in admin.logs())

    eventually(lambda: workers() == 2)
    with Client(address, keys=folder / "client-ann.key", timeout=60) as ann:
        job = ann.submit(Task(1), "p")
        assert list(job.result(timeout=60)) == [2]
    name = bytes.fromhex(job.id)
    # connections under both keys, over which all goes well
    intruder = Intruder(address, folder, name)
    local = intruder.key("local").public
    at = admin.connection.ask(to_broker.Attach(job=name))
    members = [one for host in admin.hosts() for one in host["processes"]]
    (sink,) = (one for one in members if one["name"] == "sink")
    theirs = next(one for one in members if _parent(one["pid"]) == stage.pid)
    node = os.urandom(16)
    asks = {"gpu1": intruder.control("gpu1", node)}
    asks |= {key: intruder.control(key) for key in ("ann", "bob")}
    reads = make(
        intruder.context,
        zmq.DEALER,
        connect=at.results[0],
        identity=os.urandom(16),
        security=intruder.key("ann"),
        server=at.key,
    )
    speaks = make(
        intruder.context, zmq.PUSH, connect=tcp_of(sink), security=intruder.key("gpu1"), server=local
    )

    def answer(key: str, message: Message) -> str:
        send_frames(asks[key], pack_control(message))
        return said(key)

    def said(key: str) -> str:
        assert asks[key].poll(20_000), "the broker is silent"
        got = read_answer(asks[key].recv_multipart())
        return str(getattr(got, "kind", got.type_name))

    def results(wait: int) -> str:
        send_frames(reads, encode(Want(name, 1 << 60, 0, 1000)))
        return type(decode(reads.recv_multipart())).__name__ if reads.poll(wait) else "silence"

    def speak() -> None:
        ping = Ping(bytes.fromhex(theirs["incarnation"]), bytes.fromhex(sink["incarnation"]), 1)
        send_frames(speaks, encode(ping))

    list_jobs = to_broker.Jobs(ref=1, job=None, over=())
    renew = to_broker.Renew(node=node, alive=())
    assert answer("ann", list_jobs) == answer("bob", list_jobs) == "ok"
    assert answer("gpu1", renew) == "renewed"
    assert reads.poll(60_000, zmq.POLLOUT) and results(60_000) == "Results"
    assert speaks.poll(60_000, zmq.POLLOUT)
    speak()

    keys.revoke(folder, "gpu1")
    keys.revoke(folder, "ann")
    began = time.monotonic()
    eventually(lambda: told("the key of its node was revoked"), SOON)
    print(f"in force {time.monotonic() - began:.2f} s later")

    # the member is out, and none of the connections, which still stand, is of use
    assert workers() == 1
    for _ in range(3):
        assert {answer("ann", list_jobs), answer("gpu1", renew)} <= {"AccessDenied", "refused"}
    assert told("refused: a message under a key that was revoked")

    def is_refused(do: Callable[[], object], text: str) -> bool:
        do()
        return told(f"refused: {text}")

    eventually(lambda: is_refused(lambda: results(200), "a reader's message under a key that was revoked"))
    while reads.poll(200):  # late answers to what was asked before
        reads.recv_multipart()
    assert results(200) == "silence", "and it stays so"
    another = "a message of a peer in the name of a process that is not under its key"
    eventually(lambda: is_refused(speak, another))
    assert stage.wait(60) == 4, "its node does not try again"
    # a broker that stood still meanwhile looks at the keys before it reads what has come
    (broker,) = (one["pid"] for one in members if one["name"] == "broker")
    os.kill(broker, signal.SIGSTOP)
    try:
        keys.revoke(folder, "bob")
        send_frames(asks["bob"], pack_control(list_jobs))
        time.sleep(2 * LOOK_EVERY)
    finally:
        os.kill(broker, signal.SIGCONT)
    assert said("bob") in ("AccessDenied", "refused")
    assert list(admin.submit(Task(2), "p").result(timeout=60)) == [3], "others go on"
    for socket in (*asks.values(), reads, speaks):
        socket.close()
    intruder.context.destroy(0)


def _parent(pid: int) -> int:
    """The process that started this one; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
