"""Which stage limits a pipeline, and what to do about it, as a sentence.

The stage whose workers work the greatest part of their time limits the whole: those before it are held
back, those after it wait for input. A stage that works nearly all its time, with tasks waiting in front of
it, limits it whatever the stages before it do: with more workers these would only make more wait. With more
workers of the one that limits it, the next busiest would. The sentence says how many would help and how much,
if the work stays what it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from zturbo.telemetry.flow import HostFlow, PipelineFlow, StageFlow

__all__ = ["Verdict", "bottleneck", "per_second", "shown_time"]

LIMIT = 0.7
"""Part of its time that a stage has to work to be named as the limit."""

FULL = 0.9
"""Part of its time from which a stage with tasks in front of it could do no more."""

CROWDED = 4
"""Tasks for each worker in front of such a stage at least."""

HELD = 0.3
"""Part of its time that the last stage has to be held back for the sink, or its reader, to be named."""

MOST_TIMES = 4
"""Times as many workers as there are that are advised, at most."""


IDLE_CPU = 0.05
"""CPUs that a busy worker uses at least, if the number of CPUs matters for it."""


_NONE: Mapping[str, str] = MappingProxyType({})


class Verdict(NamedTuple):
    """What limits a pipeline now."""

    stage: str | None
    """The stage that limits it; None if none does."""
    text: str
    """A sentence for people."""


def bottleneck(
    pipeline: PipelineFlow, hosts: Iterable[HostFlow] = (), problems: Mapping[str, str] = _NONE
) -> Verdict:
    """What limits a pipeline.

    Args:
        pipeline: what its members have measured.
        hosts: where these are: whether their CPUs are all in use.
        problems: stage -> why its workers do not start.
    """
    stages = pipeline.stages
    for stage in stages:
        if not stage.workers and stage.name in problems:
            return Verdict(stage.name, f"{stage.name} does not start: {problems[stage.name]}")
    for stage in stages:
        if not stage.workers and stage.waiting:
            return Verdict(stage.name, f"{stage.name} has no worker: {stage.waiting} wait in front of it")
    if not any(stage.rate or stage.busy or stage.waiting for stage in stages):
        return Verdict(None, "idle: no task waits or runs")
    full = [one for one in stages if one.load >= FULL and one.waiting >= CROWDED * len(one.workers)]
    busiest = full[-1] if full else max(stages, key=lambda stage: (stage.load, stage.waiting))
    if busiest.load >= LIMIT:
        here = [host for host in hosts if host.name in busiest.hosts]
        return Verdict(busiest.name, f"{_state(busiest)}; {_advice(busiest, stages, here)}")
    last = stages[-1]
    if last.shares[2] >= HELD:
        unread = f"; {pipeline.unread} results are not read yet" if pipeline.unread else ""
        return Verdict(
            None, f"the results: {last.name} is held back {_percent(last.shares[2])} of its time{unread}"
        )
    first = stages[0]
    if first.shares[1] >= 0.5 and not first.waiting:
        text = f"the input: {first.name} waits for tasks {_percent(first.shares[1])} of its time"
        return Verdict(None, f"{text}; clients could submit more at a time")
    return Verdict(None, f"no stage limits it; the busiest is {busiest.name}, {_percent(busiest.load)}")


def _state(stage: StageFlow) -> str:
    waits = f", {stage.waiting} wait in front of it" if stage.waiting else ""
    return f"{stage.name}: {_percent(stage.load)} busy{waits}"


def _room(stage: StageFlow, hosts: list[HostFlow]) -> int:
    """How many more of its workers the CPUs of its hosts have room for."""
    each = sum(worker.cpu for worker in stage.workers) / len(stage.workers)
    if each < IDLE_CPU or not all(host.cores for host in hosts):
        return MOST_TIMES * len(stage.workers)
    return sum(max(0, int((host.cores - host.cpu) / each + 0.5)) for host in hosts if not host.full)


def _advice(stage: StageFlow, stages: list[StageFlow], hosts: list[HostFlow]) -> str:
    """What would raise the rate of the whole."""
    if stage.starting:
        return f"{stage.starting} more of its workers are starting"
    if stage.ordered:
        return (
            "it is ordered, so a job has one worker of it: make its code faster, or run more jobs at a time"
        )
    n = len(stage.workers)
    others = [other for other in stages if other is not stage and 0 < other.load <= stage.load]
    next_ = max(others, key=lambda other: other.load, default=None)
    wanted = n * MOST_TIMES
    if next_ is not None:
        wanted = min(wanted, max(n + 1, math.ceil(n * stage.load / next_.load)))
    room = _room(stage, hosts)
    if not room:
        names = ", ".join(sorted(host.name for host in hosts))
        return f"the CPUs of {names} are in use: {n} → {wanted} workers, on more hosts, would raise the whole"
    wanted = min(wanted, n + room)
    more = f"{n} → {wanted} workers"
    if not stage.rate:
        return f"{more} would raise the whole"
    alone = stage.rate / stage.load * wanted / n
    limited = math.inf if next_ is None else stage.rate / next_.load
    text = f"{more} would raise the whole to about {per_second(min(alone, limited))}"
    return text if next_ is None or alone < limited else f"{text}, then {next_.name} is next"


def _percent(share: float) -> str:
    return f"{round(100 * share)} %"


def per_second(rate: float) -> str:
    """A rate, in few characters."""
    if rate >= 9_999_500:
        return f"{rate / 1e6:.0f}M/s"
    if rate >= 9_999.5:
        return f"{rate / 1e3:.0f}k/s"
    return (
        f"{rate:.0f}/s" if rate >= 9.95 else f"{rate:.1f}/s" if rate >= 0.095 or not rate else f"{rate:.2f}/s"
    )


def shown_time(seconds: float | None) -> str:
    """A time, in few characters; ``-`` for none."""
    if seconds is None:
        return "-"
    if seconds < 0.000_95:
        return f"{seconds * 1e6:.0f}us"
    if seconds < 0.009_5:
        return f"{seconds * 1e3:.1f}ms"
    if seconds < 0.95:
        return f"{seconds * 1e3:.0f}ms"
    if seconds < 100:
        return f"{seconds:.1f}s"
    return f"{seconds / 60:.0f}min" if seconds < 5400 else f"{seconds / 3600:.1f}h"
