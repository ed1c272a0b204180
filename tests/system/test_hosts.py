"""Several hosts: links that are cut, for a while or for good, and hosts that are gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.cluster import children, eventually
from tests.support.hosts import Hosts, need_hosts

LEASE = 4.0
N = 3000

NETWORK = """
[broker]
bind = "tcp://10.99.0.1:5555"
state = "{folder}/state"
lease = {lease}

[[pipeline]]
name = "p"

  [[pipeline.stage]]
  name = "first"
  class = "tests.stages.basic:Log"
  args = {{ path = "{folder}/first", seconds = 0.002 }}

  [[pipeline.stage]]
  name = "second"
  class = "tests.stages.basic:Log"
  args = {{ path = "{folder}/second", seconds = 0.002 }}
"""

CLIENT = """
import sys
from zturbo import Client
with Client("tcp://10.99.0.1:5555", timeout=30) as client:
    last = -1
    for value in client.map(range(int(sys.argv[1])), pipeline="p"):
        assert value == last + 1, (value, last)
        last = value
        if value % 100 == 0:
            print(value, flush=True)
    print("all", last + 1, flush=True)
"""


@contextmanager
def some_hosts(names: str, lease: float = LEASE) -> Iterator[tuple[Hosts, str]]:
    """Hosts, and the path of the network file."""
    need_hosts()
    with Hosts(list(names)) as hosts:
        file = hosts.folder / "network.toml"
        file.write_text(NETWORK.format(folder=hosts.folder, lease=lease))
        try:
            yield hosts, str(file)
        except BaseException:
            print(hosts.logs())
            raise


@pytest.fixture
def lease() -> float:
    """Seconds."""
    return LEASE


@pytest.fixture
def hosts(lease: float) -> Iterator[Hosts]:
    """Broker and sink on a, the first stage on b, the second on c and d."""
    with some_hosts("abcd", lease) as (hosts, file):
        hosts.run("a", "zturbo", "broker", file, "--insecure")
        hosts.run("a", "zturbo", "sink", file, "--insecure", "--address", hosts.address["a"])
        for host, stage in (("b", "first"), ("c", "second"), ("d", "second")):
            hosts.run(host, "zturbo", "stage", file, f"p.{stage}", "--insecure")
        yield hosts


class Run:
    """A client on host a that maps a range, and says how far it is."""

    def __init__(self, hosts: Hosts, n: int = N) -> None:
        space = hosts._space["a"]
        command = ["ip", "netns", "exec", space, sys.executable, "-c", CLIENT, str(n)]
        self.n = n
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        hosts.processes.append(self.process)  # type: ignore[arg-type]
        assert self.process.stdout is not None
        self.lines = self.process.stdout

    def until(self, value: int) -> None:
        """Wait for this result."""
        for line in self.lines:
            if int(line) >= value:
                return
        raise AssertionError("the client ended")

    def end(self) -> None:
        """All results came, in order, each once."""
        *_, last = self.lines
        assert last == f"all {self.n}\n"
        assert self.process.wait(timeout=20) == 0


def done_again(hosts: Hosts) -> int:
    """Tasks that were run more than once."""
    lines = [
        *(hosts.folder / "first").read_text().split("\n"),
        *(hosts.folder / "second").read_text().split("\n"),
    ]
    counts = Counter(lines)
    return sum(count - 2 for line, count in counts.items() if line and count > 2)


def credit_is_whole(hosts: Hosts) -> bool:
    """At both ends of every link: everything was acked, and all credit is back."""
    states = {state["incarnation"]: state for state in hosts.states()}
    links = [
        (link, states[peer]["in"].get(here))
        for here, state in states.items()
        for peer, link in state["out"].items()
        if link["sent"]
    ]
    assert len(links) >= 3, "roots, tasks, and results went somewhere"
    return all(
        end is not None
        and link["sent"] == link["acked"] == end["received"] == end["acked"]
        and link["tasks"] == end["left"]
        and link["credit"] > 0
        for link, end in links
    )


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


def test_a_host_that_is_cut_off_and_comes_back(hosts: Hosts) -> None:
    run = Run(hosts, 2 * N)
    run.until(500)
    hosts.unplug("c")
    began = time.monotonic()
    run.until(2000)
    print(f"others had taken over {time.monotonic() - began:.1f} s after the host was gone")
    hosts.plug("c")
    run.end()
    assert list(Run(hosts, 200).lines)[-1] == "all 200\n", "the next job is untouched by what comes late"


def test_a_node_that_is_killed_leaves_no_orphans(hosts: Hosts) -> None:
    run = Run(hosts)
    run.until(500)
    node = hosts.processes[3]  # of host c; "ip netns exec" has become it
    started = children(node.pid)
    assert started
    os.kill(node.pid, signal.SIGKILL)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))
    run.end()


def ask(hosts: Hosts, host: str, *words: str) -> subprocess.CompletedProcess[str]:
    """``zturbo`` with these words, on a host."""
    command = [sys.executable, "-m", "zturbo", *words, "--broker", "tcp://10.99.0.1:5555"]
    return subprocess.run(
        ["ip", "netns", "exec", hosts._space[host], *command], capture_output=True, text=True, timeout=60
    )


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
        done = ask(hosts, "b", "submit", "p", "5")
        assert done.returncode == 2 and "start the sink there with --insecure" in done.stderr, done
        assert ask(hosts, "a", "submit", "p", "5").stdout == '"5"\n', "on the sink's host it goes"
