"""The guard round the handlers of messages: what one raises is counted and logged, and ends no process.

Whatever comes over a socket may be wrong in a way that nobody thought of. A handler that fails has failed for
that message alone. The log says so at once, and then at most every :data:`TELL_EVERY` seconds, with how often
it happened meanwhile: a stranger who sends a thousand such messages a second does not fill a disk.
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
"""Characters of a traceback that are logged. Those of an error's text may be what a stranger sent."""


class Guard:
    """What handlers of one process have raised.

    Args:
        log: where it is told.
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
        """A handler raised this. Never raises.

        Args:
            what: what was handled, as a sentence's object.
            error: what it raised.
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
