"""``zturbo hosts``: who is where."""

from __future__ import annotations

import asyncio
import json
import os
import platform
from typing import Any

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
