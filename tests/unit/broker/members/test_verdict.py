"""Which end of a broken link goes."""

from __future__ import annotations

import itertools
import random

import pytest

from tests.unit.broker.hosts import BOTH, IPC, member, numbered
from zturbo.wire.control.view import Member
from zturbo_broker.members.verdict import End, goes, newcomer_goes, sentence

BROKER = numbered(member("broker", host="a-0123abcd-1", ends=BOTH), 9)
SINK = numbered(member("sink", host="a-0123abcd-1", ends=BOTH), 1)
ONE = numbered(member("worker", 0, host="b-0123abcd-1", ends=BOTH), 2)
TWO = numbered(member("worker", 1, host="c-0123abcd-1", ends=BOTH), 3)


def end(
    who: Member, good: str = "", bad: str = "", *, only: bool = False, reached: bool | None = False
) -> End:
    return End(who, frozenset(good), frozenset(bad), only, reached)


def hosts_graph(seed: int) -> tuple[dict[Member, set[str]], dict[Member, set[str]], Member]:
    """Some hosts that all reach each other, but for one that is cut off from several."""
    rng = random.Random(seed)
    members = [SINK, *(numbered(member("worker", 0, host=f"h{k}", ends=BOTH), k + 10) for k in range(5))]
    cut = rng.choice(members[1:])
    others = [m for m in members if m is not cut]
    lost = rng.sample(others, rng.randrange(2, len(others) + 1))
    good = {m: {o.host for o in members if o is not m} for m in members}
    bad: dict[Member, set[str]] = {m: set() for m in members}
    for other in lost:
        for here, there in ((cut, other), (other, cut)):
            good[here].discard(there.host)
            bad[here].add(there.host)
    return good, bad, cut


@pytest.mark.parametrize("seed", range(50))
def test_the_one_that_others_do_not_reach_goes(seed: int) -> None:
    """Whichever of its links is complained of, whoever joined later, and in whichever direction it broke."""
    good, bad, cut = hosts_graph(seed)
    for other in [m for m in good if cut.host in bad[m]]:
        for reached in itertools.product([True, False, None], repeat=2):
            ends = [
                End(here, frozenset(good[here]), frozenset(bad[here] - {there.host}), False, known)
                for here, there, known in ((cut, other, reached[0]), (other, cut, reached[1]))
            ]
            assert goes(*ends).member is cut
            assert goes(*ends[::-1]).member is cut


def test_a_lonely_member_goes_whatever_it_is() -> None:
    assert goes(end(TWO, "ab"), end(SINK)).member is SINK
    assert goes(end(TWO, only=True), end(ONE, "a")).member is TWO


def test_if_nothing_else_tells_a_sink_stays_and_the_end_that_is_not_reached_goes() -> None:
    assert goes(end(TWO, reached=True), end(SINK)).member is TWO
    assert goes(end(ONE, reached=True), end(TWO)).member is TWO
    assert goes(end(ONE), end(TWO)).member is ONE, "the later one is given first"
    assert goes(end(ONE, "x", only=True), end(TWO, "y")).member is TWO, "no job goes on without the only one"


def test_the_broker_stays() -> None:
    assert goes(end(ONE, "abc"), end(BROKER, bad="xyz")).member is ONE
    assert goes(end(BROKER, bad="xyz"), end(ONE, "abc")).member is ONE
    assert newcomer_goes(end(ONE, "abc"), end(BROKER))


def test_a_newcomer_disturbs_no_member_that_works() -> None:
    assert newcomer_goes(end(SINK, "abc"), end(TWO, "x", "yz"))
    assert newcomer_goes(end(SINK), end(TWO, "x"))
    assert not newcomer_goes(end(ONE, "a"), end(TWO)), "a lonely one does not work"
    assert not newcomer_goes(end(SINK, reached=True), end(TWO)), "nor does it where a sink is to come"
    assert not newcomer_goes(end(ONE, "a", only=True), end(TWO, "x")), "jobs wait for this one"
    assert newcomer_goes(end(ONE, "a", only=True), end(TWO, "x", only=True))
    assert newcomer_goes(end(ONE, only=True), end(TWO, "x")), "it may itself be to blame"


def test_the_sentence_names_both_ends_the_direction_and_the_address() -> None:
    def name(who: Member) -> str:
        return f"p.{'xy'[who.stage]}"

    assert sentence(end(ONE, reached=True), end(TWO), name) == (
        "p.y on c at 10.0.0.1:7000 does not answer p.x on b: open that port of c for b, or start p.y on c "
        "with --address, an address by which b reaches it"
    )
    assert sentence(end(ONE), end(SINK, reached=None), name).startswith(
        "p.x on b at 10.0.0.1:7000 does not answer the sink on a: open that port of b for a"
    )
    both = "p.x on b at 10.0.0.1:7000 and p.y on c at 10.0.0.1:7000 do not answer each other"
    assert sentence(end(ONE), end(TWO), name).startswith(f"{both}: open these ports between the two hosts")
    assert sentence(end(ONE, reached=True), end(TWO, reached=True), name).startswith(f"{both} on their link")


def test_hosts_of_one_name_are_told_apart() -> None:
    near = numbered(member("worker", 1, host="b-0123abcd-2", ends=IPC), 3)
    text = sentence(end(ONE, reached=True), end(near), lambda who: "p.x")
    assert "p.x on b-0123abcd-2 at ipc:///x does not answer p.x on b-0123abcd-1" in text
