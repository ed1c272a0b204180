"""Jobs of a ``System`` that outlive it: each has a record in ``state_dir`` until its results are taken.

The record has the job as the user made it: name, content, meta, length, retries left. The broker's ledger and
the sink's spool, in the same folder, have the job's progress.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from zturbo.api.task import Job, Task, read_meta
from zturbo.errors import DecodeError, StartError
from zturbo.errortext import plain_text
from zturbo.runtime.disk.spool import Spool, SpoolCorrupt
from zturbo.wire.payload import pack_meta, pack_one, unpack_one

__all__ = ["JobRecords"]

log = logging.getLogger("zturbo.system")

LEAVE = 15.0
"""Seconds that processes of an earlier System have to notice that it is gone."""


class JobRecords:
    """The folder of records.

    Args:
        folder: the ``state_dir`` of one System alone; made if it does not exist.

    Raises:
        StartError: another System has the folder, or processes of an earlier one do not end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._records = self.folder / "jobs"
        try:
            self._records.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)
        except (OSError, ValueError) as error:  # ValueError: no folder can have such a name
            why = error.strerror if isinstance(error, OSError) else error
            raise StartError(f"state_dir {plain_text(str(self.folder))} cannot be used: {why}") from None
        self._lock = self._take_lock()
        try:
            self._wait_for_the_earlier()
            self._paths = {path.suffix[1:]: path for path in self._files()}
        except BaseException:
            self.close()
            raise
        self._next = 1 + max((int(path.stem) for path in self._paths.values()), default=0)

    def _files(self) -> Iterator[Path]:
        for path in sorted(self._records.iterdir()):
            if path.stem.isdigit() and len(path.suffix) == 33:
                yield path
            else:
                path.unlink()  # half written by a System that was killed

    def _take_lock(self) -> int:
        handle = os.open(self.folder / "system.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _lock(handle):
            holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "?"
            os.close(handle)
            raise StartError(
                f"state_dir {self.folder} is in use by another System (process {holder}): end that one, or "
                "give this one a folder of its own"
            )
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        return handle

    def _wait_for_the_earlier(self) -> None:
        """A System that was killed leaves a broker and a sink that end by themselves, a little later."""
        until = time.monotonic() + LEAVE
        for name in ("ledger.db.lock", "sink/lock"):
            while (holder := _holder(self.folder / name)) is not None:
                if time.monotonic() > until:
                    raise StartError(
                        f"{self.folder / name} is still held by process {holder}, which an earlier System "
                        "left behind: end it"
                    )
                time.sleep(0.05)

    # -- records ------------------------------------------------------------------------------
    def put(self, job: Job) -> None:
        """Write a job's record; it is on the disk when this returns.

        Raises:
            EncodeError: its content or meta cannot be carried.
        """
        head, _ = pack_one([job.name, job.length, job.retry, pack_meta(job.task._meta, job.task._logs)])
        blob, buffers = pack_one(job.task.content)
        path = self._records / f"{self._next:016d}.{job.id}"
        self._next += 1
        part = path.with_suffix(".part")
        spool = Spool(part)
        try:
            spool.append([head, blob, *buffers])
            spool.sync()
        finally:
            spool.close()
        part.rename(path)
        self._paths[job.id] = path

    def drop(self, job_id: str) -> None:
        """Remove a job's record: its results have been taken, or the job has another id now."""
        path = self._paths.pop(job_id, None)
        if path is not None:
            path.unlink(missing_ok=True)

    def load(self) -> list[Job]:
        """The jobs of an earlier System, in the order in which they were added."""
        jobs = []
        for job_id, path in self._paths.items():
            try:
                jobs.append(_read(path, job_id))
            except (SpoolCorrupt, DecodeError, ValueError) as error:
                log.error("the record %s is damaged, and its job is left out: %s", path, error)
        return jobs

    # -- the pipelines that they run in -------------------------------------------------------
    def stages(self) -> dict[str, list[str]]:
        """Pipeline -> names of its stages, as an earlier System noted them; empty if none did."""
        try:
            stages: dict[str, list[str]] = json.loads((self.folder / "stages.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return stages

    def note_stages(self, stages: dict[str, list[str]]) -> None:
        """Note the stages of which the broker's jobs are now."""
        (self.folder / "stages.json").write_text(json.dumps(stages))

    def close(self) -> None:
        """Unlock the folder."""
        os.close(self._lock)


def _read(path: Path, job_id: str) -> Job:
    spool = Spool(path)
    try:
        records = [frames for _, frames in spool.recover()]
    finally:
        spool.close()
    if len(records) != 1:
        raise DecodeError("it is cut short")
    head, blob, *buffers = records[0]
    name, length, retry, packed = unpack_one(head, [])
    meta, logs = read_meta(packed)
    task = Task(unpack_one(blob, buffers), meta)
    task.logs = logs
    job = Job(name, task, length, retry)
    job.id = job_id
    return job


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _holder(path: Path) -> str | None:
    """The process that holds a lock file, as text; None if none does."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _lock(handle) else os.pread(handle, 32, 0).decode(errors="replace").strip() or "?"
    finally:
        os.close(handle)
