"""A handler that fails takes nothing along."""

from __future__ import annotations

import logging

import pytest

from zturbo.runtime.net.guard import SHOWN, TELL_EVERY, Guard


class Unshowable(Exception):
    def __str__(self) -> str:
        raise RecursionError


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [Unshowable(), ValueError("x" * 10_000_000), ValueError("\udce9"), KeyError(())],
    ids=["no text", "long", "not UTF-8", "key"],
)
def test_any_error_is_told_in_few_words(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard(logging.getLogger("zturbo"))
    guard.failed("a batch", raised(error))
    assert guard.caught == 1
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"dropped a batch, whose handler failed with {type(error).__name__}")
    assert len(said.encode()) < SHOWN + 200


def test_many_errors_are_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    guard = Guard(logging.getLogger("zturbo"), lambda: now[0])
    for _ in range(1000):
        guard.failed("a batch", raised(ValueError("no")))
    now[0] += TELL_EVERY
    guard.failed("a batch", raised(ValueError("no")))
    assert guard.caught == 1001
    assert [("999 more" in record.getMessage()) for record in caplog.records] == [False, True]
