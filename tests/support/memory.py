"""A control group with little memory: who takes more is killed by the kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.cluster import eventually

__all__ = ["small_memory"]


@contextmanager
def small_memory(megabytes: int = 100) -> Iterator[Path]:
    """A group with so much; skips, by name, where none can be made."""
    root = Path("/sys/fs/cgroup")
    limit = "memory.max"
    if (root / "memory").is_dir():
        root, limit = root / "memory", "memory.limit_in_bytes"
    group = root / f"zt-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"a cgroup cannot be made here: {error}")
    try:
        try:
            (group / limit).write_text(str(megabytes << 20))
        except OSError as error:
            pytest.skip(f"a cgroup's memory cannot be limited here: {error}")
        yield group
    finally:
        eventually(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()
