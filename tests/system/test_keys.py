"""A network with keys over several hosts: the same results, and intruders that get nowhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

from tests.support.cluster import eventually
from tests.support.hosts import Hosts, need_hosts
from zturbo.runtime.net import keys
from zturbo.runtime.net.audit import ENDED

CANARY = "canary-of-a-payload"

NETWORK = """
[broker]
bind = "tcp://10.99.0.1:5555"
state = "{folder}/state"
keys = "keys"

[[pipeline]]
name = "p"

  [[pipeline.stage]]
  name = "first"
  class = "tests.stages.basic:Slow"
  args = {{ seconds = 0.002 }}

  [[pipeline.stage]]
  name = "second"
  class = "tests.stages.basic:Add"
"""

CLIENT = """
import itertools, sys, threading
from zturbo import Client
stop, room = threading.Event(), threading.Semaphore(50)
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
numbers = itertools.takewhile(lambda _: room.acquire() and not stop.is_set(), itertools.count())
with Client(timeout=30) as client:
    for last, got in enumerate(client.map(numbers, pipeline="p")):
        if not last:
            print("ID", client.jobs()[0]["id"], flush=True)
        room.release()
        assert got == last + 1, (got, last)
    print("exact", last > 100, flush=True)
"""


def ask(hosts: Hosts, host: str, *words: str, **env: str) -> subprocess.Popen[str]:
    command = ["ip", "netns", "exec", hosts.namespaces[host], sys.executable, *words]
    import os

    process = subprocess.Popen(
        command,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **env},
    )
    hosts.processes.append(process)  # type: ignore[arg-type]  # which ends it if the test fails
    return process


def out(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=90)
    return text


def test_intruders_get_nowhere_while_good_jobs_go_on() -> None:
    need_hosts()
    with Hosts(["a", "b", "c"]) as hosts:
        folder = hosts.folder / "keys"
        keys.make_folder(folder)
        for role, name in (
            ("client", "ann"),
            ("client", "bob"),
            ("client", "old"),
            ("viewer", "eve"),
            ("node", "gpu1"),
        ):
            keys.add(folder, role, name)
        shutil.copy(folder / "client-old.key", hosts.folder / "old")
        keys.make_folder(hosts.folder / "other")
        network = hosts.folder / "network.toml"
        network.write_text(NETWORK.format(folder=hosts.folder))
        at = "tcp://10.99.0.1:5555"
        ann = {"ZTURBO_KEYS": str(folder / "client-ann.key"), "ZTURBO_BROKER": at}
        admin = ("--broker", at, "--keys", str(folder))
        try:
            hosts.run("a", "zturbo", "up", str(network), "--without", "p.second", "--no-progress", "-v")
            gpu1 = hosts.run(
                "b",
                "zturbo",
                "stage",
                str(network),
                "p.second",
                "-v",
                "--keys",
                str(folder / "node-gpu1.key"),
            )
            job = ask(hosts, "c", "-c", CLIENT, **ann)
            assert job.stdout is not None
            name = next(line.split()[1] for line in job.stdout if line.startswith("ID "))
            assert (
                out(ask(hosts, "a", "-m", "zturbo", "keys", "revoke", "old", "--keys", str(folder)))
                == "revoked client old\n"
            )
            shutil.copy(hosts.folder / "old", folder / "old.key")
            shutil.copy(hosts.folder / "other/admin-admin.key", folder / "foreign.key")
            printed = out(ask(hosts, "c", "-m", "tests.support.intruder", at, str(folder), name))
            assert printed.startswith("{"), printed
            said = json.loads(printed)
            assert out(job).splitlines()[-1] == "exact True"
            bob = {"ZTURBO_KEYS": str(folder / "client-bob.key"), "ZTURBO_BROKER": at}
            failing = ask(hosts, "c", "-m", "zturbo", "submit", "p", CANARY, **bob)
            failed = out(failing)
            assert failing.returncode == 1 and "TypeError" in failed, failed  # it was run, and failed
            told = out(ask(hosts, "a", "-m", "zturbo", "logs", *admin))
            _look_at(said, told)
            # a revoked node is out at once, and its processes do not come again
            keys.revoke(folder, "gpu1")
            eventually(lambda: "the key of its node was revoked" in hosts.logs(), 10)
            assert gpu1.wait(timeout=20) == 4
            eventually(lambda: "second x0" in out(ask(hosts, "a", "-m", "zturbo", "jobs", *admin)), 10)
            log = hosts.logs()
            assert "the key of its node was revoked" in log
            private = [
                word
                for path in folder.glob("*.key")
                for word in path.read_text().split('"')
                if len(word) == 40
            ]
            assert len(private) > 15 and not [key for key in private if key in log + told]
            assert CANARY not in log + told
        except BaseException:
            print(hosts.logs())
            raise


def _look_at(said: dict[str, object], log: str) -> None:
    """Each intruder was refused, within five seconds, and the log of the broker says so."""
    log = re.sub(r" on \S+:\d+: ", ": ", log)  # the host and process that said it
    keyless = "a connection that ended before it showed a key of this network"
    assert f"refused from 10.99.0.3: {keyless}" in log
    log = log.replace(
        f" from 10.99.0.3: {keyless}", f": {keyless}"
    )  # one that is over at once has no address
    # one without keys may end before it has said so
    log = log.replace(f"a connection from 10.99.0.3 {ENDED}", f"refused: {keyless}")
    refused = {
        "no key": "it wants a key",
        "revoked": "not on its list, or was revoked",
        "other network": "the keys of another network",
        "viewer cancels": "a viewer's key may not send 'cancel'",
        "viewer submits": "a viewer's key may not send 'submit'",
        "other's job": "the job was submitted under another key",
    }
    for name, text in refused.items():
        kind, error, seconds = said.pop(name)  # type: ignore[misc]
        assert kind == "AccessDenied" and text in error and seconds < 5, (name, kind, error, seconds)
    # what those who may connect to the broker may say there is looked at below
    assert said.pop("gets in") == {
        "broker": ["bob", "eve", "gpu1"],
        "roots": ["gpu1"],
        "sink": ["gpu1"],
        "worker": ["gpu1"],
        "results": ["bob", "eve"],
    }
    assert said.pop("jobs of bob")[0] == ""  # type: ignore[index]
    assert said == {
        "other's results": "the job was submitted under another key",
        "node submits": "AccessDenied",
        "node cancels": "AccessDenied",
        "node reads": "AccessDenied",
        "client joins": "",
        "client completes": "",
        "client logs": "",
        "stolen id: leave": "",
        "stolen id: complete": "",
        "stolen id: job_failed": "",
        "stolen id: answers": "AccessDenied",
        "stolen id: batch": True,
        "stolen id: ack": True,
        "stolen id: ack to the broker": True,
        "own results": "superseded",
        "stolen id: results": "no answer",
        "client at an inbox": False,
    }
    for text in (
        "a connection that ended before it showed a key of this network",
        "refused from 10.99.0.3: a connection under a key that is not on the list, or was revoked",
        "under the key of viewer eve: a viewer's key may not send 'cancel'",
        "under the key of client bob: the job was submitted under another key",
        "under the key of client bob: a client's key may not send 'hello'",
        "under the key of client bob: a client's key may not send 'complete'",
        "under the key of client bob: a client's key may not send 'log'",
        "under the key of node gpu1: a node's key may not send 'submit'",
        "under the key of node gpu1: a node's key may not send 'cancel'",
        "under the key of node gpu1: a node's key may not send 'attach'",
        "under the key of node gpu1: it speaks for a process that runs under another node's key",
        "sink-0: refused: a reader's message under an identity that belongs to another key",
        "broker: refused: a message of a peer in the name of a process that is not under its key",
        "sink-0: refused: a message of a peer in the name of a process that is not under its key",
        "p.first: refused: a message of a peer in the name of a process that is not under its key",
        "sink-0: refused from 10.99.0.3: a connection under a key that is not on the list",
        "p.first: refused from 10.99.0.3: a connection under a key that is not on the list",
        "sink-0: refused: a connection that ended before it showed a key of this network",
        "p.first: refused: a connection that ended before it showed a key of this network",
    ):
        assert text in log, text
