"""What members measure of themselves, for people who look. Nothing is decided by it, and nothing recorded."""

from __future__ import annotations

from zturbo.wire.control import answers, to_broker
from zturbo.wire.control.fields import COUNT, MAX_PAGE
from zturbo_broker.machine.known import Known
from zturbo_broker.machine.lifecycle import Lifecycle

__all__ = ["BUILD_EVERY", "Telemetry"]

BUILD_EVERY = 0.5
"""Seconds for which an answer is given again: the number of viewers makes no difference."""


class Telemetry:
    """Keeps the reports of members, and shows them.

    Args:
        known: the facts that all parts use.
        life: the lifecycle of jobs; it has the roots that wait.
    """

    def __init__(self, known: Known, life: Lifecycle) -> None:
        self._known = known
        self._life = life
        self._pages: dict[int, tuple[float, answers.Telemetry]] = {}
        """Where a page begins -> until when it is given again, and the page."""

    def measured(self, identity: bytes, message: to_broker.Measured, now: float) -> None:
        """A member tells what it has measured."""
        self._known.membership.measured(message.incarnation, message.report, now)

    def answer(self, identity: bytes, message: to_broker.Telemetry, now: float) -> None:
        """A client asks what the members have measured."""
        until, page = self._pages.get(message.after, (now, None))
        if page is None or now >= until:
            self._pages = {after: made for after, made in self._pages.items() if made[0] > now}
            page = self._page(message.after, now)
            if page.members or not message.after:  # a stranger may ask for any page
                self._pages[message.after] = (now + BUILD_EVERY, page)
        self._known.say.now(identity, message.ref, page)

    def _page(self, after: int, now: float) -> answers.Telemetry:
        known = self._known
        told = known.membership.told(now)
        members = []
        for member, pid, _, heard in told[after : after + MAX_PAGE]:
            reports = known.membership.reports(member.incarnation)
            members.append(
                answers.Measurement(
                    incarnation=member.incarnation,
                    name=known.name_of(member),
                    pipeline=member.pipeline,
                    stage=member.stage,
                    host=member.host,
                    pid=pid,
                    ordered=member.ordered,
                    heard=heard,
                    age=0.0 if reports is None else max(0.0, now - reports.at),
                    latest=None if reports is None else reports.latest,
                    before=None if reports is None else reports.before,
                )
            )
        end = after + len(members)
        loads = [] if after else [self._load(name, now) for name in known.pipelines]
        return answers.Telemetry(
            members=tuple(members),
            next=end if end < len(told) else 0,
            pipelines=tuple(loads),
            gpus={} if after else known.gpus.all(now),
        )

    def _load(self, name: str, now: float) -> answers.Load:
        known, stages = self._known, self._known.pipelines[name].stages
        backlog = self._life.roots.backlog[name]
        for queue in self._life.senders.pending.values():
            for outbatch in queue:
                job = known.jobs.get(outbatch.batch.job)
                if job is not None and job.pipeline == name:
                    backlog += outbatch.batch.n
        return answers.Load(
            name=name,
            stages=tuple(stages),
            wanted=tuple(known.membership.wanted(f"{name}.{stage}", now) for stage in stages),
            backlog=min(COUNT, backlog),
        )
