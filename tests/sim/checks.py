"""What has to hold in a simulated world while it runs, and when it has come to rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.stages import DEADLY, Half
from zturbo.wire.carried import carried_id, place_of
from zturbo_broker.jobs.job import Job

if TYPE_CHECKING:
    from tests.sim.world import World

__all__ = [
    "check_counts",
    "check_credit",
    "check_ended_roots",
    "check_executions",
    "check_reach",
    "check_rest",
    "check_results",
]

GENTLE = frozenset({"broker", "broker-before", "broker-after", "sink", "disk", "stop"})
"""Faults after which nothing is to be done again."""


LEFT_OUT = 12.0
"""Seconds for which a task may wait while a worker has nothing to do: longer than it takes to try all spare
workers."""


def check_credit(world: World) -> None:
    """Nobody has sent more than he was allowed to: queues are bounded."""
    actors = world.actors
    for actor in [world.broker, *world.workers]:
        me = actor.machine.me
        for peer, link in actor.machine.senders.links.items():
            if peer in actors and (receiver := actors[peer].machine.receivers.links.get(me)) is not None:
                window, sent = receiver.window, link.tasks_sent
                fits = sent <= window.limit_tasks or sent <= window.left_tasks
                assert fits, world.story("sent beyond the credit")


def check_reach(world: World) -> None:
    """No task waits while a worker has nothing to do, if not every sender has a link to every worker."""
    if world.bounded:
        return  # a sender has the workers that it has
    now, known, world.left_out = world.now, world.left_out, {}
    for sender in world.workers:
        senders = sender.machine.senders
        for dest, choice in senders.choices.of.items():
            if sender.stopped or not senders.pending.get(dest):
                continue
            for worker in world.workers:
                pair = (sender.incarnation, worker.incarnation)
                mine = worker.incarnation in choice.members
                if mine and not worker.stopped and worker.machine.feed.free and not world.net.is_cut(*pair):
                    since = world.left_out[pair] = known.get(pair, now)
                    assert now - since < LEFT_OUT, world.story("a worker has nothing to do while tasks wait")


def check_results(world: World) -> None:
    """Whoever asked has what one process gives, or was told why not."""
    for job, oracle in world.oracles.items():
        over = world.client.over.get(job)
        if over is None:
            got = world.client.got[job]
            assert oracle.fits(got, whole=True), world.story(f"wrong results of job {job!r}")
            failed = any(isinstance(item, tuple) for item in got)
            quick = world.asked.get(job, {}).get("fail_fast")
            assert not (failed and quick), world.story(f"job {job!r} was to fail fast")
        else:
            options = world.asked.get(job, {})
            carrier, _ = place_of(job)
            known = world.broker.jobs().get(job) or world.broker.jobs().get(carrier)
            again = Half in world.stages and known is not None and known.epoch > 1
            fits = over == "JobCancelled" and job in world.cancelled
            fits = fits or (over == "JobTimeout" and "timeout" in options)
            fits = fits or (over == "JobFailed" and "fail_fast" in options and oracle.may_fail)
            fits = fits or (over == "ResultsLost" and (job in world.void or carrier in world.void or again))
            assert fits, world.story(f"job {job!r} ended with {over}")


def check_ended_roots(world: World) -> None:
    """Of a job that the broker says to have ended before those that travel with it, all results are at the
    sink, and may be given out."""
    for job in world.broker.machine.jobs.values():
        if not job.over or job.state != "running" or job.stamp is None:
            continue
        sink = world.actors.get(job.stamp.sink)
        if sink is None or not sink.alive:
            continue
        here = sink.machine.jobs[job.id]
        for root in job.over:
            where = here.ends.where(root)
            there = where is not None and where[1] <= here.servable
            assert there, world.story(f"root {root} of {job.id!r} is not there, and counts as ended")


def check_rest(world: World) -> None:
    """At rest nothing is retained, held, or owed, and all credit is back."""
    senders = [world.broker, *world.workers]
    for actor in senders:
        senders = actor.machine.senders
        assert senders.idle, world.story("something is retained")
        for peer, link in senders.links.items():
            receiver = world.actors[peer].machine.receivers.links.get(actor.machine.me)
            if link.sent:
                assert receiver is not None and receiver.received == link.sent
                assert receiver.acked == link.sent and link.acked == link.sent
                assert not receiver.returned
                assert receiver.window.left_tasks == link.tasks_sent, world.story("credit is not whole")
    for dest in {dest for worker in world.workers for dest in worker.machine.senders.choices.of}:
        some = [
            choice for w in world.workers if (choice := w.machine.senders.choices.of.get(dest)) is not None
        ]
        reached = {peer for choice in some for peer in choice.chosen}
        assert reached >= {*some[0].members}, world.story("nobody has a link to a worker")
    for worker in world.workers:
        assert worker.machine.idle, world.story("a worker holds something")
        assert not worker.machine.jobs, world.story("a worker remembers an ended job")
        assert not worker.machine.arrivals.returned, world.story("a return was not taken")
        assert not len(worker.machine.arrivals.held), world.story("a root is held")
    for sink in world.sinks:
        assert sink.machine.idle, world.story("a sink is not at rest")
        lost = world.broker.machine.life.lost_sinks
        assert sink.spool not in lost, world.story("a sink that is there is waited for")
    assert not world.broker.machine.life.recovery.jobs, world.story("a job was not taken up")


def check_counts(world: World) -> None:
    """What the broker tells of a job that has ended is what its stages gave, and all members have said so."""
    machine = world.broker.machine
    assert not machine.known.counts.ending, world.story("the last counts of a job are not here")
    assert not machine.known.counts.questions, world.story("a question is not answered")
    for job in world.broker.jobs().values():
        if job.state == "done" and job.carries:
            _check_carried_counts(world, job)
    if world.lost_workers:
        return  # the last half a second of theirs is not known
    calm = not world.happened and not world.net.lost
    for job in world.broker.jobs().values():
        truth = [world.given.get((job.id, job.epoch, index), [0, 0]) for index in range(len(world.stages))]
        told = [machine.descriptions.status(job)]
        if calm and job.id in world.client.told:
            told.append(world.client.told[job.id])
        for status in told:
            counts = [[count.done, count.failed] for count in status.counts]
            assert counts == truth, world.story(f"counts {counts} for {truth}")
            got = world.client.got[job.id]
            failed = sum(isinstance(item, tuple) for item in got)
            if job.state == "done" and job.id not in world.client.over:
                assert (status.results, status.failed) == (len(got) - failed, failed)


def _check_carried_counts(world: World, job: Job) -> None:
    """Each of the jobs that travelled together has the numbers that its client has seen."""
    for root in range(job.carries):
        name = carried_id(job.id, root)
        got = world.client.got[name]
        failed = sum(isinstance(item, tuple) for item in got)
        told = job.over.get(root)
        if name not in world.client.over:
            assert told == (len(got) - failed, failed), world.story(f"{name!r} has {told} for {got}")


def check_executions(world: World) -> None:
    """Nothing is done again without need; and a poison task kills three times at most."""
    drained = world.happened == ["drain"] and not world.net.faults.drop and not world.cut_short
    # Five signs of life in a row may get lost, or those of one that was stopped for half of that time.
    overslept = world.fenced and ("stop" in world.happened or world.net.faults.drop)
    gentle = not {*world.happened} - GENTLE and not overslept
    retried = any("max_retry" in options for options in world.asked.values())
    if (drained or gentle) and not retried and not DEADLY & {*world.stages}:
        again = [key for key, count in world.executions.items() if count > 1]
        assert not again, world.story(f"{len(again)} tasks were done again, such as {again[0]}")
        epochs = [job.epoch for job in world.broker.jobs().values()]
        if "drain" not in world.happened:
            assert all(epoch <= 1 for epoch in epochs), world.story("a job was started over")
    if world.code_mode != "any":
        mixed = [key for key, codes in world.codes.items() if len(codes) > 1]
        assert not mixed, world.story(f"{len(mixed)} jobs had several codes at a stage, such as {mixed[0]}")
    limit = 3 if not world.net.faults.drop and not {*world.happened} - {"sink", "disk"} else 5
    assert all(count <= limit for count in world.killed.values()), world.story("poison killed on")
