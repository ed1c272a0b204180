"""Options of the process, from ``ZTURBO_OPTIONS``."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any

from zturbo.errors import UsageError

__all__ = ["OptionSet", "Options"]


@dataclass(slots=True)
class OptionSet:
    """What may be set by ``ZTURBO_OPTIONS``, space-separated, ``name`` or ``name=value``."""

    raise_exception: bool = False
    """A task that fails stops its job, and ``System.wait_job`` raises."""
    single_sync_pipeline: bool = False
    """``System`` runs all stages in this process, one after another."""
    no_progress_bar: bool = False
    print_debug_log: bool = False
    log_file: str | None = None
    """Where logs go beside stderr."""

    @classmethod
    def parse(cls, text: str) -> OptionSet:
        """Options from a text; raises UsageError for an unknown name."""
        options = cls()
        kinds = {field.name: field.type for field in fields(cls)}
        for word in text.split():
            name, given, value = word.partition("=")
            if name not in kinds:
                raise UsageError(f"ZTURBO_OPTIONS: no option {name!r}; there are: {', '.join(sorted(kinds))}")
            parsed: Any = value
            if kinds[name] == "bool":
                if value.lower() not in ("", "1", "0", "true", "false", "yes", "no"):
                    raise UsageError(f"ZTURBO_OPTIONS: {name} is to be true or false, not {value!r}")
                parsed = not given or value.lower() in ("1", "true", "yes")
            setattr(options, name, parsed)
        return options


Options = OptionSet.parse(os.environ.get("ZTURBO_OPTIONS", ""))
"""The options of this process. ``System`` hands them to its workers."""
