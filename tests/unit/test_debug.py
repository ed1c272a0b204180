"""Debug mode: what a stage gives is treated as in a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from zturbo import Stage, Task
from zturbo.debug import DebugPipeline, run_debug
from zturbo.errors import EncodeError, TaskError


class Mixed(Stage):
    """Gives one after the other: fine, failed by hand, not to be carried, fine; then raises."""

    def process(self, task: Task) -> Iterator[Task]:
        yield Task(("a", task.meta["root"]))
        bad = Task("b")
        bad.fail()
        yield bad
        yield Task(object())
        yield Task({"d"}, {"file": object()})
        yield Task("e")
        raise ValueError("the end")


class Same(Stage):
    def __init__(self) -> None:
        self.seen: list[object] = []

    def process(self, task: Task) -> Task:
        self.seen.append(task.content)
        return task


class Resets(Same):
    def reset(self) -> None:
        assert not self.seen, "an instance of another job"


def test_failures_stand_at_their_places() -> None:
    root = Task(1, {"root": (1, 2)})
    tasks = list(DebugPipeline([Mixed(), Same()]).run(root, logs=True))
    assert [task.content if task.success else type(task.error) for task in tasks] == [
        ("a", (1, 2)),
        TaskError,
        EncodeError,
        EncodeError,
        "e",
        TaskError,
    ]
    assert "marked as failed" in str(tasks[1].error) and "the end" in str(tasks[5].error)
    assert [(log.stage, log.success) for log in tasks[0].logs] == [("Mixed", True), ("Same", True)]
    assert [(log.stage, log.success) for log in tasks[5].logs] == [("Mixed", False)]
    assert root.logs == [] and root.meta == {"root": (1, 2)}


def test_raising_ends_in_the_code_of_the_user() -> None:
    with pytest.raises(TaskError, match="TaskFailedByUser"):
        list(DebugPipeline([Mixed()]).run(Task(1, {"root": 1}), raising=True))
    with pytest.raises(TaskError, match=r"KeyError: 'root' \(in stage Mixed") as raised:
        list(DebugPipeline([Mixed()]).run(Task(1), raising=True))
    assert raised.traceback[-1].name == "process" and isinstance(raised.value.__cause__, KeyError)


def test_instances_are_copies_with_nothing_in_common() -> None:
    mine = Same()
    assert run_debug([mine], Task(5)) == [5] and mine.seen == []
    pipeline = DebugPipeline([Resets()])
    first, second = pipeline.run(Task(1)), pipeline.run(Task(2))
    assert [next(first).content, next(second).content] == [1, 2]
    first.close()  # type: ignore[attr-defined] - a job that is left early is over too
    second.close()  # type: ignore[attr-defined]
    assert not pipeline.hosts[0]._jobs
