"""process_map: a function on many arguments, in processes that may die."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import eventually
from zturbo import Job, Options, Resources, Stage, System, Task, process_map
from zturbo.errors import UsageError, WorkerLost
from zturbo.runtime.code.shipping import CallStage, pack_call, unpack_result


class Odd(Exception):
    """An error of the user's."""


def square(job: tuple[int, str]) -> Any:
    """Squares; dies once at 5, always at 8, raises at 9; gives its process for 7."""
    number, folder = job
    mark = Path(folder) / "died"
    if number == 5 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 9:
        raise Odd(number)
    if number == 7:
        time.sleep(0.01)
        return os.getpid()
    return {number: complex(number**2)}


def test_in_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [(number, str(tmp_path)) for number in range(7)]
    results = list(process_map(square, jobs, 2, desc="squares"))
    assert sorted(results, key=str) == [{number: complex(number**2)} for number in range(7)]
    assert (tmp_path / "died").exists()
    assert "map:" not in capsys.readouterr().err  # no bars of the System below


class Two(Exception):
    """Cannot be made of its own ``args`` alone."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")
        self.one = one


class Locked(Exception):
    """Has an attribute that cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


def fails(what: str) -> Any:
    """Raises, or gives what cannot be sent."""
    if what == "two":
        raise Two(1, 2)
    if what == "locked":
        raise Locked("has a lock")
    if what == "surrogate":
        raise ValueError("caf\udce9")
    if what == "unicode":
        return b"\xff".decode()
    if what == "exit":
        raise SystemExit(7)
    return threading.Lock()


@pytest.mark.parametrize(
    "what, kind, text",
    [
        ("two", Two, "1 and 2"),
        ("locked", Locked, "has a lock"),
        ("surrogate", ValueError, "caf\udce9"),
        ("unicode", UnicodeDecodeError, "can't decode byte 0xff"),
        ("exit", SystemExit, "7"),
        ("lock", UsageError, "a result, <unlocked _thread.lock object .*cannot be sent back"),
    ],
)
def test_an_exception_keeps_type_text_and_traceback(what: str, kind: type[BaseException], text: str) -> None:
    packed = CallStage(pack_call(fails), 1)
    packed.init()
    with pytest.raises(kind, match=text) as raised:
        unpack_result(packed.process(Task(pack_call(what))).content)
    assert type(raised.value) is kind
    if what != "lock":
        assert "in fails" in str(raised.value.__cause__), "the worker's traceback"
    assert getattr(raised.value, "one", 1) == 1


def increased(number: int) -> int:
    """One more."""
    return number + 1


class Nested(Stage):
    """Uses processes of its own."""

    def process(self, task: Task) -> Task:
        return Task(sorted(process_map(increased, range(task.content), 2, silent=True)))


class NestedSystem(System):
    """Of that stage."""

    show_progress = False

    def get_stages(self, resources: Resources) -> list[Stage]:
        return [Nested()]


def test_inside_a_stage_of_a_system() -> None:
    with NestedSystem() as system:
        system.add_job(Job("nested", Task(4)))
        assert system.wait_job(job_timeout=60).results == [[1, 2, 3, 4]]


def test_errors_and_an_early_end(tmp_path: Path) -> None:
    read = []

    def many() -> Iterator[tuple[int, str]]:
        for number in range(1_000_000):
            read.append(number)
            yield 7, str(tmp_path)

    results = process_map(square, many(), 1)
    pid = next(results)
    assert pid != os.getpid() and Path(f"/proc/{pid}").exists()
    results.close()  # type: ignore[attr-defined]
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    assert len(read) < 200_000
    with pytest.raises(Odd):
        list(process_map(square, [(9, "")], 1))
    with pytest.raises(WorkerLost, match="SIGKILL"):
        list(process_map(square, [(8, "")], 1))
    with pytest.raises(UsageError, match="cannot be sent to another process"):
        list(process_map(square, iter([threading.Lock()]), 1))  # type: ignore[list-item]


def test_in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Options, "single_sync_pipeline", True)
    assert list(process_map(square, [(7, str(tmp_path))])) == [os.getpid()]
