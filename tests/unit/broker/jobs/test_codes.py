"""One job, one code: which code a job gets, and what is said when it has gone."""

from __future__ import annotations

import pytest

from zturbo.wire.control.view import Member
from zturbo_broker.jobs.codes import REMEMBERED, Choice, Codes, choose, code_gone, other_code


def worker(number: int, code: str) -> Member:
    return Member(bytes([number]) * 16, "worker", "p", 0, "h", ("tcp://10.0.0.1:1",), code=code)


def newest(codes: Codes, *members: Member, leaving: frozenset[bytes] = frozenset()) -> str:
    (choice,) = codes.choices("p", [members], leaving)
    return choice.newest


def test_the_newest_code_is_the_one_that_was_seen_last_for_the_first_time() -> None:
    codes = Codes()
    old, new, late = worker(1, "old"), worker(2, "new"), worker(3, "old")
    for member in (old, new, late):
        codes.saw(member)
    assert newest(codes, old, new, late) == "new", "an old one that comes late is as old as before"
    assert newest(codes, old, late) == "old"
    assert newest(codes, old, new, leaving=frozenset({new.incarnation})) == "old"
    assert newest(codes, worker(4, ""), worker(5, "")) == "", "it is not known"
    assert newest(codes) == ""
    assert codes.by_age("p", 0, ["new", "lost", "old"]) == ["lost", "old", "new"]
    assert codes.by_age("p", 1, ["b", "a"]) == ["a", "b"]


def test_few_codes_are_remembered() -> None:
    codes = Codes()
    for number in range(2 * REMEMBERED):
        codes.saw(worker(1, f"c{number}"))
    first = worker(1, "c0")
    codes.saw(first)
    assert newest(codes, first, worker(2, f"c{2 * REMEMBERED - 1}")) == "c0", "it was forgotten, and is new"


UNKNOWN = Choice(frozenset(), "", unknown=True)
TWO = [Choice(frozenset({"a", "b"}), "b"), Choice(frozenset({"c"}), "c"), Choice(frozenset(), "")]


@pytest.mark.parametrize(
    ("mode", "kept", "chosen"),
    [
        ("job", {}, {0: "b", 1: "c"}),
        ("job", {0: "a", 1: "c"}, {0: "a", 1: "c"}),
        ("job", {0: "gone", 1: "c"}, 0),
        ("same", {1: "gone"}, 1),
        ("restart", {0: "a", 1: "gone"}, {0: "a", 1: "c"}),
        ("job", {2: "x"}, {0: "b", 1: "c", 2: "x"}),
        ("any", {0: "a"}, {}),
    ],
)
def test_a_job_keeps_its_code_and_a_new_one_gets_the_newest(
    mode: str, kept: dict[int, str], chosen: dict[int, str] | int
) -> None:
    assert choose(mode, TWO, kept) == chosen


def test_workers_whose_code_is_not_known_get_jobs_that_have_none() -> None:
    assert choose("job", [UNKNOWN], {}) == {}
    assert choose("job", [UNKNOWN], {0: "a"}) == 0
    assert choose("restart", [UNKNOWN], {0: "a"}) == {}


def test_a_code_has_gone_only_where_others_are() -> None:
    workers = {0: [worker(1, "a")], 1: [worker(2, "b"), worker(3, "c")], 2: []}
    assert code_gone({0: "a", 1: "c", 2: "d"}, workers.__getitem__) is None
    assert code_gone({0: "a", 1: "x"}, workers.__getitem__) == 1
    text = other_code("p", "detect", "x", {"c", "b"})
    assert "p.detect with code x" in text and "b, c" in text and 'code = "restart"' in text
