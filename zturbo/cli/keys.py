"""``zturbo keys``: makes, lists and revokes the keys of a network."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from zturbo.cli.printed import print_json
from zturbo.errors import UsageError
from zturbo.runtime.net import keys

__all__ = ["add", "run"]

ACTIONS = {"init": (0, 1), "add": (2, 2), "list": (0, 0), "revoke": (1, 1)}
"""Action -> how many words it takes."""

USAGE = {
    "init": "'zturbo keys init [FOLDER]'",
    "add": f"'zturbo keys add ROLE NAME', with a role of: {', '.join(keys.ROLES)}",
    "list": "'zturbo keys list'",
    "revoke": "'zturbo keys revoke NAME'",
}

DESCRIPTION = """\
Makes the keys of a network, in a folder on the broker's host. Who has a key of it can connect, and can do
what the key's role may:

  node     run stages and sinks
  client   submit jobs; read and cancel its own
  viewer   read states, logs and results; change nothing
  admin    what a client may, with all jobs

Copy a private file to its host over a way that you trust (scp), and name it there with --keys or ZTURBO_KEYS.
A running broker notices new and revoked keys within a second.
"""

EPILOG = """\
examples:
  zturbo keys init keys              the broker's keys, a node's for its host, an admin's
  zturbo up video.toml --keys keys
  zturbo keys add node gpu1          keys/node-gpu1.key, for the host gpu1
  scp keys/node-gpu1.key gpu1:       and there: zturbo stage video.toml video.detect --keys node-gpu1.key
  zturbo keys list
  zturbo keys revoke gpu1
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "keys",
        help="make, list and revoke the keys of a network",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("action", metavar="ACTION", choices=list(ACTIONS), help="init, add, list or revoke")
    parser.add_argument(
        "words", metavar="WORD", nargs="*", help="'init [FOLDER]', 'add ROLE NAME', 'list', 'revoke NAME'"
    )
    parser.add_argument(
        "--keys", metavar="FOLDER", help="the broker's folder of keys; default: $ZTURBO_KEYS, else keys"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    words: list[str] = args.words
    least, most = ACTIONS[args.action]
    if not least <= len(words) <= most:
        raise UsageError(f"zturbo keys {args.action}: expected {USAGE[args.action]}")
    folder = Path(args.keys or os.environ.get("ZTURBO_KEYS") or "keys")
    if args.action == "init":
        folder = Path(words[0]) if words else folder
        files = keys.make_folder(folder)
        names = ", ".join(path.name for path in files)
        _told(args, [str(path) for path in files], f"made {names} in {folder}")
    elif args.action == "add":
        path = keys.add(folder, *words)
        told = f"made {path}: move it to its host over a way that you trust, and name it there with --keys"
        _told(args, {"role": words[0], "name": words[1], "path": str(path)}, told)
    elif args.action == "revoke":
        who = keys.revoke(folder, words[0])
        _told(args, {"role": who.role, "name": who.name}, f"revoked {who}")
    else:
        found = keys.read_folder(folder)
        lines = "\n".join(f"{who.role:<7} {who.name}" for who in found)
        _told(args, [{"role": who.role, "name": who.name} for who in found], lines or "no key is let in")
    return 0


def _told(args: argparse.Namespace, value: Any, text: str) -> None:
    if args.json:
        print_json(value)
    else:
        print(text)
