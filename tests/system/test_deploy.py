"""``zturbo deploy`` over a real sshd on hosts that are network namespaces."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.cluster import eventually
from tests.support.sshd import HERE, Lab, need_sshd

FILE = """
[broker]
lease = 4.0

[[pipeline]]
name = "p"
code = "any"

  [[pipeline.stage]]
  name = "one"
  class = "stages:one"
  workers = 2

  [[pipeline.stage]]
  name = "two"
  class = "stages:two"
"""
STAGES = """
import time

ADDED = 1

def one(x):
    time.sleep(0.02)  # the job lasts as long as the test wants it to, and need not be large
    return [x, ADDED]

def two(x):
    return x
"""
CLIENT = """
import itertools, sys, threading
from pathlib import Path
from zturbo import Client

with Client("tcp://10.99.0.1:5555", keys=sys.argv[1], timeout=30) as client:
    ahead = threading.Semaphore(20)
    roots = itertools.takewhile(
        lambda _: ahead.acquire() and not Path(sys.argv[2]).exists(), itertools.count()
    )
    last = -1
    for value, added in client.map(roots, pipeline="p"):
        ahead.release()
        assert value == last + 1, (value, last)
        last = value
        if added == 100 or value == 0:
            print(added, flush=True)
"""
"""Maps numbers without an end, until a file is there."""
FIRST = 'address = "10.99.0.1"'


@pytest.fixture
def lab() -> Iterator[Lab]:
    need_sshd()
    with Lab("ab") as lab:
        (lab.project / "stages.py").write_text(STAGES)
        yield lab
        print(lab.logs())


def states(lab: Lab) -> dict[tuple[str, str], tuple[int, str]]:
    """(host, unit) -> (workers, version of the newest code), of all that has joined."""
    _, out, err = lab.deploy("status", "--json")
    told = json.loads(out)
    assert not told["failed"], err
    found: dict[tuple[str, str], tuple[int, str]] = {}
    for host, units in told["hosts"].items():
        for one in units:
            assert one["state"] == "joined"
            before = found.get((host, one["unit"]), (0, ""))[0]
            found[host, one["unit"]] = (before + one["workers"], one["version"])
    return found


def test_up_restart_scale_and_down(lab: Lab) -> None:
    (lab.project / "net.toml").write_text(FILE + lab.hosts_of("ab", a=FIRST))
    code, out, err = lab.deploy()
    assert code == 0, err
    assert "5 commands were started" in out and "doctor on a" in out and "FAULT" not in out, out
    before = {host: lab.pids(host) for host in "ab"}
    code, out, err = lab.deploy()
    assert code == 0 and "all of it runs already" in out and "b: p.one runs already" in err
    assert {host: lab.pids(host) for host in "ab"} == before

    keys = list((lab.folder / "at-b").rglob("*.key"))
    assert [path.name for path in keys] == ["node-b.key"] and keys[0].stat().st_mode & 0o77 == 0
    for host in "ab":
        for pid in before[host]:
            assert keys[0].read_text().split('"')[7] not in Path(f"/proc/{pid}/environ").read_text("latin-1")

    old = states(lab)
    assert set(old) == {("a", "broker"), ("a", "sink"), ("a", "p.one"), ("b", "p.one"), ("b", "p.two")}
    (lab.project / "stages.py").write_text(STAGES.replace("ADDED = 1", "ADDED = 100"))
    script, enough = lab.folder / "client.py", lab.folder / "enough"
    script.write_text(CLIENT)
    words = [sys.executable, str(script), str(lab.project / ".zturbo/net.keys"), str(enough)]
    client = lab.start(HERE, *words, stdout=subprocess.PIPE)
    assert client.stdout is not None and client.stdout.readline() == b"1\n"
    code, out, err = lab.deploy("restart", "p.one")
    assert code == 0, err
    assert "b: p.one.1: stops, after its tasks" in err
    assert err.index("b: p.one has joined") < err.index("b: p.one.1: stops")
    new = states(lab)
    assert new["b", "p.one"][1] != old["b", "p.one"][1] and new["b", "p.two"] == old["b", "p.two"]
    assert client.stdout.readline() == b"100\n", "the running job gets the new code"
    enough.touch()
    client.stdout.read()
    assert client.wait(60) == 0, "all results came, in order, each once"

    code, out, err = lab.deploy("scale", "p.one", "4")
    assert code == 0, err
    found = states(lab)
    assert sum(workers for (_, unit), (workers, _) in found.items() if unit == "p.one") == 4
    code, out, err = lab.deploy("logs")
    assert code == 0 and "a broker.1: broker runs" in out
    code, out, err = lab.deploy("down")
    assert code == 0 and not any(lab.pids(host) for host in "ab"), err


def test_a_host_that_fails_leaves_nothing_begun(lab: Lab) -> None:
    fake = lab.folder / "fake/zturbo"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("")
    (fake / "version.py").write_text('__version__ = "9.9.9"\n')
    wrong = lab.folder / "python"
    wrong.write_text(f'#!/bin/sh\nPYTHONPATH={fake.parent} exec {sys.executable} "$@"\n')
    wrong.chmod(0o755)
    for change, said in [
        ("ssh = 'root@10.99.0.77'", "'ssh root@10.99.0.77 true' has to work"),
        (f"python = '{wrong}'", "has zturbo 9.9.9, and this host "),
        ("ports = '22'", "all ports of 10.99.0.2 from 22 to 22 are in use"),
    ]:
        hosts = lab.hosts_of("ab", a=FIRST)
        head, own, tail = hosts.rpartition('name = "b"\n')
        if change.startswith("python"):
            tail = tail.partition("\n")[2]
        (lab.project / "net.toml").write_text(f"{FILE}{head}{own}{change}\n{tail}")
        code, _, err = lab.deploy()
        assert code == 1 and said in err, err
        assert "what this command had started is stopped again" in err
        assert not any(lab.pids(host) for host in "ab"), change


def half_way(lab: Lab) -> subprocess.Popen[bytes]:
    """A deployment of which host a runs, and the stages of host b never come to an end of their imports."""
    (lab.project / "stages.py").write_text(
        f"import os, signal\nif os.environ.get('STUCK'):\n    signal.pause()\n{STAGES}"
    )
    (lab.project / "net.toml").write_text(FILE + lab.hosts_of("ab", a=FIRST, b='env = { STUCK = "1" }'))
    process = lab.deploying()
    assert process.stderr is not None
    for line in process.stderr:
        if b"a: p.one has joined" in line:
            break
    return process


def test_ctrl_c_half_way_leaves_nothing_begun(lab: Lab) -> None:
    process = half_way(lab)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130 and b"is stopped again" in process.stderr.read()
    assert not any(lab.pids(host) for host in "ab")


def test_through_a_jump_host_with_an_agents_key(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key has a passphrase, so only the agent can use it. From here no way leads to b but through a."""
    key, socket = lab.folder / "user_key", lab.folder / "agent"
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret words", "-f", str(key)], check=True)
    lab.break_link(HERE, "b")
    lab.configure("Host b\n  ProxyJump a\n")
    (lab.project / "net.toml").write_text(FILE + lab.hosts_of("b"))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    code, _, err = lab.deploy("status")
    assert code == 1 and "Permission denied" in err and "ssh-agent" in err, err
    agent = lab.start(HERE, "ssh-agent", "-D", "-a", str(socket))
    eventually(socket.exists)
    ask = lab.folder / "ask"
    ask.write_text("#!/bin/sh\necho secret words\n")
    ask.chmod(0o700)
    asked = {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "SSH_AUTH_SOCK": str(socket)}
    subprocess.run(["ssh-add", "-q", str(key)], check=True, env={**os.environ, **asked})
    code, _, err = lab.deploy()
    assert code == 0 and "b: p.two has joined" in err, err
    assert set(states(lab)) == {("b", "broker"), ("b", "sink"), ("b", "p.one"), ("b", "p.two")}
    code, _, err = lab.deploy("down")
    assert code == 0 and not lab.pids("b"), err
    agent.terminate()


def test_a_connection_that_breaks_half_way_leaves_nothing_begun(lab: Lab) -> None:
    """``tests/system/unplugged.py`` has the same for a cable, which takes half a minute to be noticed."""
    break_off(lab, "killed")


def break_off(lab: Lab, how: str) -> None:
    """Break the connection to b half-way: its ssh is ``killed``, or the host ``unplugged``."""
    process = half_way(lab)
    eventually(lambda: bool(lab.pids("b")))  # it looks whether the stages can be imported
    if how == "killed":
        (ssh,) = [
            child for child in psutil.Process(process.pid).children(recursive=True) if is_to(child, "b")
        ]
        ssh.kill()
    else:
        lab.unplug("b")
    err = process.stderr.read().decode()
    assert process.wait(60) == 1 and "b: " in err and "is stopped again" in err, err
    eventually(lambda: not any(lab.pids(host) for host in "ab"), 90)
    if how == "unplugged":
        lab.plug("b")
    code, _, err = lab.deploy("down")  # nobody holds its folder any more
    assert code == 0, err


def is_to(process: psutil.Process, host: str) -> bool:
    """Whether this is ssh to a host."""
    words = process.cmdline()
    return words[0].endswith("ssh") and host in words
