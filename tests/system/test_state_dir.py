"""System(state_dir=...): its jobs survive its end, and its death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stages.pyturbo import Kept, Say
from tests.support.cluster import children, eventually
from zturbo import Job, Options, Task
from zturbo.errors import StartError, UsageError
from zturbo.system.records import JobRecords

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys
from tests.stages.pyturbo import Kept
from zturbo import Job, Task

if __name__ == "__main__":
    folder, state = sys.argv[1:]
    with Kept(folder, state_dir=state) as system:
        system.add_job(Job("a", Task(["a", 5])))
        print("took", system.wait_job().name, flush=True)
        for name in ("c", "b1", "b2"):
            system.add_job(Job(name, Task([name, 40], {"of": name}), 40, max_retry=3))
        with system.result_queue.not_empty:
            while not system.result_queue.queue:
                system.result_queue.not_empty.wait()
        print("c is done", flush=True)
        sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Options, "no_progress_bar", True)


def done(folder: Path) -> list[str]:
    file = folder / "done"
    return file.read_text().split() if file.exists() else []


def killed(folder: Path, state: Path, script: Path) -> None:
    """A System that is killed with all its children, in the midst of it."""
    script.write_text(SCRIPT)
    temporary = script.parent / "t"  # nobody is left to remove what is in it
    temporary.mkdir()
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "ZTURBO_OPTIONS": "no_progress_bar",
        "TMPDIR": str(temporary),
    }
    env.pop("XDG_RUNTIME_DIR", None)
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder), str(state)],
        cwd=ROOT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "took a\n"
        assert process.stdout.readline() == "c is done\n"
        eventually(lambda: "b1" in done(folder))
        with pytest.raises(StartError, match=f"in use by another System \\(process {process.pid}\\)"):
            Kept(str(folder), state_dir=state).start()
        pids = children(process.pid)
        assert len(pids) == 4
        for pid in (process.pid, *pids):
            os.kill(pid, signal.SIGKILL)
        process.communicate()
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    finally:
        if process.poll() is None:  # a failure: it ends its children
            process.terminate()
            process.communicate()


def check(jobs: list[Job], names: list[str]) -> None:
    assert sorted(job.name for job in jobs) == names
    for job in jobs:
        assert job.success and job.results == list(range(40)), job
        assert job.task.content == [job.name, 40] and job.task.meta == {"of": job.name}
        assert (job.length, job.retry) == (40, 3)


def test_a_killed_system(tmp_path: Path) -> None:
    state = tmp_path / "state"
    killed(tmp_path, state, tmp_path / "script.py")
    (tmp_path / "gate").touch()
    with Kept(str(tmp_path), state_dir=state) as system:
        assert [job.name for job in system.restored] == ["c", "b1", "b2"]
        check(list(system.wait_jobs(3, job_timeout=60)), ["b1", "b2", "c"])
    assert done(tmp_path).count("a") == 1 and done(tmp_path).count("c") == 1
    with Kept(str(tmp_path), state_dir=state) as system:
        assert system.restored == []
        assert system._processes is not None and system._processes.client.jobs() == []


def test_an_ended_system_goes_on_elsewhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = tmp_path / "state"
    with Kept(str(tmp_path), state_dir=state, num_pipeline=2) as system:
        for name in ("b1", "b2"):
            system.add_job(Job(name, Task([name, 40], {"of": name}), 40, max_retry=3))
        eventually(lambda: {"b1", "b2"} <= set(done(tmp_path)))
    assert f"2 jobs that are not done: they are kept in {state}" in caplog.text
    (tmp_path / "gate").touch()
    # Fewer pipelines than before: both are run from the beginning, in the one that is there.
    with Kept(str(tmp_path), state_dir=state) as system:
        assert [job.name for job in system.restored] == ["b1", "b2"]
        one = system.wait_job(job_timeout=60)
        check([one], [one.name])
    # The other one has not been taken; a debug System may do it, too.
    with Kept(str(tmp_path), state_dir=state, debug=True) as debug:
        check([debug.wait_job()], [debug.restored[0].name])
        assert {one.name, debug.restored[0].name} == {"b1", "b2"}
    assert not list((state / "jobs").iterdir())


def test_records(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = JobRecords(tmp_path)
    jobs = [Job(f"job {i}", Task(b"x" * 100_000 * i, {"i": i})) for i in range(3)]
    for job in jobs:
        kept.put(job)
    kept.drop(jobs[1].id)
    kept.close()
    (tmp_path / "jobs" / "0000000000000009.part").write_bytes(b"half a record")
    damaged = next((tmp_path / "jobs").glob(f"*{jobs[0].id}"))
    kept = JobRecords(tmp_path)
    assert [(job.id, job.task.content) for job in kept.load()] == [
        (job.id, job.task.content) for job in (jobs[0], jobs[2])
    ]
    damaged.write_bytes(b"nonsense" * 30)
    assert [job.id for job in kept.load()] == [jobs[2].id]
    assert "is damaged" in caplog.text
    kept.close()


def test_a_state_dir_with_a_name_that_no_folder_can_have() -> None:
    for name in ("a\0b", "\ud800", "x" * 300):
        with pytest.raises(StartError, match=r"state_dir .* cannot be used: "):
            Say(state_dir=name).start()
    with pytest.raises(UsageError, match="Say: state_dir is to be a path or None, not ''"):
        Say(state_dir="")


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.write_text("a file"), lambda path: path.symlink_to(path)],
)
def test_a_state_dir_that_cannot_be(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    state = tmp_path / "state"
    spoil(state)
    with pytest.raises(StartError, match=r"state_dir .*state cannot be used"):
        Say(state_dir=state).start()
