"""The sequencer against a plain depth-first walk of a random tree."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zturbo.core.order.sequencer import Sequencer
from zturbo.errors import DecodeError

Path = tuple[int, ...]


def grow(rng: random.Random, path: Path, depth: int, walk: list[Any], items: list[Any]) -> None:
    """A random subtree: its depth-first walk, and the items that stand for it."""
    roll = rng.random()
    if depth == 0 or roll < 0.4:
        walk.append(("task", path))
        items.append(("task", path))
    elif roll < 0.5:
        items.append(("end", path, 0))
    elif roll < 0.6:
        walk.append(("fail", path))
        items.append(("fail", path, 0))
    else:
        count = rng.choice([1, 2, 3, 8])
        for i in range(count):
            grow(rng, (*path, i), depth - 1, walk, items)
        if roll < 0.7:
            walk.append(("fail", path))
            items.append(("fail", path, count))
        else:
            items.append(("end", path, count))


def runs_of(rng: random.Random, items: list[Any]) -> list[Any]:
    """Join neighbouring leaves into runs, at random, and double some items."""
    leaves = {item[1] for item in items if item[0] == "task"}
    out = [item for item in items if item[0] != "task"]
    todo = set(leaves)
    for path in sorted(leaves):
        if path not in todo:
            continue
        n = 1
        while path and rng.random() < 0.7 and (*path[:-1], path[-1] + n) in todo:
            n += 1
        for k in range(n):
            todo.discard((*path[:-1], path[-1] + k) if path else path)
        out.append(("run", path, n))
    again = [rng.choice(out) for _ in range(rng.randrange(1 + len(out)))]
    for path in rng.sample(sorted(leaves), min(3, len(leaves))):  # copies that overlap runs
        again.append(("run", path, 1))
    out += again
    rng.shuffle(out)
    return out


def enter(sequencer: Sequencer, item: Any) -> None:
    if item[0] == "run":
        sequencer.enter_run(item[1], item[2], (item[1], item[2]), 0)
    elif item[0] == "end":
        sequencer.enter_end(item[1], item[2])
    else:
        sequencer.enter_fail(item[1], item[2], item[1])


def flat(released: list[Any]) -> list[Any]:
    out = []
    for piece in released:
        for k in range(piece.n):
            path = (*piece.path[:-1], piece.path[-1] + k) if piece.path else piece.path
            out.append(("task" if piece.kind == "tasks" else "fail", path))
            if piece.kind == "tasks":  # the item that was handed back is the one that has this task
                first, n = piece.item
                at = piece.offset + k
                assert at < n and path == ((*first[:-1], first[-1] + at) if first else first)
    return out


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_releases_the_depth_first_walk_once(seed: int) -> None:
    rng = random.Random(seed)
    walk: list[Any] = []
    items: list[Any] = []
    grow(rng, (), 4, walk, items)
    sequencer = Sequencer()
    got: list[Any] = []
    waves = 1 + rng.randrange(3)
    for wave in range(waves):
        entries = runs_of(rng, items)
        stop = len(entries) if wave == waves - 1 else rng.randrange(len(entries) + 1)
        for item in entries[:stop]:
            enter(sequencer, item)
            sequencer.check()
            if rng.random() < 0.3:
                got += flat(sequencer.pop(rng.choice([1, 2, 5, 1000])))
                sequencer.check()
        if wave < waves - 1:
            sequencer.keep_prefix()
            sequencer.check()
            assert sequencer.buffered == 0
            assert got == walk[: len(got)]
    assert sequencer.complete
    got += flat(sequencer.pop(10**9))
    assert got == walk
    assert sequencer.drained and sequencer.pop(10) == []
    assert sequencer.nodes == 1, "what is released is forgotten"
    assert sequencer.nondeterministic is None
    for item in runs_of(rng, items):  # late copies change nothing
        enter(sequencer, item)
    assert sequencer.pop(10**9) == [] and sequencer.nodes == 1


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_without_an_order_each_comes_once(seed: int) -> None:
    rng = random.Random(seed)
    walk: list[Any] = []
    items: list[Any] = []
    grow(rng, (), 4, walk, items)
    sequencer = Sequencer(ordered=False)
    got: list[Any] = []
    entries = runs_of(rng, items)
    for i, item in enumerate(entries):
        assert i == 0 or sequencer.complete or not sequencer.drained
        enter(sequencer, item)
        if rng.random() < 0.5:
            got += flat(sequencer.pop(rng.choice([1, 3, 1000])))
        sequencer.check()
    got += flat(sequencer.pop(10**9))
    assert Counter(got) == Counter(walk)
    assert sequencer.complete and sequencer.drained and sequencer.nodes == 1


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_incomplete_until_the_last_item(seed: int) -> None:
    rng = random.Random(seed)
    walk: list[Any] = []
    items: list[Any] = []
    grow(rng, (), 3, walk, items)
    rng.shuffle(items)
    sequencer = Sequencer()
    for item in items:
        assert not sequencer.complete
        enter(sequencer, ("run", item[1], 1) if item[0] == "task" else item)
    assert sequencer.complete


def test_a_clean_end_that_differs_is_blamed_and_a_failure_is_not() -> None:
    sequencer = Sequencer()
    assert sequencer.enter_end((), 3)
    assert not sequencer.enter_fail((), 1, b"transient")
    assert sequencer.nondeterministic is None
    assert not sequencer.enter_end((), 2)
    assert sequencer.nondeterministic is not None and "3 children, and then 2" in sequencer.nondeterministic


def test_a_failure_that_enters_first_drops_later_children() -> None:
    sequencer = Sequencer()
    sequencer.enter_run((0,), 5, "early", 0)
    assert sequencer.pop(2)[0].n == 2
    assert sequencer.enter_fail((), 3, "error")
    assert sequencer.buffered == 2  # the third child, and the failure
    assert sequencer.enter_run((3,), 1, "late", 0) == 0
    released = sequencer.pop(100)
    assert [(piece.kind, piece.path, piece.n) for piece in released] == [("tasks", (2,), 1), ("fail", (), 1)]
    assert sequencer.drained


def test_released_children_stand_though_a_failure_says_fewer() -> None:
    sequencer = Sequencer()
    sequencer.enter_run((0,), 5, "early", 0)
    sequencer.pop(4)
    sequencer.enter_fail((), 1, "error")
    assert [piece.kind for piece in sequencer.pop(100)] == ["fail"]
    assert sequencer.drained and sequencer.released == 5


@pytest.mark.parametrize("path", [(-1,), (True,), ("a",), tuple(range(100))])
def test_wrong_paths_are_refused(path: Any) -> None:
    sequencer = Sequencer()
    with pytest.raises(DecodeError):
        sequencer.enter_run(path, 1, None, 0)
    with pytest.raises(DecodeError):
        sequencer.enter_end(path, 0)
    assert sequencer.nodes == 1


def test_a_wide_fan_out_holds_no_more_than_its_runs() -> None:
    sequencer = Sequencer()
    for first in range(499_001, 0, -1000):  # all but the first task, the last run first
        sequencer.enter_run((first,), 1000, "run", 0)
    assert sequencer.buffered == 500_000
    assert len(sequencer._top.kids[0].buffered) == 500
    assert sequencer.pop(10) == []
    sequencer.enter_run((0,), 1, "first", 0)
    assert sum(piece.n for piece in sequencer.pop(10**9)) == 500_001
    assert sequencer.nodes == 2 and not sequencer._top.kids[0].buffered
    sequencer.enter_end((), 500_001)
    assert sequencer.drained and sequencer.nodes == 1
