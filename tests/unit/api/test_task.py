"""The logs of a task: those of a job that keeps none say how to get some."""

from __future__ import annotations

import pytest

from zturbo import Task
from zturbo.api.task import NO_TIMES


def test_logs_that_a_job_does_not_keep_say_so_and_are_each_tasks_own() -> None:
    one, other = Task(1), Task(2)
    one._logs = other._logs = NO_TIMES
    assert one.logs == [] and not one.logs and one.logs[:] == [] and len(one.logs) == 0
    assert "submit it with logs=True" in repr(one.logs)
    with pytest.raises(IndexError, match="submit it with logs=True"):
        one.logs[0]
    one.start("a").finish()
    assert [entry.stage for entry in one.logs] == ["a"] and one.logs[0].success
    assert repr(one.logs).startswith("[TaskLog(stage='a'")
    assert other.logs == [] and NO_TIMES == []


def test_a_task_that_goes_on_from_one_without_logs_has_none() -> None:
    task = Task(1)
    task._logs = NO_TIMES
    child = Task(2, parent_task=task)
    assert repr(child.logs) == "[]"
