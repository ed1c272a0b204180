"""``zturbo replay``: runs a failed task of a job in this terminal, with the input that it had."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import pdb
import sys
from types import TracebackType
from typing import Any

from zturbo.api.task import Task
from zturbo.cli.ask import add_broker, add_job, connect, find_job, task_map
from zturbo.cli.printed import fail, one_line, paint, print_json, print_line
from zturbo.client.reader import FailedTask
from zturbo.client.replay import stage_of
from zturbo.errors import UsageError
from zturbo.errortext import render, shown, shown_text
from zturbo.jobstates import LIVE

__all__ = ["add", "run"]

EPILOG = """\
examples:
  zturbo replay clip                            the only failed task of the job 'clip'
  zturbo replay clip 17.2 --pdb                 stop in the debugger, where it raises
  zturbo replay clip 17.2 --file video.toml     the network file that has the stage
  zturbo replay clip 17.2 --stage stages:Detect

In Python: handle.failed[0].replay().
exit code: 0 if the task does not fail this time, 1 if it fails again
"""

SHOWN = 20
"""Failed tasks that a list has at most."""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "replay",
        help="run a failed task again, in this terminal",
        description="Runs a task that failed with the input that its stage got, in this process, and shows "
        "where it raises. The code is that of this host: of the network file in this folder that has the "
        "stage, unless --file or --stage names it. Nothing is sent, and the job stays as it is. An ordered "
        "stage starts without the tasks that came before. This reads the job's results, so another client "
        "that reads them stops.",
        epilog=EPILOG,
    )
    add_job(parser)
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        help="path of the task, as 'zturbo job JOB --failures' shows it: 17.2; not needed if one task failed",
    )
    parser.add_argument("--pdb", action="store_true", help="open Python's debugger where the task raises")
    parser.add_argument("--file", metavar="FILE", help="the network file that has the stage")
    parser.add_argument(
        "--stage", metavar="MODULE:CLASS", help="the stage's class or function, made without arguments"
    )
    add_broker(parser, as_json="print a JSON map for each output, or of the failure")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.file and args.stage:
        raise UsageError("--file and --stage both say where the code is: give one of them")
    if args.pdb and args.json:
        raise UsageError("--pdb needs the terminal, and --json is for programs: give one of them")
    with connect(args) as client:
        job = find_job(client, args.job)
        if not job["failed"] and job["state"] in LIVE:
            raise UsageError(f"job {args.job} is {job['state']}, and no task of it has failed so far")
        if not job["failed"]:
            raise UsageError(f"job {args.job} has no failed tasks")
        if job["state"] != "done":
            raise UsageError(f"job {args.job} is {job['state']}: its failed tasks can be had when it is done")
        handle = client.attach(job["id"], from_start=True)
        failed = _pick([task for task in handle.tasks(60) if isinstance(task, FailedTask)], args.path)
    task = failed.rebuilt()
    again = stage_of(failed.stage, failed.index, args.file or args.stage, pipeline=job["pipeline"])
    if not args.json:
        print(f"task {failed.place} at stage {one_line(shown(failed.stage))}, input {shown(failed.shown)}")
        print(
            f"it failed on {one_line(shown(failed.host))}: {one_line(shown(str(failed.error)))}", flush=True
        )
    if not faulthandler.is_enabled():
        with contextlib.suppress(OSError, ValueError):  # stderr may be no file
            faulthandler.enable()  # the task may have died in native code, and may do so here
    redirected = contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext()
    try:
        with redirected, again:
            outputs = again.run(task)
    except (Exception, SystemExit) as error:
        return _failed_again(error, args)
    if bad := [one for one in outputs if isinstance(one, Task) and not one.success]:
        text = f"it gave {len(bad)} task(s) that are marked as failed"
        if args.json:
            print_json({"success": False, "error": text})
        else:
            fail(text)
        return 1
    for one in outputs:
        (print_line if args.json else _show)(task_map(one) if isinstance(one, Task) else {"content": one})
    if not args.json:
        print(paint(f"it did not fail this time, and gave {len(outputs)} task(s)", "32"))
    return 0


def _show(given: dict[str, Any]) -> None:
    print(f"gave {one_line(shown(repr(given['content'])))}")


def _failed_again(error: BaseException, args: argparse.Namespace) -> int:
    told = render(error)
    if args.json:
        print_json({"success": False, "error": told.sentence, "traceback": told.traceback})
        return 1
    print(shown_text(told.traceback.rstrip()), file=sys.stderr, flush=True)
    if args.pdb:
        pdb.post_mortem(_raised_at(error))
    else:
        fail("the task failed again; --pdb stops there")
    return 1


def _raised_at(error: BaseException) -> TracebackType | None:
    """The traceback from the stage's code on, without the calls of zturbo before it."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        if "/zturbo/client/" not in traceback.tb_frame.f_code.co_filename and (
            "/zturbo/cli/" not in traceback.tb_frame.f_code.co_filename
        ):
            break
        traceback = traceback.tb_next
    return traceback


def _pick(failed: list[FailedTask], path: str | None) -> FailedTask:
    """The failed task with this path, or the only one.

    Raises:
        UsageError: there is no such task, or more than one.
    """
    if path is None:
        found = failed
    else:
        wanted = ".".join(part.strip() for part in path.strip("()[] ").replace(",", ".").split(".") if part)
        found = [task for task in failed if task.place in (wanted, path)]
    if len(found) == 1 or (path is not None and len(found) > 1 and len({one.stage for one in found}) == 1):
        return found[0]
    if not failed:
        raise UsageError("the job's failed tasks are not among its results any more")
    lines = [f"  {task.place}  {task.stage}: {one_line(str(task.error))[:150]}" for task in failed[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(f"  and {len(failed) - SHOWN} more: 'zturbo job JOB --failures' has them all")
    what = (
        "no failed task has that path"
        if path is not None
        else f"{len(failed)} tasks failed: name one by its path"
    )
    raise UsageError("\n".join([f"{what}; there are", *lines]))
