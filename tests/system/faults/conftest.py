"""A small disk, shared memory, and hosts on a network of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.four_hosts import LEASE, some_hosts
from tests.support.hosts import Hosts


@pytest.fixture
def lease() -> float:
    """Seconds."""
    return LEASE


@pytest.fixture
def hosts(lease: float) -> Iterator[Hosts]:
    """Broker and sink on a, the first stage on b, the second on c and d."""
    with some_hosts("abcd", lease) as (hosts, file):
        hosts.run("a", "zturbo", "broker", file, "--insecure")
        hosts.run("a", "zturbo", "sink", file, "--insecure", "--address", hosts.address["a"])
        for host, stage in (("b", "first"), ("c", "second"), ("d", "second")):
            hosts.run(host, "zturbo", "stage", file, f"p.{stage}", "--insecure")
        yield hosts


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The pool of shared memory of this test alone; the test fails if something stays in it."""
    base = tempfile.mkdtemp(prefix="zt-test-", dir="/dev/shm")
    monkeypatch.setenv("ZTURBO_SHM", base)
    yield Path(base, f"zturbo-{os.geteuid()}")
    left = [str(path) for path in Path(base).rglob("*")]
    shutil.rmtree(base)
    assert not left, left
