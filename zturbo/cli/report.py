"""``zturbo report``: writes a page on a job, as one HTML file."""

from __future__ import annotations

import argparse
from typing import Any

from zturbo.cli.ask import add_broker, add_job, connect, find_job, output_file
from zturbo.cli.printed import print_json
from zturbo.errortext import how_many

__all__ = ["add", "run"]

EPILOG = """\
examples:
  zturbo report clip -o clip.html
  zturbo report clip --failures -o clip.html      with its failed tasks, their inputs and tracebacks

In Python, "with client.report('run.html'):" makes one on all that runs in the block, with the memory of each
process.
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "report",
        help="write a page on a job: what limited it, what each worker did",
        description="Writes one HTML file that needs nothing else: the stage that limited the job and what "
        "to do about it, times per stage, what each worker did and when, warnings, hosts, versions. Workers "
        "keep what they did for some minutes, so ask soon after the job's end.",
        epilog=EPILOG,
    )
    add_job(parser)
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the file to write")
    parser.add_argument(
        "--failures",
        action="store_true",
        help="list its failed tasks, too, once it has ended. This reads the job's results, so another client "
        "that reads them stops, and 'zturbo result' then needs --from-start",
    )
    add_broker(parser, as_json="print what was written as JSON, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from zturbo.client.report import job_report
    from zturbo.telemetry.report import page

    path = output_file(args.output)
    with connect(args) as client:
        job = find_job(client, args.job)
        report = job_report(client, job, failures=args.failures)
    path.write_text(page(report))
    told = {"file": args.output, "workers": len(report.lanes), "failed": len(report.failed)}
    if args.json:
        print_json(told)
    else:
        workers, failed = how_many(len(report.lanes), "worker"), how_many(job["failed"], "failed task")
        listed = (
            "; --failures lists them"
            if job["failed"] and job["state"] == "done" and not args.failures
            else ""
        )
        print(f"{args.output}: {workers}, {failed}{listed}")
    return 0
