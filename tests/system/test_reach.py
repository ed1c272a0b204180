"""Hosts that reach each other in their own ways: by some ports alone, several addresses, IPv6, mapped ports.

And which workers get tasks: those near, or those far."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.cluster import eventually
from tests.support.four_hosts import NETWORK, some_hosts
from tests.support.hosts import Hosts

MAP = """
import sys
from zturbo import Client
with Client(sys.argv[1], timeout=30) as client:
    print(sum(client.map(range(50), pipeline="p")))
"""


def start(hosts: Hosts, file: str, broker: str, *more: str) -> None:
    """The broker and the first stage on a, the second stage and the sink on b."""
    hosts.run("a", "zturbo", "broker", file, "--insecure", *more)
    there = ("--broker", broker, "--insecure", *more)
    hosts.run("a", "zturbo", "stage", file, "p.first", *there)
    hosts.run("b", "zturbo", "stage", file, "p.second", *there)
    hosts.run("b", "zturbo", "sink", file, *there)


def on(hosts: Hosts, host: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["ip", "netns", "exec", hosts.namespaces[host], sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def addresses(hosts: Hosts, broker: str, processes: int = 4) -> list[str]:
    """What all processes tell others, once there are so many."""
    told: list[str] = []

    def there() -> bool:
        asked = on(hosts, "a", "-m", "zturbo", "hosts", "--json", "--broker", broker)
        if asked.returncode:
            return False
        found = [process for host in json.loads(asked.stdout) for process in host["processes"]]
        told[:] = [end for one in found for end in [*one["addresses"], *one["results"]]]
        return len(found) == processes

    eventually(there)
    return [end for end in told if end.startswith("tcp:")]


def looked_at(hosts: Hosts, broker: str, *says: str) -> None:
    """The doctor finds no fault on a, and has looked at ports in both directions."""
    doctor = hosts.run("a", "zturbo", "doctor", "--broker", broker, stdout=subprocess.PIPE)
    said = doctor.communicate(timeout=60)[0].decode()
    assert doctor.returncode == 0 and all(text in said for text in says), said


@pytest.mark.timeout(120)
def test_some_ports_alone_and_a_second_address_that_leads_nowhere() -> None:
    broker = "tcp://10.99.0.1:5555"
    with some_hosts("ab") as (hosts, file):
        with open(file, "a") as more:
            more.write('\n[listen]\nports = "5600-5609"\n')
        for host in "ab":  # an address on no common network, which is told first
            hosts.ip(host, "addr", "add", f"172.31.{ord(host)}.1/32", "dev", "lo")
            own = f"172.31.{ord(host)}.1,{hosts.address[host]}"
            there = ("--broker", broker, "--insecure", "--address", own)
            if host == "a":
                hosts.run("a", "zturbo", "broker", file, "--insecure", "--address", own)
                hosts.run("a", "zturbo", "stage", file, "p.first", *there)
            else:
                hosts.run("b", "zturbo", "stage", file, "p.second", *there)
                hosts.run("b", "zturbo", "sink", file, *there)
        told = addresses(hosts, broker)
        assert all(5600 <= int(end.rpartition(":")[2]) <= 5609 for end in told), told
        assert len(told) == 10 and sum("//172.31." in end for end in told) == 5
        done = on(hosts, "a", "-c", MAP, broker)
        assert done.stdout == f"{sum(range(50))}\n", done.stderr
        looked_at(hosts, broker, "no route to 172.31.98.1:", "; another address of it answers, and is used")


@pytest.mark.timeout(120)
def test_hosts_with_link_local_addresses_alone() -> None:
    with some_hosts("ab") as (hosts, file):
        for host, number in (("a", 1), ("b", 2)):
            hosts.ip(host, "addr", "flush", "dev", "eth0")
            hosts.ip(host, "addr", "add", f"fe80::{number}/64", "dev", "eth0", "nodad")
        with open(file, "w") as whole:
            whole.write(
                NETWORK.format(folder=hosts.folder, lease=4.0).replace(
                    "tcp://10.99.0.1", "tcp://[fe80::1%eth0]"
                )
            )
        broker = "tcp://[fe80::1%eth0]:5555"
        start(hosts, file, broker)
        told = addresses(hosts, broker)
        assert told and all(end.startswith(("tcp://[fe80::1]:", "tcp://[fe80::2]:")) for end in told), told
        done = on(hosts, "a", "-c", MAP, broker)
        assert done.stdout == f"{sum(range(50))}\n", done.stderr
        looked_at(
            hosts, broker, "[fe80::2]:", "takes connections", "from b-", ", p.first (process ", "[fe80::1]:"
        )


@pytest.mark.timeout(120)
def test_hosts_that_reach_each_other_by_mapped_ports_alone() -> None:
    """A router between them, c, leads each of its ports to one port of a or of b."""
    with some_hosts("abc") as (hosts, file):
        hosts.break_link("a", "b")
        maps = [f"5555={hosts.address['a']}:5555"]
        for host, first in (("a", 7600), ("b", 7700)):
            maps.append(f"{first}-{first + 9}={hosts.address[host]}:5600")
        hosts.run("c", "tests.support.forward", *maps)
        for host, broker, first, names in (("a", "a", 7600, ["p.first"]), ("b", "c", 7700, ["p.second", ""])):
            flags = ("--insecure", "--ports", "5600-5609", "--advertise", f"{hosts.address['c']}:{first}")
            if host == "a":
                hosts.run("a", "zturbo", "broker", file, *flags)
            there = ("--broker", f"tcp://{hosts.address[broker]}:5555", *flags)
            for name in names:
                hosts.run(host, "zturbo", *(("stage", file, name) if name else ("sink", file)), *there)
        broker = "tcp://10.99.0.1:5555"
        told = [end for end in addresses(hosts, broker) if not end.startswith("tcp://127.")]
        mapped = {f"tcp://{hosts.address['c']}:{port}" for port in (7600, 7601, 7700, 7701, 7702)}
        assert {*told} == mapped, told
        done = on(hosts, "a", "-c", MAP, broker)
        assert done.stdout == f"{sum(range(50))}\n", done.stderr


NAPS = """
import sys
from zturbo import Client, Task
with Client("tcp://10.99.0.1:5555", timeout=30) as client:
    for _ in range(20):
        print(client.submit(Task(0.0), "p").result()[0])
    print(*client.map([0.3] * 8, pipeline="p"))
"""


@pytest.mark.timeout(120)
def test_near_workers_get_tasks_first_and_far_ones_when_the_near_are_full() -> None:
    there = ("--broker", "tcp://10.99.0.1:5555", "--insecure")
    with some_hosts("ab") as (hosts, file):
        text = NETWORK.format(folder=hosts.folder, lease=4.0)
        first, second, _ = text.split("  [[pipeline.stage]]")
        with open(file, "w") as whole:
            whole.write(first)
            whole.write(f"  [[pipeline.stage]]{second}  [[pipeline.stage]]\n")
            whole.write('name = "second"\nclass = "tests.stages.basic:NapWhere"\n')
        hosts.run("a", "zturbo", "broker", file, "--insecure")
        hosts.run("a", "zturbo", "sink", file, *there)
        hosts.run("a", "zturbo", "stage", file, "p.first", *there)
        for host in "ba":
            hosts.run(host, "zturbo", "stage", file, "p.second", *there)
        addresses(hosts, "tcp://10.99.0.1:5555", 5)
        done = on(hosts, "a", "-c", NAPS)
        assert done.returncode == 0, done.stderr
        *one_by_one, many = done.stdout.splitlines()
        assert one_by_one == ["a"] * 20, done.stdout + done.stderr
        assert {*many.split()} == {"a", "b"}, done.stdout + done.stderr
