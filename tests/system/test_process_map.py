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

from tests.system.cluster import eventually
from zturbo import Options, process_map
from zturbo.errors import UsageError, WorkerLost


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
