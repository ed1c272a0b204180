"""A hook of MkDocs: ``reference/states.md``, with a drawing of each table of states in the code.

The drawing is SVG of our own: a page is to be read without a network, so no script from there can draw it.
Each state is a column, each transition an arrow in a row of its own, with its reason above it. So no two
lines or texts lie on each other, however many transitions there are.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from zturbo.core.states import Table

__all__ = ["drawing", "on_files", "states_page", "tables"]

ROOT = Path(__file__).parents[1]

LETTER = 6.4
"""Width of a letter of a reason, about; those of states are bold, and a little wider."""
ROW = 40
TOP = 50
"""Above the first arrow's row: the names of the states, and where objects begin."""

INTRO = """\
# States

Each kind of object here has a table of its states in the code, and moves by that table alone. A move that the
table does not have is an error, which tells the last moves of that object. This page is made from the tables.

A column is a state, an arrow is a transition, and above the arrow stands why it happens. Objects begin in the
state with the dot. They do not leave a state with a double frame.
"""


def tables() -> Iterator[tuple[str, Table[Any]]]:
    """(module, table) of each table in the code."""
    for package, folder in (("zturbo", ROOT / "zturbo"), ("zturbo_broker", ROOT / "broker")):
        for path in sorted(folder.rglob("*.py")):
            names = re.findall(r"^([A-Z_]+)\b.* = Table\(", path.read_text(), re.MULTILINE)
            if names:
                module = ".".join((package, *path.relative_to(folder).with_suffix("").parts))
                for name in names:
                    yield module, getattr(importlib.import_module(module), name)


def states_page() -> str:
    """The page of all tables."""
    parts = [INTRO]
    for module, table in tables():
        rows = [
            f"| `{state.value}` | {escape(about, quote=False)} |" for state, about in table.states.items()
        ]
        head = ["| state | meaning |", "| --- | --- |"]
        parts.append(
            "\n".join([f"## {table.name}", "", f"In `{module}`.", "", drawing(table), "", *head, *rows, ""])
        )
    return "\n".join(parts)


def drawing(table: Table[Any]) -> str:
    """The table as SVG, in a div of one line, so that Markdown leaves it alone."""
    column = max(92.0, *(len(state.value) * LETTER * 1.2 + 34 for state in table.states))
    longest = max((len(why) for why in table.transitions.values()), default=0) * LETTER
    width = max(column * len(table.states), longest + 8)
    height = TOP + ROW * len(table.transitions) + 8
    at = {state: column * (i + 0.5) for i, state in enumerate(table.states)}
    parts = [
        f'<svg viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" role="img"'
        f' aria-label="{escape(table.name)}" style="max-width:100%;height:auto"'
        ' font-family="sans-serif" font-size="12" fill="currentColor" stroke="none">'
    ]
    for state, x in at.items():
        parts.append(_state(state.value, x, column - 14, height, state in table.last, state is table.start))
    for i, ((old, new), why) in enumerate(table.transitions.items()):
        parts.append(_transition(why, at[old], at[new], TOP + ROW * (i + 1), width))
    return f'<div class="states">{"".join(parts)}</svg></div>'


def _state(name: str, x: float, wide: float, height: int, last: bool, start: bool) -> str:
    left, line = x - wide / 2, 'fill="none" stroke="currentColor"'
    frames = f'<rect x="{left:.1f}" y="14" width="{wide:.1f}" height="26" rx="5" {line}/>'
    if last:
        frames += f'<rect x="{left + 3:.1f}" y="17" width="{wide - 6:.1f}" height="20" rx="3" {line}/>'
    dot = f'<circle cx="{x:.1f}" cy="6" r="4"/>' if start else ""
    life = f'<path d="M{x:.1f} 40V{height}" stroke="currentColor" opacity="0.25"/>'
    text = f'<text x="{x:.1f}" y="31" text-anchor="middle" font-weight="bold">{escape(name)}</text>'
    return f'<g class="state">{dot}{frames}{life}{text}</g>'


def _transition(why: str, x: float, to: float, y: float, width: float) -> str:
    long = len(why) * LETTER
    middle = min(max((x + to) / 2, long / 2 + 4), width - long / 2 - 4)
    way = 1 if to > x else -1
    tip = f"M{to - 8 * way:.1f} {y - 4}L{to:.1f} {y}L{to - 8 * way:.1f} {y + 4}z"
    line = f"M{x:.1f} {y}L{to - 6 * way:.1f} {y}"
    halo = 'stroke="var(--md-default-bg-color, white)" stroke-width="5" paint-order="stroke"'
    return (
        '<g class="transition">'
        f'<text x="{middle:.1f}" y="{y - 7}" text-anchor="middle" {halo}>{escape(why)}</text>'
        f'<path d="{line}" fill="none" stroke="currentColor" stroke-width="1.5"/><path d="{tip}"/>'
        f'<circle cx="{x:.1f}" cy="{y}" r="2.5"/></g>'
    )


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, "reference/states.md", content=states_page()))
    return files
