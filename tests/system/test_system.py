"""System: pyturbo's API, in processes and in debug mode with equal results."""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.stages.pyturbo import Hold, Kept, Pipelines, Say, Shop
from zturbo import Job, Options, Resources, Stage, System, Task, TaskLog, process_map
from zturbo.errors import StartError, TaskError, TaskTimeout, UsageError
from zturbo.runtime.node.forking import Forking, start_forking
from zturbo.system import processes

WANTED = [0, 2, 4, 6, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32, 36]
"""Twice 0 to 19, but for what fails (13, 15, 19), is dropped (17), and cannot be collected (8)."""


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Options, "no_progress_bar", True)


def outcome(job: Job) -> Any:
    """All of a job that is to be the same in both modes."""
    logs: list[TaskLog] = [log for task in job.results.failed_tasks for log in task.logs]
    return {
        "results": list(job.results),
        "failed": [
            (str(task.error).split(" (in ")[0], task.meta.get("i")) for task in job.results.failed_tasks
        ],
        "count": (job.results.task_count, job.results.total),
        "error": repr(job.error),
        "logs": [(log.stage, log.success) for log in logs],
        "state": (job.success, job.retry),
    }


@pytest.mark.parametrize("debug", [True, False])
def test_a_whole_pyturbo_script(debug: bool, caplog: pytest.LogCaptureFixture) -> None:
    with Shop(share=2, debug=debug) as system:
        jobs = [Job(name, Task((0, 20), {"root": name}), 20) for name in ("plain", "unmergeable")]
        system.add_jobs(jobs)
        with pytest.raises(UsageError, match="under way already"):
            system.add_job(jobs[0])
        done = {job.name: job for job in system.wait_jobs(2, job_timeout=60)}
        assert done["plain"] is jobs[0]
        again = jobs[0]
        first = outcome(again)
        system.add_job(again)  # what has come back may be run again
        assert outcome(system.result_queue.get(timeout=60)) == first
    rising = [(k + 1, content) for k, content in enumerate([*WANTED[:4], 8, *WANTED[4:]])]
    rising.remove((5, 8))
    assert first["results"] == rising[::-1]  # merge() has sorted them
    assert sorted(first["failed"]) == [
        ("TaskFailedByUser: process gave a task that is marked as failed", 15),
        ("TaskFailedByUser: process gave a task that is marked as failed", 19),
        ("ValueError: no thirteen here", 13),
    ]
    assert first["logs"] == [("Count", False), *[("Count", True), ("Double", False)] * 2]
    assert first["count"] == (len(WANTED) + 3, sum(WANTED))
    assert first["state"] == (True, 1)
    assert first["error"] == "RuntimeError('cannot collect 8')"
    assert list(done["unmergeable"].results) == rising and done["unmergeable"].success
    assert "collect failed" in caplog.text and "merge failed" in caplog.text
    assert [task.meta["root"] for task in done["unmergeable"].results.failed_tasks] == ["unmergeable"] * 3


@pytest.mark.parametrize("debug", [True, False])
def test_pipelines_resources_and_retries(debug: bool) -> None:
    system = Pipelines(debug=debug)
    early = Job("early", Task(None))
    system.add_job(early)  # before the start, as in pyturbo's first examples
    with pytest.raises(UsageError, match="not started"):
        system.wait_job()
    system.start(task_timeout=30, queue_timeout=1)
    try:
        with pytest.raises(UsageError, match="started already"):
            system.start()
        system.add_jobs([Job(f"job {i}", Task(i)) for i in range(6)])
        jobs = list(system.wait_jobs(7, job_timeout=60))
        split = {str(job.results[0][1]) for job in jobs}
        assert split == (
            {"[[0, 1, 2, 3], [0, 1, 2, 3]]"} if debug else {"[[0, 1], [0, 1]]", "[[2, 3], [2, 3]]"}
        )
        system.add_job(Job("stubborn", Task(None), max_retry=2))
        stubborn = system.wait_job(job_timeout=60)
        assert stubborn.success and stubborn.retry == 0 and stubborn.error is None and system.tries == 3
        system.tries = 0
        system.add_job(Job("stubborn too", Task(None), max_retry=1))
        failed = system.wait_job(job_timeout=60)
        assert not failed.success and failed.retry == 0 and str(failed.error) == "not yet"
    finally:
        system.end(timeout=5)
    for call in (system.wait_job, system.start, lambda: system.add_job(early)):
        with pytest.raises(UsageError, match="ended"):
            call()


def test_time_outs_and_deaths() -> None:
    system = Say()
    system.start(task_timeout=1.0)
    with system:
        system.add_job(Job("fast", Task(0)))
        pid = system.wait_job(job_timeout=60).results[0]
        with pytest.raises(queue.Empty, match="no job ended") as late:  # pyturbo's error
            system.wait_job(job_timeout=0.05)
        assert isinstance(late.value, TimeoutError)
        system.add_jobs([Job("slow", Task(600)), Job("behind", Task(0))])
        slow, behind = sorted(system.wait_jobs(2, job_timeout=60), key=lambda job: job.name, reverse=True)
        assert slow.success and type(slow.results.failed_tasks[0].error) is TaskTimeout
        assert behind.success and len(behind.results) == 1
        system.add_job(Job("next", Task(0)))
        another = system.wait_job(job_timeout=60).results[0]
        assert another != pid
        os.kill(another, signal.SIGKILL)  # a killed worker hangs nothing
        system.add_job(Job("after", Task(0)))
        assert system.wait_job(job_timeout=60).results[0] not in (pid, another)


@pytest.mark.parametrize("debug", [True, False])
def test_raise_exception_stops(debug: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Options, "raise_exception", True)
    system = Shop(debug=debug)
    with system:
        system.add_job(Job("wrong", Task((0, 15))))
        with pytest.raises(TaskError, match="no thirteen here") as raised:
            system.wait_job(job_timeout=60)
        assert system._jobs.state == "ended" and system._processes is None
        if debug:  # a debugger lands in the user's code
            assert raised.traceback[-1].name == "process"
            assert isinstance(raised.value.__cause__, ValueError)


def test_options_reach_the_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "all.log"
    monkeypatch.setattr(Options, "print_debug_log", True)
    monkeypatch.setattr(Options, "log_file", str(file))
    try:
        with Say() as system:
            system.add_job(Job("options", Task("options")))
            assert system.wait_job(job_timeout=60).results == [Options.as_dict()]
            system.add_job(Job("log", Task("log")))
            system.wait_job(job_timeout=60)
    finally:
        for name in ("zturbo", "zturbo.system.system.Say"):
            for handler in list(logging.getLogger(name).handlers):
                logging.getLogger(name).removeHandler(handler)
                handler.close()
    text = file.read_text()
    assert "a word of DEBUG from a worker" in text and "a word of INFO from a worker" in text
    assert text.count("job log: begun in pipeline 0") == 1 and "job log: done" in text


def test_single_sync_pipeline_is_debug_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Options, "single_sync_pipeline", True)
    system: System = Say()
    system.start()
    system.add_job(Job("here", Task(0)))
    assert system.result_queue.get().results == [os.getpid()]
    with pytest.raises(queue.Empty):
        system.result_queue.get_nowait()
    system.end()


def test_what_is_asked_for_by_name() -> None:
    from zturbo.api.task import TaskLog as SameLog
    from zturbo.hardware.resources import Resources
    from zturbo.resource import Resources as Same
    from zturbo.system.system import Job as SameJob
    from zturbo.utils import get_logger, process_map, progressbar

    assert (
        Same is Resources
        and SameJob is Job
        and SameLog is TaskLog
        and callable(get_logger)
        and callable(process_map)
    )
    assert callable(progressbar)


@pytest.mark.parametrize("workers", [processes.FEW, processes.FEW + 1])
def test_many_workers_share_what_their_programs_import(
    workers: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def start(modules: Sequence[str]) -> Forking | None:
        asked.extend(modules)
        return start_forking(modules)

    class Many(System):
        def get_stages(self, resources: Resources) -> list[Stage]:
            stage = Hold(str(tmp_path))
            stage.num_worker = workers
            return [stage]

    monkeypatch.setattr(processes, "start_forking", start)
    with Many() as system:
        system.add_job(Job("a", Task(["a", 1])))
        assert system.result_queue.get(timeout=60).success
    assert (processes.SYSTEM in asked) is (workers > processes.FEW)


def test_more_workers_than_a_process_can_start_are_refused() -> None:
    with pytest.raises(StartError, match=f"{10**18 + 2} processes are to start, .* or start fewer"):
        list(process_map(abs, [1], num_worker=10**18))


def test_jobs_begin_in_the_order_of_adding(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    names = [str(i) for i in range(60)]
    with Kept(str(tmp_path)) as system:
        for name in names:
            system.add_job(Job(name, Task([name, 1])))
        assert all(job.success for job in system.wait_jobs(len(names), job_timeout=60))
    assert (tmp_path / "done").read_text().split() == names


def test_a_worker_runs_as_its_parent_does_and_logs_where_its_code_says(tmp_path: Path) -> None:
    log = tmp_path / "mine.log"
    flags = ["-O", "-X", "utf8", "-W", "error::UserWarning"]
    command = [sys.executable, *flags, "-m", "tests.stages.main_script", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "[[False, 1, {'utf8': True}, True]]\n"
    assert "mine in process 1\n" in log.read_text()
