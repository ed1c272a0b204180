"""Limits of sockets and open files are raised, and told before they are reached."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from tests.unit.broker.driven import broker, hello, sink, worker
from tests.unit.broker.hosts import problems
from zturbo.errors import StartError
from zturbo.runtime.net import limits
from zturbo.runtime.net.sockets import make
from zturbo.wire.control import from_broker

FILE = """
[[pipeline]]
name = "p"

  [[pipeline.stage]]
  name = "s"
  class = "tests.stages.basic:Add"
  workers = 100
"""


def test_a_context_has_more_sockets_than_zeromq_gives_it() -> None:
    context = limits.new_context()
    try:
        assert context.get(zmq.MAX_SOCKETS) >= min(limits.descriptors(), limits.MOST_SOCKETS)
        context.set(zmq.MAX_SOCKETS, 1)
        with make(context, zmq.PUSH), pytest.raises(StartError, match="it has 1 sockets at most"):
            make(context, zmq.PUSH)
    finally:
        context.term()


def test_one_place_makes_contexts() -> None:
    root = Path(limits.__file__).parents[3]
    sources = [
        *root.glob("zturbo/**/*.py"),
        *root.glob("zturbo_broker/**/*.py"),
        *root.glob("broker/**/*.py"),
    ]
    makers = [path.name for path in sources if re.search(r"zmq\.Context\(", path.read_text())]
    assert makers == ["limits.py"]


def test_the_limit_is_raised_in_a_process_of_its_own() -> None:
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200));"
        "from zturbo.runtime.net import limits; limits.raise_descriptor_limit();"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE), limits.descriptors())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "(200, 200) 200\n"


def test_what_is_lacking_is_told_before_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    assert limits.shortage(300) == "" and limits.most_members() == 240
    assert "it has 400 peers, needs about 1264 open files for them, and may have 1024" in limits.shortage(400)
    limits.check_children(100)
    with pytest.raises(StartError, match=r"needs about 1664 open files.* may have 1024: .* to 1664 or more"):
        limits.check_children(200)


def test_a_command_that_cannot_start_its_processes_says_so_at_once(tmp_path: Path) -> None:
    file = tmp_path / "network.toml"
    file.write_text(FILE)
    command = f'ulimit -n 200; exec "{sys.executable}" -m zturbo stage "{file}" p.s'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 2, done.stderr
    assert "100 processes are to start, for which this one needs about 864 open files" in done.stderr


def test_a_broker_takes_no_more_members_than_it_has_room_for() -> None:
    machine = broker(room=2)
    for member in (worker(), sink()):
        hello(machine, member)
    (refused,) = hello(machine, worker(b"x" * 16))
    assert isinstance(refused, from_broker.Refused) and "it may not have enough open files" in refused.reason
    assert not refused.final, "the limit may be raised"
    assert "it may not have enough open files" in problems(machine)["a"]
    assert not any(isinstance(said, from_broker.Refused) for said in hello(machine, worker(), view=2))
