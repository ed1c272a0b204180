"""Shared by the commands that ask a broker: options for broker and job, and tasks as JSON."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from zturbo.api.task import Task
from zturbo.client.client import Client
from zturbo.client.job_ids import pick_job
from zturbo.client.reader import FailedTask
from zturbo.errors import UsageError

__all__ = ["add_broker", "add_job", "connect", "counted", "find_job", "output_file", "seconds", "task_map"]


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
        help="a file of keys, or a folder with one; default: $ZTURBO_KEYS, else those of "
        "your own broker on loopback, else none",
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


def output_file(text: str) -> Path:
    """The file that ``-o`` names; raises UsageError if its folder is not there, before any work is done."""
    path = Path(text)
    if not path.parent.is_dir():
        raise UsageError(f"-o {text}: there is no folder {str(path.parent)!r}")
    return path


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
    jobs = client.jobs()
    job = pick_job(jobs, name)
    shown = any(one["id"] == job["id"] for one in jobs)
    return job if shown else client.jobs(job["id"])[0]  # one of those that share a row


def task_map(task: Task) -> dict[str, Any]:
    """A task as all commands print it in JSON; the content of a failed task is its input."""
    fields: dict[str, Any] = {"content": task.content, "meta": task.meta, "success": task.success}
    if isinstance(task, FailedTask):
        fields.update(error=str(task.error), stage=task.stage, host=task.host, path=list(task.path))
        fields.update(traceback=task.traceback)
        if task.note:
            fields["note"] = task.note
    return fields
