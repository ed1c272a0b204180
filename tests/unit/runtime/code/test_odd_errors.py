"""User code that fails in odd ways: its task fails alone, and is told as well as can be."""

from __future__ import annotations

import asyncio
import builtins
import sys
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zturbo import BatchStage, ReorderStage, Stage, Task
from zturbo.client.reader import failed_task
from zturbo.core.effects import Work
from zturbo.core.worker.produced import Produced
from zturbo.errortext import MAX_MESSAGE, MAX_TRACEBACK, message_of, render
from zturbo.runtime.code import production as module
from zturbo.runtime.code.batching import BatchRunner
from zturbo.runtime.code.failedmeta import carried_meta
from zturbo.runtime.code.overlapping import AsyncRunner
from zturbo.runtime.code.production import Production
from zturbo.runtime.code.runner import Runner
from zturbo.runtime.code.stagehost import StageHost
from zturbo.wire.messages import Batch
from zturbo.wire.payload import pack_error, pack_many, unpack_error_map, unpack_many

JOB, SENDER = b"j" * 16, b"s" * 16


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NotText(Exception):
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]


class Itself(Exception):
    def __str__(self) -> str:
        raise self


class Text(str):
    def encode(self, *args: Any) -> bytes:
        raise KeyError

    def __str__(self) -> str:
        raise KeyError


class TextOfItsOwn(Exception):
    def __str__(self) -> str:
        return Text("café")


class Liar(Exception):
    @property
    def __class__(self) -> Any:
        raise SystemExit

    @property
    def __traceback__(self) -> Any:
        raise KeyboardInterrupt

    @property
    def __cause__(self) -> Any:
        raise KeyboardInterrupt

    @property
    def __notes__(self) -> Any:
        raise GeneratorExit


class Nameless(type):
    @property
    def __name__(cls) -> NoReturn:  # type: ignore[override]
        raise ValueError


class OfNameless(Exception, metaclass=Nameless):
    pass


class Panic(BaseException):
    pass


def circle() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def chain() -> BaseException:
    error: BaseException = ValueError("the first")
    for number in range(5000):
        after = ValueError(f"number {number}")
        after.__cause__, error = error, after
    return error


def noted() -> BaseException:
    error = ValueError("noted")
    error.__notes__ = [7, NoText(), "a note \udce9"]  # type: ignore[attr-defined]
    return error


def no_list_of_notes() -> BaseException:
    error = ValueError("noted")
    error.__notes__ = 7  # type: ignore[attr-defined]
    return error


def group() -> BaseException:
    if sys.version_info < (3, 11):
        return ValueError("no groups yet")
    error: Exception = ValueError("inmost")
    for number in range(2000):
        error = builtins.ExceptionGroup(f"group {number}", [error])
    return error


def wide_group() -> BaseException:
    if sys.version_info < (3, 11):
        return ValueError("no groups yet")
    return builtins.ExceptionGroup("wide", [NoText() for _ in range(5000)])


ODD: dict[str, Callable[[], BaseException]] = {
    "surrogate": lambda: ValueError("cannot read caf\udce9.mp4"),
    "no text": NoText,
    "not text": NotText,
    "itself": Itself,
    "text of its own": TextOfItsOwn,
    "liar": Liar,
    "nameless": OfNameless,
    "panic": lambda: Panic("of an extension"),
    "interrupt": KeyboardInterrupt,
    "exit": lambda: SystemExit(3),
    "cancelled": lambda: asyncio.CancelledError(),
    "generator exit": GeneratorExit,
    "stop": lambda: StopIteration(3),
    "stop async": lambda: StopAsyncIteration(3),
    "memory": MemoryError,
    "recursion": RecursionError,
    "huge": lambda: ValueError("x" * 5_000_000),
    "circle": circle,
    "chain": chain,
    "notes": noted,
    "no notes": no_list_of_notes,
    "group": group,
    "wide group": wide_group,
}


@pytest.mark.parametrize("odd", ODD)
def test_each_error_can_be_shown(odd: str) -> None:
    error = ODD[odd]()
    try:
        raise error
    except BaseException as raised:
        told = render(raised)
    assert told.type == type.__dict__["__name__"].__get__(type(error))
    assert len(told.message) <= MAX_MESSAGE
    assert len(told.traceback) <= MAX_TRACEBACK
    assert told.type in told.traceback
    for text in told:
        assert type(text) is str
        assert text.encode().decode() == text
    assert unpack_error_map(pack_error(told._asdict()))["message"] == told.message


def test_what_could_not_be_shown_is_said() -> None:
    assert message_of(NoText()) == "(its text cannot be shown: __str__ raised RuntimeError)"
    assert message_of(ValueError("caf\udce9.mp4")) == "caf\\udce9.mp4"
    assert message_of(TextOfItsOwn()) == "café"
    assert "its causes are not shown" in render(chain()).traceback
    assert "number 4999" in render(chain()).traceback


@given(st.text(st.characters(codec=None, categories=None)), st.text(st.characters(categories=["Cs"])))
def test_any_text_can_be_carried(text: str, odd: str) -> None:
    told = render(ValueError(text + odd))
    fields = unpack_error_map(pack_error(told._asdict()))
    assert (fields["message"], fields["traceback"]) == (told.message, told.traceback)


class Odd(Stage):
    """Raises what it is told to, where it is told to."""

    def __init__(self, odd: str, where: str = "process") -> None:
        super().__init__()
        self.odd, self.where = odd, where

    def process(self, task: Task) -> Any:
        if task.content != 1:
            return Task(task.content)
        if self.where == "process":
            raise ODD[self.odd]()
        return self.children() if self.where == "generator" else Hard(self.odd)

    def children(self) -> Iterator[Task]:
        yield Task("before")
        raise ODD[self.odd]()


class Hard:
    """Something that cannot even be iterated over, or printed."""

    def __init__(self, odd: str) -> None:
        self.odd = odd

    def __iter__(self) -> NoReturn:
        raise ODD[self.odd]()

    def __repr__(self) -> str:
        raise ODD[self.odd]()


class OddAsync(Odd):
    async def process(self, task: Task) -> Any:
        await asyncio.sleep(0)
        return super().process(task)


class OddInside(Odd):
    """Raises in a coroutine of its own, for which it waits."""

    async def process(self, task: Task) -> Any:
        async def work() -> Any:
            return super(OddInside, self).process(task)

        return await asyncio.create_task(work())


class OddAsyncGenerator(Odd):
    async def process(self, task: Task) -> Any:
        if task.content == 1:
            yield Task("before")
            raise ODD[self.odd]()
        yield Task(task.content)


class OddBatch(BatchStage):
    max_batch = 4

    def __init__(self, odd: str, where: str = "process") -> None:
        super().__init__()
        self.odd = odd

    def process_batch(self, tasks: list[Task]) -> list[Task]:
        if any(task.content == 1 for task in tasks):
            raise ODD[self.odd]()
        return tasks


class OddOrdered(ReorderStage):
    def __init__(self, odd: str, where: str = "process") -> None:
        super().__init__()
        self.odd = odd

    def process(self, task: Task) -> Task:
        if task.content == 1:
            raise ODD[self.odd]()
        return task


class OddId(ReorderStage):
    def __init__(self, odd: str, where: str = "process") -> None:
        super().__init__()
        self.odd = odd

    def get_sequence_id(self, task: Task) -> int:
        if task.content == 1:
            raise ODD[self.odd]()
        return int(task.content)

    def process(self, task: Task) -> Task:
        return task


class OddReset(Odd):
    """Its state cannot be made, the first time."""

    tries = 0

    def reset(self) -> None:
        OddReset.tries += 1
        if OddReset.tries == 1:
            raise ODD[self.odd]()


def work(contents: list[Any], ordered: bool, logs: bool) -> Work:
    n = len(contents)
    batch = Batch(JOB, 1, 0, [((0,), n)], n, pack_many(contents), number=1, source=SENDER)
    origin = None if ordered else (SENDER, 1)
    return Work(JOB, 1, [(batch, 0, n)], origin, [], final=ordered, logs=logs)


def batches(build: Callable[[], Stage], contents: list[Any], logs: bool = False) -> list[Batch]:
    """The batches that a stage gives."""
    given: list[Produced] = []
    host = StageHost(build, name="s", index=0)
    kind = AsyncRunner if host.concurrency else BatchRunner if host.batch else Runner
    runner = kind(Production(host, given.extend, lambda job: 1, 1 << 20))
    if isinstance(runner, AsyncRunner):
        todo: SimpleQueue[Any] = SimpleQueue()
        todo.put(work(contents, False, logs))

        def free_and_stop() -> None:
            if sum(count for produced in given for _, count in produced.done) == len(contents):
                todo.put(None)
                runner.wake()
            else:
                runner.loop.call_soon(free_and_stop)

        runner.loop.call_soon(free_and_stop)
        runner.serve(todo)
    else:
        runner.run(work(contents, host.ordered, logs))
        runner.idle()
    return [produced.batch for produced in given if produced.batch is not None]


def run(build: Callable[[], Stage], contents: list[Any], logs: bool = False) -> tuple[list[Any], list[Any]]:
    """(contents, failed tasks) that a stage gives."""
    good: list[Any] = []
    bad: list[Any] = []
    for batch in batches(build, contents, logs):
        good += unpack_many(batch.blob, batch.n)
        bad += [failed_task(fail.error) for fail in batch.fails]
    return good, bad


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    "stage",
    [Odd, OddAsync, OddInside, OddAsyncGenerator, OddBatch, OddOrdered, OddId],
    ids=lambda s: s.__name__,
)
def test_an_odd_error_fails_its_task_alone(stage: Any, odd: str) -> None:
    good, bad = run(lambda: stage(odd), [0, 1, 2, 3])
    assert sorted(content for content in good if content != "before") == [0, 2, 3]
    (failed,) = bad
    assert failed.content == 1, "its input"


@pytest.mark.parametrize("where", ["generator", "iteration"])
@pytest.mark.parametrize("odd", ODD)
def test_odd_errors_of_what_it_gives(odd: str, where: str) -> None:
    good, bad = run(lambda: Odd(odd, where), [0, 1, 2])
    assert good == ([0, "before", 2] if where == "generator" else [0, 2])
    assert len(bad) == 1


@pytest.mark.parametrize("odd", ["panic", "interrupt", "surrogate", "cancelled"])
def test_a_reset_that_raises_oddly_fails_what_it_was_for(odd: str) -> None:
    OddReset.tries = 0
    _, bad = run(lambda: OddReset(odd), [0, 1])
    assert len(bad) == 2


class Changed(Stage):
    """Makes something of its task that is none any more."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def process(self, task: Task) -> Any:
        if task.content != 1:
            return Task(task.content)
        out = Task("odd")
        if self.how == "no content":
            del out.content
        elif self.how == "odd success":
            out.success = Truth()  # type: ignore[assignment]
        elif self.how == "odd logs":
            out._logs = 7  # type: ignore[assignment]
        elif self.how == "failed without meta":
            del task._meta
            raise ValueError("x")
        elif self.how == "odd meta":
            task._meta = Truth()  # type: ignore[assignment]
            raise ValueError("x")
        elif self.how == "handle in its meta":
            task.meta.update(handle=object(), frame=3, name="caf\udce9", deep=deep(2000))
            raise ValueError("x")
        return out


class Truth:
    def __bool__(self) -> bool:
        raise KeyboardInterrupt


def deep(levels: int) -> Any:
    out: Any = ()
    for _ in range(levels):
        out = (out,)
    return out


@pytest.mark.parametrize(
    "how",
    ["no content", "odd success", "odd logs", "failed without meta", "odd meta", "handle in its meta"],
)
@pytest.mark.parametrize("logs", [False, True])
def test_a_task_that_is_none_any_more_fails_alone(how: str, logs: bool) -> None:
    good, bad = run(lambda: Changed(how), [0, 1, 2], logs)
    assert good == [0, 2]
    (failed,) = bad
    if how == "handle in its meta":
        assert failed.meta["frame"] == 3
        assert failed.meta["handle"].startswith("(not kept: ")
        assert failed.meta["deep"].startswith("(not kept: ")
    assert failed.content == 1


class ChangedChild(Changed):
    """Gives two tasks before one that is none any more."""

    def process(self, task: Task) -> Any:
        yield Task("first")
        yield Task("second", {"meta": 1})
        yield super().process(Task(1))
        yield Task("never")


class ChangedAsync(ChangedChild):
    async def process(self, task: Task) -> Any:
        for child in super().process(task):
            yield child


@pytest.mark.parametrize("how", ["no content", "odd success", "odd logs"])
@pytest.mark.parametrize("logs", [False, True])
@pytest.mark.parametrize("stage", [ChangedChild, ChangedAsync])
def test_a_failure_counts_the_tasks_that_were_given_before_it(
    stage: type[ChangedChild], how: str, logs: bool
) -> None:
    """With another count, the job would wait for a task that never comes."""
    given = batches(lambda: stage(how), [7], logs)
    paths = [(*first[:-1], first[-1] + k) for batch in given for first, n in batch.runs for k in range(n)]
    assert paths == [(0, 0), (0, 1)]
    (failed,) = [fail for batch in given for fail in batch.fails]
    assert (failed.path, failed.count) == ((0,), 2)


def test_many_children_have_consecutive_paths() -> None:
    class Many(Stage):
        def process(self, task: Task) -> Any:
            for i in range(5000):
                child = Task(i, {"m": i} if i % 700 == 3 else None)
                child.success = i % 900 != 5
                yield child

    given = batches(Many, [0])
    put = [
        (path, content)
        for batch in given
        for path, content in zip(
            [(*first[:-1], first[-1] + k) for first, n in batch.runs for k in range(n)],
            unpack_many(batch.blob, batch.n),
            strict=True,
        )
    ]
    assert put == [((0, i), i) for i in range(5000) if i % 900 != 5]
    assert [fail.path for batch in given for fail in batch.fails] == [(0, i) for i in range(5, 5000, 900)]


def test_meta_that_is_too_large_for_a_failure() -> None:
    numpy = pytest.importorskip("numpy")
    task = Task(1, {"frame": 3, "image": numpy.zeros(1 << 20)})
    meta, _ = carried_meta(task)
    assert meta["frame"] == 3
    assert meta["image"].startswith("(not kept: it is too large")


@pytest.mark.parametrize("odd", ["memory", "recursion", "interrupt", "panic", "no text"])
def test_outputs_that_cannot_be_packed_fail_alone(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(contents: Any) -> None:
        if 1 in contents:
            raise ODD[odd]()

    pack_all, pack_alone = module.pack_many, module.pack_one
    monkeypatch.setattr(module, "pack_many", lambda all_, **how: (check(all_), pack_all(all_, **how))[1])
    monkeypatch.setattr(module, "pack_one", lambda content: (check([content]), pack_alone(content))[1])
    good, bad = run(lambda: Same(), [0, 1, 2])
    assert good == [0, 2]
    (failed,) = bad
    assert failed.content == 1


class Same(Stage):
    def process(self, task: Task) -> Task:
        return task
