"""A failed task's traceback goes to the log file, and a line about it to the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from zturbo import Job, Options, Resources, Stage, System, Task, get_logger
from zturbo.api.log import log_with_remote_traceback
from zturbo.errors import UsageError
from zturbo.system.jobs import FAILURES_TOLD


class Fussy(Stage):
    """Fails for negative numbers."""

    def process(self, task: Task) -> Iterator[Task]:
        for number in range(task.content):
            yield Task(-number)


class Picky(Stage):
    """Takes no number but 0."""

    def process(self, task: Task) -> Task:
        if task.content:
            raise ValueError(f"[/no] {task.content}")
        return task


class Fails(System):
    """Most of its tasks fail."""

    def get_stages(self, resources: Resources) -> list[Stage]:
        return [Fussy(), Picky()]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A log file; the loggers that write to it are as before afterwards."""
    path = tmp_path / "all.log"
    monkeypatch.setattr(Options, "log_file", str(path))
    yield path
    for name in ("zturbo", "zturbo.system.Fails", "a logger of this test"):
        for handler in list(logging.getLogger(name).handlers):
            logging.getLogger(name).removeHandler(handler)
            handler.close()


def test_failed_tasks_are_told_of_with_stage_input_and_traceback(file: Path) -> None:
    system = Fails(debug=True)
    with system:
        system.add_job(Job("clip", Task(FAILURES_TOLD + 6)))
        job = system.wait_job()
    text = file.read_text()
    line = next(line for line in text.splitlines() if "task failed" in line)
    assert "job clip: a task failed: ValueError: [/no] -1 (in stage Picky on this process" in line
    assert "input: -1; its traceback: job.results.failed_tasks[0].traceback" in line
    assert text.count("Traceback (most recent call last)") == FAILURES_TOLD
    assert "job clip: 5 more tasks failed, see its results' failed_tasks" in text
    assert len(job.results.failed_tasks) == FAILURES_TOLD + 5


def test_a_terminal_gets_the_line_alone(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logger = get_logger("a logger of this test")
    log_with_remote_traceback(logger, "100 % of it failed", "Traceback:\n  in worker\n")
    logger.error("mine %d", 5)
    told = capsys.readouterr().err
    assert "100 % of it failed\n" in told and "in worker" not in told and "mine 5" in told
    assert "100 % of it failed\nTraceback:\n  in worker\n" in file.read_text()


@pytest.mark.parametrize("name", ["a\0b", "no/such/folder/log", "\ud800", "x" * 300])
def test_a_file_that_cannot_be_opened_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"log_file: .* cannot be opened: "):
        get_logger("zturbo.stage.lost", log_file=f"{tmp_path}/{name}")
