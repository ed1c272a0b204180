"""The guard round each handler of messages: it counts and logs errors, so that none ends the process.

A message from a socket may be wrong in a way that no check foresees. Its handler then fails for this message
alone. The log tells of the first such error at once, and of later ones at most every :data:`TELL_EVERY`
seconds, with their number. So a stranger that sends a thousand such messages a second does not fill a disk.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from zturbo.errortext import clip, traceback_text, type_name

__all__ = ["Guard"]

TELL_EVERY = 10.0
"""Seconds between two lines in the log."""

SHOWN = 4000
"""Characters of a traceback that are logged: an error's text may be a stranger's."""


class Guard:
    """The errors that handlers of one process have raised.

    Args:
        log: they are logged here.
        clock: the time.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self.caught = 0
        """How often a handler has failed."""
        self._untold = 0
        self._tell_at = float("-inf")

    def failed(self, what: str, error: Exception) -> None:
        """Take an error that a handler has raised. Never raises itself.

        Args:
            what: the thing that was handled, as the object of a sentence.
            error: the error.
        """
        self.caught += 1
        now = self._clock()
        if now < self._tell_at:
            self._untold += 1
            return
        self._tell_at = now + TELL_EVERY
        more, self._untold = self._untold, 0
        meanwhile = f" ({more} more were dropped since the last such line)" if more else ""
        self._log.error(
            "dropped %s, whose handler failed with %s%s:\n%s",
            what,
            type_name(error),
            meanwhile,
            clip(traceback_text(error), SHOWN),
        )
