"""The event loop's turns in which a worker's own code runs beside the stage's coroutines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from zturbo.errortext import type_name
from zturbo.runtime.code.context import StageContext

__all__ = ["Turns"]

log = logging.getLogger("zturbo.worker")


class Turns:
    """Runs callbacks of ours on a loop, and ends the loop with the first error that one of them raises.

    Args:
        loop: the loop.
        context: the stage.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, context: StageContext) -> None:
        self.loop = loop
        self._context = context
        self.fatal: BaseException | None = None
        """The error that ends this process: one of ours."""

    def run(self) -> None:
        """Run the loop until it is stopped."""
        while not self._run_once():
            pass

    def _run_once(self) -> bool:
        """Run the loop until it is stopped, or passes an exception on. Returns whether it was stopped.

        A loop passes on the SystemExit and KeyboardInterrupt of each of its tasks and callbacks. Those of
        the stage's code are noted where they belong, or belong to nobody. All other exceptions are the loop's
        own: it cannot go on, such as without its descriptors.
        """
        try:
            self.loop.run_forever()
        except self._context.through:
            raise
        except (SystemExit, KeyboardInterrupt) as error:
            log.debug("the event loop goes on after %s", type_name(error))
            return False
        return True

    def soon(self, call: Callable[[], None]) -> None:
        """Call this in the loop's next turn."""
        self.loop.call_soon(self.guard, call)

    def from_any_thread(self, call: Callable[[], None]) -> None:
        """As :meth:`soon`, from any thread. Without a loop nothing is called: this worker is leaving."""
        try:
            self.loop.call_soon_threadsafe(self.guard, call)
        except RuntimeError:
            return

    def guard(self, call: Callable[..., None], *args: Any) -> None:
        """Call this; its error ends this process. A loop only logs what its callbacks raise."""
        try:
            call(*args)
        except BaseException as error:
            self.end(error)

    def end(self, error: BaseException) -> None:
        """End the loop, and this process, with the first of such errors."""
        self.fatal = self.fatal or error
        self.loop.stop()
