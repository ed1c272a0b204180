"""To whom a sender has links at once, and to whom on demand."""

from __future__ import annotations

from zturbo.core.links.choices import Choices
from zturbo.wire.control.view import Member


def worker(stage: int, number: int, *, ordered: bool = False, code: str = "") -> Member:
    name = b"%d-%013d" % (stage, number)
    return Member(name + b"-", "worker", "p", stage, "h", ("ipc:///x",), ordered=ordered, code=code)


def sink(number: int) -> Member:
    return Member(b"sink-%011d" % number, "sink", "", -1, "h", ("ipc:///x",))


MINE = [worker(0, number) for number in range(4)]
ME = MINE[1].incarnation


def ids(members: list[Member]) -> list[bytes]:
    return [member.incarnation for member in members]


def test_a_small_network_has_all_links_at_once() -> None:
    peers = [*(worker(1, k) for k in range(3)), *(worker(2, k, ordered=True) for k in range(3)), sink(0)]
    for fanout in (3, None):
        choices = Choices(ME, "h", fanout)
        groups, at_once, gone = choices.set_view(peers, MINE)
        assert at_once == ids(peers) and not choices.of and not gone
        assert groups["p", 1] == ids(peers[:3]) and groups["p", 2] == ids(peers[3:6])
        assert groups[peers[6].incarnation] == [peers[6].incarnation]


def test_of_a_large_next_stage_some_are_chosen_and_others_come_on_demand() -> None:
    plain, ordered, later = ([worker(stage, k, ordered=stage == 2) for k in range(8)] for stage in (1, 2, 3))
    sinks = [sink(k) for k in range(4)]
    choices = Choices(ME, "h", 3)
    groups, at_once, _ = choices.set_view([*plain, *ordered, *later, *sinks], MINE)
    assert at_once == choices.of["p", 1].used == groups["p", 1] and len(at_once) == 3
    assert groups["p", 2] == groups["p", 3] == [], "nothing goes to any one of them"
    for member in (*ordered, *sinks):
        assert groups[member.incarnation] == [member.incarnation]


def test_each_code_has_a_choice_of_its_own() -> None:
    old, new = ([worker(1, at + k, code=code) for k in range(5)] for at, code in ((0, "old"), (10, "new")))
    choices = Choices(ME, "h", 3)
    groups, _, _ = choices.set_view([*old, *new], MINE)
    assert {*groups["p", 1, "old"]} <= {*ids(old)} and {*groups["p", 1, "new"]} <= {*ids(new)}
    groups, _, _ = choices.set_view([*old, *new[:2]], MINE)
    assert groups["p", 1, "new"] == ids(new[:2]), "there are no more of them"


def test_a_view_tells_who_is_not_used_any_more() -> None:
    workers = [worker(1, k) for k in range(8)]
    choices = Choices(ME, "h", 3)
    before = choices.set_view(workers, MINE)[1]
    _, at_once, gone = choices.set_view(workers, MINE[1:])
    assert gone and {*gone} == {*before} - {*at_once}
    assert choices.set_view(workers, [])[0]["p", 1] == [], "a process that is in no view sends nothing"
