"""Newcomers that are tried, kept out and let in, and links that break."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.broker.hosts import BOTH, IPC, all_pings_come, machine_on_a, member, numbered, problems
from zturbo.core.effects import Control, LogLine, Send
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.view import Member
from zturbo.wire.messages import PROTOCOL, Greet, Probe, Statement
from zturbo_broker.machine.reachability import GIVE_UP
from zturbo_broker.members.complaints import UNCLEAR
from zturbo_broker.members.trials import PATIENCE

FIRST = numbered(member("worker", 0, host="b", ends=BOTH), 1)
SECOND = numbered(member("worker", 1, host="c", ends=BOTH), 2)
TWIN = numbered(member("worker", 1, host="d", ends=BOTH), 3)
SINK = numbered(member("sink", host="a", ends=BOTH), 4)


class Network:
    """A broker, and processes that say hello each second and ping when they are asked to."""

    def __init__(self, *members: Member) -> None:
        self.machine = machine_on_a()
        self.now = 0.0
        self.here: list[Member] = []
        self.broken: set[tuple[bytes, bytes]] = set()
        self.asleep: set[bytes] = set()
        """Processes that say hello, and do nothing else yet."""
        self.said: list[Any] = []
        self.given_up: list[bytes] = []
        """Processes that were refused for good."""
        for one in members:
            self.here.append(one)
            self.until(self.now + 0.1)

    def break_way(self, source: Member, target: Member) -> None:
        """What one sends does not get to the other."""
        self.broken.add((source.incarnation, target.incarnation))

    def hello(self, who: Member) -> None:
        number = self.machine.membership.number
        message = to_broker.Hello(
            member=who,
            node=who.host.encode() * 16,
            pid=1,
            protocol=PROTOCOL,
            version="1",
            python="3",
            stage_name="xy"[who.stage] if who.role == "worker" else "",
            code="",
            view=number if who.incarnation in self.machine.membership else 0,
            jobs=(),
        )
        self.machine.control(who.incarnation, message, self.now)

    def until(self, then: float, *complaints: tuple[Member, Member]) -> None:
        while self.now <= then:
            for who in self.here:
                self.hello(who)
            for who, about in complaints:
                broken = to_broker.Broken(incarnation=who.incarnation, peer=about.incarnation)
                self.machine.control(who.incarnation, broken, self.now)
            self.machine.tick(self.now)
            all_pings_come(self.machine, self.now, self.broken, self.asleep)
            for effect in self.machine.effects:
                if isinstance(effect, Control) and isinstance(effect.message, from_broker.Refused):
                    self.here = [who for who in self.here if who.incarnation != effect.to]
                    self.said.append((effect.to, effect.message.reason))
                    self.given_up += [effect.to] * effect.message.final
                elif isinstance(effect, Control) and isinstance(effect.message, from_broker.NotAdmitted):
                    self.said.append((effect.to, effect.message.reason))
                elif isinstance(effect, Send) and isinstance(effect.message, (Greet, Probe)):
                    nonce = effect.message.nonce if isinstance(effect.message, Probe) else 0
                    answer = Statement(effect.peer, self.machine.me, 0, 0, [], 1, 1, nonce)
                    self.machine.data(answer, self.now)
                elif isinstance(effect, LogLine):
                    self.said.append((b"log", effect.text))
            self.machine.effects.clear()
            self.now += 0.5

    def members(self) -> set[Member]:
        return set(self.machine.membership.members())


def test_a_newcomer_is_tried_and_joins_at_once() -> None:
    network = Network(SINK, FIRST, SECOND, TWIN)
    assert network.members() == {SINK, FIRST, SECOND, TWIN} and not network.said


def test_a_newcomer_that_is_not_reached_waits_and_joins_when_it_is() -> None:
    network = Network(SINK, FIRST, TWIN)
    network.break_way(FIRST, SECOND)
    network.here.append(SECOND)
    network.until(network.now + PATIENCE + 1.0)
    assert network.members() == {SINK, FIRST, TWIN}
    text = problems(network.machine, network.now)["y"]
    assert text.startswith("p.y on c at 10.0.0.1:7000 does not answer p.x on b: open that port of c for b")
    assert network.said == [(SECOND.incarnation, text), (b"log", text)]
    network.until(network.now + 100.0)
    told = [said for said in network.said if said[0] != b"log"]
    assert 4 <= len(told) <= 8, "at growing intervals"
    assert len(network.said) == len(told) + 1, "the log has it once"
    network.broken.clear()
    network.until(network.now + 40.0)
    assert network.members() == {SINK, FIRST, TWIN, SECOND}
    assert not problems(network.machine, network.now)


LONGEST = GIVE_UP * 5.0
"""Seconds for which a newcomer is kept out, before it is refused for good: the lease has five."""


def test_a_newcomer_that_is_never_reached_is_refused_for_good() -> None:
    network = Network(SINK, FIRST)
    network.break_way(FIRST, SECOND)
    network.here.append(SECOND)
    network.until(network.now + LONGEST)
    assert not network.given_up and SECOND in network.here
    network.until(network.now + 60.0)
    assert network.given_up == [SECOND.incarnation] and network.members() == {SINK, FIRST}
    who, last = network.said[-2]
    assert who == SECOND.incarnation and network.said[-1] == (b"log", last)
    assert last.startswith("p.y on c at 10.0.0.1:7000 does not answer p.x on b: open that port of c for b")
    assert last.endswith(" s, and given up)")
    assert problems(network.machine, network.now + 1e6)["y"] == last, "no other is there"
    assert network.machine.reachability.deadline() is None
    network.broken.clear()
    network.here.append(numbered(SECOND, 9))
    network.until(network.now + 1.0)
    assert not problems(network.machine, network.now), "it was started again, with the port open"


def test_a_newcomer_whose_firewall_opens_in_time_joins_and_begins_anew() -> None:
    network = Network(SINK, FIRST)
    network.break_way(FIRST, SECOND)
    network.here.append(SECOND)
    network.until(network.now + LONGEST - 20.0)
    network.broken.clear()
    network.until(network.now + 30.0)
    assert network.members() == {SINK, FIRST, SECOND} and not network.given_up


def test_a_place_that_was_reached_once_is_tried_for_ever() -> None:
    """Its network was whole, so it may be whole again. A twin at a node that was never reached is not."""
    network = Network(SINK, FIRST, SECOND)
    network.here.remove(SECOND)
    network.machine.gone(SECOND.incarnation, network.now)
    again, other = numbered(SECOND, 8), numbered(TWIN, 9)
    for one in (again, other):
        network.break_way(FIRST, one)
        network.here.append(one)
    network.until(network.now + 5 * LONGEST)
    assert network.given_up == [other.incarnation]
    network.broken.clear()
    network.until(network.now + 40.0)
    assert again in network.members()


def test_a_newcomer_without_an_address_for_others_waits_and_is_refused_for_good() -> None:
    deaf = numbered(member("worker", 1, host="c", ends=IPC), 8)
    network = Network(SINK, FIRST)
    network.here.append(deaf)
    network.until(network.now + LONGEST - 1.0)
    assert deaf in network.here and not network.given_up
    text = problems(network.machine, network.now)["y"]
    assert text.startswith("p.y on c can be reached from its own host alone, and ")
    assert network.said.count((b"log", text)) == 1
    network.until(network.now + 5.0)
    assert network.given_up == [deaf.incarnation]
    assert network.said[-1] == (b"log", f"{text} (tried for {LONGEST:.0f} s, and given up)")
    assert network.machine.reachability.deadline() is None


def test_a_newcomer_that_a_member_has_no_address_for_joins_when_that_one_is_gone() -> None:
    deaf = numbered(member("worker", 1, host="a", ends=IPC), 8)
    network = Network(deaf)
    network.here.append(FIRST)
    network.until(network.now + 30.0)
    assert network.members() == {deaf}
    network.here.remove(deaf)
    network.machine.gone(deaf.incarnation, network.now)
    network.until(network.now + 2.0)
    assert network.members() == {FIRST} and not problems(network.machine, network.now)
    assert [reason for who, reason in network.said if who == FIRST.incarnation][-1].startswith(
        "p.y on a can "
    )


def test_a_newcomer_without_an_address_that_goes_away_is_forgotten() -> None:
    deaf = numbered(member("worker", 1, host="c", ends=IPC), 8)
    network = Network(SINK, FIRST)
    network.here.append(deaf)
    network.until(network.now + 2.0)
    network.here.remove(deaf)
    network.until(network.now + 8.0)
    assert not problems(network.machine, network.now)
    assert network.machine.reachability.deadline() is None


def test_a_newcomer_that_goes_away_is_forgotten() -> None:
    network = Network(SINK, FIRST, TWIN)
    network.break_way(FIRST, SECOND)
    network.here.append(SECOND)
    network.until(network.now + PATIENCE + 1.0)
    network.here.remove(SECOND)
    network.until(network.now + 60.0)
    assert not problems(network.machine, network.now)
    assert network.machine.reachability.deadline() is None


def test_one_that_is_kept_out_keeps_no_other_out() -> None:
    network = Network(SINK, FIRST)
    network.break_way(FIRST, SECOND)
    network.here += [SECOND, TWIN]
    network.until(network.now + PATIENCE + 1.0)
    assert network.members() == {SINK, FIRST, TWIN}


def test_a_lonely_member_yields_to_a_sink() -> None:
    network = Network(SECOND)
    network.break_way(SINK, SECOND)
    network.here.append(SINK)
    network.until(network.now + PATIENCE + 1.0)
    assert network.members() == {SINK}
    assert network.said[0][0] == SECOND.incarnation, "its terminal has the reason"
    assert network.said[0][1].startswith("p.y on c at 10.0.0.1:7000 does not answer the sink on a: ")


@pytest.mark.parametrize("complains", [FIRST, SECOND])
def test_a_link_that_breaks_costs_the_end_that_another_can_stand_in_for(complains: Member) -> None:
    network = Network(SINK, SECOND, TWIN, FIRST)
    network.break_way(FIRST, SECOND)
    other = SECOND if complains is FIRST else FIRST
    network.until(network.now + 9.0, (complains, other))
    assert network.members() == {SINK, FIRST, TWIN}
    assert network.said[0][1].startswith("p.y on c at 10.0.0.1:7000 does not answer p.x on b: ")


def test_a_sink_stays_of_which_a_worker_complains_that_none_reaches() -> None:
    network = Network(SECOND, SINK, FIRST)
    for other in (SINK, FIRST):
        network.break_way(SECOND, other)
    network.until(network.now + 9.0, (SECOND, SINK))
    assert network.members() == {SINK, FIRST}


LONG = UNCLEAR * 5.0
"""Seconds that a link may be broken whose pings come."""


def test_a_link_whose_pings_come_has_more_time_and_then_costs_the_accused_end() -> None:
    network = Network(SINK, FIRST, SECOND)
    network.until(network.now + LONG - 0.5, (FIRST, SECOND))
    assert network.members() == {SINK, FIRST, SECOND}
    ((who, text),) = network.said
    assert who == b"log" and "do not answer each other on their link" in text and "may be slow" in text
    network.until(network.now + 1.5, (FIRST, SECOND))
    assert network.members() == {SINK, FIRST}
    assert "do not answer each other on their link" in network.said[1][1]


def test_a_sink_that_others_reach_stays_though_all_complain_of_it() -> None:
    """Their hosts have much to do: all are slow, and pings come."""
    network = Network(FIRST, SECOND, TWIN, SINK)
    everybody = [pair for who in (FIRST, SECOND, TWIN) for pair in ((who, SINK), (SINK, who))]
    network.until(network.now + LONG - 0.5, *everybody)
    assert len(network.members()) == 4
    network.until(network.now + LONG, *everybody)
    assert SINK in network.members() and len(network.members()) == 3, "one at a time"


@pytest.mark.parametrize("slow", [FIRST, SECOND])
def test_a_sink_stays_though_a_slow_worker_complains_of_it(slow: Member) -> None:
    network = Network(FIRST, SECOND, TWIN, SINK)
    network.asleep.add(slow.incarnation)
    complaints = [(slow, SINK), (SINK, slow), (TWIN, SINK)]
    network.until(network.now + LONG - 0.5, *complaints)
    assert len(network.members()) == 4, "it has time to wake up"
    network.until(network.now + 5.0, *complaints)
    assert network.members() == {FIRST, SECOND, TWIN, SINK} - {slow}


def test_a_trial_from_before_a_link_was_mended_costs_nobody_his_place() -> None:
    network = Network(SINK, SECOND, TWIN, FIRST)
    network.break_way(FIRST, SECOND)
    network.until(network.now + 2.0, (FIRST, SECOND))
    network.until(network.now + PATIENCE)
    network.broken.clear()
    network.until(network.now + 6.0, (FIRST, SECOND))  # a false alarm, not long after
    assert network.members() == {SINK, SECOND, TWIN, FIRST}


def test_one_that_is_slow_at_first_and_is_then_not_reached_is_found_out() -> None:
    network = Network(SINK, SECOND, TWIN, FIRST)
    network.asleep.add(SECOND.incarnation)
    network.until(network.now + 8.0, (FIRST, SECOND))
    assert len(network.members()) == 4
    network.asleep.clear()
    network.break_way(FIRST, SECOND)
    network.until(network.now + 12.0, (FIRST, SECOND))
    assert network.members() == {SINK, FIRST, TWIN}
    assert network.said[-1][1].startswith("p.y on c at 10.0.0.1:7000 does not answer p.x on b: ")


def test_a_link_that_breaks_after_a_trial_in_which_it_worked_is_tried_again() -> None:
    network = Network(SINK, SECOND, TWIN, FIRST)
    network.until(network.now + 0.5, (FIRST, SECOND))  # a false alarm: all pings come
    network.until(network.now + 3.0)
    network.break_way(FIRST, SECOND)
    network.until(network.now + 9.0, (FIRST, SECOND))
    assert network.members() == {SINK, FIRST, TWIN}
    assert network.said[0][1].startswith("p.y on c at 10.0.0.1:7000 does not answer p.x on b: ")


def test_a_ping_that_is_late_changes_nothing() -> None:
    network = Network(SINK, FIRST)
    stale = to_broker.Pinged(incarnation=FIRST.incarnation, source=SINK.incarnation, trial=99)
    network.machine.control(FIRST.incarnation, stale, network.now)
    network.machine.control(
        FIRST.incarnation, to_broker.Pinging(incarnation=FIRST.incarnation, trial=99), network.now
    )
    assert network.members() == {SINK, FIRST}
