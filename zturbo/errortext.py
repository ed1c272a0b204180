"""Texts of a user's errors and values. Rendering them never fails.

An error's class is user code too. Its ``__str__`` may raise or return something that is not a text. A text
may have characters that UTF-8 cannot encode. A chain of causes may be a circle, or very long. But even if an
error cannot be shown, its task must be known. So each part has a fall-back, which says what is missing.
"""

from __future__ import annotations

import traceback
import unicodedata
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, NamedTuple

__all__ = [
    "Rendered",
    "clip",
    "error_text",
    "how_many",
    "message_of",
    "path_text",
    "plain_text",
    "render",
    "safe_repr",
    "shown",
    "shown_text",
    "traceback_text",
    "type_name",
]

MAX_MESSAGE = 16 << 10
"""Most characters of an error's text; a longer text loses its middle."""

MAX_TRACEBACK = 64 << 10
"""Most characters of a traceback. A longer one loses its middle, because the error itself is at the end."""

MAX_NAME = 200
"""Most characters of a class's name."""

MAX_CLIPPED = 4 << 10
"""Most characters that :func:`clip` leaves, by default."""

MAX_CHAIN = 32
"""Most errors, of a chain of causes or a group, in a traceback. More would take minutes to render."""

MAX_CALLS = 1000
"""Most frames of one error that Python renders. All frames of a deep recursion would take a minute."""

MAX_FRAMES = 64
"""Most frames of one error that are shown if Python's own rendering fails."""


def clip(text: str, limit: int = MAX_CLIPPED) -> str:
    """A text of at most ``limit`` characters; a longer text loses its middle."""
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
        """Type and message in the form of Python's last line of a traceback."""
        return f"{self.type}: {self.message}" if self.message else self.type


def render(error: BaseException) -> Rendered:
    """Type, message and traceback of an error. Never raises, even if the error's own methods do."""
    name = type_name(error)
    message = message_of(error)
    return Rendered(name, message, _traceback(error, name, message))


def error_text(error: BaseException, limit: int = MAX_MESSAGE) -> str:
    """Type and message of an error, in at most ``limit`` characters. Never raises."""
    return clip(Rendered(type_name(error), message_of(error), "").sentence, limit)


def traceback_text(error: BaseException) -> str:
    """The traceback of an error, with its causes and notes. Never raises."""
    return render(error).traceback


def safe_repr(value: object, limit: int = 80) -> str:
    """The ``repr()`` of a value, or the reason why it has none. Never raises.

    Args:
        value: any value.
        limit: most characters; a longer text loses its end.
    """
    try:
        text = plain_text(repr(value))
    except BaseException as reason:  # __repr__ is the user's code
        return f"<{type_name(value)}, whose __repr__ raised {type_name(reason)}>"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def type_name(error: object) -> str:
    """The name of an object's class, even if its metaclass defines ``__name__`` anew. Never raises."""
    return _or(
        lambda: clip(plain_text(type.__dict__["__name__"].__get__(type(error))), MAX_NAME), "Exception"
    )


def message_of(error: BaseException) -> str:
    """An error's own text, or the reason why it has none. Never raises."""
    try:
        text = str(error)
        return clip(plain_text(text), MAX_MESSAGE)
    except BaseException as reason:  # __str__ is the user's code
        return f"(its text cannot be shown: __str__ raised {type_name(reason)})"


def how_many(n: int, noun: str, plural: str = "") -> str:
    """A number with its noun: ``1 job``, ``2 jobs``; ``plural`` if it is not made by an s."""
    return f"{n} {noun if n == 1 else plural or f'{noun}s'}"


def path_text(path: Iterable[int]) -> str:
    """A task's path as people write it: ``17.2``; ``root`` for a job's single root."""
    return ".".join(map(str, path)) or "root"


def plain_text(text: str) -> str:
    """A text that UTF-8 can encode; other characters become escapes."""
    text = str.__str__(text)  # the methods of a subclass are user code
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def shown_text(text: str) -> str:
    """A text that is safe to print on a terminal; it keeps its line breaks and tabs.

    Characters that control the terminal, turn the direction of writing, or cannot be encoded become escapes.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def shown(value: Any) -> Any:
    """A value, all of whose texts are made safe to print by :func:`shown_text`."""
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
    except BaseException:  # user code raised, or there is no memory
        return otherwise


def _traceback(error: BaseException, name: str, message: str) -> str:
    last = f"{name}: {message}\n" if message else f"{name}\n"
    return _or(lambda: _clipped(_pythons(error)), "") or _or(
        lambda: _clipped(_frames_of(error) + last), f"(its traceback cannot be shown)\n{last}"
    )


def _clipped(text: str) -> str:
    return clip(plain_text(text), MAX_TRACEBACK)


def _pythons(error: BaseException) -> str:
    """The traceback that Python prints; of a chain that is too long, only its last error."""
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
    """An attribute that Python itself has set in an error, even if the error's class overrides it."""
    return BaseException.__dict__[name].__get__(error)


def _frames_of(error: BaseException) -> str:
    """The frames of an error, and a line that says why the rest is missing."""
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
