"""Jobs as people see and name them: rows of jobs that travel together, and ids by their first digits."""

from __future__ import annotations

from typing import Any

import pytest

from zturbo.client.job_ids import pick_job, short, with_text_ids
from zturbo.errors import UsageError
from zturbo.wire.carried import carried_id, carrier_id
from zturbo.wire.control import answers

CARRIER = carrier_id(bytes(range(14)))


def rows(parts: list[tuple[str, str, int, int]], carries: int = 0) -> list[dict[str, Any]]:
    """The rows of a carrier with jobs of these (names, states, results, failed tasks)."""
    status = answers.Status(
        id=CARRIER,
        number=7,
        name="n",
        pipeline="p",
        state="running",
        waiting=None,
        incidents=(),
        epoch=1,
        total=3,
        fed=3,
        stages=(),
        done=(),
        counts=(),
        results=9,
        failed=9,
        error=None,
        error_kind=None,
        options={"order": "roots", "priority": 1},
        created=0.0,
        carries=carries or len(parts),
        over=1,
        ended=0.0,
        carrier=b"",
        input_bytes=30,
        memory=6001,
        stored=90,
        parts=tuple(
            answers.Part(root=root, name=name, state=state, results=results, failed=failed)
            for root, (name, state, results, failed) in enumerate(parts)
        ),
    )
    described = answers.Description(
        jobs=(status,),
        next=0,
        totals={},
        pipelines=(),
        trouble=None,
        open=False,
        clock=0.0,
        clients=(),
        job_memory=0,
        refused=0,
    )
    found: list[dict[str, Any]] = with_text_ids(described)["jobs"]
    return found


def seen(row: dict[str, Any], *keys: str) -> tuple[Any, ...]:
    return tuple(row[key] for key in keys)


def test_jobs_of_one_name_are_one_row() -> None:
    (row,) = rows([], carries=5)
    assert seen(row, "id", "name", "carries", "over", "carrier") == (CARRIER.hex(), "n", 5, 1, "")


def test_jobs_with_names_of_their_own_have_a_row_each() -> None:
    found = rows([("a", "done", 2, 1), ("b", "running", 0, 0), ("a", "cancelled", 0, 0)])
    numbers = [seen(row, "name", "state", "results", "failed", "carries", "over") for row in found]
    assert numbers == [
        ("a", "done", 2, 1, 0, 0),
        ("b", "running", 0, 0, 0, 0),
        ("a", "cancelled", 0, 0, 0, 0),
    ]
    assert [row["id"] for row in found] == [carried_id(CARRIER, root).hex() for root in range(3)]
    assert all(row["carrier"] == CARRIER.hex() and row["options"] == {"priority": 1} for row in found)
    assert [row["error_kind"] for row in found] == [None, None, "JobCancelled"]
    assert [row["memory"] for row in found] == [0, 2000, 0], "a share of what all take"
    assert [row["stored"] for row in found] == [0, 30, 0]
    assert not any("parts" in row or "root" in row for row in found)


@pytest.mark.parametrize("digits", [5, 12, 32])
def test_one_that_shares_a_row_is_named_by_its_id(digits: int) -> None:
    listed = rows([], carries=5)
    one = carried_id(CARRIER, 3).hex()
    found = pick_job(listed, one[:digits].upper())
    assert seen(found, "id", "carrier", "carries") == (one, CARRIER.hex(), 0)


@pytest.mark.parametrize("word", [carried_id(CARRIER, 3).hex()[:4], "zz" + CARRIER.hex()[2:], "0" * 32])
def test_other_digits_name_none(word: str) -> None:
    with pytest.raises(UsageError, match="there is no job"):
        pick_job(rows([], carries=5), word)


def test_the_digits_that_are_shown_name_the_row() -> None:
    listed = rows([("a", "done", 1, 0), ("b", "done", 1, 0)])
    assert pick_job(listed, short(listed[1]["id"])) is listed[1]
