"""A sender asks again for credit of which the word got lost, and has links to a few workers of many."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.unit.core.pair import BUSY, JOB, SENDER, Pair
from zturbo.core.effects import Effect, Send
from zturbo.core.links.choice import KEEP, TRY_AFTER
from zturbo.core.links.custody import Custody
from zturbo.core.links.outbatch import OutBatch
from zturbo.core.links.senders import Senders
from zturbo.wire.control.view import Member, View
from zturbo.wire.messages import Batch, Stamp, Statement


def test_the_word_of_new_credit_got_lost_while_nothing_was_on_the_way() -> None:
    pair = Pair()
    dest = ("p", 1)
    link = pair.senders.links[BUSY]
    link.limit_tasks = link.tasks_sent  # the word that raised it did not come
    assert pair.senders.credit(dest, 100.0) == 0, "somebody has roots, and keeps them until there is credit"
    at = link.deadline()
    assert at is not None and 100.0 < at < 101.0
    assert link.silent(100.5) == 0.5, "and nobody is blamed for the time before"
    pair.senders.tick(at)
    pair.carry(at)
    assert pair.senders.credit(dest, at) > 0 and not link.starved


class Many:
    """A sender with eight receivers in the next stage, of which it has links to two, and three sinks."""

    def __init__(self) -> None:
        self.workers = [_member("worker", k) for k in range(8)]
        self.sinks = [_member("sink", k) for k in range(3)]
        me = Member(SENDER, "worker", "p", 0, "host", ("x",))
        self.view = View(1, {member.incarnation: member for member in (me, *self.workers, *self.sinks)})
        self.effects: list[Effect] = []
        self.senders = Senders(SENDER, "host", Custody(), self.effects, fanout=2)
        twins = [Member(bytes([97 + k]) * 16, "worker", "p", 0, "host", ("x",)) for k in range(7)]
        self.fellows = [me, *twins]
        self.senders.set_view(self.view, [*self.workers, *self.sinks], 0.0, self.fellows)
        self.senders.stamp(Stamp(JOB, 1, "p", {}, self.sinks[2].incarnation))

    def put(self, dest: object, number: int, stage: int = 1) -> None:
        self.senders.put(OutBatch.of(Batch(JOB, 1, stage, [((number,), 1)], 1, b"\x01"), dest))

    def pump(self, now: float) -> list[tuple[bytes, str]]:
        """(peer, kind of message) of what is sent."""
        self.senders.pump(now)
        self.senders.check()
        out = [
            (effect.peer, type(effect.message).__name__)
            for effect in self.effects
            if isinstance(effect, Send)
        ]
        self.effects.clear()
        return out

    def say(self, peer: bytes, now: float, *, tasks: int = 0, free: bool = False) -> None:
        link = self.senders.links[peer]
        self.senders.statement(
            Statement(
                peer,
                SENDER,
                link.sent,
                link.acked,
                [],
                link.tasks_sent + tasks,
                1 << 20,
                link.nonce,
                free=free,
            ),
            now,
        )


def _member(role: str, k: int) -> Member:
    name = role.encode()[:6].ljust(6) + bytes([k]) * 10
    return Member(name, role, "p" if role == "worker" else "", 1 if role == "worker" else -1, "host", ("x",))


def test_links_to_a_few_workers_are_begun_at_once_and_to_a_sink_on_demand() -> None:
    many = Many()
    greeted = [peer for peer, _ in many.pump(0.0)]
    assert len(greeted) == 2 and greeted == many.senders.groups["p", 1]
    sink = many.sinks[2].incarnation
    many.put(sink, 0, 2)
    assert many.pump(0.0) == [(sink, "Greet")]
    many.say(sink, 0.1, tasks=5)
    assert many.pump(0.1) == [(sink, "Batch")]


def test_tasks_that_wait_reach_all_workers_that_are_free() -> None:
    many = Many()
    many.pump(0.0)
    for number in range(6):
        many.put(("p", 1), number)
    assert many.pump(0.0) == [], "nobody has answered"
    at = TRY_AFTER
    for turn in range(6):
        sent = many.pump(at)
        assert [kind for _, kind in sent] == ["Batch"] * (turn > 0) + ["Greet"]
        many.say(sent[-1][0], at, tasks=1, free=True)
    assert [kind for _, kind in many.pump(at)] == ["Batch"]
    assert many.senders.pending_tasks == 0 and len(many.senders.links) == 8


def test_a_worker_that_has_work_is_no_help_at_first_and_its_credit_is_not_used() -> None:
    many = Many()
    many.pump(0.0)
    many.put(("p", 1), 0)
    many.pump(0.0)
    ((peer, _),) = many.pump(TRY_AFTER)
    many.say(peer, TRY_AFTER, tasks=1)
    assert many.pump(TRY_AFTER) == [] and not many.senders.links[peer].starved
    at = 2.0
    ((other, _),) = many.pump(at)
    assert other != peer
    many.say(other, at, tasks=1)
    assert many.pump(at) == [(other, "Batch")], "nobody had room for so long"


def test_what_a_worker_has_is_settled_also_if_it_is_used_no_more() -> None:
    many = Many()
    many.pump(0.0)
    many.put(("p", 1), 0)
    many.pump(0.0)
    ((peer, _),) = many.pump(TRY_AFTER)
    many.say(peer, TRY_AFTER, tasks=1, free=True)
    assert many.pump(TRY_AFTER) == [(peer, "Batch")]
    many.pump(TRY_AFTER + KEEP)
    assert peer not in many.senders.groups["p", 1] and not many.senders.idle
    assert many.senders.retained_tasks == 1
    left = {inc: member for inc, member in many.view.members.items() if inc != peer}
    members = [member for member in (*many.workers, *many.sinks) if member.incarnation != peer]
    many.senders.set_view(View(2, left), members, 20.0, many.fellows)
    assert many.senders.redelivered == 1 and many.senders.pending_tasks == 1


def test_a_link_that_is_used_again_goes_on_with_its_numbers() -> None:
    many = Many()
    many.pump(0.0)
    wanted = next(peer for peer in many.senders.choices.of["p", 1].members if peer not in many.senders.links)
    numbers = []
    at = 0.0
    for number in range(2):
        many.put(("p", 1), number)
        many.pump(at)
        for _ in range(400):
            at += TRY_AFTER
            sent = many.pump(at)
            if (wanted, "Batch") in sent:
                break
            for peer, _ in sent:
                many.say(peer, at, tasks=int(peer == wanted), free=peer == wanted)
        link = many.senders.links[wanted]
        numbers += [parts[0].batch.number for parts in link.retained.values()]
        answer = Statement(wanted, SENDER, link.sent, link.sent, [], link.tasks_sent, 1 << 20, link.nonce)
        many.senders.statement(answer, at)
        for _ in range(2):
            at += KEEP
            many.pump(at)
        assert wanted not in many.senders.groups["p", 1] and not link.retained
    assert numbers == [1, 2]


W, PEERS = 64, 6
"""Workers of each of two stages, and the bound."""


@pytest.mark.parametrize("seed", range(3))
def test_with_a_bound_no_worker_has_to_do_with_more_whatever_happens(seed: int) -> None:
    """From the start on, at which workers join one after the other; tasks wait at all times, and workers are
    free, or busy, or silent. Counted are all to which anything is ever sent once all have joined."""
    rng = random.Random(seed)
    froms, to = ([Member(rng.randbytes(16), "worker", "p", k, "h", ("x",)) for _ in range(W)] for k in (0, 1))
    sink = Member(b"s" * 16, "sink", "", -1, "h", ("x",))
    members = rng.sample([*froms, *to], 2 * W)
    senders: dict[bytes, tuple[Senders, list[Effect]]] = {}
    for count in range(1, 2 * W + 1):  # each view has one more
        here = members[:count]
        view = View(count, {member.incarnation: member for member in (*here, sink)})
        fellows = [member for member in here if member.stage == 0]
        for me in fellows:
            if me.incarnation not in senders:
                effects: list[Effect] = []
                made = Senders(me.incarnation, "h", Custody(), effects, PEERS, bounded=True)
                senders[me.incarnation] = made, effects
            some = [member for member in here if member.stage == 1]
            senders[me.incarnation][0].set_view(view, [*some, sink], 0.0, fellows)
    asked: Counter[bytes] = Counter()
    for one, effects in senders.values():
        one.stamp(Stamp(JOB, 1, "p", {}, sink.incarnation))
        met = {effect.peer for effect in effects if isinstance(effect, Send)}
        assert met <= {sink.incarnation}, "no link begins before there is a task for it"
        for number in range(300):
            one.put(OutBatch.of(Batch(JOB, 1, 1, [((number,), 1)], 1, b"\x01"), ("p", 1)))
        now = 0.0
        for _ in range(200):
            now += rng.choice([0.01, 0.1, 1.0, 11.0])
            one.pump(now)
            for peer, link in one.links.items():
                if rng.random() < 0.2:
                    acked = rng.randint(link.acked, link.sent)
                    tasks = link.tasks_sent + rng.randint(0, 2)
                    free = rng.random() < 0.5
                    said = Statement(
                        peer, one.me, link.sent, acked, [], tasks, 1 << 20, link.nonce, free=free
                    )
                    one.statement(said, now)
            one.tick(now)
            one.check()
        met = {effect.peer for effect in effects if isinstance(effect, Send)}
        workers = met - {sink.incarnation}
        assert len(workers) == PEERS, "all of its own are used"
        asked.update(workers)
    assert set(asked) == {member.incarnation for member in to}, "and nobody is left out"
    # A peer takes two sockets, one for each direction. So do the sink, and the broker at the first stage.
    assert 2 * (PEERS + 2) + 3 < 20 and 2 * (max(asked.values()) + 1) + 3 < 20
