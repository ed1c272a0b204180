"""How far a loop is, as lines in a file and as a text in a notebook."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from zturbo import progressbar
from zturbo.terminal import barlines
from zturbo.terminal.barlines import BarLines


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_now_and_then_and_one_in_the_end() -> None:
    clock, told = Clock(), list[str]()
    lines = BarLines(told.append, 10.0, clock)
    for n in range(1, 26):
        clock.now += 1.0
        lines.update("files", n, 25)
    assert told == ["files: 10 of 25, 10 s", "files: 20 of 25, 20 s"]
    lines.close("files", 25, 25)
    assert told[2:] == ["files: 25 of 25, 25 s"]


def test_a_short_loop_says_nothing_and_a_line_is_not_said_twice() -> None:
    clock, told = Clock(), list[str]()
    lines = BarLines(told.append, 10.0, clock)
    lines.update("", 1, None)
    lines.close("", 1, None)
    assert told == []
    clock.now += 12.0
    lines.update("", 2, None)
    lines.close("", 2, None)
    assert told == ["2, 12 s"]


def test_in_a_file_it_is_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(barlines, "LINES_EVERY", 0.0)
    assert list(progressbar("ab", "let\x1b[2Jters")) == ["a", "b"]
    told = capsys.readouterr()
    lines = [line.rsplit(",", 1)[0] for line in told.err.splitlines()]
    assert told.out == "" and lines == [f"let\ufffd[2Jters: {n} of 2" for n in (1, 2)], told.err


def test_in_a_notebook_it_is_one_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handle:
        def update(self, data: dict[str, str], *, raw: bool) -> None:
            shown.append(("update", data["text/plain"], raw))

    def display(data: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        shown.append(("display", data["text/plain"], raw and display_id))
        return Handle()

    shown: list[tuple[str, str, bool]] = []
    module, part = ModuleType("IPython"), ModuleType("IPython.display")
    module.get_ipython = lambda: SimpleNamespace(kernel=1)  # type: ignore[attr-defined]
    part.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", part)
    monkeypatch.setattr(barlines, "NOTEBOOK_EVERY", 0.0)
    with progressbar(desc="steps", total=3) as bar:
        bar.update()
        bar.update(2)
    assert shown == [("display", "steps: 1 of 3, 0 s", True), ("update", "steps: 3 of 3, 0 s", True)]
    assert capsys.readouterr().err == ""
