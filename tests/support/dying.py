"""A real broker or sink that kills itself at a chosen place, in each of its first lives.

Run by the node in place of the real module. ``$DYING`` says what is run and where it dies:
``module|method|when|call|lives|folder``, for example
``zturbo.runtime.members.sink|zturbo.runtime.disk.spool:Spool.sync|after|3|2|DIR``: after the third call of
that method, in each of its first two lives, which are counted in DIR. ``$DYING_SIGNAL`` names another signal
than SIGKILL: with SIGSTOP it only stands still.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any


def main() -> int:
    """The real main function, with a patch in it."""
    module, where, when, call, lives, folder = os.environ["DYING"].split("|")
    number = signal.Signals[os.environ.get("DYING_SIGNAL", "SIGKILL")]
    mark = Path(folder) / "lives"
    lived = len(mark.read_bytes()) if mark.exists() else 0
    with mark.open("ab") as file:
        file.write(b".")
    path, _, name = where.partition(":")
    cls, _, method = name.partition(".")
    owner = getattr(importlib.import_module(path), cls)
    original = getattr(owner, method)
    calls = 0

    def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if when == "before" and calls == int(call):
            os.kill(os.getpid(), number)
        result = original(*args, **kwargs)
        if when == "after" and calls == int(call):
            os.kill(os.getpid(), number)
        return result

    if lived < int(lives):
        setattr(owner, method, deadly)
    result: int = importlib.import_module(module).main()
    return result


if __name__ == "__main__":
    sys.exit(main())
