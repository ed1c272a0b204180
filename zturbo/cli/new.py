"""``zturbo new``: writes a small project that runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from zturbo.cli.printed import print_json
from zturbo.errors import UsageError

__all__ = ["FILES", "add", "run"]

STAGES = '''\
"""Three stages: split a text into lines, count the words of each, and add them up in order."""

from zturbo import ReorderStage, Stage, Task


class Lines(Stage):
    """A text gives a task for each of its lines."""

    def process(self, task):
        for line in task.content.splitlines():
            yield Task(line)


class Count(Stage):
    """Runs in several processes, in any order; network.toml says in how many."""

    def __init__(self, least=1):
        super().__init__()
        self.least = least

    def process(self, task):
        words = [word for word in task.content.split() if len(word) >= self.least]
        return Task({"line": task.content, "words": len(words)})


class Total(ReorderStage):
    """Sees all lines of a job, in order, in one process."""

    interleave = True  # all of a job's state is made in reset(), so jobs may share a process

    def reset(self):
        self.total = 0

    def process(self, task):
        self.total += task.content["words"]
        return Task({**task.content, "total": self.total})
'''

NETWORK = """\
[broker]
bind = "tcp://127.0.0.1:5555"

[[pipeline]]
name = "words"

  [[pipeline.stage]]
  name = "lines"
  class = "stages:Lines"

  [[pipeline.stage]]
  name = "count"
  class = "stages:Count"
  workers = 2
  args = { least = 1 }        # keyword arguments of the class

  [[pipeline.stage]]
  name = "total"
  class = "stages:Total"
"""

TEST = '''\
"""Runs the pipeline in this process, where a debugger works. Run this test with: python -m unittest"""

import unittest

from stages import Count, Lines, Total

from zturbo import Task
from zturbo.testing import run  # processes=True: in real ones


class Words(unittest.TestCase):
    def test_words_are_added_up_in_order(self):
        results = run([Lines(), Count(), Total()], Task("one two\\nthree\\n\\nfour five six"))
        self.assertEqual([result["total"] for result in results], [2, 3, 3, 6])
'''

FILES = {"stages.py": STAGES, "network.toml": NETWORK, "test_stages.py": TEST}
"""Name -> text of each file of a new project."""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "new",
        help="write a small project that runs: stages, network file, test",
        description="Writes a small project into a new or empty folder: stages.py, network.toml, "
        "test_stages.py. Then prints the next commands to type.",
        epilog="example:\n  zturbo new words",
    )
    parser.add_argument("dir", metavar="DIR", help="a folder that does not exist yet, or is empty")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    folder = Path(args.dir)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already, and not an empty folder: name another one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in FILES.items():
            (folder / name).write_text(text)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from None
    if args.json:
        print_json({"folder": str(folder.absolute()), "files": list(FILES)})
        return 0
    print(f"{folder} has {', '.join(FILES)}. Next:\n")
    print(f"  cd {folder}")
    print("  zturbo up network.toml                             runs all of it on this host; Ctrl-C stops it")
    print('  zturbo submit words "$(cat stages.py)"             in another terminal: prints the results')
    print(
        "  python -m unittest                                 runs its test in one process; pytest does, too"
    )
    return 0
