"""What code prints goes where it went before, and line by line to a file and onward."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import pytest

from zturbo.runtime.process import prints
from zturbo.runtime.process.prints import Prints, Tee


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_whole_lines_are_handed_on() -> None:
    stream, lines = io.StringIO(), list[str]()
    tee = Tee(stream, lines.append)
    print("one", 2, file=tee)
    print("half", end="", file=tee)
    assert lines == ["one 2"]
    tee.writelines([" and half\n\n", "10 %\r20 %\r30 %\n"])
    assert lines == ["one 2", "half and half", "30 %"]
    assert stream.getvalue() == "one 2\nhalf and half\n\n10 %\r20 %\r30 %\n" == tee.getvalue()
    tee.write("x" * (2 * prints.LONGEST + 1))
    assert [len(line) for line in lines[3:]] == [prints.LONGEST] * 2


def test_what_logging_writes_is_not_handed_on_twice() -> None:
    lines = list[str]()
    logger = logging.Logger("test")
    logger.addHandler(logging.StreamHandler(Tee(io.StringIO(), lines.append)))
    logger.warning("logged")
    assert lines == []


def test_a_worker_has_a_file_and_a_way_onward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.StringIO())
    for n in range(prints.MOST_FILES + 3):
        (tmp_path / f"old-{n}.log").touch()
    one, onward = Prints(str(tmp_path), "p.a-node7"), Kept()
    one.begin()
    print("before it has joined: 100 %s")
    one.go_on(onward, lambda: (b"\xab" * 16, (3, 1)))
    try:
        print("in a task", file=sys.stderr)
        logging.getLogger("mine").error("logged")
    finally:
        for handler in logging.getLogger().handlers[:]:
            if isinstance(handler, logging.FileHandler):
                logging.getLogger().removeHandler(handler)
                handler.close()
    assert onward.lines == ["before it has joined: 100 %s", "in a task"]
    (file,) = tmp_path.glob("p.a-node7-*.log")
    first, second, third = file.read_text().splitlines()
    assert first.endswith(" INFO print: before it has joined: 100 %s")
    assert second.endswith(" INFO print [abababababab 3.1]: in a task")
    assert " ERROR mine [abababababab 3.1]: logged" in third
    assert len(list(tmp_path.glob("old*"))) == prints.MOST_FILES


def test_a_folder_that_cannot_be_written_to_costs_only_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one = Prints(str(tmp_path / "file" / "logs"), "x")
    assert "cannot be written to" in one.problem


def test_a_large_file_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prints, "FILE_BYTES", 200)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.StringIO())
    Prints(str(tmp_path), "x").begin()
    for n in range(20):
        print(n, "x" * 100)
    files = sorted(path.name.rpartition(".")[2] for path in tmp_path.iterdir())
    assert files in (["1", "2", "log"], ["1", "2"])
    assert all(path.stat().st_size < 400 for path in tmp_path.iterdir())
