"""Types of contents, as mypy sees them; and that they are nothing but names when a program runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from zturbo import Pipeline, Stage, Task
from zturbo.api.pipeline import name_of

ROOT = Path(__file__).parents[3]

PROGRAM = """
from collections.abc import Iterator
from typing import Any

from typing_extensions import assert_type

from zturbo import AsyncClient, BatchStage, Client, Job, Pipeline, ReorderStage, Stage, Task


class Frame: ...
class Box: ...


class One(Stage[Frame, Box]):
    def process(self, task: Task[Frame]) -> Task[Box]:
        assert_type(task.content, Frame)
        return Task(Box(), parent_task=task)


class Many(ReorderStage[Frame, Box]):
    def process(self, task: Task[Frame]) -> Iterator[Task[Box]]:
        yield Task(Box())


class Soon(Stage[Frame, Box]):
    async def process(self, task: Task[Frame]) -> Task[Box]:
        return Task(Box())


class Batch(BatchStage[Frame, Box]):
    def process_batch(self, tasks: list[Task[Frame]]) -> list[Task[Box]]:
        return [Task(Box()) for _ in tasks]


class Plain(Stage):
    def process(self, task: Task) -> Task:
        task.content = 3
        return task


class Wrong(Stage[Frame, Box]):
    def process(self, task: Task[Frame]) -> Task[Frame]:  # E: "process" incompatible
        return task


class Other(Stage[Frame, Box]):
    def process(self, task: Task[str]) -> Task[Box]:  # E: "process"
        return Task(Box())


class Misspelt(Stage[Frame, Box]):
    def proces(self, task: Task[Frame]) -> Task[Box]:
        return Task(Box())


class MisspeltBatch(BatchStage[Frame, Box]):
    def process_batches(self, tasks: list[Task[Frame]]) -> list[Task[Box]]:
        return []


STAGES = [One(), Many(), Soon(), Batch(), Plain()]
Misspelt()  # E: abstract attribute "process"
MisspeltBatch()  # E: abstract attribute "process_batch"


def sync(client: Client) -> None:
    typed = Pipeline[Frame, Box]("p")
    for box in client.map([Frame()], typed):
        assert_type(box, Box)
    client.map(["no frame"], typed)  # E: map
    client.submit(Job("a", Task(Frame())), pipeline=typed)
    client.submit(Task(1), pipeline="p")
    assert_type(list(client.map([1], "p")), list[Any])
    assert_type(Task(), Task[Any])
    failed = client.submit(Task(1), pipeline="p").failed[0]
    assert_type(failed.stage, str)
    failed.replay()


async def aio(client: AsyncClient) -> None:
    async for box in client.map([Frame()], Pipeline[Frame, Box]("p")):
        assert_type(box, Box)
    await client.submit(Task(1), pipeline=Pipeline[Frame, Box]("p"))
"""


def test_mypy_knows_the_types_of_contents(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache"), str(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {int(line): text for line, text in re.findall(r"program\.py:(\d+): error: (.*)", done.stdout)}
    wanted = {
        number: line.split("# E: ")[1]
        for number, line in enumerate(PROGRAM.splitlines(), 1)
        if "# E: " in line
    }
    assert found.keys() == wanted.keys(), done.stdout
    for number, words in wanted.items():
        assert words in found[number]


def test_they_are_names_when_a_program_runs() -> None:
    video = Pipeline[int, str]("video")
    assert video == "video" and isinstance(video, str) and not hasattr(video, "__dict__")
    assert type(name_of(video)) is str and name_of(video) == "video"
    assert type(Task[int](3)) is Task and Task[int](3).content == 3

    class Typed(Stage[int, int]):
        def process(self, task: Task[int]) -> Task[int]:
            return task

    assert isinstance(Typed(), Stage)
    with pytest.raises(TypeError, match="Too many"):
        Task[int, int]
