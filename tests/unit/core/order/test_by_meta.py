"""Results by a number in their meta: path decides between two of one number, gaps close at the end."""

from __future__ import annotations

from zturbo.core.order.by_meta import ByMeta
from zturbo.wire.payload import unpack_error_map


def test_results_come_by_number_and_failures_before_those_behind_gaps() -> None:
    order = ByMeta("n", "h")
    assert order.task(1, "b", (0,), 3) == []
    assert order.task(0, "a", (1,), 3) == ["a", "b"]
    assert order.task(5, "f", (2,), 3) == order.task(4, "e", (3,), 3) == []
    assert order.task(4, "again", (4,), 3) == order.task("meta has no 'n'", "none", (5,), 3) == []
    assert len(order) == 4
    failures, late = order.flush()
    assert late == ["e", "f"]
    told = [unpack_error_map(failure) for failure in failures]
    assert [(error["path"], error["stage"], error["index"]) for error in told] == [
        ((4,), "sink", 3),
        ((5,), "sink", 3),
    ]
    assert "second time" in told[0]["message"] and told[1]["message"] == "meta has no 'n'"
    assert len(order) == 0 and order.flush() == ([], [])
