"""Links that are cut, for a while or for good, and hosts that cannot reach each other."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from tests.support.cluster import eventually
from tests.support.four_hosts import (
    LEASE,
    Run,
    ask,
    credit_is_whole,
    done_again,
    some_hosts,
)
from tests.support.hosts import Hosts


def test_a_cut_that_is_healed_within_the_lease(hosts: Hosts) -> None:
    run = Run(hosts)
    run.until(500)
    hosts.break_link("b", "c")
    time.sleep(LEASE * 0.6)
    hosts.mend_link("b", "c")
    run.end()
    assert done_again(hosts) == 0, "what was lost on the way was sent again, and nothing was done again"
    eventually(lambda: credit_is_whole(hosts))


@pytest.mark.parametrize("lease", [60.0])
def test_a_cut_that_loses_what_was_on_the_way(hosts: Hosts) -> None:
    """Longer than ZeroMQ waits for the other end: it drops the connection, and what was in its queues."""
    run = Run(hosts, 10_000)
    run.until(500)
    hosts.break_link("b", "c")
    time.sleep(13)  # ZMTP's heartbeats are given up after 10
    hosts.mend_link("b", "c")
    run.end()
    assert sum(link["resent"] for state in hosts.states() for link in state["out"].values()) > 0
    assert done_again(hosts) == 0, "what was lost on the way was sent again, and nothing was done again"
    eventually(lambda: credit_is_whole(hosts))


def test_a_link_that_is_broken_for_good_between_two_living_hosts(hosts: Hosts) -> None:
    run = Run(hosts)
    run.until(500)
    hosts.break_link("b", "c")
    began = time.monotonic()
    run.end()
    print(f"done {time.monotonic() - began:.1f} s after the link broke; {done_again(hosts)} tasks done again")


def test_processes_of_one_host_that_share_no_files() -> None:
    """As those of two containers: one host name, and for each another folder of one name."""
    with some_hosts("a") as (hosts, file):
        there = ("--broker", "tcp://10.99.0.1:5555")
        hosts.run("a", "zturbo", "broker", file, "--insecure", own_files=True)
        hosts.run("a", "zturbo", "sink", file, *there)
        hosts.run("a", "zturbo", "stage", file, "p.first", *there, own_files=True)
        hosts.run("a", "zturbo", "stage", file, "p.second", *there)
        Run(hosts, 600).end()
        assert done_again(hosts) == 0
        assert "out of the view" not in ask(hosts, "a", "logs").stdout
        eventually(lambda: credit_is_whole(hosts))


def test_hosts_that_cannot_reach_each_other_are_told_what_to_do() -> None:
    there = ("--broker", "tcp://10.99.0.1:5555")
    parts = {"sink": ("sink",), "p.first": ("stage", "p.first"), "p.second": ("stage", "p.second")}
    on = {"sink": "a", "p.first": "b", "p.second": "a"}
    with some_hosts("ab") as (hosts, file):

        def start(name: str, *more: str) -> subprocess.Popen[bytes]:
            command, *stage = parts[name]
            return hosts.run(on[name], "zturbo", command, file, *stage, *there, *more)

        def told(text: str) -> bool:
            return text in ask(hosts, "a", "jobs").stdout

        hosts.run("a", "zturbo", "broker", file, "--insecure")
        running = {name: start(name) for name in ("sink", "p.second")}
        eventually(lambda: told("first x0, second x1"))
        running["p.first"] = start("p.first")
        left = ["p.first", "sink", "p.second"]  # one after the other is named, until all are mended

        def named() -> list[str]:
            text = ask(hosts, "a", "jobs").stdout
            return [name for name in left if f"start {name.replace('sink', 'the sink')} with" in text]

        while left:
            found: list[str] = []  # a refusal is told for a while alone: what was seen once holds

            def look(found: list[str] = found) -> bool:
                found.extend(named())
                return bool(found)

            eventually(look)
            (name,) = found
            left.remove(name)
            at = on[name]  # and it is said at a terminal too: its own, or that of the one that is refused
            what = f"{name.replace('sink', 'the sink')} on {at} can be reached from its own host alone, and "
            eventually(lambda what=what: what in hosts.logs())  # type: ignore[misc]
            running[name].terminate()
            running[name].wait()
            running[name] = start(name, "--insecure")
        eventually(lambda: told("first x1, second x1"))
        assert json.loads(ask(hosts, "b", "submit", "p", "5").stdout) == "5"


def test_a_client_that_cannot_reach_a_sink_is_told_what_to_do() -> None:
    with some_hosts("ab") as (hosts, file):
        hosts.run("a", "zturbo", "broker", file, "--insecure")
        for words in (["sink", file], ["stage", file, "p.first"], ["stage", file, "p.second"]):
            hosts.run("a", "zturbo", *words, "--broker", "tcp://10.99.0.1:5555")
        eventually(lambda: "first x1, second x1" in ask(hosts, "b", "jobs").stdout)
        done = ask(hosts, "b", "submit", "p", "5")
        assert done.returncode == 2 and "start the sink there with --insecure" in done.stderr, done
        assert ask(hosts, "a", "submit", "p", "5").stdout == '"5"\n', "on the sink's host it goes"
