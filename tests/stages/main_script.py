"""A main script whose stage sets up logging by itself, and tells how its interpreter was started."""

from __future__ import annotations

import logging
import sys

from zturbo import Job, Resources, Stage, System, Task

logging.basicConfig(filename=sys.argv[1], level=logging.DEBUG, format="%(name)s %(message)s")


class Tells(Stage):
    """Logs, and tells the interpreter's flags."""

    def process(self, task: Task) -> Task:
        logging.getLogger("mine").debug("in process %s", task.content)
        return Task([__debug__, sys.flags.optimize, sys._xoptions, "error::UserWarning" in sys.warnoptions])


class Telling(System):
    """Of that stage."""

    show_progress = False

    def get_stages(self, resources: Resources) -> list[Stage]:
        return [Tells()]


if __name__ == "__main__":
    with Telling() as system:
        system.add_job(Job("one", Task(1)))
        print(list(system.wait_job(job_timeout=60).results))
