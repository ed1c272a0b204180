"""Stages for tests with real processes."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from zturbo import BatchStage, ReorderStage, Stage, Task


def rest(seconds: float) -> None:
    """As ``time.sleep``, which fails under libfaketime."""
    select.select([], [], [], seconds)


class Add(Stage):
    """x + 1."""

    def process(self, task: Task) -> Task:
        task.content += 1
        return task


class Count(Stage):
    """n gives 0 .. n - 1."""

    def process(self, task: Task) -> Iterator[Task]:
        for i in range(task.content):
            yield Task(i)


class Odd(Stage):
    """What it does depends on the content."""

    def process(self, task: Task) -> Any:
        match task.content:
            case "raise":
                raise ValueError("on purpose")
            case "exit":
                sys.exit(3)
            case "none":
                return None
            case "five":
                return 5
            case "yields five":
                return iter([Task("first"), 5])
            case "unpackable":
                return Task(object())
            case "large":
                return Task(b"x" * 2_000_000)
            case "long text":
                return Task("x" * 2_000_000)
            case "string":
                return "text"
        return task


class Ordered(ReorderStage):
    """Appends the number of tasks before."""

    def reset(self) -> None:
        self.before = 0

    def process(self, task: Task) -> Task:
        self.before += 1
        return Task([task.content, self.before - 1])


class Sum(ReorderStage):
    """A running sum: wrong if anything is out of order, missing or twice."""

    interleave = True

    def reset(self) -> None:
        self.total = 0

    def process(self, task: Task) -> Task:
        self.total = (self.total * 31 + task.content) % 1_000_003
        return Task(self.total)


def sums(values: Iterable[int]) -> Iterator[int]:
    """What ``Sum`` gives for these."""
    total = 0
    for value in values:
        total = (total * 31 + value) % 1_000_003
        yield total


class Batches(BatchStage):
    """Gives each task with the size of its batch; one content spoils its batch, one kills."""

    max_batch = 8
    max_wait = 0.05

    def process_batch(self, tasks: list[Task]) -> list[Task | None]:
        contents = [task.content for task in tasks]
        if -2 in contents:
            os._exit(3)
        if -1 in contents:
            raise ValueError("spoilt")
        return [None if content == -3 else Task([content, len(tasks)]) for content in contents]


class TooFew(BatchStage):
    """One result for whatever it gets."""

    def process_batch(self, tasks: list[Task]) -> list[Task]:
        return tasks[:1] if len(tasks) > 1 or tasks[0].content else []


def halves(content: int, into: int = 2) -> Iterator[int]:
    """A function as a stage: one content in, many out."""
    for i in range(into):
        yield content * into + i


def even(content: int) -> int | None:
    """A function as a stage: odd contents are dropped."""
    return None if content % 2 else content


def even_first(content: list[int]) -> int | None:
    """Of what ``Batches`` gives: the content, if it is even."""
    return even(content[0])


class Slow(Stage):
    """Takes its time."""

    def __init__(self, seconds: float = 0.01) -> None:
        super().__init__()
        self.seconds = seconds

    def process(self, task: Task) -> Task:
        rest(self.seconds)
        return task


class Gate(Stage):
    """Waits until a file is there; contents below a number pass."""

    def __init__(self, path: str, below: int | None = None) -> None:
        super().__init__()
        self.path = Path(path)
        self.below = below

    def process(self, task: Task) -> Task:
        while (self.below is None or task.content >= self.below) and not self.path.exists():
            time.sleep(0.01)
        return task


class BadInit(Stage):
    """Cannot start."""

    def init(self, worker_id: int = 0) -> None:
        raise RuntimeError("no model file")

    def process(self, task: Task) -> Task:
        return task


class Array(Stage):
    """An image comes, an image goes."""

    def process(self, task: Task) -> Task:
        import numpy as np  # here: nothing else that workers import takes as long

        return Task(np.asarray(task.content) + np.uint8(1))


class Meta(Stage):
    """Says who it was."""

    def process(self, task: Task) -> Task:
        return Task(os.getpid(), {"seen": task.content}, parent_task=task)


class Tagged(Stage):
    """Says what came."""

    def process(self, task: Task) -> Task:
        return Task(task.content, {"seen": task.content}, parent_task=task)


class NotAStage:
    """No stage."""


def die(how: str, cgroup: str = "") -> Iterator[Task]:
    """End this process in the way that is asked for; a generator first gives something."""
    match how:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "exit 0":
            os._exit(0)
        case "abort":
            os.abort()
        case "memory":
            Path(cgroup, "cgroup.procs").write_text(str(os.getpid()))
            len(bytes(1 << 20) * 400)
        case "generator":
            return _give_and_die(1)
        case "late generator":
            return _give_and_die(5)
    raise AssertionError(f"it lives: {how}")


def _give_and_die(gives: int) -> Iterator[Task]:
    for _ in range(gives):
        yield Task(0)
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly(Stage):
    """Dies of one content, in the way that is asked for; only once if ``once`` names a file to note it in."""

    def __init__(self, how: str, which: int = 7, once: str = "", cgroup: str = "") -> None:
        super().__init__()
        self.how = how
        self.which = which
        self.once = once
        self.cgroup = cgroup

    def process(self, task: Task) -> Any:
        if task.content != self.which:
            return task
        if self.once:
            if Path(self.once).exists():
                return task
            Path(self.once).touch()
        return die(self.how, self.cgroup)


class DeadlyOrdered(ReorderStage):
    """Numbers its tasks; dies of one content."""

    interleave = True

    def __init__(self, which: int = 7) -> None:
        super().__init__()
        self.which = which

    def reset(self) -> None:
        self.before = 0

    def process(self, task: Task) -> Task:
        self.before += 1
        if task.content == self.which:
            os.kill(os.getpid(), signal.SIGKILL)
        return Task([task.content, self.before])


class Log(Stage):
    """Notes in a file what it was given, and takes its time."""

    def __init__(self, path: str, seconds: float = 0.0) -> None:
        super().__init__()
        self.path = path
        self.seconds = seconds

    def init(self, worker_id: int = 0) -> None:
        self.file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def process(self, task: Task) -> Task:
        os.write(self.file, f"{task.content}\n".encode())
        if self.seconds:
            rest(self.seconds)
        return task


class Hang(Stage):
    """Hangs on one content."""

    def __init__(self, which: int = 7, seconds: float = 1000.0) -> None:
        super().__init__()
        self.which = which
        self.seconds = seconds

    def process(self, task: Task) -> Task:
        if task.content == self.which:
            time.sleep(self.seconds)
        return task


class HoldGil(Stage):
    """Holds the interpreter for n seconds, so that no other thread of its process runs."""

    def process(self, task: Task) -> Task:
        ctypes.PyDLL(None).usleep(int(task.content * 1e6))
        return task


class SlowCount(Stage):
    """n gives 0 .. n - 1, slowly."""

    def process(self, task: Task) -> Iterator[Task]:
        for i in range(task.content):
            time.sleep(0.01)
            yield Task(i)


class Flaky(Stage):
    """Fails until a file has as many bytes as it takes."""

    def __init__(self, path: str, times: int = 1) -> None:
        super().__init__()
        self.path = path
        self.times = times

    def process(self, task: Task) -> Task:
        with open(self.path, "a") as file:
            if task.content == 3 and file.tell() < self.times:
                file.write("x")
                raise RuntimeError("not yet")
        return task


class Wild(Stage):
    """Each execution gives another number of outputs, all of which tell which one it was."""

    deterministic = False

    def process(self, task: Task) -> Iterator[Task]:
        execution = os.urandom(4).hex()
        count = 1 + os.urandom(1)[0] % 5
        for i in range(count):
            rest(0.001)
            yield Task([task.content, execution, i, count])


class Changing(Stage):
    """Says that it is deterministic, and gives more each time that it is run: a bug of its author's.

    With ``hangs`` its first execution gives all but does not end.
    """

    def __init__(self, path: str, least: int = 100, hangs: bool = False) -> None:
        super().__init__()
        self.path = path
        self.least = least
        self.hangs = hangs

    def process(self, task: Task) -> Iterator[Task]:
        with open(self.path, "a") as file:
            file.write("x")
            times = file.tell()
        for i in range(self.least + times):
            yield Task(i)
        while self.hangs and times == 1:
            time.sleep(1)


class GateEach(Stage):
    """[path, content]: gives the content once the file is there; "raise" raises at once."""

    def process(self, task: Task) -> Task:
        path, content = task.content
        if content == "raise":
            raise ValueError("on purpose")
        while not Path(path).exists():
            time.sleep(0.01)
        return Task(content)


class Picky(Stage):
    """3 and 7 fail."""

    def process(self, task: Task) -> Task:
        if task.content in (3, 7):
            raise ValueError(task.content, "is not wanted")
        return task


class FailAll(Stage):
    """Whatever it gets."""

    def process(self, task: Task) -> Task:
        raise ValueError("on purpose")


def _spoil(task: Task) -> Task:
    task.content["list"].append("spoilt")
    task.meta["spoilt"] = True
    if task.content["n"] % 5 == 0:
        raise ValueError("on purpose")
    return Task(task.content["n"])


class Spoil(Stage):
    """Changes its input in place, then fails on each fifth."""

    def process(self, task: Task) -> Task:
        return _spoil(task)


class SpoilBatch(BatchStage):
    """The same, for batches."""

    def process_batch(self, tasks: list[Task]) -> list[Task]:
        return [_spoil(task) for task in tasks]


class SpoilOrdered(ReorderStage):
    """The same, in order."""

    def process(self, task: Task) -> Task:
        return _spoil(task)


class Until(Stage):
    """Each fourth fails, until a file is there."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)

    def process(self, task: Task) -> Task:
        number = task.content[0] if isinstance(task.content, list) else task.content
        if number % 4 == 3 and not self.path.exists():
            raise RuntimeError("not yet")
        return task


class NapWhere(Stage):
    """Sleeps as many seconds as the content says, and gives the name of its host."""

    def process(self, task: Task) -> Task:
        time.sleep(task.content)
        return Task(os.uname().nodename)


class LogMeta(Stage):
    """Notes in a file with what meta its tasks come."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def process(self, task: Task) -> Task:
        with open(self.path, "a") as file:
            file.write(f"{task.meta}\n")
        return task


class ById(ReorderStage):
    """Its own order: by the first number of a content."""

    def get_sequence_id(self, task: Task) -> int:
        return int(task.content[0])

    def process(self, task: Task) -> Task:
        return task


class SumOfBatches(Sum):
    """The same, of what ``Batches`` gives: without the batches' sizes, which are another each time."""

    def process(self, task: Task) -> Task:
        task.content = task.content[0]
        return super().process(task)


class Nap(Stage):
    """Takes the same time for each task."""

    def __init__(self, seconds: float = 0.01) -> None:
        super().__init__()
        self.seconds = seconds

    def process(self, task: Task) -> Task:
        time.sleep(self.seconds)
        return task
