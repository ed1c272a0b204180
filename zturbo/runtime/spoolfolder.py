"""A sink's folder: its id, its lock, a spool file for each job, and marks of those that were damaged.

id          16 random bytes, which outlive the sink's processes
lock        held by the one sink that runs
boot        the host's boot id, as of the last time that all of this was read
HEX.spool   what a job gave
HEX.damaged an empty file: that job's spool was not whole, and the broker has not confirmed that it knows
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from zturbo.errors import StartError
from zturbo.runtime.spool import Spool

__all__ = ["SpoolFolder"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SpoolFolder:
    """One sink's folder, and nobody else's while it runs.

    Args:
        path: made if it is not there.

    Raises:
        StartError: another sink has it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StartError(f"the spool {path} is in use by another sink: give this one its own") from None
        self.id = self._read_id()

    def _read_id(self) -> bytes:
        path = self.path / "id"
        if path.exists() and len(raw := path.read_bytes()) == 16:
            return raw
        raw = os.urandom(16)
        self._replace(path, raw)
        return raw

    def _replace(self, path: Path, raw: bytes) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(raw)
        new.rename(path)

    def open(self, job: bytes) -> Spool:
        """A job's spool; raises SpoolFull if there is no room for the file."""
        return Spool(self.path / f"{job.hex()}.spool")

    def jobs(self) -> Iterator[bytes]:
        """Jobs that have a spool here."""
        for path in sorted(self.path.glob("*.spool")):
            yield bytes.fromhex(path.stem)

    # -- what is not whole --------------------------------------------------------------------
    @property
    def rebooted(self) -> bool:
        """Whether the host was started anew since :meth:`note_boot`: what was not synced may be gone."""
        path = self.path / "boot"
        if not path.exists():
            return any(self.jobs())
        return path.read_bytes().strip() != _boot()

    def note_boot(self) -> None:
        """All that a start of the host has cost is marked."""
        self._replace(self.path / "boot", _boot())

    def mark_damaged(self, job: bytes) -> None:
        """Put a mark in the place of the job's spool, which stays until the broker knows."""
        mark = self.path / f"{job.hex()}.damaged"
        (self.path / f"{job.hex()}.spool").rename(mark)
        os.truncate(mark, 0)

    def damaged(self) -> list[bytes]:
        """Jobs that have a mark."""
        return [bytes.fromhex(path.stem) for path in sorted(self.path.glob("*.damaged"))]

    def clear_damaged(self, jobs: Iterable[bytes]) -> None:
        """The broker knows of these."""
        for job in jobs:
            (self.path / f"{job.hex()}.damaged").unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._lock)


def _boot() -> bytes:
    try:
        return _BOOT_ID.read_bytes().strip()
    except OSError:
        return b""
