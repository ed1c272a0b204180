"""The context of a caller's trace, as text that comes over a socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zturbo.wire.traceparent import TraceContext, read_traceparent, without_bad_context

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_context_is_read_as_the_recommendation_says() -> None:
    found = read_traceparent(GOOD)
    assert found == TraceContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, True)
    assert (found.trace_id, found.span_id) == tuple(GOOD.split("-")[1:3])
    assert read_traceparent(GOOD[:-2] + "02") == found._replace(sampled=False)
    assert read_traceparent("01" + GOOD[2:] + "-what-comes-later") == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD[:-1],
        GOOD + "0",
        GOOD + "-more",
        GOOD + "\n",
        GOOD.upper(),
        "ff" + GOOD[2:],
        "00-" + "0" * 32 + GOOD[35:],
        GOOD[:36] + "0" * 16 + GOOD[52:],
        "01" + GOOD[2:] + "-" + "x" * 200,
        GOOD.encode(),
        7,
        None,
    ],
)
def test_what_is_no_context_is_dropped(text: object) -> None:
    assert read_traceparent(text) is None
    assert without_bad_context({"priority": 1, "traceparent": text}) == {"priority": 1}


@given(
    st.one_of(st.text(), st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True))
)
def test_any_text_gives_a_context_or_none(text: str) -> None:
    found = read_traceparent(text)
    assert found is None or (0 < found.trace < 1 << 128 and 0 < found.span < 1 << 64)
    kept = without_bad_context({"traceparent": text})
    assert kept == ({} if found is None else {"traceparent": text})
