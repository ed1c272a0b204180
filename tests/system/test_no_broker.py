"""Members and clients without their broker say whom they try and what they see there."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.cluster import eventually
from tests.support.four_hosts import some_hosts
from tests.support.hosts import Hosts
from tests.system.test_cli_run import TOY, Shell


@pytest.fixture
def shell() -> Iterator[Shell]:
    shell = Shell()
    yield shell
    shell.close()


def until(lines: Iterator[str], *parts: str) -> str:
    """The first line with all of these parts."""
    return next(line for line in lines if all(part in line for part in parts))


def test_a_stage_says_what_it_sees_and_then_that_it_has_joined(shell: Shell) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{other.getsockname()[1]}"
        shell.env.update(ZTURBO_BIND=f"tcp://{where}", ZTURBO_BROKER=f"tcp://{where}")
        alone = shell.start("stage", str(TOY), "toy.count", "--workers", "1", stdout=subprocess.DEVNULL)
        assert alone.stderr is not None
        lines = iter(alone.stderr.readline, "")
        until(lines, "no broker answers", f"{where} refuses the connection: no process listens there")
        other.listen()
        until(lines, "no broker answers", f"{where} takes connections, but no broker answers there")
    broker = shell.start("broker", str(TOY), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lines, "toy.count (process ", f") has joined the broker at tcp://{where}")
    asked = shell.run("jobs")
    assert asked.returncode == 0
    broker.terminate()
    broker.wait(60)
    until(lines, f"the broker at tcp://{where} does not answer", "refuses the connection")


def test_a_client_says_what_it_sees(shell: Shell) -> None:
    asked = shell.run("jobs")
    assert asked.returncode == 3
    assert asked.stderr.endswith(f". Seen there: there is no socket {shell.folder}/b on this host\n")


def on(hosts: Hosts, host: str, names: str, *words: str) -> subprocess.Popen[bytes]:
    """``zturbo`` with these words, on a host that knows the names in this file."""
    command = ["ip", "netns", "exec", hosts.namespaces[host]]
    command += ["sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', names]
    command += [sys.executable, "-m", "zturbo", *words]
    with open(hosts.folder / f"{len(hosts.processes)}-{host}.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    hosts.processes.append(process)
    return process


def test_a_name_that_leads_to_another_address_later() -> None:
    with some_hosts("abc") as (hosts, file):
        names = hosts.folder / "names"
        names.write_text("127.0.0.1 localhost\n")
        words = ("stage", file, "p.first", "--broker", "tcp://head:5555", "--insecure")
        on(hosts, "b", str(names), *words)
        eventually(lambda: "the name head (" in hosts.logs())
        names.write_text("10.99.0.3 head\n")
        eventually(lambda: "head is 10.99.0.3, and 10.99.0.3:5555 refuses the connection" in hosts.logs())
        hosts.run("a", "zturbo", "broker", file, "--insecure")
        names.write_text("10.99.0.1 head\n")
        eventually(lambda: "has joined the broker at tcp://head:5555" in hosts.logs())


def test_hosts_that_are_out_of_reach() -> None:
    with some_hosts("ab") as (hosts, file):
        space = hosts.namespaces["b"]
        cases = {
            "tcp://10.99.0.1:5555": "10.99.0.1:5555 has not answered within 1.5 s: its host is down, or a",
            "tcp://10.98.0.1:5555": "this host has no route to 10.98.0.1:5555",
            "tcp://[fd00::1]:5555": "this host has no IPv6 route to [fd00::1]:5555",
            "tcp://10.97.0.1:5555": "this host may not connect to 10.97.0.1:5555 (Invalid argument)",
        }
        hosts.run("a", "zturbo", "broker", file, "--insecure")
        subprocess.run(["ip", "-n", space, "route", "add", "blackhole", "10.97.0.0/24"], check=True)
        hosts.break_link("a", "b")
        asked = []
        for address in cases:
            command = [sys.executable, "-m", "zturbo", "jobs", "--broker", address]
            asked.append(subprocess.Popen(["ip", "netns", "exec", space, *command], stderr=subprocess.PIPE))
        for process, seen in zip(asked, cases.values(), strict=True):
            _, said = process.communicate(timeout=60)
            assert process.returncode == 3 and seen in said.decode(), said
        # and so does a stage, which goes on trying
        stages = [*cases.items()][:2]
        for address, _ in stages:
            hosts.run("b", "zturbo", "stage", file, "p.first", "--broker", address, "--insecure")
        for address, seen in stages:
            text = f"no broker answers at {address} yet: {seen}"
            eventually(lambda text=text: text in hosts.logs())  # type: ignore[misc]
