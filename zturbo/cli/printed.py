"""What commands print: tables, JSON, errors; in colours where the terminal shows them."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

from zturbo.errortext import shown_text

__all__ = ["STATES", "colourful", "fail", "fit", "one_line", "paint", "print_json", "print_line", "table"]

STATES = {"running": "36", "done": "32", "failed": "31", "cancelled": "33", "waiting": "33"}
"""State of a job -> its colour, an ANSI code."""


def print_json(value: Any) -> None:
    """Print a value as one JSON document, with ids in hexadecimal."""
    print(_dumps(value, indent=2))


def print_line(value: Any) -> None:
    """Print a value as JSON on one line."""
    print(_dumps(value), flush=True)


def _dumps(value: Any, indent: int | None = None) -> str:
    try:
        return json.dumps(value, default=_plain, indent=indent, allow_nan=False)
    except (TypeError, ValueError):  # JSON has only texts for keys, and no NaN or infinity
        return json.dumps(_jsonable(value), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (set, frozenset)):
        return list(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _jsonable(value: Any) -> Any:
    """The nearest value that JSON has: keys become texts; NaN and infinities become null."""
    if isinstance(value, dict):
        return {k if isinstance(k, str) else str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    plain = _plain(value)
    return str(value) if plain is value else _jsonable(plain)


def table(rows: Sequence[tuple[str, ...]], *, head: bool = True, state: int | None = None) -> None:
    """Print rows in columns; the last column may be of any width.

    Args:
        rows: a tuple of cells for each row, all of the same length.
        head: whether the first row is a heading.
        state: index of the column that has a job's state and gets its colour; None for no colours.
    """
    rows = [(*(one_line(cell) for cell in row[:-1]), row[-1]) for row in rows]
    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for number, row in enumerate(rows):
        cells = [set_cell_size(cell, width) for cell, width in zip(row, widths, strict=False)]
        if head and number == 0:
            print(paint("  ".join([*cells, row[-1]]).rstrip(), "1"))
            continue
        if state is not None:
            cells[state] = paint(cells[state], STATES.get(row[state], ""))
        print("  ".join([*cells, row[-1]]).rstrip())


def fit(text: str, width: int) -> str:
    """A text in one line of at most ``width`` columns; a longer text loses its end."""
    text = one_line(text)
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 3)}..."


def one_line(text: str) -> str:
    """A text in one line: its line breaks and tabs become ``\\n`` and ``\\t``."""
    return text.replace("\n", "\\n").replace("\t", "\\t")


def paint(text: str, code: str) -> str:
    """The text in a colour, if stdout shows colours; ``code`` is an ANSI code, empty for none."""
    return f"\x1b[{code}m{text}\x1b[0m" if code and colourful() else text


def colourful() -> bool:
    """Whether stdout shows colours: $NO_COLOR forbids them (no-color.org), $FORCE_COLOR forces them."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (sys.stdout.isatty() and os.environ.get("TERM") != "dumb")


def fail(text: str) -> None:
    """Print an error on stderr. Further lines are indented, so that none looks like a line of ``zturbo``."""
    text = shown_text(text).replace("\n", "\n  ")
    print(f"zturbo: {text}", file=sys.stderr)
