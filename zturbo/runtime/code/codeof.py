"""Which code a stage has on this host: its fingerprint, found in a process of its own.

The fingerprint covers all modules of the user that a process has imported, so each stage needs a new process.
"""

from __future__ import annotations

import subprocess
import sys

from zturbo.errors import StartError, ZturboError
from zturbo.errortext import shown_text
from zturbo.runtime.code.fingerprint import fingerprint
from zturbo.runtime.code.importing import load_class
from zturbo.runtime.process.boot import command

__all__ = ["code_of", "fingerprint_of", "main"]

PATIENCE = 120.0
"""Seconds that the imports of a stage may take."""

_MARK = "fingerprint:"


def code_of(name: str) -> str:
    """The fingerprint that a worker of a stage would have on this host; empty if it imports no user's module.

    Args:
        name: the stage's class or function, ``module:Class``. Its module is imported in another process.

    Raises:
        StartError: it cannot be imported, or not in time.
    """
    words = [*command(__name__), name]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise StartError(f"{name} was not imported within {PATIENCE:g} s") from None
    told = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode or not told:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise StartError(shown_text(last))
    return told[-1].removeprefix(_MARK)


def fingerprint_of(name: str) -> str:
    """The fingerprint of this process, once it has imported a stage's class. A worker has the same."""
    load_class(name)
    return fingerprint(name.partition(":")[0].partition(".")[0])


def main() -> None:
    """Print the fingerprint of the stage that the command line names."""
    try:
        code = fingerprint_of(sys.argv[-1])
    except ZturboError as error:
        sys.exit(str(error))
    sys.stdout.write(f"\n{_MARK}{code}\n")


if __name__ == "__main__":
    main()
