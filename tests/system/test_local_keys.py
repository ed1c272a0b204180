"""A network on loopback, on a host with other users: its own user needs no flag, and others get nowhere."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.support.cluster import eventually
from zturbo import Client

NETWORK = """\
[broker]
bind = "tcp://127.0.0.1:{port}"
state = "state"
local_keys = "always"
[[pipeline]]
name = "p"
durability = "memory"
  [[pipeline.stage]]
  name = "add"
  class = "tests.stages.basic:Add"
"""

OTHER = """
import json, os, sys, time
from tests.unit.runtime.net.raw import connect
from zturbo import Client, Task
from zturbo.errors import ZturboError
from zturbo.runtime.net.localkeys import find_local

broker, ports, files = json.loads(sys.argv[1])
def client():
    began = time.monotonic()
    try:
        Client(broker).jobs()
    except ZturboError as error:
        return [type(error).__name__, str(error), time.monotonic() - began]
    return ["", "", 0]
find_local(broker), client(), "x".encode("idna")  # imports all: that user may not read where it is installed
os.setgroups([]), os.setgid(65534), os.setuid(65534)
said = {"found": find_local(broker), "client": client(), "shaken": [], "read": []}
for port in ports:
    for kind in (b"DEALER", b"PUSH"):
        try:
            connect(f"tcp://127.0.0.1:{port}", kind).close()
            said["shaken"].append(port)
        except OSError:
            pass
for path in files:
    try:
        os.listdir(path) if os.path.isdir(path) else open(path).read()
        said["read"].append(path)
    except OSError:
        pass
print(json.dumps(said))
"""


def role_at(address: str) -> str:
    """The role that a client without a flag has."""
    with Client(address, timeout=60) as client:
        return client.role


def test_other_users_get_nowhere_and_ones_own_clients_need_no_flag(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "network.toml").write_text(NETWORK.format(port=port))
    for folder in (tmp_path, *tmp_path.parents):  # nothing but the modes of zturbo's own files counts
        if folder.name.startswith("pytest-"):
            folder.chmod(0o755)
    tmp_path.chmod(0o755)
    at, ready, state = f"tcp://127.0.0.1:{port}", tmp_path / "ready", tmp_path / "state"
    env = {name: value for name, value in os.environ.items() if not name.startswith("ZTURBO_")}
    env["PYTHONPATH"] = os.getcwd()
    command = [sys.executable, "-m", "zturbo"]
    words = ["up", "network.toml", "--no-progress", "--ready-file", str(ready)]
    early: list[str] = []
    waiting = threading.Thread(target=lambda: early.append(role_at(at)))
    waiting.start()
    up = subprocess.Popen([*command, *words], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    try:
        eventually(ready.exists)
        waiting.join()
        assert early == ["admin"], "a client that was there before its broker"
        children = psutil.Process(up.pid).children()
        ports = [
            one.laddr.port
            for child in children
            for one in child.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN
        ]
        folders = {
            str(Path(one.laddr).parent) for c in children for one in c.net_connections("unix") if one.laddr
        }
        secrets = [str(path) for path in state.rglob("*")]
        assert len(ports) >= 5 and len(folders) >= 3 and len(secrets) > 5
        asked = json.dumps([at, ports, [*secrets, *folders]])
        other = subprocess.run(
            [sys.executable, "-c", OTHER, asked], env=env, capture_output=True, text=True, timeout=60
        )
        assert other.returncode == 0, other.stderr
        said = json.loads(other.stdout)
        kind, text, seconds = said.pop("client")
        assert kind == "AccessDenied" and "it wants a key" in text and seconds < 5
        assert said == {"found": None, "shaken": [], "read": []}
        # this user's own: in a program, and on the command line
        with Client(at) as client:
            assert client.role == "admin"
            assert list(client.map(range(50), pipeline="p")) == list(range(1, 51))
        jobs = subprocess.run(
            [*command, "jobs", "--json", "--broker", at], env=env, capture_output=True, text=True, timeout=60
        )
        assert "p" in jobs.stdout and not json.loads(jobs.stdout)["open"], jobs
        # a process of the same network that is started apart
        words = ["stage", "network.toml", "p.add", "--ready-file", str(tmp_path / "joined")]
        stage = subprocess.Popen([*command, *words], cwd=tmp_path, env=env, stderr=subprocess.DEVNULL)
        try:
            eventually((tmp_path / "joined").exists)
        finally:
            stage.send_signal(signal.SIGTERM)
            stage.wait(30)
        arguments = [word for child in children for word in child.cmdline()]
        private = [w for p in state.rglob("*.key") for w in p.read_text().split('"') if len(w) == 40]
        assert len(private) == 9 and not set(private) & set(arguments)
    finally:
        up.send_signal(signal.SIGTERM)
        _, log = up.communicate(timeout=30)
    assert not [key for key in private if key in log]
    assert "refused" in log  # the line for those who got nowhere
