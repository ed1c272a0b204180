"""The command line: ``zturbo COMMAND``. One module per command.

Exit codes: 0 done; 1 a job failed, or has failed tasks; 2 a mistake in what was asked (arguments, network
file, unknown names); 3 no broker answers; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import sys

from zturbo.cli import broker, jobs, sink, stage, submit, up
from zturbo.errors import BrokerUnavailable, JobError, ResultTimeout, ZturboError
from zturbo.version import __version__

__all__ = ["main"]

COMMANDS = (up, broker, sink, stage, submit, jobs)

EPILOG = """\
begin with:
  zturbo up examples/toy/toy.toml            all of a network file, on this host
  zturbo submit toy '[1, 10]' --json         in another terminal: run a job, print its results
  zturbo jobs                                what the broker has

every command has a --help of its own. The broker's address is --broker, else $ZTURBO_BROKER,
else tcp://127.0.0.1:5555.
"""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog="zturbo",
        description="Pipelines of stages as independent processes on any number of hosts.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"zturbo {__version__}")
    commands = top.add_subparsers(metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    top = parser()
    args = top.parse_args(argv)
    if not hasattr(args, "run"):
        top.print_help()
        return 0
    level = logging.DEBUG if getattr(args, "debug", False) else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        code: int = args.run(args)
        return code
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130
    except BrokerUnavailable as error:
        print(f"zturbo: {error}", file=sys.stderr)
        return 3
    except (JobError, ResultTimeout) as error:
        print(f"zturbo: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except ZturboError as error:
        print(f"zturbo: {error}", file=sys.stderr)
        return 2
