"""A worker without a node answers by itself when people look at it: stacks, profiles, its trace."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from zturbo.runtime.node.looking import Looking
from zturbo.runtime.process.ringfile import RingFile
from zturbo.runtime.process.running import RunningNote
from zturbo.runtime.process.stackfile import StackFile, answer_signals
from zturbo.wire.control import from_broker, to_broker

__all__ = ["Alone"]


class Alone:
    """This process, as a node sees a child; it is its own node.

    Looks are taken in a thread of their own. So they wait neither for the stage's code nor for a debugger.

    Args:
        incarnation: id of this process, and of its node.

    Attributes:
        running_fd: descriptor of the memory for its note of what runs.
        ring_fd: descriptor of the memory for its trace.
    """

    is_worker = True

    def __init__(self, incarnation: bytes) -> None:
        self.incarnation = incarnation
        self.pid = os.getpid()
        self.info: dict[str, Any] = {}
        self.running_fd, self.ring_fd, stack_fd = RunningNote.make(), RingFile.make(), StackFile.make()
        self.running_note = RunningNote(os.dup(self.running_fd))
        self.ring = RingFile(os.dup(self.ring_fd))
        self.stacks = StackFile(os.dup(stack_fd))
        answer_signals(stack_fd)
        self._questions: SimpleQueue[from_broker.LookAt] = SimpleQueue()

    def signal(self, number: int) -> None:
        """Send a signal to this process."""
        os.kill(self.pid, number)

    def ask(self, question: from_broker.LookAt) -> None:
        """The broker asks. Thread-safe; does not wait."""
        self._questions.put(question)

    def answer(self, say: Callable[[to_broker.Seen], None]) -> None:
        """Begin to answer.

        Args:
            say: sends a message to the broker; called in another thread.
        """
        looking = Looking(
            self.incarnation, lambda target: (self, None) if target == self.incarnation else None, say
        )

        def run() -> None:
            while True:
                due = looking.deadline() - time.monotonic()
                with contextlib.suppress(Empty):
                    question = self._questions.get(timeout=None if due == math.inf else max(0.0, due))
                    looking.begin(question, time.monotonic())
                looking.tick(time.monotonic())

        threading.Thread(target=run, name="looks", daemon=True).start()
