"""Processes that the stage's code forks from its worker, and the things that they must not share with it.

``os.fork``, and ``multiprocessing`` where it forks, copy the worker with its signal handlers and its note
of what runs. A copy that returned from the stage's code would go on as a second worker. It would write into
the note, and remove the worker's socket files at its end. So a copy ends as soon as it returns.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from zturbo.runtime.process.running import RunningNote

__all__ = ["Copied", "part_on_fork"]


class Copied(RunningNote):
    """A note in a forked process: any call that notes something ends the process."""

    def _end(self, *args: Any) -> None:
        text = (
            f"zturbo: process {os.getpid()}, which the stage's code has forked, came back from that code, "
            "and ends here. Let a forked process end by itself, with os._exit()\n"
        )
        with suppress(OSError):
            os.write(
                2, text.encode()
            )  # no logger: a thread of the worker may have held a lock when it forked
        os._exit(1)

    begin = run = several = task = end = enter = gave = leave = _end  # type: ignore[assignment]


def part_on_fork(running_note: RunningNote, ours: Mapping[int, Any]) -> None:
    """From now on, keep a process that is forked from this worker out of the worker's part.

    During a fork these signals wait. Else the worker's handler would take a SIGTERM that is sent to the new
    process at once.

    Args:
        running_note: the worker's note.
        ours: signal -> the worker's handler. In the copy each signal has its usual effect again, unless the
            stage's code has replaced the handler.
    """
    here = threading.local()

    def before() -> None:
        here.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ours.keys())

    def after() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, here.mask)

    def after_in_child() -> None:
        running_note.close()  # a method of it may have been looked up before
        running_note.__class__ = Copied
        for number, handler in ours.items():
            if signal.getsignal(number) is handler:
                usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, usual)
        after()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=after_in_child)
