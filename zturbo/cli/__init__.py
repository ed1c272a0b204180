"""The command line: ``zturbo COMMAND``. One module per command.

Precedence of settings: flag, environment variable (``ENVIRONMENT``), network file.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import io
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zturbo.api.log import FORMAT, SafeFormatter
from zturbo.cli.launchers import add_launchers
from zturbo.cli.printed import fail
from zturbo.deploy.settings import BROKER, LISTEN, flag_of, variable_of
from zturbo.errors import AccessDenied, BrokerUnavailable, JobError, ResultTimeout, ZturboError
from zturbo.errortext import error_text
from zturbo.exitcodes import UNFIT_CODE
from zturbo.version import __version__

if TYPE_CHECKING:
    from zturbo.runtime.node.forking import Forking

__all__ = ["ENVIRONMENT", "EXIT_CODES", "main", "parser"]

COMMANDS = (
    *("new", "check", "up", "broker", "sink", "stage", "submit", "jobs", "job"),
    *("top", "stack", "profile", "trace", "otel", "report", "dashboard", "hosts"),
    *("doctor", "result", "logs"),
    *("cancel", "retry", "replay", "keys", "deploy", "slurm", "render", "completion"),
)
"""The modules of the commands, which have their names. Only the one that runs is imported."""

OF_ALL = ("completion",)
"""Commands that look at the parsers of the others."""

VERSION = f"zturbo {__version__}"

EXIT_CODES = {
    0: "done",
    1: "a job failed, has failed tasks, or did not end in time; 'doctor' has found a fault; 'otel' "
    "could not send all spans",
    2: "a mistake in arguments or network file, or an unknown name",
    3: "no broker answers",
    UNFIT_CODE: "the broker refuses this command for good: a wrong, missing or revoked key, a key that may "
    "not do this, another version of zturbo, or addresses that other hosts have not reached for two minutes",
    130: "stopped by Ctrl-C",
}
"""Exit code -> what it means."""

ENVIRONMENT = {
    "ZTURBO_BROKER": "address of the broker to connect to: --broker",
    "ZTURBO_BIND": "address that the broker of 'up' and 'broker' listens at: --bind",
    "ZTURBO_ADDRESS": "address at which other hosts reach this one: --address",
    "ZTURBO_LISTEN": "addresses that 'stage' and 'sink' listen at: --bind",
    "ZTURBO_ADVERTISE": "addresses that others are told: --advertise",
    "ZTURBO_STATE": "folder of the ledger and the spools: --state",
    "ZTURBO_KEYS": "a file of keys, or a folder of them: --keys",
    "ZTURBO_SSH": "ssh with its options, for 'deploy': --ssh",
    "ZTURBO_DASHBOARD_TOKEN": "what a browser has to know where other hosts reach the page of 'dashboard'",
    "ZTURBO_INSECURE": "1: bind to addresses that other hosts can reach: --insecure",
    "ZTURBO_READY_FILE": "file that is there while all processes have joined: --ready-file",
    "ZTURBO_VERBOSE": "1: log more: --verbose",
    "ZTURBO_NUMBER": "tells sinks of one host apart: --number",
    "ZTURBO_DASHBOARD_BIND": "address of the page of 'dashboard': --bind",
    "ZTURBO_RENDEZVOUS": "folder by which the nodes of 'slurm' find each other: --rendezvous",
    "ZTURBO_WORKERS": "number of workers that 'stage' runs: --workers",
    **{
        variable_of(key): f"{of.about}: {flag_of(key)}"
        for key, of in {**LISTEN, **BROKER}.items()
        if key not in ("bind", "state", "keys")  # those are above
    },
    "NO_COLOR": "if it is set, no colours",
    "FORCE_COLOR": "if it is set, colours also in pipes",
}
"""Variable -> meaning."""


def _listed(texts: Mapping[Any, str]) -> str:
    width = max(len(str(name)) for name in texts)
    return "\n".join(f"  {name!s:<{width}}  {text}" for name, text in texts.items())


EPILOG = f"""\
begin with:
  zturbo new words                           write a small project: stages, network file, test
  cd words; zturbo up network.toml           run all of a network file on this host
  zturbo submit words "one two"              in another terminal: run a job, print its results
  zturbo jobs                                what the broker has

every command has a --help of its own, with examples. Where no broker is named, it is tcp://127.0.0.1:5555.

environment (precedence: flag, environment variable, network file):
{_listed(ENVIRONMENT)}

exit codes:
{_listed(EXIT_CODES)}
"""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Fills paragraphs, and leaves texts of several lines as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        kind = argparse.RawDescriptionHelpFormatter if "\n" in text else argparse.HelpFormatter
        return kind._fill_text(self, text, width, indent)


class _Parser(argparse.ArgumentParser):
    """Errors that say what to type instead."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"formatter_class": _Help, **options})

    takes_program = False
    """Whether the words after ``--`` are a program with its arguments, which become ``program``."""
    _mixing = False

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse a command line; returns also the words that no argument takes."""
        if not self.takes_program:
            return self._parse_mixed(args, namespace)
        words = list(args or ())
        end = words.index("--") if "--" in words else len(words)
        found, rest = self._parse_mixed(words[:end], namespace)
        found.program = words[end + 1 :]
        return found, rest

    def _parse_mixed(
        self, args: Sequence[str] | None, namespace: argparse.Namespace | None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Options may stand between words, also where the number of words is open."""
        is_open = any(action.nargs in ("?", "*", "+") for action in self._get_positional_actions())
        if self._mixing or not is_open or "--" in (args or ()):
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False

    def error(self, message: str) -> None:  # type: ignore[override]
        """Print it and exit with 2."""
        if "invalid choice: " in message and self.prog == "zturbo":
            word = message.split("invalid choice: ")[1].split("'")[1]
            near = difflib.get_close_matches(word, COMMANDS, 1)
            hint = f"did you mean 'zturbo {near[0]}'?" if near else f"there are: {', '.join(COMMANDS)}"
            message = f"there is no command {word!r}; {hint}"
        elif "unrecognized arguments: " in message:
            word = message.split(": ", 1)[1].split()[0].split("=")[0]
            options = _all_options()
            near = difflib.get_close_matches(word, options, 1)
            if word in options:
                message += "; other commands have it, this one has not"
            elif near:
                message += f"; did you mean {near[0]!r}?"
        fail(message)
        print(f"'{self.prog} --help' tells more", file=sys.stderr)
        raise SystemExit(2)


def _all_options() -> list[str]:
    """Of all commands."""
    subs = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    parsers = [command for sub in subs for command in sub.choices.values()]
    return sorted({word for command in parsers for word in command._option_string_actions})


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands, or of one of them, which takes a tenth of a second less."""
    top = _Parser(
        prog="zturbo",
        description="Pipelines of stages as independent processes on any number of hosts.",
        epilog=EPILOG,
    )
    top.add_argument("--version", action="version", version=VERSION)
    commands = top.add_subparsers(metavar="COMMAND")
    for name in COMMANDS if only is None else (only,):
        importlib.import_module(f"zturbo.cli.{name}").add(commands)
    if only is None:
        add_launchers(commands)
    top.set_defaults(top=top)
    return top


def main(argv: list[str] | None = None, forking: Forking | None = None) -> int:
    """Run a command line.

    Args:
        argv: its words; default: those of this process.
        forking: the fork server of the node that the command starts, if there is one already. It is closed.

    Returns:
        The exit code.
    """
    words = sys.argv[1:] if argv is None else argv
    alone = bool(words) and words[0] in COMMANDS and words[0] not in OF_ALL
    try:
        return _run(words, alone, forking)
    except KeyboardInterrupt:  # while the command was read, or its last line was written
        return 130
    finally:
        if forking is not None:
            forking.close()


def _run(words: list[str], alone: bool, forking: Forking | None) -> int:
    if words == ["--version"]:  # without a look at all commands
        print(VERSION)
        return 0
    top = parser(words[0] if alone else None)
    args = top.parse_args(words)
    args.forking = forking
    if not hasattr(args, "run"):
        top.print_help()
        return 0
    level = logging.DEBUG if getattr(args, "verbose", False) else logging.WARNING
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter(FORMAT))
    logging.basicConfig(level=level, handlers=[handler])
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name of a file may have bytes that are no text
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _do(args)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nor let the interpreter fail to flush it
        return 0
    except KeyboardInterrupt:
        return 130
    except BrokerUnavailable as error:
        fail(str(error))
        return 3
    except AccessDenied as error:
        fail(str(error))
        return UNFIT_CODE
    except (JobError, ResultTimeout) as error:
        fail(f"{type(error).__name__}: {error}")
        return 1
    except ZturboError as error:
        fail(str(error))
        return 2
    except (OSError, MemoryError, RuntimeError) as error:
        full = _no_room(error)
        if not full and not isinstance(error, OSError):
            raise
        fail(error_text(error, 300) + ("; 'ulimit -a' tells what this process may have" if full else ""))
        return 1


def _do(args: argparse.Namespace) -> int:
    """Run the command; an error undoes what it has only made ready."""
    try:
        code: int = args.run(args)
    except ZturboError:
        if (undo := getattr(args, "undo", None)) is not None:
            undo()
        raise
    return code


def _no_room(error: BaseException) -> bool:
    """Whether there is no memory, thread, process or descriptor left."""
    if isinstance(error, OSError):
        return error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
    return isinstance(error, MemoryError) or str(error) == "can't start new thread"
