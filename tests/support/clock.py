"""A wall clock that can be made to step, for some processes: libfaketime."""

from __future__ import annotations

from glob import glob
from pathlib import Path

import pytest

__all__ = ["Clock"]


def _library() -> str:
    """libfaketime; skips, by name, where it is missing."""
    found = glob("/usr/lib/*/faketime/libfaketime.so.1")
    if not found:
        pytest.skip("libfaketime (Debian package libfaketime) is missing")
    return found[0]


class Clock:
    """The wall clock of all processes that have its environment; their monotonic clock is the true one.

    Args:
        file: that holds the step; it is written here.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.env = {
            "LD_PRELOAD": _library(),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",  # with one, a step back is not seen for as long as it is wide
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # with it, waits for the interpreter do not end
        }
        self.step("+0")

    def step(self, by: str) -> None:
        """Be so far from the true time from now on: ``+9h``, ``-200d``."""
        aside = self.file.with_suffix(".new")
        aside.write_text(f"{by}\n")
        aside.replace(self.file)  # whoever reads it meanwhile sees one or the other
