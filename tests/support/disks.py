"""Disks that are full."""

from __future__ import annotations

from pathlib import Path

__all__ = ["fill"]


def fill(folder: Path) -> Path:
    """Fill a disk up; returns the file that does."""
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 65536)
        except OSError:
            pass
        try:
            while True:
                file.write(b"x")
        except OSError:
            pass
    return ballast
