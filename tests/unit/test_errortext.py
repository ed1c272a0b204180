"""Rendering an error never fails, and never gives more than its bound."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zturbo.errortext import (
    MAX_CALLS,
    MAX_TRACEBACK,
    error_text,
    message_of,
    safe_repr,
    shown,
    shown_text,
    traceback_text,
)


class _Silent(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class _NoText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class _Liar(Exception):
    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no class")

    def __repr__(self) -> str:
        raise SystemExit(3)


class _Hostile(BaseException):
    def __getattribute__(self, name: str) -> Any:
        raise MemoryError(name)


def _circle() -> Exception:
    one, two = ValueError("one"), KeyError("two")
    one.__cause__, two.__cause__ = two, one
    return one


def _noted(*notes: Any) -> Exception:
    error = ValueError("noted")
    error.__notes__ = list(notes)  # type: ignore[attr-defined]
    return error


def _deep() -> Exception:
    error: Exception = ValueError("the innermost")
    for _ in range(3000):
        outer = ValueError("outer")
        outer.__cause__ = error
        error = outer
    return error


ODD: list[Callable[[], BaseException]] = [
    lambda: ValueError("cannot read caf\udce9.mp4"),
    lambda: _Silent("x"),
    lambda: _NoText("x"),
    lambda: _Liar("x"),
    lambda: _Hostile("x"),
    _circle,
    lambda: _noted(5, "caf\udce9", _Liar()),
    _deep,
    lambda: ValueError("x" * 50_000_000),
    lambda: ValueError(b"\xff", float("nan")),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
]


@pytest.mark.parametrize("make", ODD)
def test_any_error_has_a_text_that_can_be_sent(make: Callable[[], BaseException]) -> None:
    try:
        raise make()
    except BaseException as raised:
        texts = [message_of(raised), error_text(raised), safe_repr(raised), traceback_text(raised)]
    for text in texts:
        assert text.encode(), "a sentence where nothing can be shown"
        assert len(text) <= MAX_TRACEBACK


def test_what_cannot_be_shown_is_told() -> None:
    assert error_text(_Silent("x")) == "_Silent: (its text cannot be shown: __str__ raised KeyboardInterrupt)"
    assert message_of(ValueError("caf\udce9")) == r"caf\udce9"
    assert safe_repr(_Liar()) == "<_Liar, whose __repr__ raised SystemExit>"


def test_a_traceback_ends_with_the_error() -> None:
    try:
        raise ValueError("y" * 100_000)
    except ValueError as error:
        assert traceback_text(error).rstrip().endswith("yyy")
    try:
        raise ValueError("short") from KeyError("its cause")
    except ValueError as error:
        text = traceback_text(error)
    assert "its cause" in text and text.rstrip().endswith("ValueError: short") and "test_errortext.py" in text


def test_a_very_deep_recursion_is_told_by_its_last_calls() -> None:
    def fall(depth: int) -> int:
        return 1 // depth if not depth else fall(depth - 1) + 1

    told = {}
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(before + 3 * MAX_CALLS)
    try:
        for depth in (5, 2 * MAX_CALLS):
            with pytest.raises(ZeroDivisionError) as raised:
                fall(depth)
            told[depth] = traceback_text(raised.value)
    finally:
        sys.setrecursionlimit(before)
    assert "calls are shown" not in told[5]
    deep = told[2 * MAX_CALLS]
    assert deep.startswith(f"(only the last {MAX_CALLS} calls are shown)\n")
    assert deep.endswith("ZeroDivisionError: integer division or modulo by zero\n")


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=())), st.integers(4, 50))
def test_any_text_within_its_limit(text: str, limit: int) -> None:
    assert len(safe_repr(text, limit)) <= limit
    message_of(ValueError(text)).encode()
    traceback_text(ValueError(text)).encode()


@given(st.text(st.characters(), max_size=50))
def test_no_text_that_is_shown_steers_a_terminal(text: str) -> None:
    told = shown_text(text)
    assert told.encode() or not text, "it has bytes"
    assert all(c.isprintable() or c in "\n\t" or c.isspace() for c in told)
    assert not set(told) & set("\x1b\x9b\x07\x08\r\u202e\u2028")
    if text.isprintable():
        assert told == text


def test_what_is_shown_keeps_its_lines_and_its_shape() -> None:
    told = shown({"a\x1b": ["b\n\tc", ("\udce9", 5, None)]})
    assert told == {"a\\x1b": ["b\n\tc", ("\\udce9", 5, None)]}
    assert shown_text("日本\u3000語\xa0é") == "日本\u3000語\xa0é"
