"""Debug mode: what a stage gives is treated as in a worker."""

from __future__ import annotations

import bdb
import builtins
import io
import pdb
import sys
from collections.abc import Iterator

import pytest

from zturbo import BatchStage, Job, ReorderStage, Resources, Stage, System, Task
from zturbo.client.reader import FailedTask
from zturbo.errors import EncodeError, TaskError, UsageError
from zturbo.system.debug import DebugPipeline, run_debug


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
    assert not pipeline.hosts[0].instances.jobs


class Twice(Stage):
    def process(self, task: Task) -> Iterator[Task]:
        yield Task([task.content], parent_task=task)
        yield Task([task.content + 1], parent_task=task)


class Spoils(Stage):
    def process(self, task: Task) -> Task:
        task.content.append("spoilt")
        task.meta["spoilt"] = True
        raise ValueError("on purpose")


class SpoilsBatch(BatchStage):
    def process_batch(self, tasks: list[Task]) -> list[Task]:
        return [Spoils().process(task) for task in tasks]


class SpoilsOrdered(ReorderStage):
    def process(self, task: Task) -> Task:
        return Spoils().process(task)


class SpoilsById(SpoilsOrdered):
    def get_sequence_id(self, task: Task) -> int:
        return 7 - int(task.content[0])


@pytest.mark.parametrize("cls", [Spoils, SpoilsBatch, SpoilsOrdered, SpoilsById])
def test_failed_tasks_have_the_input_that_the_stage_got(cls: type[Stage]) -> None:
    failed = list(DebugPipeline([Twice(), cls()]).run(Task(5, {"root": (1, 2)})))
    assert sorted(task.content for task in failed) == [[5], [6]]
    for task in failed:
        assert isinstance(task, FailedTask)
        assert (task.stage, task.index, task.note) == (cls.__name__, 1, "")
        assert task.input_meta == [{"root": (1, 2)}, None] and task.meta["spoilt"]


def test_what_cannot_be_carried_has_the_input_of_the_task_that_gave_it() -> None:
    failed = [task for task in DebugPipeline([Mixed()]).run(Task(1, {"root": 1})) if not task.success]
    assert [task.content for task in failed] == [1, 1, 1, 1]


class Notes(Stage):
    """Gives the meta that it sees, and lets it be inherited."""

    def process(self, task: Task) -> Task:
        return Task([*task.content, dict(task.meta)], parent_task=task)


class NotesBatch(BatchStage):
    def process_batch(self, tasks: list[Task]) -> list[Task]:
        return [Notes().process(task) for task in tasks]


class NotesOrdered(ReorderStage):
    def process(self, task: Task) -> Task:
        return Notes().process(task)


class NotesById(NotesOrdered):
    def get_sequence_id(self, task: Task) -> int:
        return 0


class Marks(Stage):
    """Tries to let its output skip a stage."""

    def process(self, task: Task) -> Task:
        return Task(task.content, {"zturbo": {"enter": 2, "own": 1}, "mine": 2})


@pytest.mark.parametrize("cls", [Notes, NotesBatch, NotesOrdered, NotesById])
def test_a_root_enters_further_down(cls: type[Stage]) -> None:
    stages = [cls(), cls(), cls()]
    task = Task(["x"], {"zturbo": {"enter": 1}, "mine": 1})
    (result,) = DebugPipeline(stages).run(task)
    assert result.content == ["x", {"mine": 1}, {"mine": 1}] and result.meta == {"mine": 1}
    (result,) = DebugPipeline(stages).run(Task(["x"], {"zturbo": {"enter": 2}}))
    assert result.content == ["x", {}] and result.meta == {}
    (result,) = DebugPipeline(stages).run(Task(["x"], {"zturbo": {"enter": "1"}}))
    assert len(result.content) == 4, "that is no mark"


def test_only_a_root_can_have_the_mark() -> None:
    (result,) = DebugPipeline([Marks(), Notes(), Notes()]).run(Task(["x"]))
    assert result.content == ["x", {"zturbo": {"own": 1}, "mine": 2}, {"zturbo": {"own": 1}, "mine": 2}]


class Quits(Stage):
    """Ends as a person or its own code would."""

    def __init__(self, how: str) -> None:
        self.how = how

    def process(self, task: Task) -> Task:
        if self.how == "q":
            debugger = pdb.Pdb(stdin=io.StringIO("q\n"), stdout=io.StringIO(), nosigint=True, readrc=False)
            debugger.set_trace()
        elif self.how == "exit()":
            builtins.exit(3)  # type: ignore[attr-defined]
        else:
            sys.exit("its own")
        return task


@pytest.fixture
def standard_input() -> Iterator[None]:
    """One that ``exit()`` may close."""
    before, sys.stdin = sys.stdin, io.StringIO()
    yield
    sys.stdin = before
    sys.settrace(None)


@pytest.mark.usefixtures("standard_input")
@pytest.mark.parametrize(("how", "end"), [("q", bdb.BdbQuit), ("exit()", SystemExit)])
def test_to_quit_ends_the_session_and_not_one_task(how: str, end: type[BaseException]) -> None:
    with pytest.raises(end):
        run_debug([Quits(how)], Task(1))


@pytest.mark.usefixtures("standard_input")
@pytest.mark.parametrize(("how", "end"), [("q", bdb.BdbQuit), ("exit()", SystemExit)])
def test_to_quit_ends_a_system_in_debug_mode(how: str, end: type[BaseException]) -> None:
    class Quitting(System):
        def get_stages(self, resources: Resources) -> list[Stage]:
            return [Quits(how)]

    system = Quitting(debug=True, resource_scan_args={})
    system.start()
    system.add_jobs(Job(name, Task(1)) for name in "ab")
    with pytest.raises(end):
        system.wait_job()
    with pytest.raises(UsageError, match="has ended"):
        system.wait_job()


def test_an_exit_of_the_stages_own_code_fails_its_task() -> None:
    result = run_debug([Quits("sys.exit")], Task(1))
    assert "SystemExit: its own" in str(result.failed_tasks[0].error)
