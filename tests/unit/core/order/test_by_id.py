"""Items are released in the order of their ids; a wrong id is refused."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zturbo.core.order.by_id import ById


@given(st.lists(st.integers(0, 40), unique=True), st.randoms())
def test_ids_are_released_in_order_and_gaps_close(ids: list[int], rng: random.Random) -> None:
    order = list(ids)
    rng.shuffle(order)
    byid = ById()
    got = [item for number in order for item in byid.push(number, number)]
    assert got == list(range(len(got)))
    got += byid.flush()
    assert got == sorted(ids) and len(byid) == 0


@pytest.mark.parametrize("wrong", [-1, 0, 2, "0", None, True, 1.0])
def test_wrong_ids_are_refused(wrong: object) -> None:
    byid = ById()
    assert byid.push(0, "zero") == ["zero"]
    assert byid.push(2, "two") == []
    with pytest.raises(ValueError, match="get_sequence_id gave"):
        byid.push(wrong, "wrong")
    assert byid.push(1, "one") == ["one", "two"]
