"""``zturbo completion``: prints a script that completes commands and options in a shell."""

from __future__ import annotations

import argparse
from typing import Any

from zturbo.errors import UsageError

__all__ = ["add", "run"]

EPILOG = """\
bash:  zturbo completion bash > ~/.local/share/bash-completion/completions/zturbo
zsh:   zturbo completion zsh > ~/.zfunc/_zturbo      (a folder of $fpath)
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "completion",
        help="print a script for completion in a shell",
        description="Prints a script that completes zturbo's commands and options. Needs shtab, which the "
        "extra 'cli' brings.",
        epilog=EPILOG,
    )
    parser.add_argument("shell", choices=("bash", "zsh"), help="which shell")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    try:
        import shtab
    except ImportError:
        raise UsageError("completion needs shtab: pip install 'zturbo[cli]'") from None
    print(shtab.complete(args.top, shell=args.shell))
    return 0
