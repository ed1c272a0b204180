"""Ids of jobs that travel together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zturbo.client.job_ids import short
from zturbo.wire.carried import MAX_CARRIED, carried_id, carrier_id, place_of


@given(st.binary(min_size=14, max_size=14), st.integers(0, MAX_CARRIED - 1))
def test_a_job_and_its_carrier_find_each_other(rest: bytes, root: int) -> None:
    carrier = carrier_id(rest)
    assert place_of(carrier) == (carrier, -1)
    job = carried_id(carrier, root)
    assert len(job) == 16 and job != carrier
    assert place_of(job) == (carrier, root)


@given(st.binary(min_size=14, max_size=14))
def test_a_person_can_tell_jobs_of_one_carrier_apart(rest: bytes) -> None:
    ids = [carried_id(carrier_id(rest), root) for root in range(MAX_CARRIED)]
    assert len({short(job.hex()) for job in ids}) == MAX_CARRIED
    assert len({job.hex()[:4] for job in ids}) == MAX_CARRIED
