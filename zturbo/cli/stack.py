"""``zturbo stack``: what each task does now, as the Python stack of its worker."""

from __future__ import annotations

import argparse
from typing import Any

from zturbo.cli.ask import add_broker, connect
from zturbo.cli.printed import one_line, paint, print_json
from zturbo.client.client import Client
from zturbo.client.job_ids import short
from zturbo.errortext import shown

__all__ = ["add", "run"]

EPILOG = """\
examples:
  zturbo stack                        each task that runs now, on all hosts
  zturbo stack video.detect           the workers of one stage, idle ones too
  zturbo stack node7:4711 --all       one process: all its threads, and zturbo's own calls

Of a stage that is 'async def', each task shows the 'await' at which it stands.
exit code: 1 if no stack could be had of a process
"""

NAMED = 200
"""Jobs whose names are shown."""

TASKS = 10
"""Tasks of one worker that are shown without --all."""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "stack",
        help="show what each task does now: the stack of its code",
        description="Shows, for each task that runs now, for how long, and the Python stack of its worker, "
        "the innermost call first. The worker's node asks by a signal that C code answers. So it also works "
        "if the code holds Python's lock or hangs, and on other hosts. The worker goes on undisturbed.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "what",
        metavar="STAGE|WORKER",
        nargs="?",
        help="a stage (PIPELINE.STAGE, or STAGE); or a worker: its process id, HOST:PID, or the first digits "
        "of its incarnation; or 'sink'. Default: all workers with a task",
    )
    parser.add_argument(
        "--all", action="store_true", help="show all threads, zturbo's own calls, and all tasks of a worker"
    )
    add_broker(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    with connect(args) as client:
        found = client.stacks(args.what)
        names = {} if args.json else _names(client)
    if args.json:
        print_json(found)
        return _status(found)
    if not found:
        print("no worker runs; 'zturbo jobs' shows why workers do not start")
        return 0
    found, names = shown(found), shown(names)
    idle: dict[str, int] = {}
    first = True
    for one in found:
        if not (one["tasks"] or one["note"] or args.all or args.what):
            idle[one["name"]] = idle.get(one["name"], 0) + 1
            continue
        if not first:
            print()
        first = False
        _show(one, names, whole=args.all)
    if idle:
        some = ", ".join(f"{name} x{count}" for name, count in idle.items())
        print(("" if first else "\n") + f"without a task at this moment: {some}")
    return _status(found)


def _status(found: list[dict[str, Any]]) -> int:
    return 1 if any(one["note"] for one in found) else 0


def _names(client: Client) -> dict[str, str]:
    return {job["id"]: job["name"] for job in client.describe(most=NAMED)["jobs"]}


def _show(one: dict[str, Any], names: dict[str, str], *, whole: bool) -> None:
    name = paint(one_line(one["name"]), "1")
    print(f"{name}  host {one_line(one['host'])}  pid {one['pid']}  worker {one['incarnation'][:8]}")
    tasks = one["tasks"]
    for task in tasks if whole else tasks[:TASKS]:
        path = ".".join(map(str, task["path"])) or "(root)"
        job = short(task["job"])
        called = f" ({one_line(names[task['job']])})" if task["job"] in names else ""
        print(f"  task {path} of job {job}{called}, for {task['seconds']:.1f} s")
        _frames(task["frames"], "    ")
    if len(tasks) > TASKS and not whole:
        print(f"  and {len(tasks) - TASKS} more tasks; --all shows them")
    if not tasks and not one["note"]:
        print("  no task runs at this moment")
    if one["note"]:
        print(paint(f"  no stack: {one_line(one['note'])}", "33"))
    if not whole:
        _frames(one["frames"], "    ")
        return
    for number, thread in enumerate(one["threads"]):
        print(f"  {'main thread' if number == 0 else 'thread'} {thread['thread']}".rstrip())
        _frames(thread["frames"], "    ")


def _frames(frames: list[dict[str, Any]], indent: str) -> None:
    for frame in frames:
        where = f"{one_line(frame['file'])}:{frame['line']}"
        print(f"{indent}{where} in {one_line(frame['function'])}")
