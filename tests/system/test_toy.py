"""The toy of four stages: in one process, through System, and as separately launched processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.toy.stages import Count, Divide, Negate, Times
from examples.toy.system import Toy, jobs
from tests.support.cluster import children, eventually
from zturbo import Client, Job, Task
from zturbo.errors import BrokerUnavailable
from zturbo.system.debug import run_debug

ROOT = Path(__file__).parents[2]
SEED = 7


def test_in_one_process() -> None:
    for job, expected in jobs(SEED):
        assert run_debug([Count, Times, Divide, Negate], job.task) == expected


@pytest.mark.parametrize("debug", [False, True])
def test_through_system(debug: bool) -> None:
    wanted = {job.name: (job, expected) for job, expected in jobs(SEED)}
    with Toy(debug=debug) as system:
        system.add_jobs([job for job, _ in wanted.values()])
        done = list(system.wait_jobs(len(wanted), job_timeout=60))
    assert sorted(job.name for job in done) == sorted(wanted)
    for job in done:
        assert job.success and job.results == wanted[job.name][1]


class Launched:
    """Commands of the command line, as processes of their own."""

    def __init__(self, file: Path, address: str) -> None:
        self.file = file
        self.folder = Path(tempfile.mkdtemp(prefix="toy-"))
        """Where they have their sockets, whose paths have to be short."""
        self.address = address
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *words: str) -> subprocess.Popen[str]:
        return self._start("-m", "zturbo", words[0], str(self.file), *words[1:])

    def run_code(self, code: str, **env: str) -> subprocess.Popen[str]:
        """A program that gets the path of the network file."""
        return self._start("-c", code, str(self.file), **env)

    def _start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        env = {**os.environ, "TMPDIR": str(self.folder), **env}
        command = [sys.executable, *words]
        process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "ZTURBO_BROKER": self.address}
        command = [sys.executable, "-m", "zturbo", *words]
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)

    def wait(self) -> None:
        def there() -> bool:
            assert all(process.poll() is None for process in self.processes), "a process has ended"
            try:
                with Client(self.address, timeout=1) as client:
                    return all(all(pipeline["workers"]) for pipeline in client.pipelines())
            except BrokerUnavailable:
                return False

        eventually(there)


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launched]:
    address = f"ipc://{tmp_path}/broker"
    text = (ROOT / "examples/toy/toy.toml").read_text()
    file = tmp_path / "toy.toml"
    file.write_text(f'[broker]\nbind = "{address}"\n' + text)
    commands = Launched(file, address)
    yield commands
    for process in commands.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in commands.processes:
        try:
            process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
    # Children outlive a node that was killed, until they notice.
    eventually(lambda: not any(commands.folder.iterdir()))
    commands.folder.rmdir()


def test_as_separately_launched_processes(launched: Launched) -> None:
    launched.start("broker")
    launched.start("sink")
    for stage in ("count", "times", "divide", "negate"):
        launched.start("stage", f"toy.{stage}")
    launched.wait()
    with Client(launched.address, timeout=20) as client:
        wanted = jobs(SEED)
        handles = [client.submit(job, pipeline="toy") for job, _ in wanted]
        for handle, (_, expected) in zip(handles, wanted, strict=True):
            assert handle.result(timeout=60) == expected


def test_a_host_that_stood_still_loses_nobody(launched: Launched) -> None:
    """All its processes, for longer than a lease: the broker is the first that goes on."""
    up = launched.start("up", "--no-progress")
    launched.wait()
    with Client(launched.address, timeout=20) as client:
        eventually(lambda: client.pipelines()[0]["workers"] == (1, 3, 2, 1))
        started = children(up.pid)
        broker = next(pid for pid in started if "broker" in Path(f"/proc/{pid}/cmdline").read_text())
        for pid in (up.pid, *started):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(7)
        os.kill(broker, signal.SIGCONT)
        (pipeline,) = client.pipelines()
        for pid in (up.pid, *started):
            os.kill(pid, signal.SIGCONT)
        assert pipeline["workers"] == (1, 3, 2, 1)
        ((job, expected), *_) = jobs(SEED)
        assert client.submit(job, pipeline="toy").result(timeout=60) == expected
        assert client.pipelines()[0]["workers"] == (1, 3, 2, 1)
    assert sorted(children(up.pid)) == sorted(started)


UP = """
import sys
from zturbo.cli import main, up
from zturbo.slotted import replace

real = up.broker_child
up.broker_child = lambda *args, **more: replace(real(*args, **more), module="tests.support.dying")
sys.exit(main(["up", sys.argv[1], "--no-progress"]))
"""


def test_a_broker_that_stood_still_amid_its_work_loses_nobody(launched: Launched, tmp_path: Path) -> None:
    """Not while it waited for messages, but when it had read some of them."""
    place = "zturbo_broker.machine.descriptions:Descriptions.list_members"
    dying = {"DYING": f"zturbo_broker.__main__|{place}|before|1|1|{tmp_path}", "DYING_SIGNAL": "SIGSTOP"}
    up = launched.run_code(UP, **dying)
    launched.wait()
    with Client(launched.address, timeout=20) as client:
        eventually(lambda: client.pipelines()[0]["workers"] == (1, 3, 2, 1))
        started = children(up.pid)
        broker = next(pid for pid in started if "dying" in Path(f"/proc/{pid}/cmdline").read_text())
        others = [up.pid, *(pid for pid in started if pid != broker)]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        asks = threading.Thread(target=client.hosts)
        asks.start()
        eventually(lambda: Path(f"/proc/{broker}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        time.sleep(7)
        os.kill(broker, signal.SIGCONT)
        asks.join(20)
        (pipeline,) = client.pipelines()
        for pid in others:
            os.kill(pid, signal.SIGCONT)
        assert pipeline["workers"] == (1, 3, 2, 1)
        ((job, expected), *_) = jobs(SEED)
        assert client.submit(job, pipeline="toy").result(timeout=60) == expected
    assert sorted(children(up.pid)) == sorted(started)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_stops_within_seconds_and_leaves_nothing(launched: Launched, number: signal.Signals) -> None:
    up = launched.start("up", "--no-progress")
    launched.wait()
    with Client(launched.address, timeout=20) as client:
        client.submit(Job("unfinished", Task([0, 200_000])), pipeline="toy")
    started = children(up.pid)
    assert len(started) == 9
    eventually(lambda: len(list(launched.folder.glob("zturbo-*/*/in"))) >= 7)
    began = time.monotonic()
    up.send_signal(number)
    _, said = up.communicate(timeout=15)
    assert time.monotonic() - began < 15
    assert up.returncode == (130 if number == signal.SIGINT else 0)
    assert "stopping" in said and "Traceback" not in said
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
    assert not [*launched.folder.iterdir()]


def test_a_second_signal_stops_at_once(launched: Launched) -> None:
    up = launched.start("up", "--no-progress")
    launched.wait()
    started = children(up.pid)
    for pid in started:
        os.kill(pid, signal.SIGSTOP)  # they cannot obey
    up.send_signal(signal.SIGINT)
    assert up.stderr is not None
    while "stopping" not in up.stderr.readline():
        pass
    up.send_signal(signal.SIGINT)
    up.communicate(timeout=10)
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


def test_a_killed_node_leaves_no_orphans(launched: Launched) -> None:
    up = launched.start("up", "--no-progress")
    launched.wait()
    started = children(up.pid)
    up.kill()
    up.communicate()
    eventually(lambda: not [pid for pid in started if Path(f"/proc/{pid}").exists()])


def test_submit_and_jobs(launched: Launched) -> None:
    launched.start("up", "--no-progress")
    launched.wait()
    done = launched.run("submit", "toy", "[1, 3]", "--content-json")
    assert (done.returncode, done.stdout) == (0, "-1\n-2\n-3\n-4\n")
    failed = launched.run("submit", "toy", '[1, "many"]', "--content-json", "--name", "wrong")
    assert failed.returncode == 1 and "TypeError" in failed.stderr
    unknown = launched.run("submit", "tyo", "1")
    assert unknown.returncode == 2 and "no pipeline 'tyo' here" in unknown.stderr
    listed = launched.run("jobs")
    assert "pipeline toy: count x1, times x3, divide x2, negate x1" in listed.stdout
    assert re.search(r"wrong +toy +done +\S+ +\S+ +- +- +0 +1", listed.stdout)


def test_mistakes_on_the_command_line(launched: Launched, tmp_path: Path) -> None:
    assert launched.run("jobs").returncode == 3
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(launched.file.read_text().replace("workers = 3", "worker = 3"))
    done = launched.run("up", str(wrong))
    assert done.returncode == 2
    assert "wrong.toml: pipeline.toy.stage.times.worker: unknown key; did you mean 'workers'?" in done.stderr
    nowhere = launched.run("stage", str(launched.file), "toy.tiems")
    assert nowhere.returncode == 2 and "did you mean 'toy.times'?" in nowhere.stderr
    helped = launched.run()
    assert helped.returncode == 0 and "begin with:" in helped.stdout


def test_two_brokers_on_one_address(launched: Launched, tmp_path: Path) -> None:
    launched.start("up", "--no-progress")
    launched.wait()
    same = launched.run("broker", str(launched.file))
    assert same.returncode == 2 and "a broker is already running at" in same.stderr
    tcp = tmp_path / "tcp.toml"
    with Client(launched.address):
        pass
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        tcp.write_text(launched.file.read_text().replace(launched.address, f"tcp://127.0.0.1:{port}"))
        done = launched.run("broker", str(tcp))
    assert done.returncode == 2 and "is in use" in done.stderr


def test_an_open_address_is_refused(launched: Launched, tmp_path: Path) -> None:
    wide = tmp_path / "wide.toml"
    wide.write_text(launched.file.read_text().replace(launched.address, "tcp://0.0.0.0:5599"))
    done = launched.run("up", str(wide))
    assert done.returncode == 2 and "--insecure" in done.stderr
