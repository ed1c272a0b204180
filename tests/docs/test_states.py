"""The page of states has each table of the code, and each drawing says what its table says."""

from __future__ import annotations

import ast
import re
from html import escape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.docs.test_site import ROOT, hooks

PAGE: str = hooks("docs_states").states_page()
TABLES: list[tuple[str, Any]] = list(hooks("docs_states").tables())


def tables_of(path: Path) -> int:
    """How many tables a module makes, by its text."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return sum(isinstance(func, ast.Name) and func.id == "Table" for func in calls)


def test_each_table_of_the_code_is_on_the_page() -> None:
    made = sum(tables_of(path) for folder in ("zturbo", "broker") for path in (ROOT / folder).rglob("*.py"))
    assert made == len(TABLES) > 0
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE) == [table.name for _, table in TABLES]


@pytest.mark.parametrize(("module", "table"), TABLES, ids=[table.name for _, table in TABLES])
def test_the_drawing_says_what_the_table_says(module: str, table: Any) -> None:
    """Read back from the page, by where lines and texts stand."""
    part = PAGE.partition(f"## {table.name}\n")[2].partition("\n## ")[0]
    assert f"`{module}`" in part
    svg = ElementTree.fromstring(part[part.index("<svg") : part.index("</svg>") + len("</svg>")])
    columns: dict[float, str] = {}
    for state in svg.iterfind("g[@class='state']"):
        name = state.find("text")
        assert name is not None
        columns[float(name.attrib["x"])] = str(name.text)
        last = len(state.findall("rect")) == 2
        assert (last, state.find("circle") is not None) == (
            name.text in [end.value for end in table.last],
            name.text == table.start.value,
        )
    assert list(columns.values()) == [state.value for state in table.states]
    drawn = {}
    rows = set()
    for arrow in svg.iterfind("g[@class='transition']"):
        foot, tip, why = arrow.find("circle"), arrow.findall("path")[-1], arrow.find("text")
        assert foot is not None
        assert why is not None
        point = float(re.split("[L ]", tip.attrib["d"])[2])
        drawn[columns[float(foot.attrib["cx"])], columns[point]] = why.text
        rows.add(why.attrib["y"])
    assert drawn == {(old.value, new.value): reason for (old, new), reason in table.transitions.items()}
    assert len(rows) == len(drawn), "each has a row of its own"
    for state, meaning in table.states.items():
        assert f"| `{state.value}` | {escape(meaning, quote=False)} |" in part
