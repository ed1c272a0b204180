"""Batches and failures that wait for their order stay within their budget."""

from __future__ import annotations

from zturbo.core.order.tree import Released
from zturbo.core.worker.waiting import Waiting
from zturbo.wire.payload import input_fields, pack_error, unpack_error_map


def test_failures_that_wait_for_their_order_are_bounded() -> None:
    waiting = Waiting([], 10_000)
    error = pack_error({"stage": "s", **input_fields(bytes(4000), [], None)})
    kept = [waiting.failure(b"j", error) for _ in range(4)]
    assert [unpack_error_map(one)["input"] is not None for one in kept] == [True, True, False, False]
    assert "too many failures wait" in unpack_error_map(kept[3])["note"]
    waiting.no_failure(b"j", kept[0])
    _, fails = waiting.take(b"j", [Released("fail", (1,), 1, kept[1], 0)])
    assert fails == [(0, kept[1], 0)]
    assert waiting.failure(b"j", error) == error, "there is room again"
    waiting.forget(b"j")
    assert waiting.failure(b"k", error) == error
