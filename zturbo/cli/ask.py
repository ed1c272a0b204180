"""Shared by the commands that ask a broker: options for broker and job, and how answers are printed."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

from zturbo.api.task import Task
from zturbo.client.client import Client
from zturbo.client.job_ids import pick_job
from zturbo.client.reader import FailedTask
from zturbo.errortext import shown_text

__all__ = [
    "add_broker",
    "add_job",
    "connect",
    "counted",
    "fail",
    "find_job",
    "fit",
    "one_line",
    "paint",
    "print_json",
    "print_line",
    "seconds",
    "table",
    "task_map",
]

STATES = {"running": "36", "done": "32", "failed": "31", "cancelled": "33", "waiting": "33"}
"""State of a job -> its colour, an ANSI code."""


def add_broker(parser: argparse.ArgumentParser, *, as_json: str | None = "print JSON, for programs") -> None:
    """Add the options of every command that asks a broker.

    Args:
        parser: of the command.
        as_json: help text of the command's ``--json``; None if it has no such option.
    """
    if as_json is not None:
        parser.add_argument("--json", action="store_true", help=as_json)
    parser.add_argument(
        "--broker", metavar="ADDRESS", help="default: $ZTURBO_BROKER, else tcp://127.0.0.1:5555"
    )
    parser.add_argument(
        "--keys",
        metavar="PATH",
        help="a file of keys, or a folder with one; default: $ZTURBO_KEYS, else none",
    )


def add_job(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names a job."""
    parser.add_argument(
        "job", metavar="JOB", help="its id, or the first digits of its id if these are unique, or its name"
    )


def counted(text: str) -> int:
    """Read a number, 1 or more, from the command line or the environment."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number, 1 or more, found {text!r}")
    return number


def seconds(text: str) -> float:
    """Read a number of seconds, more than 0, from the command line."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, found {text!r}")
    return number


def connect(args: argparse.Namespace) -> Client:
    """A client of the broker that the command line names."""
    return Client(args.broker, keys=args.keys)


def find_job(client: Client, name: str) -> dict[str, Any]:
    """The status of one job.

    Args:
        client: of the broker.
        name: the job's id, the first digits of its id, or its name.

    Raises:
        UsageError: no job has that id or name, or more than one has.
    """
    return pick_job(client.jobs(), name)


# -- what is printed ------------------------------------------------------------------------------
def print_json(value: Any) -> None:
    """Print a value as one JSON document, with ids in hexadecimal."""
    print(_dumps(value, indent=2))


def print_line(value: Any) -> None:
    """Print a value as JSON on one line."""
    print(_dumps(value), flush=True)


def task_map(task: Task) -> dict[str, Any]:
    """A task as all commands print it in JSON; the content of a failed task is its input."""
    fields: dict[str, Any] = {"content": task.content, "meta": task.meta, "success": task.success}
    if isinstance(task, FailedTask):
        fields.update(error=str(task.error), stage=task.stage, host=task.host, traceback=task.traceback)
        if task.note:
            fields["note"] = task.note
    return fields


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
