"""What ``zturbo jobs`` shows of pipelines."""

from __future__ import annotations

from typing import Any

from tests.unit.telemetry.reports import member, telemetry
from zturbo.cli.jobs import pipeline_line, sizes, with_memory

PIPELINES: list[dict[str, Any]] = [
    {"name": "p", "stages": ("a", "b", "c"), "workers": (1, 2, 0)},
    {"name": "new", "stages": ("x",), "workers": (0,)},
]


def test_each_pipeline_has_the_memory_of_its_workers() -> None:
    told = telemetry(member(0), member(1), member(1, number=1), member(-1), wanted=(1, 2, 1))
    found = with_memory(PIPELINES, told)
    assert [pipeline["memory"] for pipeline in found] == [[1000, 2000, 0], [0]]
    assert [pipeline_line(pipeline) for pipeline in found] == [
        "pipeline p: a x1, b x2, c x0; 3.0 kB of memory",
        "pipeline new: x x0",
    ]
    assert "memory" not in PIPELINES[0], "the list of another is left as it is"


def test_a_job_has_its_size_until_it_ends() -> None:
    job = {"state": "running", "input_bytes": 2_500_000, "memory": 7200, "stored": 0}
    assert sizes(job) == ("2.5 MB", "7.2 kB", "0 B")
    assert sizes({**job, "state": "waiting", "input_bytes": 0, "stored": 3000}) == ("0 B", "7.2 kB", "3.0 kB")
    assert sizes({**job, "state": "done"}) == ("-", "-", "-")
