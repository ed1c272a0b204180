"""A stage that prints and logs."""

from __future__ import annotations

import logging
import sys

from zturbo import Stage, Task

__all__ = ["Loud"]


class Loud(Stage):
    """Says each task in three ways."""

    def process(self, task: Task) -> Task:
        print("printed", task.content)
        print("told", task.content, file=sys.stderr)
        logging.getLogger("loud").info("logged %s", task.content)
        return task
