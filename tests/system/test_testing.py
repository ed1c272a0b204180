"""``zturbo.testing``: pipelines in this process and in real ones, with planted kills."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stages.basic import Add, Batches, Count, Odd, Sum, Tagged, halves
from zturbo import Job, Stage, Task
from zturbo.client.reader import FailedTask
from zturbo.errors import JobTimeout, StartError, TaskError, UsageError, WorkerLost
from zturbo.testing import TestPipeline, run

MODES = pytest.mark.parametrize("processes", [False, True])


def sums(numbers: list[int]) -> list[int]:
    total, out = 0, []
    for number in numbers:
        total = (total * 31 + number) % 1_000_003
        out.append(total)
    return out


@MODES
def test_both_ways_give_the_same(processes: bool) -> None:
    outcome = run([Count(), Add(), Sum()], [3, 0, 4], processes=processes)
    assert outcome == sums([1, 2, 3, 1, 2, 3, 4])
    assert outcome.failed_tasks == []
    assert outcome.deaths == []
    assert [task.content for task in outcome.tasks] == outcome


@MODES
def test_failed_tasks_are_told_in_their_places(processes: bool) -> None:
    outcome = run([Odd()], ["a", "raise", "none", "b"], processes=processes)
    assert outcome == ["a", "b"]
    assert [task.success for task in outcome.tasks] == [True, False, True]
    (failed,) = outcome.failed_tasks
    assert isinstance(failed.error, TaskError)
    assert "ValueError: on purpose" in str(failed.error)
    assert outcome.task_count == 3


def told(task: Task) -> tuple[Any, ...]:
    """All that is known of an output or of a failure, but for where and when it ran."""
    if task.success:
        return task.content, task.meta, [log.stage for log in task.logs]
    assert isinstance(task, FailedTask) and task.error is not None and task.error.task is task
    meta = {**task.meta, "zturbo": {**task.meta["zturbo"], "host": ""}}
    text = str(task.error).replace(f" on {task.host}", "")
    input_meta, logs = task.input_meta
    before = [input_meta, [log[0] for log in logs]]
    return task.content, meta, task.stage, task.index, before, task.traceback.splitlines()[-1], text


def test_both_ways_tell_the_same_of_each_task() -> None:
    contents = [1, "raise", "none", 2, [3]]
    here, there = (run([Tagged(), Odd()], contents, processes=processes) for processes in (False, True))
    assert [told(task) for task in there.tasks] == [told(task) for task in here.tasks]
    assert any(task.meta for task in here.tasks if task.success) and here.failed_tasks


@MODES
def test_a_root_with_meta(processes: bool) -> None:
    for root in (Task(1, {"a": 2}), Job("named", Task(1, {"a": 2}))):
        outcome = run([Add()], root, processes=processes)
        assert [(task.content, task.meta) for task in outcome.tasks] == [(2, {"a": 2})]


@MODES
def test_functions_are_stages(processes: bool) -> None:
    assert run([halves], range(3), processes=processes) == [x for n in range(3) for x in halves(n)]


@pytest.mark.parametrize("name", ["Count", "Add", "Sum"])
@pytest.mark.parametrize("after", [0, 2])
def test_a_planted_kill_changes_nothing(name: str, after: int) -> None:
    stages: list[Stage | Callable[..., Any]] = [Count(), Add(), Sum()]
    contents = [50, 60, 70]
    outcome = run(stages, contents, kill=name, after=after)
    assert outcome == run(stages, contents)
    assert outcome.deaths == [f"{name}: SIGKILL"]


def test_of_several_workers_one_dies() -> None:
    add = Add()
    add.num_worker = 2
    outcome = run([add], range(200), kill="Add", after=5)
    assert outcome == list(range(1, 201))
    assert outcome.deaths == ["Add: SIGKILL"]


def test_a_batch_is_killed() -> None:
    outcome = run([Batches(max_batch=8)], range(100), kill="Batches", after=1)
    assert [content for content, _ in outcome] == list(range(100))
    assert outcome.deaths == ["Batches: SIGKILL"]


def test_a_kill_that_never_comes_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="no worker of Add got more than 5 tasks"):
        run([Add()], range(5), kill="Add", after=5)


def test_a_pipeline_runs_again_and_again_and_is_killed_by_hand() -> None:
    with TestPipeline([Add(), Sum()], processes=True) as pipeline:
        assert pipeline.run([1, 2]) == sums([2, 3])
        pid = pipeline.kill("Add")
        assert pipeline.run([1, 2]) == sums([2, 3])
        assert pipeline.kill("Add") != pid
        assert pipeline.client is not None
        assert pipeline.client.submit(Task(5), pipeline.name).result(20) == sums([6])
        assert pipeline.deaths[0] == "Add: SIGKILL"
    with pytest.raises(UsageError, match="use it in a with statement"):
        pipeline.run([1])


class Deadly(Stage):
    """Kills its worker at 7."""

    def process(self, task: Task) -> Task:
        if task.content == 7:
            os._exit(3)
        return task


def test_poison() -> None:
    outcome = run([Deadly()], range(10), processes=True)
    assert outcome == [n for n in range(10) if n != 7]
    assert isinstance(outcome.failed_tasks[0].error, WorkerLost)
    assert outcome.deaths == ["Deadly: exit code 3"] * 3


class Slow(Stage):
    """Takes a minute."""

    def process(self, task: Task) -> Task:
        time.sleep(60)
        return task


def test_a_timeout_ends_it() -> None:
    with pytest.raises(JobTimeout):
        run([Slow()], [1], processes=True, timeout=0.5)


class Broken(Stage):
    """Does not start."""

    def init(self, worker_id: int = 0) -> None:
        raise RuntimeError("no model here")


def test_a_stage_that_does_not_start() -> None:
    with pytest.raises(StartError, match="no model here"):
        run([Broken()], [1], processes=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stages": [Add]}, r"each item, is to be a Stage \(make an instance of it\)"),
        ({"stages": []}, "TestPipeline: stages is to be a list of stages"),
        ({"kill": "Ad"}, "there is no stage 'Ad'; did you mean 'Add'"),
        ({"kill": "Add", "after": -1}, "after is to be an int of 0 or more"),
        ({"processes": 1}, "processes is to be True or False"),
        ({"kill": 5}, "kill is to be the name of a stage"),
        ({"timeout": None}, "run: timeout is to be seconds"),
        ({"timeout": "5"}, "run: timeout is to be seconds"),
        ({"task_timeout": -1}, "TestPipeline: task_timeout is to be seconds"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(**{"stages": [Add()], "contents": [1], **arguments})


def test_a_kill_by_hand_needs_processes() -> None:
    with TestPipeline([Add()]) as pipeline, pytest.raises(UsageError, match="say processes=True"):
        pipeline.kill("Add")


def test_at_the_top_level_of_a_script_it_says_where_it_belongs(tmp_path: Path) -> None:
    """A worker imports the script; it would start workers that do, and so on."""
    script = tmp_path / "script.py"
    script.write_text(
        "from tests.system.test_testing import Add\n"
        "from zturbo.testing import run\n"
        "run([Add()], [1], processes=True)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "put what starts it under if __name__ == '__main__':" in done.stderr
