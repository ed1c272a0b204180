"""``zturbo top``: where the time goes and which stage is slow, as a screen that follows it."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from zturbo.cli.ask import add_broker, connect
from zturbo.cli.printed import print_json
from zturbo.client.client import Client
from zturbo.errors import ZturboError
from zturbo.errortext import shown
from zturbo.jobstates import LIVE
from zturbo.terminal.progress import REST
from zturbo.terminal.top import SORTS, Look, as_map, jobs_shown, screen

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Keys", "add", "run"]

EPILOG = """\
examples:
  zturbo top
  zturbo top --once                   print it once, as for a report
  zturbo top --json                   the same for programs

keys: up and down choose a job, Enter opens and closes it, c cancels it, r runs its failed tasks again (both
ask first), s sorts the jobs, / filters them, q leaves. Of a worker's time C is the stage's code, I
waiting for input, H held back by what follows, O zturbo itself.
"""

EVERY = 1.0
"""Seconds between two questions to the broker."""

PAGE = 200
"""Jobs that are looked at."""

HELP = "q leave  s sort: {sort}  / filter  arrows, Enter: open  c cancel  r retry failed"
OPENED = "Enter: all jobs  up, down: another job  c cancel  r retry failed  q leave"

NAMES = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down"}
"""What a terminal sends for a key -> its name."""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "top",
        help="watch which stage is slow, and why",
        description="Shows, each second: the workers of each stage, how many tasks wait in front of it, its "
        "rate, the time per task (median, and the one that 99 % of the tasks do not exceed), where its "
        "workers' time goes, and what limits the pipeline; hosts with CPU, memory, network, GPUs; jobs, "
        "and what went wrong for them.",
        epilog=EPILOG,
    )
    parser.add_argument("--once", action="store_true", help="print it once and leave")
    add_broker(parser, as_json="print JSON once, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from rich.console import Console, Group

    with connect(args) as client:
        if args.json:
            print_json(as_map(client.telemetry(), client.describe(most=PAGE)))
            return 0
        console = Console()
        title = f"zturbo top  {client.broker}"
        if args.once or not (sys.stdin.isatty() and console.is_terminal):
            told, jobs = shown(client.telemetry()), shown(client.describe(most=PAGE))
            console.print(Group(*screen(told, jobs, Look(), height=0, title=title)))
            return 0
        return _follow(client, console, title)


def _follow(client: Client, console: Console, title: str) -> int:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    keys = Keys(client)
    with _single_keys(), Live(console=console, screen=True, auto_refresh=False) as live:
        told: dict[str, Any] = {}
        jobs: dict[str, Any] = {}
        ask_at = 0.0
        while True:
            now = time.monotonic()
            if now >= ask_at:
                try:
                    told, jobs = shown(client.telemetry()), shown(client.describe(most=PAGE))
                except ZturboError as error:
                    if not told:
                        raise
                    keys.look.note = f"{error}"
                took = time.monotonic() - now
                ask_at = now + max(EVERY, REST * took)  # a viewer must not fill the broker's time
            height = console.size.height
            keys.see(jobs_shown(jobs["jobs"], keys.look))
            parts = screen(told, jobs, keys.look, height=height, title=title)
            foot = Text(keys.foot(), style="reverse", no_wrap=True, overflow="ellipsis")
            live.update(Group(*parts, Text(""), foot), refresh=True)
            if select.select([sys.stdin], [], [], max(0.0, ask_at - time.monotonic()))[0]:
                for key in _read_keys():
                    if not keys.press(key):
                        return 0


class Keys:
    """What keys do.

    Args:
        client: of the broker.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.look = Look()
        self._jobs: list[dict[str, Any]] = []
        self._asked = ""
        """The key that waits for a yes."""

    def see(self, jobs: list[dict[str, Any]]) -> None:
        """These jobs are on the screen."""
        self._jobs = jobs
        if jobs and all(job["id"] != self.look.selected for job in jobs):
            self.look.selected = jobs[0]["id"]

    def foot(self) -> str:
        """The last line."""
        look = self.look
        if look.typing:
            return f"filter: {look.words}_   (Enter ends it)"
        return look.note or (OPENED if look.opened else HELP.format(sort=look.sort))

    def press(self, key: str) -> bool:
        """A key was pressed. Returns whether to go on."""
        look = self.look
        if look.typing:
            self._type(key)
            return True
        if self._asked:
            asked, self._asked = self._asked, ""
            look.note = self._do(asked) if key == "y" else ""
            return True
        look.note = ""
        if key == "\x1b" and look.opened:
            look.opened = False
        elif key in ("q", "\x1b"):
            return False
        elif key in ("\r", "\n"):
            look.opened = not look.opened and self._chosen() is not None
        elif key == "s":
            look.sort = SORTS[(SORTS.index(look.sort) + 1) % len(SORTS)]
        elif key == "/":
            look.typing = True
        elif key in ("up", "down"):
            self._move(-1 if key == "up" else 1)
        elif key in ("c", "r"):
            self._ask(key)
        return True

    def _type(self, key: str) -> None:
        look = self.look
        if key in ("\r", "\n", "\x1b"):
            look.typing = False
        elif key in ("\x7f", "\b"):
            look.words = look.words[:-1]
        elif len(key) == 1 and key.isprintable():
            look.words += key

    def _move(self, step: int) -> None:
        ids = [job["id"] for job in self._jobs]
        if ids:
            at = ids.index(self.look.selected) if self.look.selected in ids else 0
            self.look.selected = ids[min(len(ids) - 1, max(0, at + step))]

    def _chosen(self) -> dict[str, Any] | None:
        return next((job for job in self._jobs if job["id"] == self.look.selected), None)

    def _ask(self, key: str) -> None:
        job = self._chosen()
        if job is None:
            return
        if key == "c" and job["state"] not in LIVE:
            self.look.note = "this job has ended: nothing to cancel"
        elif key == "r" and not (job["state"] == "done" and job["failed"]):
            self.look.note = "this job has no failed tasks to run again, or has not ended yet"
        else:
            self._asked = key
            what = "cancel" if key == "c" else f"run the {job['failed']} failed tasks again of"
            self.look.note = f"{what} job {job['id'][:12]}? y: yes, any other key: no"

    def _do(self, key: str) -> str:
        """Cancel or retry the chosen job. Returns what became of it."""
        job = self._chosen()
        if job is None:
            return ""
        try:
            handle = self._client.attach(job["id"])
            if key == "c":
                handle.cancel()
                return f"job {job['id'][:12]} is cancelled"
            again = handle.retry_failed()
        except ZturboError as error:
            return f"{error}"
        return f"its failed tasks run again as job {again.id[:12]}"


def _read_keys() -> list[str]:
    """The keys that were pressed."""
    raw = os.read(sys.stdin.fileno(), 64)
    keys = []
    while raw:
        name = next((code for code in NAMES if raw.startswith(code)), None)
        if name is not None:
            keys.append(NAMES[name])
            raw = raw[len(name) :]
        else:
            keys.append(raw[:1].decode("latin-1"))
            raw = raw[1:]
    return keys


@contextlib.contextmanager
def _single_keys() -> Iterator[None]:
    """Let the terminal give each key at once, and show none."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield
    finally:
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
