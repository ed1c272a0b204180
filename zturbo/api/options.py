"""Options of the process, from ``ZTURBO_OPTIONS``."""

from __future__ import annotations

import os
import warnings
from typing import Any

from zturbo.checks import did_you_mean, wrong
from zturbo.errors import UsageError
from zturbo.slotted import slotted

__all__ = ["OptionSet", "Options"]

_TRUE = ("", "1", "true", "yes")
_FALSE = ("0", "false", "no")

ANCESTOR = "PYTURBO_OPTIONS"
"""pyturbo's name of the variable, which has the same form."""


@slotted
class OptionSet:
    """Options of a process. Set them in ``ZTURBO_OPTIONS``, as ``name`` or ``name=value`` with spaces between
    them, or by assignment.

    Raises:
        UsageError: a name is unknown, or a value has a wrong type.
    """

    raise_exception: bool = False
    """The first failed task stops all work: ``System.wait_job`` raises its error and ends the system."""
    single_sync_pipeline: bool = False
    """``System`` runs all stages in this process, one after another."""
    no_progress_bar: bool = False
    """Neither ``System`` nor :func:`zturbo.progressbar` shows progress."""
    print_debug_log: bool = False
    """``System``'s processes and :func:`zturbo.get_logger`'s loggers log from DEBUG on, not from INFO on."""
    log_file: str | None = None
    """A file that these logs go to, beside stderr."""
    no_binding: bool = False
    """``System``'s workers may use all CPUs and GPUs of the host, as in pyturbo, and not only their own."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _NAMES:
            raise UsageError(f"Options has no {name!r}; {did_you_mean(name, _NAMES)}")
        if name == "log_file":
            if value is not None and not isinstance(value, (str, os.PathLike)):
                raise wrong("Options.log_file", value, "a path or None")
            value = None if value is None else os.fspath(value)
        elif not isinstance(value, bool):
            raise wrong(f"Options.{name}", value, "True or False")
        object.__setattr__(self, name, value)

    @classmethod
    def parse(cls, text: str) -> OptionSet:
        """The options in a text of the form of ``ZTURBO_OPTIONS``; raises UsageError."""
        options = cls()
        for word in text.split():
            name, given, value = word.partition("=")
            if name not in _NAMES:
                raise UsageError(f"ZTURBO_OPTIONS: no option {name!r}; {did_you_mean(name, _NAMES)}")
            if name == "log_file":
                if not value:
                    raise UsageError("ZTURBO_OPTIONS: log_file needs a path: log_file=PATH")
                options.log_file = value
                continue
            if value.lower() not in _TRUE + _FALSE or (given and not value):
                raise UsageError(f"ZTURBO_OPTIONS: {name} is to be true or false, not {value!r}")
            setattr(options, name, value.lower() in _TRUE)
        return options

    def as_dict(self) -> dict[str, Any]:
        """All options, to be sent to another process."""
        return {name: getattr(self, name) for name in _NAMES}

    def update(self, values: dict[str, Any]) -> None:
        """Set several options; raises UsageError."""
        for name, value in values.items():
            setattr(self, name, value)


_NAMES = tuple(OptionSet.__annotations__)


def _from_environment() -> OptionSet:
    """The options in ``ZTURBO_OPTIONS``, or else those in pyturbo's variable, with a warning.

    Then ``ZTURBO_OPTIONS`` is set too, so that child processes inherit it and do not warn again.
    """
    text = os.environ.get("ZTURBO_OPTIONS")
    if text is None and (text := os.environ.get(ANCESTOR)) is not None:
        warnings.warn(f"{ANCESTOR} is read because ZTURBO_OPTIONS is not set: rename it", stacklevel=2)
        os.environ["ZTURBO_OPTIONS"] = text
    return OptionSet.parse(text or "")


Options = _from_environment()
"""The options of this process. ``System`` hands them to its workers."""
