"""``zturbo slurm`` on a real Slurm whose nodes are all on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stages.basic import sums
from tests.support.cluster import eventually
from tests.support.slurm import ADDRESS, Slurm, need_slurm

ROOT = Path(__file__).parents[2]
FILE = """
[[pipeline]]
name = "p"

  [[pipeline.stage]]
  name = "count"
  class = "tests.stages.basic:Count"

  [[pipeline.stage]]
  name = "slow"
  class = "tests.stages.basic:Slow"
  workers = 4
  args = { seconds = 0.05 }

  [[pipeline.stage]]
  name = "sum"
  class = "tests.stages.basic:Sum"
"""
TASKS = 1000
PORTS = "21000-21099"
PATIENT = FILE.replace("tests.stages.basic:Slow", "patient:Slow").replace("  args = { seconds = 0.05 }\n", "")
STAGE = """
import os, time
from pathlib import Path
from zturbo import Stage

HERE = Path(__file__).parent

class Slow(Stage):
    def init(self, worker_id=0):
        self.log = os.open(HERE / "tasks", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def process(self, task):
        os.write(self.log, b"begins\\n")
        until = time.monotonic() + 1
        while task.content >= 100 and time.monotonic() < until and not (HERE / "hurry").exists():
            time.sleep(0.01)
        os.write(self.log, b"ends\\n")
        return task
"""
WAIT = """
import time
from zturbo import Client, Task

with Client() as client:
    until = time.monotonic() + 30
    while not any("9.9.9" in line["text"] for line in client.logs()) and time.monotonic() < until:
        time.sleep(0.05)
    print("result", client.submit(Task("through"), "p").result(), flush=True)
"""
REFUSED = """
import os
from zturbo import Stage
from zturbo.runtime.members import member

if os.environ["SLURM_PROCID"] == "1":
    member.__version__ = "9.9.9"

class Same(Stage):
    def process(self, task):
        return task
"""
PROGRAM = """
import sys
from pathlib import Path
from zturbo import Client, Task

how, note = sys.argv[1], Path(sys.argv[2])
with Client() as client:
    if how == "attach":
        handle = client.attach(note.read_text())
    else:
        handle = client.submit(Task(int(sys.argv[3])), "p", wait=True)
        note.write_text(handle.id)
    if how == "stream":
        with open(f"{note}-given", "w", buffering=1) as given:
            given.writelines(f"{content}\\n" for content in handle.stream())
    print("results", handle.result(), flush=True)
sys.exit(7)
"""


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    need_slurm()
    with Slurm(3) as slurm:
        slurm.env.update(PYTHONPATH=f"{ROOT}:{slurm.folder}", ZTURBO_ADDRESS=ADDRESS)
        (slurm.folder / "p.toml").write_text(FILE)
        (slurm.folder / "program.py").write_text(PROGRAM)
        yield slurm


def zturbo(slurm: Slurm, *words: str) -> list[str]:
    return [sys.executable, "-m", "zturbo", "slurm", str(slurm.folder / "p.toml"), *words]


def expected(n: int) -> str:
    return f"results {[*sums(range(n))]}"


def test_in_an_allocation_each_node_has_its_share_and_all_ends_with_the_program(slurm: Slurm) -> None:
    program = ["--", str(slurm.folder / "program.py"), "submit", str(slurm.folder / "first"), "40"]
    words = zturbo(slurm, "--state", str(slurm.folder / "one"), *program)
    done = slurm.run("salloc", "-N", "3", *words)
    assert done.returncode == 7, done.stderr
    assert expected(40) in done.stdout
    assert "[2] p.slow (process " in done.stderr and "[1] p.slow (process " in done.stderr
    assert "[1] the run has ended" in done.stderr and "[2] the run has ended" in done.stderr
    assert not [*(slurm.folder / ".zturbo/slurm").iterdir()]
    eventually(lambda: not slurm.jobs())


def test_a_node_that_the_broker_refuses_does_not_end_the_run(slurm: Slurm) -> None:
    (slurm.folder / "refused.py").write_text(REFUSED)
    stage = '  [[pipeline.stage]]\n  name = "same"\n  class = "refused:Same"\n  workers = 3\n'
    (slurm.folder / "refused.toml").write_text(f'[[pipeline]]\nname = "p"\n\n{stage}')
    (slurm.folder / "wait.py").write_text(WAIT)
    words = [sys.executable, "-m", "zturbo", "slurm", str(slurm.folder / "refused.toml")]
    words += ["--state", str(slurm.folder / "seven"), "--", str(slurm.folder / "wait.py")]
    done = slurm.run("salloc", "-N", "3", *words)
    assert done.returncode == 0, done.stderr
    assert "result ['through']" in done.stdout
    assert "[1] the broker refuses all processes of this node: the run goes on without it" in done.stderr
    assert "it is zturbo 9.9.9, this broker" in done.stderr


def test_workers_of_an_allocation_join_a_broker_that_runs_already(slurm: Slurm) -> None:
    command, file = [sys.executable, "-m", "zturbo"], str(slurm.folder / "p.toml")
    keys, address = str(slurm.folder / "keys"), f"tcp://{ADDRESS}:5555"
    assert slurm.run(*command, "keys", "init", keys).returncode == 0
    state = ["--state", str(slurm.folder / "three"), "--keys", keys]
    up = slurm.start(*command, "up", file, "--bind", address, *state, "--without", "p.slow", "--no-progress")
    stage = ["stage", file, "p.slow", "--broker", address, "--workers", "2", "--keys", keys]
    joined = slurm.start("srun", "-N", "2", *command, *stage)
    try:
        slurm.env.update(ZTURBO_BROKER=address, ZTURBO_KEYS=keys)
        program = [str(slurm.folder / "program.py"), "submit", str(slurm.folder / "third"), "40"]
        done = slurm.run(sys.executable, *program)
        assert done.returncode == 7 and expected(40) in done.stdout, done.stderr
    finally:
        del slurm.env["ZTURBO_BROKER"], slurm.env["ZTURBO_KEYS"]
        joined.terminate()
        told = joined.communicate(timeout=60)[1]
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=60)
    assert told.count(" has joined the broker") == 4, told


class Patient:
    """A network on two nodes, and a program that notes each result of a job that takes minutes.

    A hundred results come at once. Then each of four workers gives one a second, until it has to hurry. All
    that the network leaves behind is in a folder of its own.
    """

    def __init__(self, slurm: Slurm, name: str, *options: str) -> None:
        self.slurm = slurm
        self.folder = slurm.folder / name
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir(parents=True)
        (self.folder / "p.toml").write_text(PATIENT)
        (self.folder / "patient.py").write_text(STAGE)
        self.job = self.submit("stream", *options)
        eventually(lambda: len(self.results()) >= 100 or self.job not in slurm.jobs())
        assert len(slurm.processes(self.job)) > 10, self.read("stream.log")

    def submit(self, how: str, *options: str) -> str:
        """Run the network with the program: the id of Slurm's job."""
        words = [sys.executable, "-m", "zturbo", "slurm", str(self.folder / "p.toml"), "-N", "2", "-c", "1"]
        words += ["--ports", PORTS]
        words += [
            "--state",
            str(self.folder / "state"),
            f"--sbatch=--output={self.folder}/{how}.log",
            *options,
        ]
        words += ["--", str(self.slurm.folder / "program.py"), how, str(self.folder / "note"), str(TASKS)]
        env = [f"TMPDIR={self.temporary}", f"PYTHONPATH={ROOT}:{self.folder}"]
        done = self.slurm.run("env", *env, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    def read(self, name: str) -> list[str]:
        """The whole lines of a file of its folder."""
        path = self.folder / name
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def results(self) -> list[int]:
        """Those that the first program was given."""
        return [*map(int, self.read("note-given"))]

    def check_gone(self, job: str) -> None:
        """Fail if a process, a socket, a key or a file of a run is left."""
        assert not self.slurm.processes(job)
        assert not [*self.temporary.iterdir()], "sockets"
        assert not [*(self.folder / ".zturbo/slurm").iterdir()], "files by which the nodes find each other"

    def check_goes_on(self) -> None:
        """The network runs again, and gives all results; those from before were the first of them."""
        given = self.results()
        assert given == [*sums(range(TASKS))][: len(given)]
        assert len(given) < TASKS
        (self.folder / "hurry").touch()
        again = self.submit("attach")
        eventually(lambda: again not in self.slurm.jobs(), 120)
        assert expected(TASKS) in self.read("attach.log")
        self.check_gone(again)


@pytest.fixture(scope="module")
def limited(slurm: Slurm) -> Patient:
    """One whose limit of time comes while other tests run.

    Slurm looks every 30 s for jobs to signal. A minute is the smallest limit of time, and the signal comes a
    minute before it: at the first look.
    """
    patient = Patient(slurm, "limited", "--time=10")
    done = slurm.run("scontrol", "update", f"JobId={patient.job}", "TimeLimit=1")
    assert done.returncode == 0, done.stderr
    return patient


def test_scancel_ends_all_and_leaves_nothing(slurm: Slurm, limited: Patient) -> None:
    patient = Patient(slurm, "cancelled")
    assert slurm.run("scancel", patient.job).returncode == 0
    eventually(lambda: patient.job not in slurm.jobs())
    assert slurm.state(patient.job) == "CANCELLED"
    patient.check_gone(patient.job)
    patient.check_goes_on()


def test_at_the_limit_of_time_workers_end_their_tasks_and_all_ends(slurm: Slurm, limited: Patient) -> None:
    eventually(lambda: limited.job not in slurm.jobs(), 120)
    log = "\n".join(limited.read("stream.log"))
    assert "program.py has ended with exit code 143" in log and "CANCELLED" in log, log
    assert f"broker at tcp://{ADDRESS}:{PORTS[:3]}" in log, log
    assert slurm.state(limited.job) == "FAILED", "it ended by itself, with the program's exit code"
    tasks = limited.read("tasks")
    assert tasks.count("begins") == tasks.count("ends") > 100
    limited.check_gone(limited.job)
    limited.check_goes_on()


def test_the_script_says_what_slurm_is_asked_for(slurm: Slurm) -> None:
    done = slurm.run(
        *zturbo(slurm, "-N", "4", "-t", "1:00:00", "--sbatch=--account=vision", "--print", "--", "x", "-y")
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {
        "#SBATCH --nodes=4",
        "#SBATCH --time=1:00:00",
        "#SBATCH --account=vision",
        "#SBATCH --exclusive",
    } <= {*lines}
    assert lines[-1].startswith("srun --nodes=4 ") and lines[-1].endswith(" -- x -y")
    (slurm.folder / "x.sh").write_text(done.stdout)
    tested = slurm.run("bash", "-n", str(slurm.folder / "x.sh"))
    assert tested.returncode == 0, tested.stderr


def test_one_node_alone_has_keys_and_ports_as_it_is_told(tmp_path: Path) -> None:
    """As srun starts it, without a Slurm. Its broker is on loopback, which other users of the host reach."""
    (tmp_path / "p.toml").write_text(FILE)
    (tmp_path / "keys.py").write_text("import os\nprint('keys', os.environ.get('ZTURBO_KEYS'))\n")
    here = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}
    words = [sys.executable, "-m", "zturbo", "slurm", str(tmp_path / "p.toml"), "--step"]
    for choice, keys in (("always", tmp_path / ".zturbo/slurm/7.0.0.keys"), ("never", None)):
        env = {**os.environ, **here, "PYTHONPATH": str(ROOT), "ZTURBO_LOCAL_KEYS": choice}
        options = ["--ports", "22000-22999", "--", str(tmp_path / "keys.py")]
        done = subprocess.run([*words, *options], env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert f"keys {keys}" in done.stdout
        assert "broker at tcp://127.0.0.1:22" in done.stderr
    assert not [*(tmp_path / ".zturbo/slurm").iterdir()]
