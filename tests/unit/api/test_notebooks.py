"""What notebooks show, escaped; results as tables."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from zturbo import BatchStage, Result, Stage, Task
from zturbo.api.result import FailedTasks
from zturbo.client.reader import failed_task
from zturbo.errors import UsageError
from zturbo.htmltext import facts, table
from zturbo.runtime.code.instances import check_settings
from zturbo.wire.payload import pack_error

HOSTILE = "<script>alert(1)</script>\x1b]0;x\x07\u202e"


def is_safe(text: str) -> bool:
    return "<script" not in text and "\x1b" not in text and "\u202e" not in text and "&lt;script&gt;" in text


def test_names_are_escaped_and_long_ones_cut() -> None:
    assert is_safe(table((HOSTILE,), [(HOSTILE, 1)], HOSTILE)) and is_safe(facts([("a", HOSTILE)], HOSTILE))
    assert len(table(("x",), [("y" * 10**6,)])) < 1000


def test_a_result_shows_its_first_contents_and_its_failures() -> None:
    result = Result()
    fields = {"kind": "TaskError", "type": "E", "message": HOSTILE, "traceback": HOSTILE, "stage": HOSTILE}
    failed = failed_task(pack_error({**fields, "host": HOSTILE, "index": 0, "path": [1]}))
    for task in (Task(HOSTILE), Task({"a": 1}), failed):
        result.collect(task)
    assert is_safe(result._repr_html_()) and is_safe(failed._repr_html_())
    assert "2 contents, 1 failed task<" in result._repr_html_()


def test_failed_tasks_are_a_table_in_a_notebook() -> None:
    fields = {"kind": "TaskError", "type": "ValueError", "message": HOSTILE, "traceback": "", "host": "node7"}
    result = Result()
    for number in range(12):
        packed = pack_error({**fields, "stage": "detect", "index": 0, "path": [number, 2]})
        result.collect(failed_task(packed))
    shown = result.failed_tasks._repr_html_()
    assert is_safe(shown) and "12 failed tasks, the first 10" in shown
    assert shown.count("<td>detect</td><td>node7</td>") == 10 and "<td>9.2</td>" in shown
    assert shown in result._repr_html_()
    assert "1 failed task<" in FailedTasks([Task(1)])._repr_html_(), "one of a test, which has no place"


def test_a_result_as_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    result = Result()
    for content in ({"a": 1}, {2: 3}, "x"):
        result.collect(Task(content))
    assert result.to_dicts() == [{"a": 1}, {"content": {2: 3}}, {"content": "x"}]

    class Pandas:
        @staticmethod
        def DataFrame(rows: Any) -> Any:
            return ("frame", rows)

    monkeypatch.setitem(sys.modules, "pandas", Pandas)
    assert result.to_frame() == ("frame", result.to_dicts())
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        result.to_frame()


class Misspelt(Stage):
    def proces(self, task: Task) -> Task:
        return task


class Empty(Stage):
    def helper(self) -> None: ...


class Batches(BatchStage):
    def process_batches(self, tasks: list[Task]) -> list[Task]:
        return tasks


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (Misspelt, r"Misspelt has no process\(self, task\).*did you mean that by 'proces'\?"),
        (Empty, r"Empty has no process\(self, task\), which a stage is to have$"),
        (Batches, r"Batches has no process_batch\(self, tasks\).*by 'process_batches'"),
    ],
)
def test_a_stage_without_code_for_a_task_is_an_error(cls: type[Stage], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_settings(cls())
