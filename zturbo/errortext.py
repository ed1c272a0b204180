"""The text of an error or a value of user code, whose rendering cannot fail.

An error's class is the user's code too: ``__str__`` may raise or give something that is no text, a text may
have characters that no message carries, a chain of causes may be a circle or have no end. An error that
cannot be shown must not hide which task raised it. So each part has a fall-back that says what is missing.
"""

from __future__ import annotations

import traceback
import unicodedata
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

__all__ = [
    "Rendered",
    "clip",
    "error_text",
    "message_of",
    "plain_text",
    "render",
    "safe_repr",
    "shown",
    "shown_text",
    "traceback_text",
    "type_name",
]

MAX_MESSAGE = 16 << 10
"""Characters of an error's text; what is longer loses its middle."""

MAX_TRACEBACK = 64 << 10
"""Characters of a traceback; what is longer loses its middle: the error itself stands at the end."""

MAX_NAME = 200
"""Characters of a class's name."""

MAX_CLIPPED = 4 << 10
"""Characters of a text that :func:`clip` leaves whole, if not told otherwise."""

MAX_CHAIN = 32
"""Errors of a chain of causes, or of a group, of which a traceback tells. More would take minutes."""

MAX_CALLS = 1000
"""Frames of one error that Python's own rendering is given: all of a deep recursion would take a minute."""

MAX_FRAMES = 64
"""Frames of one error that are told where Python's own rendering fails."""


def clip(text: str, limit: int = MAX_CLIPPED) -> str:
    """A text that fits: what is too long loses its middle."""
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[len(text) - half :]}"


class Rendered(NamedTuple):
    """An error as text."""

    type: str
    message: str
    traceback: str

    @property
    def sentence(self) -> str:
        """Type and message, as Python tells an error."""
        return f"{self.type}: {self.message}" if self.message else self.type


def render(error: BaseException) -> Rendered:
    """Type, message and traceback of an error. Never raises, whatever the error's class does."""
    name = type_name(error)
    message = message_of(error)
    return Rendered(name, message, _traceback(error, name, message))


def error_text(error: BaseException, limit: int = MAX_MESSAGE) -> str:
    """Type and message, as Python tells an error, in so many characters at most. Never raises."""
    return clip(Rendered(type_name(error), message_of(error), "").sentence, limit)


def traceback_text(error: BaseException) -> str:
    """The traceback of an error, with its causes and notes. Never raises."""
    return render(error).traceback


def safe_repr(value: object, limit: int = 80) -> str:
    """The ``repr()`` of a value, or why it has none. Never raises.

    Args:
        value: anything.
        limit: characters; what is longer loses its end.
    """
    try:
        text = plain_text(repr(value))
    except BaseException as reason:  # __repr__ is the user's code
        return f"<{type_name(value)}, whose __repr__ raised {type_name(reason)}>"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def type_name(error: object) -> str:
    """The name of an object's class, which its metaclass cannot change. Never raises."""
    return _or(
        lambda: clip(plain_text(type.__dict__["__name__"].__get__(type(error))), MAX_NAME), "Exception"
    )


def message_of(error: BaseException) -> str:
    """An error's own text, or why it has none. Never raises."""
    try:
        text = str(error)
        return clip(plain_text(text), MAX_MESSAGE)
    except BaseException as reason:  # __str__ is the user's code
        return f"(its text cannot be shown: __str__ raised {type_name(reason)})"


def plain_text(text: str) -> str:
    """A text that each message can carry: what UTF-8 has no bytes for is told as an escape."""
    text = str.__str__(text)  # no subclass, whose methods are the user's code
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def shown_text(text: str) -> str:
    """A text as a terminal can show it, with its lines and tabs: what would steer the terminal, turn the
    direction of writing, or has no bytes, is told as an escape.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def shown(value: Any) -> Any:
    """A value of the broker's or a user's with all texts in it as a terminal can show them."""
    if isinstance(value, str):
        return shown_text(value)
    if isinstance(value, dict):
        return {shown(key): shown(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(shown, value)) if type(value) in (list, tuple) else list(map(shown, value))
    return value


def _is_shown(c: str) -> bool:
    return c.isprintable() or c in "\n\t" or unicodedata.category(c) == "Zs"


def _or(make: Callable[[], str], otherwise: str) -> str:
    try:
        return make()
    except BaseException:  # the user's code, or no memory
        return otherwise


def _traceback(error: BaseException, name: str, message: str) -> str:
    last = f"{name}: {message}\n" if message else f"{name}\n"
    return _or(lambda: _clipped(_pythons(error)), "") or _or(
        lambda: _clipped(_frames_of(error) + last), f"(its traceback cannot be shown)\n{last}"
    )


def _clipped(text: str) -> str:
    return clip(plain_text(text), MAX_TRACEBACK)


def _pythons(error: BaseException) -> str:
    """What Python prints; of a chain that is too long for that, its last error."""
    where = _own(error, "__traceback__")
    short = _is_short(error)
    if not short and isinstance(getattr(error, "exceptions", None), tuple):
        return ""
    lines = traceback.format_exception(type(error), error, where, limit=-MAX_CALLS, chain=short)
    if not short:
        lines.insert(0, f"(its causes are not shown: there are more than {MAX_CHAIN})\n")
    if _is_deep(where):
        lines.insert(0, f"(only the last {MAX_CALLS} calls are shown)\n")
    return "".join(lines)


def _is_deep(where: TracebackType | None) -> bool:
    """Whether a traceback has more than :data:`MAX_CALLS` frames."""
    for _ in range(MAX_CALLS):
        if where is None:
            return False
        where = where.tb_next
    return where is not None


def _is_short(error: BaseException) -> bool:
    """Whether a chain of causes, with the members of groups, has no more than :data:`MAX_CHAIN` errors."""
    todo: list[Any] = [error]
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if len(seen) > MAX_CHAIN:
            return False
        todo += [link for link in (_own(one, "__cause__"), _own(one, "__context__")) if link is not None]
        members = getattr(one, "exceptions", None)
        if isinstance(members, tuple):
            todo += [member for member in members[: MAX_CHAIN + 1] if isinstance(member, BaseException)]
    return True


def _own(error: BaseException, name: str) -> Any:
    """What Python has noted in an error, whatever its class says."""
    return BaseException.__dict__[name].__get__(error)


def _frames_of(error: BaseException) -> str:
    """Where it was raised, and why there is no more to see."""
    frames: list[str] = []
    at: TracebackType | None = _own(error, "__traceback__")
    while at is not None:
        code = at.tb_frame.f_code
        frames.append(f'  File "{code.co_filename}", line {at.tb_lineno}, in {code.co_name}\n')
        at = at.tb_next
    if len(frames) > MAX_FRAMES:
        half = MAX_FRAMES // 2
        frames[half:-half] = [f"  ... {len(frames) - 2 * half} more ...\n"]
    head = "(its causes, notes and source lines cannot be shown)\n"
    return "".join([head, "Traceback (most recent call last):\n", *frames])
