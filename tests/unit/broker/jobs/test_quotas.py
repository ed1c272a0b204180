"""What the unfinished jobs of clients may use, and what is said beyond it."""

from __future__ import annotations

import pytest

from zturbo_broker.jobs.job import Job
from zturbo_broker.jobs.quotas import JOB_MEMORY, LATER, MOST_REFUSED, SOON, Limits, Quotas

ANN, BOB = b"a" * 16, b"b" * 16


def job(client: bytes = ANN, nbytes: int = 10, carries: int = 0, owner: str = "") -> Job:
    one = Job(
        id=b"j" * 16,
        name="n",
        pipeline="p",
        client=client,
        stream=False,
        options={},
        digest=b"",
        carries=carries,
        owner=owner,
    )
    one.chunks.append(0, max(1, carries), nbytes)
    return one


def test_jobs_of_a_client_are_bounded_and_those_of_another_go_on() -> None:
    quotas = Quotas(Limits(client_jobs=2))
    jobs = [job(), job()]
    for one in jobs:
        assert quotas.full(ANN, "n", 1, 10) is None
        quotas.add(one)
    refusal = quotas.full(ANN, "n", 1, 10)
    assert refusal is not None and refusal.after == SOON
    assert refusal.why == "2 jobs of this client are not finished; client_jobs of [broker] allows 2"
    assert quotas.full(BOB, "n", 1, 10) is None
    quotas.remove(jobs[0])
    assert quotas.full(ANN, "n", 1, 10) is None
    quotas.check(jobs[1:])


def test_bytes_of_a_client_are_bounded() -> None:
    quotas = Quotas(Limits(client_bytes=25))
    first = job()
    quotas.add(first)
    assert quotas.full(ANN, "n", 1, 15) is None
    refusal = quotas.full(ANN, "n", 1, 16)
    assert refusal is not None and "1 job of this client with 10 bytes" in refusal.why
    first.chunks.append(1, 1, 6)  # a stream, whose feed is never refused
    quotas.grew(first, 6)
    assert quotas.full(ANN, "n", 1, 10) is not None
    quotas.remove(first)
    quotas.check([])


def test_memory_is_bounded_for_all() -> None:
    quotas = Quotas(Limits(memory=2 * JOB_MEMORY + 10))
    for client in (ANN, BOB):
        assert quotas.full(client, "n", 1, 0) is None
        quotas.add(job(client))
    refusal = quotas.full(b"c" * 16, "n", 1, 0)
    assert refusal is not None and refusal.after == LATER and "memory of [broker] allows" in refusal.why


@pytest.mark.parametrize("limits", [Limits(client_jobs=1), Limits(client_bytes=1), Limits(memory=1)], ids=str)
def test_a_job_of_any_size_goes_at_some_time(limits: Limits) -> None:
    quotas = Quotas(limits)
    assert quotas.full(ANN, "n" * 500, 256, 1 << 30) is None
    one = job(nbytes=1 << 30, carries=256)
    quotas.add(one)
    assert quotas.full(ANN, "n", 1, 1) is not None
    quotas.remove(one)
    assert quotas.full(ANN, "n", 256, 1 << 30) is None


def test_connections_under_one_key_are_one_client() -> None:
    quotas = Quotas(Limits(client_jobs=2))
    quotas.add(job(ANN, owner="ann"))
    quotas.add(job(BOB, owner="ann"))
    assert quotas.full("ann", "n", 1, 0) is not None
    assert [(one.client, one.jobs, one.nbytes) for one in quotas.told()] == [("ann", 2, 20)]
    assert quotas.told("bob") == ()


def test_refusals_are_counted_and_those_without_jobs_forgotten() -> None:
    quotas = Quotas(Limits(client_jobs=1))
    one = job()
    quotas.add(one)
    quotas.refuse(ANN, 3)
    assert (quotas.refused, quotas.told()[0].refused) == (3, 3)
    quotas.remove(one)
    for n in range(MOST_REFUSED + 1):
        quotas.refuse(n.to_bytes(16, "big"), 1)
    assert quotas.refused == MOST_REFUSED + 4
    assert ANN.hex() not in {client.client for client in quotas.told()}
    quotas.add(job(BOB))
    assert quotas.told()[0].client == BOB.hex()
