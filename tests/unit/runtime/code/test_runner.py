"""What a runner says of the inputs that its outputs came of."""

from __future__ import annotations

from typing import Any

import pytest

from zturbo import BatchStage, ReorderStage, Stage, Task
from zturbo.api.stage_kinds import FunctionStage
from zturbo.core.effects import Work
from zturbo.core.links.outbatch import paths
from zturbo.core.worker.produced import Produced
from zturbo.errors import UsageError
from zturbo.runtime.code.batching import BatchRunner
from zturbo.runtime.code.production import Production
from zturbo.runtime.code.runner import Runner
from zturbo.runtime.code.stagehost import StageHost
from zturbo.wire.messages import Batch
from zturbo.wire.payload import failure_fields, pack_many, unpack_many

A, B, SENDER = b"a" * 16, b"b" * 16, b"s" * 16


class One(Stage):
    def process(self, task: Task) -> Task:
        return task


class Several(BatchStage):
    max_batch = 4

    def process_batch(self, tasks: list[Task]) -> list[Task]:
        return tasks


def work(job: bytes, epoch: int, number: int) -> Work:
    batch = Batch(job, epoch, 0, [((number,), 1)], 1, pack_many([number]), number=number, source=SENDER)
    return Work(job, epoch, [(batch, 0, 1)], (SENDER, number), [])


@pytest.mark.parametrize(("stage", "kind"), [(One, Runner), (Several, BatchRunner)])
@pytest.mark.parametrize("other", [(B, 1), (A, 2)], ids=["job", "epoch"])
def test_outputs_of_one_job_and_epoch_name_no_input_of_another(
    stage: type[Stage], kind: type[Runner], other: tuple[bytes, int]
) -> None:
    """When a job ends, the inputs that its outputs name are let go: another's must not be among them."""
    epochs: list[int | None] = [1]
    given: list[Produced] = []
    runner = kind(
        Production(StageHost(stage, name="s", index=0), given.extend, lambda job: epochs[-1], 1 << 20)
    )
    runner.run(work(A, 1, 1))
    epochs.append(other[1])
    runner.run(work(*other, 2))
    runner.idle()
    named = {(out.job, out.epoch, origin) for out in given for origin, _ in out.done}
    assert named == {(A, 1, (SENDER, 1)), (*other, (SENDER, 2))}
    assert sum(len(out.works) for out in given) == 2


class InOrder(ReorderStage):
    def process(self, task: Task) -> Task:
        if task.content == 1:
            raise ValueError("own")
        return task


class ById(InOrder):
    def get_sequence_id(self, task: Task) -> int:
        return int(task.content)


def test_what_a_stage_says_of_itself_may_stand_in_its_init() -> None:
    class Wild(One):
        def __init__(self, deterministic: Any) -> None:
            super().__init__()
            self.deterministic = deterministic

    given: list[Produced] = []
    for deterministic in (True, False):
        host = StageHost(lambda wild=deterministic: Wild(wild), name="s", index=0)  # type: ignore[misc]
        assert host.deterministic is deterministic
        runner = Runner(Production(host, given.extend, lambda job: 1, 1 << 20))
        runner.run(work(A, 1, 1))
        runner.idle()
    plain, wild = [list(paths(out.batch.runs)) for out in given if out.batch is not None]
    assert plain == [(1,)] and [path[:1] for path in wild] == [(1,)] and len(wild[0]) == 2
    with pytest.raises(UsageError, match=r"Wild\.deterministic is to be True or False"):
        StageHost(lambda: Wild("no"), name="s", index=0)


@pytest.mark.parametrize("stage", [InOrder, ById])
def test_failures_of_stages_above_are_counted_when_they_are_given(stage: type[Stage]) -> None:
    given: list[Produced] = []
    host = StageHost(stage, name="s", index=1)
    runner = Runner(Production(host, given.extend, lambda job: 1, 1 << 20))
    above = StageHost(One, name="above", index=0).failures.error(ValueError("above"), (2,), None)
    batch = Batch(A, 1, 1, [((0,), 2)], 2, pack_many([0, 1]), number=1, source=SENDER)
    runner.run(Work(A, 1, [(batch, 0, 2)], None, [(2, above, 0)], final=True))
    runner.idle()
    fails = [fail for out in given if out.batch is not None for fail in out.batch.fails]
    assert [fail.path for fail in fails] == [(1,), (2,)]
    assert sum(out.passing for out in given) == 1


def ran(stage: Stage, contents: list[Any]) -> list[Any]:
    """What a plain stage gives for these, one batch of them."""
    given: list[Produced] = []
    runner = Runner(
        Production(StageHost(lambda: stage, name="s", index=0), given.extend, lambda job: 1, 1 << 20)
    )
    n = len(contents)
    batch = Batch(A, 1, 0, [((0,), n)], n, pack_many(contents), number=1, source=SENDER)
    runner.run(Work(A, 1, [(batch, 0, n)], (SENDER, 1), []))
    runner.idle()
    batches = [out.batch for out in given if out.batch is not None]
    assert not any(batch.fails for batch in batches)
    return [content for batch in batches for content in unpack_many(batch.blob, batch.n)]


class Keeps(Stage):
    """Keeps what it got, here or in a closure, a list, a frame or another thread."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.kept: list[Any] = []
        self.last: Any = None

    def process(self, task: Task) -> Task:
        if self.how == "list":
            self.kept.append(task)
        elif self.how == "closure":
            self.kept.append(lambda: task)
        elif self.how == "method":
            self.kept.append(task.fail)
        elif self.how == "last":
            assert self.last is not task
            self.last = task
        elif self.how == "generator":
            self.kept.append(item := (task for _ in (1, 2)))
            next(item)
        return task

    def found(self) -> list[Any]:
        """The contents of the tasks that it has."""
        match self.how:
            case "closure":
                return [call().content for call in self.kept]
            case "method":
                return [call.__self__.content for call in self.kept]
            case "generator":
                return [next(item).content for item in self.kept]
            case "last":
                return [self.last.content]
        return [task.content for task in self.kept]


@pytest.mark.parametrize("how", ["list", "closure", "method", "last", "generator"])
def test_a_task_that_the_code_keeps_stays_as_it_is(how: str) -> None:
    stage = Keeps(how)
    contents = [[i] for i in range(50)]
    assert ran(stage, contents) == contents
    assert stage.found() == (contents[-1:] if how == "last" else contents)


class Leaves(Stage):
    """Leaves something on each second task, and looks whether it is on another one."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.seen: list[tuple[Any, ...]] = []

    def process(self, task: Task) -> Task:
        self.seen.append((task.success, task.error, task._meta, task._logs, task._owned, task._started))
        if task.content % 2:
            return task
        match self.what:
            case "start":
                task.start("here")
            case "error":
                task.error = ValueError("left")
            case "meta":
                task.meta["left"] = 1
            case "logs":
                assert task.logs == []
            case "owned":
                task._owned = True
        return task


@pytest.mark.parametrize("what", ["nothing", "start", "error", "meta", "logs", "owned"])
def test_each_task_is_as_new(what: str) -> None:
    stage = Leaves(what)
    assert ran(stage, list(range(50))) == list(range(50))
    assert set(stage.seen) == {(True, None, None, None, False, None)}


class Odd:
    """Not a Task, whatever it says."""

    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise LookupError("who asks?")


def test_a_function_gives_a_content_or_a_task_or_nothing_for_each_content() -> None:
    shared: list[int] = []

    def function(content: int) -> object:
        if content == 1:
            return None
        if content == 2:
            return Task("two", meta={"m": 2})
        if content == 3:
            raise ValueError("no")
        if content == 4:
            return Odd()
        shared.append(content)
        return shared  # which it changes later

    given: list[Produced] = []
    host = StageHost(lambda: FunctionStage(function), name="s", index=0)
    runner = Runner(Production(host, given.extend, lambda job: 1, 1 << 20))
    batch = Batch(A, 1, 0, [((5,), 6)], 6, pack_many(list(range(6))), number=1, source=SENDER)
    runner.run(Work(A, 1, [(batch, 0, 6)], (SENDER, 1), []))
    runner.idle()
    batches = [out.batch for out in given if out.batch is not None]
    made = {
        path: content
        for batch in batches
        for path, content in zip(paths(batch.runs), unpack_many(batch.blob, batch.n), strict=True)
    }
    assert made == {(5,): [0], (7,): "two", (10,): [0, 5]}
    assert [(end.path, end.count) for batch in batches for end in batch.ends] == [((6,), 0)]
    fails = {fail.path: failure_fields(fail.error) for batch in batches for fail in batch.fails}
    assert {path: (fields["type"], fields["input"]) for path, fields in fails.items()} == {
        (8,): ("ValueError", (b"\x03", [])),
        (9,): ("LookupError", (b"\x04", [])),
    }
