"""Small tables for notebooks. All that is shown is escaped: names and errors may come from strangers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from zturbo.errortext import clip, shown_text

__all__ = ["cell", "facts", "table"]

LONGEST = 500
"""Characters of a cell."""


def cell(value: object) -> str:
    """A value's text, escaped, and cut if it is long."""
    return escape(shown_text(clip(str(value), LONGEST)))


def table(head: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """A table with a heading.

    Args:
        head: names of the columns.
        rows: the cells.
        caption: a line above it; empty for none.
    """
    above = f"<caption>{cell(caption)}</caption>" if caption else ""
    names = "".join(f"<th>{cell(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell(one)}</td>" for one in row) + "</tr>" for row in rows)
    return f"<table>{above}<thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def facts(pairs: Sequence[tuple[str, object]], caption: str = "") -> str:
    """A table of names and values, without a heading."""
    above = f"<caption>{cell(caption)}</caption>" if caption else ""
    rows = "".join(f"<tr><th>{cell(name)}</th><td>{cell(value)}</td></tr>" for name, value in pairs)
    return f"<table>{above}<tbody>{rows}</tbody></table>"
