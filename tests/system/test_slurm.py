"""``zturbo slurm`` on a real Slurm whose nodes are all on this machine."""

from __future__ import annotations

import signal
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
PROGRAM = """
import sys
from pathlib import Path
from zturbo import Client, Task

note = Path(sys.argv[2])
with Client() as client:
    if sys.argv[1] == "submit":
        handle = client.submit(Task(int(sys.argv[3])), "p", wait=True)
        note.write_text(handle.id)
    else:
        handle = client.attach(note.read_text())
    print("results", handle.result(), flush=True)
sys.exit(7)
"""


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    need_slurm()
    with Slurm(3) as slurm:
        slurm.env.update(PYTHONPATH=str(ROOT), ZTURBO_ADDRESS=ADDRESS)
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


def test_a_job_that_is_told_to_stop_goes_on_when_the_network_runs_again(slurm: Slurm) -> None:
    note, state = slurm.folder / "second", ["--state", str(slurm.folder / "two")]
    out = [slurm.folder / "out-1", slurm.folder / "out-2"]
    script = slurm.folder / "program.py"
    options = ["-N", "2", "-c", "1", *state]
    words = zturbo(
        slurm, *options, f"--sbatch=--output={out[0]}", "--", str(script), "submit", str(note), "200"
    )
    submitted = slurm.run(*words)
    assert submitted.returncode == 0, submitted.stderr
    job = submitted.stdout.split()[-1]
    eventually(note.exists, 120)
    slurm.run("scancel", "--signal=TERM", job)
    eventually(lambda: not slurm.jobs(), 120)
    assert "results" not in out[0].read_text()
    words = zturbo(slurm, *options, f"--sbatch=--output={out[1]}", "--", str(script), "attach", str(note))
    assert slurm.run(*words).returncode == 0
    eventually(lambda: not slurm.jobs(), 120)
    assert expected(200) in out[1].read_text()


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
