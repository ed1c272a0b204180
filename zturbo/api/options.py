"""Options of the process, from ``ZTURBO_OPTIONS``."""

from __future__ import annotations

import os
import warnings
from dataclasses import asdict, dataclass, fields
from typing import Any

from zturbo.checks import did_you_mean, wrong
from zturbo.errors import UsageError

__all__ = ["OptionSet", "Options"]

_TRUE = ("", "1", "true", "yes")
_FALSE = ("0", "false", "no")

ANCESTOR = "PYTURBO_OPTIONS"
"""pyturbo's variable, in the same form."""


@dataclass
class OptionSet:
    """What may be set by ``ZTURBO_OPTIONS``, space-separated, ``name`` or ``name=value``, or by assignment.

    Raises:
        UsageError: an unknown name, or a value of a wrong type.
    """

    raise_exception: bool = False
    """A task that fails stops everything: ``System.wait_job`` raises its error and ends the system."""
    single_sync_pipeline: bool = False
    """``System`` runs all stages in this process, one after another."""
    no_progress_bar: bool = False
    """Neither ``System`` nor :func:`zturbo.progressbar` shows progress."""
    print_debug_log: bool = False
    """Logs of ``System``'s processes and of :func:`zturbo.get_logger` from DEBUG on, not from INFO on."""
    log_file: str | None = None
    """Where these logs go beside stderr."""
    no_binding: bool = False
    """``System``'s workers have all CPUs and GPUs of the host, whatever they were given, as in pyturbo."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _NAMES:
            raise UsageError(f"Options has no {name!r}; {did_you_mean(name, _NAMES)}")
        if name == "log_file":
            if value is not None and not isinstance(value, (str, os.PathLike)):
                raise wrong("Options.log_file", value, "a path or None")
            value = None if value is None else os.fspath(value)
        elif not isinstance(value, bool):
            raise wrong(f"Options.{name}", value, "True or False")
        super().__setattr__(name, value)

    @classmethod
    def parse(cls, text: str) -> OptionSet:
        """Options from a text, as ``ZTURBO_OPTIONS`` has it."""
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
        """All of them, for another process."""
        return asdict(self)

    def update(self, values: dict[str, Any]) -> None:
        """Set several."""
        for name, value in values.items():
            setattr(self, name, value)


_NAMES = tuple(field.name for field in fields(OptionSet))


def _from_environment() -> OptionSet:
    """The options that ``ZTURBO_OPTIONS`` says, or in its absence pyturbo's variable, with one warning.

    The processes that this one starts inherit ``ZTURBO_OPTIONS``, so none of them warns again.
    """
    text = os.environ.get("ZTURBO_OPTIONS")
    if text is None and (text := os.environ.get(ANCESTOR)) is not None:
        warnings.warn(f"{ANCESTOR} is read because ZTURBO_OPTIONS is not set: rename it", stacklevel=2)
        os.environ["ZTURBO_OPTIONS"] = text
    return OptionSet.parse(text or "")


Options = _from_environment()
"""The options of this process. ``System`` hands them to its workers."""
