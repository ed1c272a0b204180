"""What jobs wait for whose results are read here: it goes to the log, once, and again when it changes.

Many readers may wait for the same thing. So a line is about all jobs that have begun to wait for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from zturbo.client.subscription import Subscription
from zturbo.wire.control import answers

__all__ = ["Waits", "told_of"]

log = logging.getLogger("zturbo.client")

PATIENCE = 1.0
"""Seconds for which a job waits for the same before that is told."""


class Waits:
    """What was told of the jobs that are read. All of its methods are called in the client's I/O thread."""

    def __init__(self) -> None:
        self._since: dict[bytes, tuple[str, float]] = {}
        """Job -> what it waits for, and since when."""
        self._told: dict[bytes, str] = {}

    def look(self, readers: Iterable[Subscription], now: float) -> None:
        """Tell what is to be told."""
        before, self._since = self._since, {}
        news: dict[str, list[Subscription]] = {}
        goes_on: list[Subscription] = []
        for sub in readers:
            job = sub.stream.job
            text = f"its results: this client does not reach {sub.unreached}" if sub.unreached else sub.waits
            if not text:
                if self._told.pop(job, None):
                    goes_on.append(sub)
                continue
            known, since = before.get(job, ("", now))
            self._since[job] = text, since if known == text else now
            if now >= self._since[job][1] + PATIENCE and self._told.get(job) != text:
                self._told[job] = text
                news.setdefault(text, []).append(sub)
        for text, subs in news.items():
            log.warning("%s for %s", _who(subs, "waits", "wait"), text)
        if goes_on:
            log.warning("%s on", _who(goes_on, "goes", "go"))
        for job in self._told.keys() - self._since.keys():  # its reader has ended
            del self._told[job]


def told_of(description: answers.Description | None, job: bytes, held: str) -> str:
    """What the broker has told of a job, as a sentence for an error; empty if it has told nothing.

    Args:
        description: the broker's answer to a question about the job; None if it has not answered.
        job: its id.
        held: why the broker has not taken the job yet; empty if it has.
    """
    if held:
        return f"the broker has not taken the job yet: {held}"
    if description is None:
        return ""
    if not description.jobs:
        return f"the broker does not know job {job.hex()[:12]}"
    status = description.jobs[0]
    if status.waiting:
        return f"the job waits for {status.waiting}"
    if status.state != "running":
        return f"the job is {status.state}"
    stages = [f"{n.stage} {n.done} done, {n.running} running, {n.queued} queued" for n in status.counts]
    return f"the job runs: {'; '.join(stages)}"


def _who(subs: list[Subscription], one: str, many: str) -> str:
    name = subs[0].name
    if len(subs) == 1:
        return f"job {name!r} {one}"
    return f"job {name!r} and {len(subs) - 1} more {many}"
