"""A pipeline on four hosts, and a client on the first."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

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


class Run:
    """A client on host a that maps a range, and says how far it is."""

    def __init__(self, hosts: Hosts, n: int = N) -> None:
        space = hosts.namespaces["a"]
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


def ask(hosts: Hosts, host: str, *words: str) -> subprocess.CompletedProcess[str]:
    """``zturbo`` with these words, on a host."""
    command = [sys.executable, "-m", "zturbo", *words, "--broker", "tcp://10.99.0.1:5555"]
    return subprocess.run(
        ["ip", "netns", "exec", hosts.namespaces[host], *command], capture_output=True, text=True, timeout=60
    )
