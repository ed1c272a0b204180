"""A failed task runs again here, with the input and the meta that its stage got."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from zturbo import BatchStage, Stage, Task
from zturbo.client.reader import FailedTask, failed_task
from zturbo.client.replay import stage_of
from zturbo.errors import StartError, TaskError, UsageError
from zturbo.wire.payload import pack_error, pack_meta, pack_one

FILE = """
[[pipeline]]
name = "{pipeline}"

[[pipeline.stage]]
name = "{stage}"
class = "tests.stages.{cls}"
"""


def failed(content: Any, stage: str = "s", index: int = 0, **more: Any) -> FailedTask:
    blob, buffers = pack_one(content)
    fields = {"kind": "TaskError", "type": "E", "message": "m", "traceback": "", "stage": stage, "host": "h"}
    meta = pack_meta({"k": 1}, None)
    return failed_task(
        pack_error(
            {**fields, "index": index, "path": [3, 1], "input": [blob, *buffers], "input_meta": meta, **more}
        )
    )


class Whole(Stage):
    """Shows what it was called with."""

    def init(self, worker_id: int = 0) -> None:
        self.called = ["init"]

    def reset(self) -> None:
        self.called.append("reset")

    def process(self, task: Task) -> Iterator[Task]:
        yield Task([self.called, task.content, task.meta["k"]])


class Waits(Stage):
    async def init(self, worker_id: int = 0) -> None:  # type: ignore[override]
        import asyncio

        self.loop = asyncio.get_running_loop()

    async def process(self, task: Task) -> AsyncIterator[Task]:  # type: ignore[override]
        import asyncio

        yield Task(asyncio.get_running_loop() is self.loop)


class Batches(BatchStage):
    def process_batch(self, tasks: list[Task]) -> list[Task]:
        return tasks


def double(content: int) -> int:
    return 2 * content


def test_a_stage_gets_what_it_had_got() -> None:
    (given,) = failed("in").replay(Whole)
    assert given.content == [["init", "reset"], "in", 1]
    assert [task.content for task in failed(4).replay(double)] == [8]
    assert [task.content for task in failed(4).replay(Batches())] == [4]
    assert [task.content for task in failed(4).replay(Waits)] == [True], "one loop for all that it does"
    assert failed("none").replay("tests.stages.basic:Odd") == []


def test_what_it_raises_comes_as_it_was_raised() -> None:
    with pytest.raises(ValueError, match="on purpose") as raised:
        failed("raise").replay("tests.stages.basic:Odd")
    assert raised.traceback[-1].name == "process"
    with pytest.raises(TypeError, match="returned a int"):
        failed("five").replay("tests.stages.basic:Odd")


def test_its_error_says_which_task_it_is() -> None:
    error = failed("in", host="node7", path=[3, 1 << 60, 2]).error
    assert isinstance(error, TaskError)
    assert (error.stage, error.host, error.path, error.content) == ("s", "node7", (3, 2), "in")
    assert error.task.place == "3.2" and failed("in", path=[]).place == "root"
    assert (TaskError("of no task").stage, TaskError("of no task").content) == ("", None)


def test_a_network_file_of_the_folder_has_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    with pytest.raises(UsageError, match=r"no network file in .* has the stage p\.s.*module:Class"):
        stage_of("s", 0, pipeline="p")
    (tmp_path / "one.toml").write_text(FILE.format(pipeline="p", stage="s", cls="basic:Add"))
    (tmp_path / "same.toml").write_text(FILE.format(pipeline="p", stage="s", cls="basic:Add"))
    assert [task.content for task in failed(4).replay()] == [5]
    assert [task.content for task in failed(4).replay(tmp_path / "one.toml")] == [5]
    (tmp_path / "other.toml").write_text(FILE.format(pipeline="q", stage="s", cls="contents:Same"))
    with pytest.raises(UsageError, match="have a stage s, with other code each"):
        failed(4).replay()
    with stage_of("s", 0, pipeline="q") as again:
        assert again.run(Task(4))[0].content == 4
    with pytest.raises(UsageError, match=r"other\.toml has no stage p\.s where"):
        stage_of("s", 0, "other.toml", pipeline="p")


def test_a_task_or_a_code_that_is_not_there_is_an_error() -> None:
    with pytest.raises(UsageError, match="its input was not kept: too large"):
        failed("in", input="its input was not kept: too large").replay(Whole)
    with pytest.raises(UsageError, match="replay: stage"):
        failed("in").replay(7)
    with pytest.raises(StartError, match="nowhere"):
        failed("in").replay("nowhere:At")
