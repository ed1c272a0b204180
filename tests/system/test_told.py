"""A client that waits for a job's results is told what the job waits for, and what the broker knows."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys

import pytest

from tests.support.cluster import Cluster, eventually, stage
from tests.support.four_hosts import ask, some_hosts
from zturbo import AsyncClient, Job, Task
from zturbo.deploy.children import worker_children
from zturbo.errors import ResultTimeout


def test_what_a_job_waits_for_is_told_and_that_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with (
        Cluster({"p": [stage("first", "Slow", seconds=3.0)]}, workers=False) as cluster,
        cluster.client() as client,
        caplog.at_level(logging.WARNING),
    ):

        def said() -> list[str]:
            return [record.message for record in caplog.records if record.name == "zturbo.client"]

        jobs = [client.submit(Job(f"j{i}", Task(i)), "p") for i in range(3)]
        with pytest.raises(ResultTimeout, match="; the job waits for a worker of stage p"):
            jobs[0].result(timeout=0.1)
        with pytest.raises(ResultTimeout, match="; the job waits for its turn: a job before it waits for"):
            jobs[1].exception(timeout=0.1)

        async def late() -> str:
            async with AsyncClient(cluster.address) as other:
                try:
                    await (await other.attach(jobs[0].id)).result(timeout=0.1)
                except ResultTimeout as error:
                    return str(error)
                return ""

        assert asyncio.run(late()).endswith("; the job waits for a worker of stage p.first")
        with pytest.raises(ResultTimeout):
            jobs[0].result(timeout=4)
        assert said().count("job 'j0' waits for a worker of stage p.first") == 1, said()
        for child in worker_children(cluster.network, "p.first"):
            cluster.node.add(child)
        cluster.node.wake()
        with pytest.raises(ResultTimeout, match="the job runs: first 0 done, 1 running, 0 queued"):
            eventually(lambda: jobs[0].status()["counts"][0]["running"] == 1)
            jobs[0].result(timeout=0.05)
        assert jobs[0].result(timeout=60) == [0]
        told = {entry["text"]: entry["level"] for entry in client.logs(jobs[0].id)}
        assert told["job 'j0' in p is waiting"] == told["job 'j0' in p is running"] == "INFO", told


def test_a_client_that_does_not_reach_the_sink() -> None:
    """Its packets are dropped in silence."""
    with some_hosts("abc") as (hosts, file):
        broker = ("--broker", "tcp://10.99.0.1:5555")
        hosts.run("a", "zturbo", "broker", file, "--insecure")
        hosts.run("b", "zturbo", "sink", file, *broker, "--insecure")
        for name in ("p.first", "p.second"):
            hosts.run("b", "zturbo", "stage", file, name, *broker, "--insecure")

        def there() -> bool:
            asked = ask(hosts, "c", "hosts", "--json")
            return asked.returncode == 0 and sum(len(h["processes"]) for h in json.loads(asked.stdout)) == 4

        eventually(there)
        hosts.break_link("b", "c")
        command = [sys.executable, "-m", "zturbo", "submit", "p", "1", "--content-json", *broker]
        submit = subprocess.Popen(
            ["ip", "netns", "exec", hosts.namespaces["c"], *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        hosts.processes.append(submit)  # type: ignore[arg-type]
        assert submit.stdout is not None and submit.stderr is not None
        line = submit.stderr.readline()
        assert "job 'submit' waits for its results: this client does not reach the sink on " in line, line
        assert ": 10.99.0.2:" in line and "has not answered within 1.5 s" in line, line
        late = ask(hosts, "c", "result", "submit", "--timeout", "3")
        assert "; the client does not reach the sink on " in late.stderr and late.returncode == 1, late.stderr
        hosts.mend_link("b", "c")
        eventually(lambda: submit.poll() is not None or submit.stdout.readline() == "1\n")
        assert submit.wait(60) == 0
