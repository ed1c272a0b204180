"""``zturbo hosts``: who is where."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
from typing import Any

import pytest

from tests.support.cluster import Cluster, eventually, stage
from tests.support.four_hosts import ask, some_hosts
from zturbo import AsyncClient, Job, Task
from zturbo.cli import main
from zturbo.runtime.code.codeof import code_of
from zturbo.version import __version__


def test_one_host_with_its_processes(capsys: object) -> None:
    stages = [stage("one", "Add", workers=2), stage("two", "Add")]
    with Cluster({"p": stages}) as cluster, cluster.client() as client:
        eventually(lambda: client.pipelines()[0]["workers"] == (2, 1))
        assert client.submit(Job("j", Task(1)), "p").result(timeout=60) == [3]
        (host,) = client.hosts()
        names = sorted(process["name"] for process in host["processes"])
        assert names == ["broker", "p.one", "p.one", "p.two", "sink"]
        assert {process["pid"] for process in host["processes"]} == set(cluster.processes)
        for process in host["processes"]:
            assert process["version"] == __version__ and process["python"] == platform.python_version()
            assert process["memory"] > 5e6 and process["cpu"] >= 0 and process["heard"] < 30
        assert host["memory"] == sum(process["memory"] for process in host["processes"])
        assert host["address"] is None and host["host"].startswith(os.uname().nodename)

        async def the_same() -> list[dict[str, object]]:
            async with AsyncClient(cluster.address) as other:
                return await other.hosts()

        assert [other["host"] for other in asyncio.run(the_same())] == [host["host"]]
        assert main(["hosts", "--broker", cluster.address]) == 0
        printed = capsys.readouterr().out  # type: ignore[attr-defined]
        assert "this host alone" in printed and f"zturbo {__version__}, Python" in printed
        assert "  p.one x2" in printed and str(cluster.child("p.two").pid) in printed


def test_several_hosts() -> None:
    with some_hosts("abc") as (hosts, file):
        broker = ("--broker", "tcp://10.99.0.1:5555", "--insecure")
        hosts.run("a", "zturbo", "up", file, "--insecure", "--no-progress", "--without", "p.first")
        hosts.run("b", "zturbo", "stage", file, "p.first", *broker)
        hosts.run("c", "zturbo", "stage", file, "p.second", *broker)

        def told() -> list[dict[str, Any]]:
            asked = ask(hosts, "c", "hosts", "--json")
            return json.loads(asked.stdout) if asked.returncode == 0 else []

        def found() -> list[tuple[str, list[str]]]:
            return [(h["address"], sorted(process["name"] for process in h["processes"])) for h in told()]

        expected = [
            ("10.99.0.1", ["broker", "p.second", "sink"]),
            ("10.99.0.2", ["p.first"]),
            ("10.99.0.3", ["p.second"]),
        ]
        eventually(lambda: sorted(found()) == expected)
        assert found()[0] == expected[0], "the broker's host comes first"
        codes = {process["code"] for host in told() for process in host["processes"] if process["code"]}
        assert codes == {code_of("tests.stages.basic:Log")}, "all stages here have one class"
        for host in told():
            for process in host["processes"]:
                assert bool(process["code"]) == process["name"].startswith("p."), process


FRAMES = """
import json, sys
from pathlib import Path
import numpy as np
from zturbo import Client

folder, n, size = Path(sys.argv[1]), 64, 1 << 20

def on_disk():
    return sum(file.stat().st_blocks * 512 for file in folder.joinpath("state").rglob("*") if file.is_file())

def came():
    return int(Path("/sys/class/net/eth0/statistics/rx_bytes").read_text())

with Client("tcp://10.99.0.1:5555", timeout=60) as client:
    before, most = came(), 0
    for i, frame in enumerate(client.map((np.full(size, i, np.uint8) for i in range(n)), "p")):
        assert frame.shape == (size,) and (frame == i).all(), i
        most = max(most, on_disk())
    print(json.dumps({"disk": most / (n * size), "came": (came() - before) / (n * size)}))
"""


@pytest.mark.parametrize("there", [("second",), ("first", "second")], ids=["one stage", "both stages"])
def test_large_contents_between_hosts_are_not_written_to_the_disk_and_come_once(
    there: tuple[str, ...],
) -> None:
    """Some stages are on the client's host, and the broker and the sink are on another one."""
    with some_hosts("ab") as (hosts, _):
        file = hosts.folder / "frames.toml"
        stage = '  [[pipeline.stage]]\n  name = "{}"\n  class = "tests.stages.contents:Same"\n'
        stages = "".join(map(stage.format, ("first", "second")))
        bind = f'bind = "tcp://10.99.0.1:5555"\nstate = "{hosts.folder}/state"'
        file.write_text(f'[broker]\n{bind}\n\n[[pipeline]]\nname = "p"\ndurability = "process"\n\n{stages}')
        without = [word for name in there for word in ("--without", f"p.{name}")]
        hosts.run("a", "zturbo", "up", str(file), "--insecure", "--no-progress", *without)
        broker = ("--broker", "tcp://10.99.0.1:5555", "--insecure")
        for name in there:
            hosts.run("b", "zturbo", "stage", str(file), f"p.{name}", *broker)
        command = (sys.executable, "-c", FRAMES, str(hosts.folder))
        client = hosts.start("b", *command, stdout=subprocess.PIPE)
        printed, _ = client.communicate(timeout=120)
        assert client.returncode == 0
        share = json.loads(printed)
        # Once as results; and once as tasks for the stage there. A few may be sent again after a pause.
        assert share["came"] < 4, share
        assert share["disk"] < 0.5, "of roots and of results, either of which would be as much as there is"
