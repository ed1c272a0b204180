"""Tasks of a piece of work are started by one thread and taken back by another: each has one of them."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zturbo.core import effects
from zturbo.core.effects import Effect, Work
from zturbo.wire.messages import Batch

JOB = b"j" * 16


def work(*pieces: tuple[int, int]) -> Work:
    batch = Batch(JOB, 1, 0, [((0,), 9)], 9, bytes(9))
    return Work(JOB, 1, [(batch, start, stop) for start, stop in pieces], (b"s" * 16, 1), [])


def test_all_tasks_of_new_work_can_be_started() -> None:
    made = work((2, 5), (7, 9))
    assert (made.size, made.left, made.started, made.cut) == (5, 5, 0, 0)
    assert work().size == 0


@given(st.lists(st.booleans(), max_size=12))
def test_what_is_started_and_what_is_taken_back_is_all_there_was(steps: list[bool]) -> None:
    made = work((0, 9))
    started = 0
    for start in steps:
        if not made.left:
            break
        next(made.unstarted)
        if start:
            started += 1
        else:
            made.cut += 1
        assert made.started == started
        assert made.started + made.cut + made.left == made.size == 9


def test_two_pieces_of_work_do_not_share_their_entries() -> None:
    one, other = work((0, 3)), work((0, 3))
    assert [*one.unstarted] == [None] * 3
    assert (one.left, other.left) == (0, 3)


def test_each_effect_is_one_that_a_shell_may_get() -> None:
    """A shell matches on these types: one that is left out of the union is never performed."""
    made = {name for name in effects.__all__ if name not in ("Effect", "Work")}
    assert {cls.__name__ for cls in get_args(Effect)} == made


@pytest.mark.parametrize("name", sorted({*effects.__all__} - {"Effect"}))
def test_an_effect_has_no_room_for_a_misspelt_field(name: str) -> None:
    assert "__slots__" in vars(getattr(effects, name))
