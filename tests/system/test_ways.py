"""A content arrives as it was, whichever way it goes: through System, its debug mode, or ``process_map``."""

from __future__ import annotations

import datetime
import decimal
import fractions
import uuid
from collections import Counter, OrderedDict, deque
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from tests.stages.contents import Colour, Same
from zturbo import Job, Stage, System, Task
from zturbo.errors import EncodeError
from zturbo.utils import process_map

ZONE = datetime.timezone(datetime.timedelta(hours=2))
CONTENTS: list[Any] = [
    None,
    True,
    2**80,
    1.5,
    float("inf"),
    1 + 2j,
    "text",
    "caf\udce9",
    b"bytes",
    bytearray(b"more"),
    (1, [2, (3,)]),
    {1: "a", (2, 3): {4}},
    frozenset({1, 2}),
    range(1, 9, 2),
    slice(1, None, 2),
    OrderedDict(b=1, a=2),
    Counter("aab"),
    deque([1, 2], 3),
    Path("a/b"),
    PurePosixPath("a/b"),
    datetime.datetime(2024, 5, 6, 7, 8, tzinfo=ZONE),
    datetime.time(1, 2, tzinfo=ZONE),
    datetime.timedelta(seconds=1.5),
    decimal.Decimal("1.10"),
    fractions.Fraction(1, 3),
    uuid.UUID(int=5),
    Colour.RED,
    np.float32(1.5),
    np.arange(6).reshape(2, 3)[:, ::2],
    np.zeros(300_000),
    np.ma.masked_array([1, 2], mask=[True, False]),
    np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
]


def look(content: Any) -> tuple[Any, ...]:
    """What tells a content from another, its types included."""
    if isinstance(content, np.ndarray):
        mask = content.mask.tolist() if isinstance(content, np.ma.MaskedArray) else None
        return type(content), content.dtype, content.shape, content.tobytes(), mask
    return type(content), repr(content)


def same(content: Any) -> Any:
    return content


class Plain(System):
    show_progress = False

    def get_stages(self, resources: Any) -> list[Stage]:
        return [Same()]


def through_system(contents: list[Any], debug: bool) -> list[Any]:
    with Plain(debug=debug) as system:
        system.add_jobs(Job(str(i), Task(content)) for i, content in enumerate(contents))
        done = {job.name: job for job in system.wait_jobs(len(contents), job_timeout=60)}
    assert all(job.success for job in done.values()), [job.error for job in done.values()]
    return [done[str(i)].results[0] for i in range(len(contents))]


@pytest.mark.parametrize("way", ["system", "debug", "process_map"])
def test_each_type_arrives_as_it_was(way: str) -> None:
    if way == "process_map":
        numbered = process_map(same, list(enumerate(CONTENTS)), num_worker=2, silent=True)  # in any order
        got = [content for _, content in sorted(numbered, key=lambda pair: pair[0])]
    else:
        got = through_system(CONTENTS, way == "debug")
    assert [look(content) for content in got] == [look(content) for content in CONTENTS]


@pytest.mark.parametrize("debug", [False, True])
def test_a_job_has_the_content_that_it_had_when_it_was_added(debug: bool) -> None:
    frame, row, meta = np.zeros(300_000), {"n": [0]}, {"at": [0]}
    with Plain(debug=debug) as system:
        for i in range(4):
            frame[:] = i
            row["n"][0] = meta["at"][0] = i
            system.add_job(Job(f"frame {i}", Task(frame, meta)))
            system.add_job(Job(f"row {i}", Task(row)))
        with pytest.raises(EncodeError):
            system.add_job(Job("none", Task(object())))
        frame[:] = row["n"][0] = meta["at"][0] = 9
        done = {job.name: job for job in system.wait_jobs(8, job_timeout=60)}
    for i in range(4):
        assert done[f"frame {i}"].results[0].tolist() == [i] * 300_000
        assert done[f"row {i}"].results == [{"n": [i]}]
        assert done[f"frame {i}"].task.content is frame, "the job itself is the user's"
