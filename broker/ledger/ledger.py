"""The ledger: jobs and their roots on disk, in SQLite, and in files beside it those roots that are large.

The file is in WAL mode with ``synchronous=FULL``: once :meth:`Ledger.commit` has returned, its writes survive
a power cut, as far as the disk keeps its word. A commit of jobs with a lesser durability does not wait for
the disk. There is a row for each job and for each chunk of roots, but none for a task. Writes are queued, and
the broker commits them once per round, in one transaction (group commit). Each row has a checksum, which is
compared whenever the row is read.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

import msgpack

from zturbo.errors import ZturboError
from zturbo.runtime.disk.folders import state_folder
from zturbo.runtime.disk.spool import Location, SpoolCorrupt, SpoolFull
from zturbo.runtime.shared.kept import KeptContents
from zturbo.wire.messages import Buffer
from zturbo_broker.ledger.file import DAMAGE, connect, no_room, take_lock
from zturbo_broker.ledger.rootfiles import SMALL, RootFiles
from zturbo_broker.ledger.rows import ChunkRow, JobRow, LedgerCorrupt, pack
from zturbo_broker.ledger.schema import row_crc

__all__ = ["Ledger", "LedgerFull"]


class LedgerFull(ZturboError):
    """The ledger's disk is full. The queued writes are kept, and ``commit`` may be tried again."""


def _packed(value: Any) -> bytes:
    """Lists of buffers as msgpack, with one copy of each: msgpack itself takes several of large ones."""
    parts: list[Buffer] = []

    def add(value: Any) -> None:
        if type(value) is list:
            parts.append(b"\xdd" + len(value).to_bytes(4, "big"))
            for one in value:
                add(one)
        elif value is None:
            parts.append(b"\xc0")
        else:
            view = memoryview(value).cast("B")
            parts.extend((b"\xc6" + view.nbytes.to_bytes(4, "big"), view))

    add(value)
    return b"".join(parts)


_LARGE = 128 << 10
"""Bytes from which on a chunk of roots is in a file."""

_INLINE, _KEPT = 3, 1
"""Items of a chunk's payload: a blob, metas and buffers; or a record that names contents in shared memory. It
has two if they are a place in a file."""

_KEPT_HEAD = _packed([b""])[:5]
"""The first bytes of a payload that is such a record: a list of one item."""

_KEPT_ROW = SMALL + 1024
"""Bytes of a payload at most that is such a record."""


class _LargeChunk:
    """A chunk whose contents are in its job's file, or in shared memory, before its row is written."""

    __slots__ = ("first", "frames", "in_memory", "job", "n", "payload", "seq")

    def __init__(
        self, job: bytes, seq: int, first: int, n: int, frames: list[Buffer], in_memory: bool
    ) -> None:
        self.job = job
        self.seq = seq
        self.first = first
        self.n = n
        self.frames = frames
        self.in_memory = in_memory
        """Whether shared memory is safe enough for it."""
        self.payload: bytes | None = None
        """Of its row, which tells where it is; None before it is there."""


_NAMES = tuple(name for name in JobRow.__annotations__ if name != "number")
_columns = attrgetter(*_NAMES)
_STREAM, _CLOSED = _NAMES.index("stream"), _NAMES.index("closed")
_JOB_COLUMNS = ", ".join(_NAMES)
_JOB_MARKS = ", ".join("?" for _ in _NAMES)
_JOB_UPDATES = ", ".join(f"{name} = excluded.{name}" for name in _NAMES if name != "id")
_LAST = (1 << 63) - 1
"""Greater than any job's number."""

_CHUNK_HEAD = "job, seq, first, n, nbytes, crc"
_PUT_JOB = (
    f"INSERT INTO job ({_JOB_COLUMNS}, crc, number) VALUES ({_JOB_MARKS}, ?, ?) "
    f"ON CONFLICT (id) DO UPDATE SET {_JOB_UPDATES}, crc = excluded.crc"
)
_PUT_META = (
    "INSERT INTO meta (key, value, crc) VALUES (?, ?, ?) "
    "ON CONFLICT DO UPDATE SET value = excluded.value, crc = excluded.crc"
)
_PUT_CHUNK = f"INSERT OR REPLACE INTO chunk ({_CHUNK_HEAD}, head, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def _chunk_row(job: bytes, seq: int, first: int, n: int, nbytes: int, payload: bytes) -> tuple[Any, ...]:
    head = (job, seq, first, n, nbytes, zlib.crc32(payload))
    return (*head, row_crc(*head), payload)


def _record_of(payload: bytes) -> list[Buffer]:
    """The record in a chunk's payload, if it is one that names contents; else nothing."""
    try:
        found = msgpack.unpackb(payload)
        return list(found[0]) if len(found) == _KEPT else []
    except (ValueError, TypeError, msgpack.UnpackException):  # it is told when the chunk is read
        return []


def _row(values: tuple[Any, ...] | _LargeChunk) -> tuple[Any, ...]:
    """The columns of the row of a large chunk, which tells where it is."""
    assert type(values) is _LargeChunk and values.payload is not None
    nbytes = sum(memoryview(frame).nbytes for frame in values.frames)
    return _chunk_row(values.job, values.seq, values.first, values.n, nbytes, values.payload)


class Ledger:
    """One broker's ledger.

    Args:
        path: the database file; its folder is made, for this user alone.

    Raises:
        StartError: another broker has it, or it is damaged.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        state_folder(self.path.parent)
        self._lock = take_lock(self.path)
        try:
            self._db = connect(self.path)
        except BaseException:
            os.close(self._lock)
            raise
        self._synced = True
        self._queue: list[tuple[str, tuple[Any, ...] | _LargeChunk]] = []
        self._dropped: list[bytes] = []
        """Jobs whose roots the next commit deletes."""
        self._trimmed: dict[bytes, int] = {}
        """Job -> the first of its chunks that stays when the next commit deletes those before it."""
        try:
            self._files = self._root_files()
        except BaseException:
            self._db.close()
            os.close(self._lock)
            raise

    def _root_files(self) -> RootFiles:
        """Files of another ledger that lay here are let be: their ledger may come back.

        Raises:
            StartError: another process has the contents in shared memory.
        """
        try:
            name = self.cluster_id.hex()
            jobs = [job for (job,) in self._read("chunk", "SELECT DISTINCT job FROM chunk")]
            query = (
                "SELECT job, seq, payload FROM chunk "
                "WHERE length(payload) <= ? AND substr(payload, 1, ?) = ? ORDER BY job, seq"
            )
            rows = list(self._read("chunk", query, (_KEPT_ROW, len(_KEPT_HEAD), _KEPT_HEAD)))
        except LedgerCorrupt:  # it is told when the rows are read
            return RootFiles(self.path.with_name("roots"))
        contents = KeptContents(f"roots-{name}", self.path.with_name(f"kept-{name[:16]}"))
        files = RootFiles(self.path.with_name(f"roots-{name[:16]}"), contents)
        records = ((job, seq, _record_of(payload)) for job, seq, payload in rows)
        files.recover(jobs, (one for one in records if one[2]))
        return files

    # -- meta ---------------------------------------------------------------------------------
    def _meta(self, key: str) -> bytes | None:
        """The value of a key. All rows are checked: the key itself may be damaged."""
        found = None
        for name, value, crc in self._read("meta", "SELECT key, value, crc FROM meta"):
            if row_crc(name, value) != crc:
                raise LedgerCorrupt(f"{self.path}: row {name!r} of table meta is damaged")
            if name == key:
                found = bytes(value)
        return found

    def _set_meta(self, key: str, value: bytes) -> None:
        self._queue.append((_PUT_META, (key, value, row_crc(key, value))))

    @property
    def cluster_id(self) -> bytes:
        """Id of the cluster, made with the ledger."""
        cluster = self._meta("cluster")
        if cluster is None:
            raise LedgerCorrupt(f"{self.path}: row 'cluster' of table meta is not there")
        return cluster

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
    def _full(self, error: Exception) -> ZturboError:
        if no_room(self.path, error):
            return LedgerFull(f"{self.path}: {error}")
        return LedgerCorrupt(f"{self.path}: {error}")

    def put_job(self, job: JobRow) -> None:
        """Insert or update a job. Durable at ``commit``."""
        values = list(_columns(job))
        values[_STREAM], values[_CLOSED] = int(job.stream), int(job.closed)  # as SQLite has them
        self._queue.append((_PUT_JOB, (*values, row_crc(*values), job.number or None)))

    def put_chunk(
        self,
        job: bytes,
        seq: int,
        first: int,
        n: int,
        blob: Buffer,
        metas: bytes | None,
        buffers: list[Buffer],
        *,
        in_memory: bool = False,
    ) -> None:
        """Append a chunk of roots. Durable at ``commit``.

        Args:
            job: its id.
            seq: number of the chunk; they count up.
            first: its first root.
            n: its roots.
            blob: their contents.
            metas: their metas; None if they have none.
            buffers: the large buffers of their contents.
            in_memory: whether buffers may stay in shared memory, where they outlive this process, but not the
                host.
        """
        if sum([memoryview(part).nbytes for part in (blob, metas or b"", *buffers)]) < _LARGE:
            payload = pack((blob, metas, buffers))
            self._queue.append((_PUT_CHUNK, _chunk_row(job, seq, first, n, len(payload), payload)))
        else:
            frames = [b"" if metas is None else b"\1", blob, metas or b"", *buffers]
            self._queue.append((_PUT_CHUNK, _LargeChunk(job, seq, first, n, frames, in_memory)))

    def trim_chunks(self, job: bytes, seq: int) -> None:
        """Delete the job's chunks before this one. Durable at ``commit``, as its row is which says so."""
        self._queue.append(("DELETE FROM chunk WHERE job = ? AND seq < ?", (job, seq)))
        self._trimmed[job] = seq

    def drop_chunks(self, job: bytes) -> None:
        """Delete the job's roots, which are needed no more. Durable at ``commit``."""
        self._queue.append(("DELETE FROM chunk WHERE job = ?", (job,)))
        self._dropped.append(job)

    def drop_job(self, job: bytes) -> None:
        """Delete a job and its roots. Durable at ``commit``."""
        self.drop_chunks(job)
        self._queue.append(("DELETE FROM job WHERE id = ?", (job,)))

    def commit(self, *, sync: bool = True) -> None:
        """Make all queued writes durable.

        Args:
            sync: wait for the disk; without it the writes outlive this process, but perhaps not the host.

        Raises:
            LedgerFull: the disk is full; the writes stay queued.
            LedgerCorrupt: the file is damaged.
        """
        if not self._queue:
            return
        self._write_files(sync=sync)
        try:
            if sync != self._synced:
                self._db.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
                self._synced = sync
            self._db.execute("BEGIN IMMEDIATE")
            for statement, writes in groupby(self._queue, key=itemgetter(0)):
                rows = [values if type(values) is tuple else _row(values) for _, values in writes]
                self._db.executemany(statement, rows)
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, DAMAGE):
                raise self._full(error) from None
            raise
        self._queue.clear()
        dropped, self._dropped = self._dropped, []
        trimmed, self._trimmed = self._trimmed, {}
        for job, seq in trimmed.items():
            self._files.trim(job, seq)
        for job in dropped:
            self._files.remove(job)

    def _write_files(self, *, sync: bool) -> None:
        """Write the large chunks among what is queued; one that was written before stays where it is."""
        try:
            for _, values in self._queue:
                if type(values) is _LargeChunk and values.payload is None:
                    values.payload = self._write_chunk(values)
            if sync:
                self._files.sync()
            else:
                self._files.written()
        except SpoolFull as error:
            raise LedgerFull(str(error)) from None
        except OSError as error:
            raise self._full(error) from None

    def _write_chunk(self, chunk: _LargeChunk) -> bytes:
        """Write a large chunk, if it is not to stay in shared memory. Returns its row's payload."""
        record = self._files.keep(chunk.job, chunk.seq, chunk.frames) if chunk.in_memory else None
        if record is not None:
            return _packed([record])
        return bytes(msgpack.packb(self._files.append(chunk.job, chunk.seq, chunk.frames)))

    # -- reads --------------------------------------------------------------------------------
    def _read(self, table: str, query: str, values: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._db.execute(query, values)
        except DAMAGE as error:
            raise LedgerCorrupt(f"{self.path}: table {table} cannot be read: {error}") from None

    def jobs(self) -> Iterator[JobRow]:
        """All jobs, in the order of submission.

        Raises:
            LedgerCorrupt: a row is not as it was written.
        """
        yield from self._jobs("ORDER BY number", ())

    def job(self, *jobs: bytes) -> JobRow | None:
        """The first of these jobs that there is; None if there is none.

        Raises:
            LedgerCorrupt: the row of one is not as it was written.
        """
        rows = list(self._jobs(f"WHERE id IN ({', '.join('?' * len(jobs))})", jobs))
        return min(rows, key=lambda row: jobs.index(row.id), default=None)

    def ended_jobs(self, before: int | None, most: int) -> list[JobRow]:
        """Jobs that have ended, the one that was submitted last first.

        Args:
            before: number of a job: only jobs before it are returned. None for all.
            most: how many are returned at most.

        Raises:
            LedgerCorrupt: a row is not as it was written.
        """
        where = "WHERE ended IS NOT NULL AND number < ? ORDER BY number DESC LIMIT ?"
        return list(self._jobs(where, (_LAST if before is None else before, most)))

    def _jobs(self, which: str, values: tuple[Any, ...]) -> Iterator[JobRow]:
        query = f"SELECT number, crc, {_JOB_COLUMNS} FROM job {which}"
        for number, crc, *columns in self._read("job", query, values):
            if row_crc(*columns) != crc:
                raise LedgerCorrupt(f"{self.path}: row {number} of table job is damaged")
            job = JobRow(*columns)
            job.number = number
            job.stream, job.closed = bool(job.stream), bool(job.closed)
            yield job

    def _chunk_head(self, job: bytes, row: tuple[Any, ...]) -> tuple[Any, ...]:
        *head, crc = row
        if row_crc(*head) != crc:
            raise LedgerCorrupt(f"{self.path}: a chunk of job {job.hex()} is damaged, in table chunk")
        return tuple(head[1:])

    def chunk_index(self, job: bytes) -> list[tuple[int, int, int, int]]:
        """(seq, first, n, bytes) of a job's chunks, in order. The first ones may have been trimmed.

        Raises:
            LedgerCorrupt: a chunk is not as it was written, or is missing among others.
        """
        query = f"SELECT {_CHUNK_HEAD}, head FROM chunk WHERE job = ? ORDER BY seq"
        index: list[tuple[int, int, int, int]] = []
        for row in self._read("chunk", query, (job,)):
            seq, first, n, nbytes, _ = self._chunk_head(job, row)
            if index and (seq != index[-1][0] + 1 or first != index[-1][1] + index[-1][2]):
                raise LedgerCorrupt(f"{self.path}: chunk {index[-1][0] + 1} of job {job.hex()} is not there")
            index.append((seq, first, n, nbytes))
        return index

    def chunk(self, job: bytes, seq: int) -> ChunkRow:
        """One chunk.

        Raises:
            LedgerCorrupt: it is missing, or is not as it was written.
        """
        query = f"SELECT {_CHUNK_HEAD}, head, payload FROM chunk WHERE job = ? AND seq = ?"
        for *row, payload in self._read("chunk", query, (job, seq)):
            _, first, n, _, crc = self._chunk_head(job, tuple(row))
            if type(payload) is not bytes or zlib.crc32(payload) != crc:
                raise LedgerCorrupt(f"{self.path}: chunk {seq} of job {job.hex()} is damaged")
            blob, metas, buffers = self._contents(job, seq, msgpack.unpackb(payload))
            return ChunkRow(job, seq, first, n, blob, metas, buffers)
        raise LedgerCorrupt(f"{self.path}: chunk {seq} of job {job.hex()} is not there")

    def _contents(self, job: bytes, seq: int, found: list[Any]) -> tuple[bytes, bytes | None, list[Buffer]]:
        """(blob, metas, buffers): of a chunk's payload, or of the place that this names."""
        if len(found) == _INLINE:
            blob, metas, buffers = found
            return blob, metas, buffers
        frames: Sequence[Buffer]
        try:
            if len(found) == _KEPT:
                frames = self._files.kept(*found)
            else:
                frames = self._files.read(job, seq, Location(*found))
            has_metas, blob, metas, *buffers = frames
        except SpoolCorrupt as error:
            raise LedgerCorrupt(f"chunk {seq} of job {job.hex()} is damaged: {error}") from None
        return bytes(blob), bytes(metas) if has_metas else None, buffers

    def close(self) -> None:
        """Commit the queued writes, close the file, and unlock it."""
        try:
            self.commit()
        finally:
            self._files.close()
            self._db.close()
            os.close(self._lock)
