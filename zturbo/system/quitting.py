"""The end of a session with a debugger or a prompt, which no handler of errors is to take for a failure."""

from __future__ import annotations

import bdb
from traceback import walk_tb

__all__ = ["quits"]

_PROMPTS = ("bdb", "pdb", "code", "_sitebuiltins", "IPython", "ipdb", "pudb")
"""Modules that show a prompt, and the module of ``exit()`` and ``quit()``."""


def quits(error: BaseException) -> bool:
    """Whether a person ended the session by this error: ``q`` in a debugger, or ``exit()`` at a prompt.

    A ``sys.exit`` of the stage's own code does not end the session: it fails its task alone, as in a worker.
    """
    if not isinstance(error, SystemExit):
        return isinstance(error, bdb.BdbQuit)
    modules = (frame.f_globals.get("__name__") for frame, _ in walk_tb(error.__traceback__))
    return any(str(name).partition(".")[0] in _PROMPTS for name in modules)
