"""The ledger: jobs and their roots on disk, in SQLite.

WAL with ``synchronous=FULL``: what :meth:`Ledger.commit` has returned for survives a power cut, as far as
the disk keeps its word. A round that has written of jobs with a lesser durability alone does not wait
for the disk. A row per job and per chunk of roots, never per task. Writes are queued in one
transaction, and the broker commits once per round (group commit).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import msgpack

from broker.schema import MIGRATIONS, migrate
from zturbo.errors import StartError, ZturboError
from zturbo.wire.messages import Buffer

__all__ = ["ChunkRow", "JobRow", "Ledger", "LedgerCorrupt", "LedgerFull"]


class LedgerFull(ZturboError):
    """The ledger's disk is full; what was queued is kept, and ``commit`` may be tried again."""


class LedgerCorrupt(ZturboError):
    """A row does not have what was written; it is not served."""


@dataclass(slots=True)
class JobRow:
    """A job as the ledger has it."""

    id: bytes
    name: str
    pipeline: str
    client: bytes
    state: str
    epoch: int
    options: bytes
    """Packed map."""
    digest: bytes
    stream: bool
    closed: bool
    total: int
    stamp: bytes | None
    created: float
    """Wall time."""
    ended: float | None
    results: int
    failed: int
    error_kind: str | None
    error: str | None
    notes: bytes | None = None
    """Packed map: marks, strikes, incidents, retries."""


@dataclass(slots=True)
class ChunkRow:
    """A chunk of roots."""

    job: bytes
    seq: int
    first: int
    """-1 for a job's single root."""
    n: int
    blob: bytes
    metas: bytes | None
    buffers: list[bytes]


_JOB_COLUMNS = ", ".join(field.name for field in fields(JobRow))
_JOB_MARKS = ", ".join("?" for _ in fields(JobRow))
_JOB_UPDATES = ", ".join(f"{f.name} = excluded.{f.name}" for f in fields(JobRow) if f.name != "id")


class Ledger:
    """One broker's ledger.

    Args:
        path: the database file; its folder is made, for this user alone.

    Raises:
        StartError: another broker has it, or it is damaged.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = self._take_lock()
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            version = migrate(self._db)
        except sqlite3.DatabaseError as error:
            os.close(self._lock)
            raise StartError(
                f"the ledger {self.path} is damaged ({error}): restore it from a backup, or move it away "
                "to begin with an empty one; its unfinished jobs are then to be submitted again"
            ) from None
        if version > MIGRATIONS[-1][0]:
            os.close(self._lock)
            raise StartError(f"the ledger {self.path} was written by a newer zturbo (schema {version})")
        self.path.chmod(0o600)
        self._synced = True
        self._queue: list[tuple[str, tuple[Any, ...]]] = []
        self.cluster_id = self._meta("cluster") or self._make_cluster()

    def _take_lock(self) -> int:
        path = self.path.with_name(self.path.name + ".lock")
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "?"
            os.close(handle)
            raise StartError(
                f"the ledger {self.path} is in use by another broker (process {holder}): stop that one, or "
                "give this one a state folder of its own"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        return handle

    def _make_cluster(self) -> bytes:
        cluster = os.urandom(16)
        self._set_meta("cluster", cluster)
        self.commit()
        return cluster

    # -- meta ---------------------------------------------------------------------------------
    def _meta(self, key: str) -> bytes | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def _set_meta(self, key: str, value: bytes) -> None:
        self._write(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value)
        )

    def view(self) -> int:
        """Number of the last view."""
        raw = self._meta("view")
        return 0 if raw is None else int.from_bytes(raw, "big")

    def set_view(self, number: int) -> None:
        """Note the view's number. Durable at ``commit``."""
        self._set_meta("view", number.to_bytes(8, "big"))

    def members(self) -> list[bytes]:
        """Packed member records of the last view."""
        raw = self._meta("members")
        return [] if raw is None else msgpack.unpackb(raw)

    def set_members(self, members: list[bytes]) -> None:
        """Note the members. Durable at ``commit``."""
        self._set_meta("members", msgpack.packb(members))

    # -- writes -------------------------------------------------------------------------------
    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        self._queue.append((statement, values))

    def _full(self, error: sqlite3.OperationalError) -> ZturboError:
        if (
            error.sqlite_errorname in ("SQLITE_FULL", "SQLITE_IOERR_WRITE")
            if hasattr(error, "sqlite_errorname")
            else "full" in str(error)
        ):
            return LedgerFull(f"{self.path}: {error}")
        return LedgerCorrupt(f"{self.path}: {error}")

    def put_job(self, job: JobRow) -> None:
        """Insert or update a job. Durable at ``commit``."""
        self._write(
            f"INSERT INTO job ({_JOB_COLUMNS}) VALUES ({_JOB_MARKS}) "
            f"ON CONFLICT (id) DO UPDATE SET {_JOB_UPDATES}",
            astuple(job),
        )

    def put_chunk(
        self,
        job: bytes,
        seq: int,
        first: int,
        n: int,
        blob: Buffer,
        metas: bytes | None,
        buffers: list[Buffer],
    ) -> None:
        """Append a chunk of roots. Durable at ``commit``."""
        payload = msgpack.packb([bytes(blob), metas, [bytes(buffer) for buffer in buffers]])
        self._write(
            "INSERT OR REPLACE INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?)",
            (job, seq, first, n, len(payload), zlib.crc32(payload), payload),
        )

    def drop_chunks(self, job: bytes) -> None:
        """The job's roots are not wanted any more."""
        self._write("DELETE FROM chunk WHERE job = ?", (job,))

    def drop_job(self, job: bytes) -> None:
        """Forget a job."""
        self.drop_chunks(job)
        self._write("DELETE FROM job WHERE id = ?", (job,))

    def commit(self, *, sync: bool = True) -> None:
        """Make everything queued durable.

        Args:
            sync: wait for the disk; without it, what is committed outlives this process, not the host.

        Raises:
            LedgerFull: the disk is full; the writes stay queued.
        """
        if not self._queue:
            return
        try:
            if sync != self._synced:
                self._db.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
                self._synced = sync
            self._db.execute("BEGIN IMMEDIATE")
            for statement, values in self._queue:
                self._db.execute(statement, values)
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise self._full(error) from None
        self._queue.clear()

    # -- reads --------------------------------------------------------------------------------
    def jobs(self) -> Iterator[JobRow]:
        """All jobs, in the order of submission."""
        for row in self._db.execute(f"SELECT {_JOB_COLUMNS} FROM job ORDER BY number"):
            job = JobRow(*row)
            job.stream, job.closed = bool(job.stream), bool(job.closed)
            yield job

    def chunk_index(self, job: bytes) -> list[tuple[int, int, int, int]]:
        """(seq, first, n, bytes) of a job's chunks, in order."""
        query = "SELECT seq, first, n, nbytes FROM chunk WHERE job = ? ORDER BY seq"
        return list(self._db.execute(query, (job,)))

    def chunk(self, job: bytes, seq: int) -> ChunkRow:
        """One chunk.

        Raises:
            LedgerCorrupt: it is not there, or is not what was written.
        """
        query = "SELECT first, n, crc, payload FROM chunk WHERE job = ? AND seq = ?"
        row = self._db.execute(query, (job, seq)).fetchone()
        if row is None:
            raise LedgerCorrupt(f"{self.path}: chunk {seq} of job {job.hex()} is not there")
        first, n, crc, payload = row
        if zlib.crc32(payload) != crc:
            raise LedgerCorrupt(f"{self.path}: chunk {seq} of job {job.hex()} is damaged")
        blob, metas, buffers = msgpack.unpackb(payload)
        return ChunkRow(job, seq, first, n, blob, metas, buffers)

    def close(self) -> None:
        """Commit what is queued and let go of the file."""
        try:
            self.commit()
        finally:
            self._db.close()
            os.close(self._lock)
