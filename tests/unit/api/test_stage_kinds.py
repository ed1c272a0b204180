"""What a batch stage and a function as a stage refuse."""

from __future__ import annotations

from typing import Any

import pytest

from zturbo import BatchStage, Task
from zturbo.api.stage_kinds import FunctionStage
from zturbo.errors import StartError, UsageError
from zturbo.runtime.code.importing import load_class


@pytest.mark.parametrize(
    "limits, said",
    [
        ({"max_batch": 0}, "max_batch is to be an int of 1 or more, not 0"),
        ({"max_batch": 2.5}, "max_batch is to be an int of 1 or more, not 2.5"),
        ({"max_wait": -1}, "max_wait is to be seconds, 0 or more, not -1"),
        ({"max_wait": float("nan")}, "max_wait is to be seconds, 0 or more, not nan"),
        ({"max_wait": "1"}, "max_wait is to be seconds, 0 or more, not '1'"),
    ],
)
def test_limits_that_cannot_be(limits: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        BatchStage(**limits)


class Bad(BatchStage):
    def process_batch(self, tasks: list[Task]) -> Any:
        return tasks[0].content


@pytest.mark.parametrize(
    "result, said",
    [
        (None, "gave None of type NoneType; it is to give a list of results"),
        ("ab", "gave 'ab' of type str"),
        ([], "gave 0 results for 1 tasks"),
        ([None, None], "gave 2 results for 1 tasks"),
    ],
)
def test_results_that_cannot_be(result: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        Bad().process(Task(result))


def test_a_batch_stage_that_is_not_written() -> None:
    with pytest.raises(NotImplementedError, match="process_batch is not written"):
        BatchStage().process(Task())


def test_a_function_keeps_meta() -> None:
    task = Task(3, {"a": 1})
    result = FunctionStage(lambda content: content + 1).process(task)
    assert isinstance(result, Task)
    assert (result.content, result.meta) == (4, {"a": 1})


def test_a_name_that_is_neither() -> None:
    with pytest.raises(StartError, match="nor a function"):
        load_class("pathlib:Path")
    with pytest.raises(StartError, match="neither a subclass"):
        load_class("os:sep")
