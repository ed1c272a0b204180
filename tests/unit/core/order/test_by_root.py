"""Order ``roots``: the results of a root together, by path, and roots as they end; copies change nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zturbo.core.order.by_root import ByRoot
from zturbo.core.order.tree import EXECUTION
from zturbo.errors import DecodeError


def taken(by_root: ByRoot, **how: bool) -> list[tuple[int, list[Any]]]:
    """(root, its results): of each its item, as many times as it has tasks."""
    return [
        (root, [piece.item for piece in pieces for _ in range(piece.n)])
        for root, pieces in by_root.take(**how)
    ]


def test_roots_come_as_they_end_and_their_results_by_path() -> None:
    by_root = ByRoot()
    by_root.enter_run((1, 1), 1, "b")
    by_root.enter_run((2,), 2, "c")
    assert taken(by_root) == [(2, ["c"]), (3, ["c"])]
    by_root.enter_run((1, 0), 1, "a")
    assert taken(by_root) == [] and by_root.buffered == 2
    by_root.enter_end((1,), 2)
    by_root.enter_end((0,), 0)
    assert taken(by_root) == [(1, ["a", "b"]), (0, [])]
    assert not by_root.complete and by_root.entered() == [(0, 4)]
    by_root.enter_end((), 4)
    assert by_root.complete and by_root.finished
    by_root.check()


def test_a_failure_comes_after_its_children_and_may_be_held_back() -> None:
    by_root = ByRoot()
    by_root.enter_run((0, 0), 1, "a")
    by_root.enter_fail((0,), 1, "failed")
    by_root.enter_run((1,), 1, "b")
    assert by_root.failures() == 1
    assert taken(by_root, failed=False) == [(1, ["b"])]
    by_root.keep_prefix()
    assert by_root.entered() == [(1, 2)], "the root that failed is to enter again"
    by_root.enter_run((0,), 1, "c")
    assert taken(by_root) == [(0, ["c"])]


def test_the_first_execution_that_is_whole_wins() -> None:
    by_root = ByRoot()
    by_root.enter_run((0, EXECUTION + 1, 0), 1, "one")
    by_root.enter_run((0, EXECUTION + 2, 0), 1, "two")
    by_root.enter_end((0, EXECUTION + 2), 1)
    by_root.enter_end((0, EXECUTION + 1), 1)
    assert taken(by_root) == [(0, ["two"])]


def test_a_root_that_gives_different_children_is_blamed() -> None:
    by_root = ByRoot()
    by_root.enter_end((0,), 2)
    by_root.enter_end((0,), 3)
    assert by_root.nondeterministic is not None


@pytest.mark.parametrize("path", [(), (EXECUTION,), (-1,)])
def test_paths_that_no_correct_sender_sends_are_refused(path: tuple[int, ...]) -> None:
    by_root = ByRoot()
    with pytest.raises(DecodeError):
        by_root.enter_run(path, 1, "x")
    with pytest.raises(DecodeError):
        by_root.enter_fail(path, 0, "x")
    assert by_root.buffered == 0


CHILDREN = st.lists(st.integers(0, 3), min_size=1, max_size=6)


@given(CHILDREN, st.randoms(use_true_random=False))
def test_any_order_and_any_copies_give_each_root_once_and_whole(children: list[int], random: Any) -> None:
    """Root i has so many children; one with 1 is itself a result."""
    items: list[Any] = [lambda by: by.enter_end((), len(children))]
    for root, n in enumerate(children):
        if n == 1:
            items.append(lambda by, root=root: by.enter_run((root,), 1, (root, 0)))
            continue
        items.append(lambda by, root=root, n=n: by.enter_end((root,), n))
        items += [lambda by, root=root, i=i: by.enter_run((root, i), 1, (root, i)) for i in range(n)]
    items = items * 2
    random.shuffle(items)
    by_root = ByRoot()
    got = []
    for enter in items:
        enter(by_root)
        by_root.check()
        got += taken(by_root)
    assert sorted(got) == [(root, [(root, i) for i in range(n)]) for root, n in enumerate(children)]
    assert by_root.finished and not by_root.buffered
