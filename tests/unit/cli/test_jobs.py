"""What ``zturbo jobs`` shows of pipelines."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.telemetry.reports import member, telemetry
from zturbo.cli.jobs import _show, with_memory

PIPELINES = [
    {"name": "p", "stages": ("a", "b", "c"), "workers": (1, 2, 0), "problems": {}},
    {"name": "new", "stages": ("x",), "workers": (0,), "problems": {}},
]


def described(*members: dict[str, Any]) -> dict[str, Any]:
    told = telemetry(*members, wanted=(1, 2, 1))
    rest = {"trouble": None, "open": False, "clients": [], "jobs": [], "totals": {}, "clock": 0.0}
    return {"pipelines": with_memory(PIPELINES, told), **rest}


def test_each_pipeline_has_the_memory_of_its_workers(capsys: pytest.CaptureFixture[str]) -> None:
    value = described(member(0), member(1), member(1, number=1), member(-1))
    assert [pipeline["memory"] for pipeline in value["pipelines"]] == [[1000, 2000, 0], [0]]
    _show(value, whole=False)
    assert capsys.readouterr().out.splitlines()[:2] == [
        "pipeline p: a x1, b x2, c x0; 3.0 kB of memory",
        "pipeline new: x x0",
    ]


def test_the_lists_of_others_are_left_as_they_are() -> None:
    with_memory(PIPELINES, telemetry(member(0), wanted=(1, 2, 1)))
    assert "memory" not in PIPELINES[0]
