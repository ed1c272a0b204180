"""The text of an error, whatever the error's own code does: nothing here raises, and each text is bounded.

An exception of a user's code may have a message with characters that UTF-8 cannot carry, a ``__str__`` that
raises, causes in a circle, or a message of many megabytes. Each part has a fall-back that says what could not
be shown, so that the failure of the rendering does not hide the failure itself.
"""

from __future__ import annotations

import traceback

__all__ = ["error_text", "message_of", "safe_repr", "traceback_text", "type_name"]

MESSAGE = 10_000
"""Characters of a message."""
TRACEBACK = 32_000
"""Characters of a traceback: its end, which says what was raised."""


def carried(text: str) -> str:
    """The text as UTF-8 can carry it: a lone surrogate becomes its escape, ``\\udce9``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def type_name(value: object) -> str:
    """The name of its class; of the real one, where ``__class__`` says something else."""
    try:
        return carried(str(type(value).__name__))[:200]
    except BaseException:  # a metaclass may have a say in __name__
        return "an object of a class without a name"


def message_of(error: BaseException, limit: int = MESSAGE) -> str:
    """Its ``str()``, cut to ``limit`` characters; a sentence where that cannot be had."""
    try:
        text = carried(str.__str__(str(error)))
    except BaseException as failure:  # its __str__ is anybody's code
        return f"<its text cannot be shown: str() raised {type_name(failure)}>"
    return text if len(text) <= limit else f"{text[:limit]} ... ({len(text)} characters)"


def error_text(error: BaseException, limit: int = MESSAGE) -> str:
    """``ValueError: its message``; the type alone where there is no message."""
    message = message_of(error, limit)
    return f"{type_name(error)}: {message}" if message else type_name(error)


def safe_repr(value: object, limit: int = 80) -> str:
    """Its ``repr()``, cut to ``limit`` characters; its type where that cannot be had."""
    try:
        text = carried(str.__str__(repr(value)))
    except BaseException as failure:  # its __repr__ is anybody's code
        return f"<{type_name(value)}, whose repr() raised {type_name(failure)}>"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def traceback_text(error: BaseException, limit: int = TRACEBACK) -> str:
    """Its traceback with causes and notes, the last ``limit`` characters of it.

    Where that cannot be had: the frames alone and its text; at the least its text.
    """
    try:
        whole = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        text = carried(whole)
    except BaseException as failure:  # causes, notes and frames may all have code of their own
        why = f"(causes and notes cannot be shown: rendering them raised {type_name(failure)})"
        try:
            frames = carried(
                "".join(traceback.format_tb(BaseException.__dict__["__traceback__"].__get__(error)))
            )
        except BaseException:
            frames = ""
        text = f"{frames}{error_text(error)}\n{why}\n"
    return text if len(text) <= limit else f"... {text[-limit:]}"
