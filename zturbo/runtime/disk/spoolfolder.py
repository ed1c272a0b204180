"""A sink's folder: its id, its lock, a spool file for each job, and marks of damaged spools.

id          16 random bytes, which outlive the sink's processes
lock        locked by the one sink that runs
boot        the host's boot id, when a sink last read all of this
safe        how much of each spool was acked: see :mod:`zturbo.runtime.disk.safesizes`
HEX.spool   the results of a job
HEX.damaged an empty file: that job's spool was damaged, and the broker has not yet confirmed that it knows
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from zturbo.errors import StartError
from zturbo.runtime.disk.behind import WriteBehind
from zturbo.runtime.disk.folders import state_folder
from zturbo.runtime.disk.safesizes import SafeSizes
from zturbo.runtime.disk.spool import Spool, SpoolCorrupt

__all__ = ["SpoolFolder"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SpoolFolder:
    """The folder of one sink, which no other may use while it runs.

    Args:
        path: the folder; made if it is not there.

    Raises:
        StartError: another sink uses it, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        state_folder(path)
        path.chmod(0o700)
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StartError(f"the spool {path} is in use by another sink: give this one its own") from None
        self.id = self._read_id()
        self._safe = SafeSizes(path / "safe")
        self._behind = WriteBehind()

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
        """Open a job's spool. Raises SpoolFull if there is no room for the file."""
        spool = Spool(self._spool(job), self._behind)
        self._safe.add(job)
        return spool

    def _spool(self, job: bytes) -> Path:
        return self.path / f"{job.hex()}.spool"

    def note_safe(self, job: bytes, size: int) -> None:
        """Note the bytes of a job's spool that are about to be acked. May be called from any thread."""
        self._safe.note(job, size)

    def drop(self, job: bytes, spool: Spool) -> None:
        """Remove a job's spool, which is not needed any more."""
        self._safe.drop(job)
        spool.delete()

    def jobs(self) -> Iterator[bytes]:
        """Jobs that have a spool here."""
        for path in sorted(self.path.glob("*.spool")):
            yield bytes.fromhex(path.stem)

    # -- damage -------------------------------------------------------------------------------
    def check(self, job: bytes, spool: Spool) -> None:
        """Raise SpoolCorrupt if a job's spool is shorter than its acked part."""
        if spool.size < self._safe[job]:
            raise SpoolCorrupt(
                f"{spool.path} ends after {spool.size} bytes, but {self._safe[job]} were safe: it was cut off"
            )

    def missing(self) -> list[bytes]:
        """Jobs whose spool is gone, though no sink has removed it."""
        return [job for job in self._safe.jobs() if not self._spool(job).exists()]

    @property
    def rebooted(self) -> bool:
        """Whether the host was started anew since :meth:`note_boot`: data that was not synced may be gone."""
        path = self.path / "boot"
        if not path.exists():
            return any(self.jobs())
        return path.read_bytes().strip() != _boot()

    def note_boot(self) -> None:
        """Note this start of the host, once all spools that it has damaged are marked.

        Nothing is written if it is noted already: the disk may be full.
        """
        path = self.path / "boot"
        if not path.exists() or path.read_bytes() != _boot():
            self._replace(path, _boot())

    def mark_damaged(self, job: bytes) -> None:
        """Replace the job's spool by a mark, which stays until the broker knows of the damage."""
        mark = self.path / f"{job.hex()}.damaged"
        if self._spool(job).exists():
            self._spool(job).rename(mark)
        mark.write_bytes(b"")
        self._safe.drop(job)

    def damaged(self) -> list[bytes]:
        """Jobs whose spool was damaged, by their marks."""
        return [bytes.fromhex(path.stem) for path in sorted(self.path.glob("*.damaged"))]

    def clear_damaged(self, jobs: Iterable[bytes]) -> None:
        """Remove the marks of these jobs: the broker knows."""
        for job in jobs:
            (self.path / f"{job.hex()}.damaged").unlink(missing_ok=True)

    def close(self) -> None:
        """Unlock the folder."""
        self._safe.close()
        os.close(self._lock)


def _boot() -> bytes:
    try:
        return _BOOT_ID.read_bytes().strip()
    except OSError:
        return b""
