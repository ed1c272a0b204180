"""Columns and lines that stand as they should on a terminal, whatever the texts are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from zturbo.cli.printed import fit, table

NAMES = ["plain", "日本語の名前", "e\u0301a\u0301", "two\nlines", "👩‍👩‍👧"]


def test_columns_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    table([("NAME", "STATE", ""), *((name, "done", "x") for name in NAMES)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(NAMES)
    assert len({cell_len(line[: line.index("done")]) for line in lines[1:]}) == 1


@given(st.text(), st.integers(4, 40))
def test_what_is_too_wide_loses_its_end(text: str, width: int) -> None:
    shown = fit(text, width)
    assert cell_len(shown) <= width and "\n" not in shown
    assert fit(shown, width) == shown


def test_what_fits_stays() -> None:
    assert fit("日本語", 6) == "日本語" and fit("日本語です", 9) == "日本語..."
