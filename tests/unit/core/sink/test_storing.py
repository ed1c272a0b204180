"""A token stands for one batch from its storing until it is safe, also over a restart on the same spool."""

from __future__ import annotations

import pytest

from tests.unit.core.sink.jobs import JOB, a_batch
from zturbo.core.sink.storing import Storing


def test_each_batch_has_a_token_of_its_own_until_it_is_safe() -> None:
    storing = Storing()
    first, second = a_batch(1), a_batch(2, first=1)
    tokens = [storing.begin(first), storing.begin(second)]
    assert len(set(tokens)) == len(storing) == 2
    assert storing.end(tokens[1]) is second and storing.end(tokens[0]) is first, "in whatever order"
    assert not len(storing)
    with pytest.raises(KeyError):
        storing.end(tokens[0])


def test_no_batch_gets_the_token_of_a_recovered_one() -> None:
    storing = Storing()
    for token in (1, 2, 7, 3):
        storing.recovered(token)
    assert not len(storing), "they are safe"
    assert storing.begin(a_batch(1)) > 7


def test_what_is_stored_of_a_job_is_told_in_its_order_and_of_one_epoch_alone() -> None:
    storing = Storing()
    batches = [a_batch(k, first=k) for k in range(4)]
    batches[1].epoch = 2
    batches[2].job = b"o" * 16
    tokens = [storing.begin(batch) for batch in batches]
    assert storing.of(JOB, 1) == [(tokens[0], batches[0]), (tokens[3], batches[3])]
    assert storing.of(JOB, 2) == [(tokens[1], batches[1])]
    assert storing.of(JOB, 3) == []
