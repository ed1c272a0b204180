"""The ledger's file: locked, made as a whole, and checked before any of it is used."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from zturbo.errors import StartError
from zturbo.runtime.disk.folders import is_read_only
from zturbo_broker.ledger.schema import MIGRATIONS, migrate, row_crc

__all__ = ["DAMAGE", "connect", "damaged", "no_room", "take_lock"]

DAMAGE = (sqlite3.DatabaseError, UnicodeError)
"""Exceptions of sqlite3 for a damaged file: UnicodeError where its message quotes bytes that are no text."""

_NO_ROOM = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE")
"""Names of errors of a disk that is full; the last one where the file beside the WAL cannot be made."""

LITTLE = 1 << 16
"""A disk with fewer free bytes counts as full, whatever the error: Python 3.10 does not tell its name."""

_NOT_DAMAGE = ("SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_LOCKED", "SQLITE_PERM", "SQLITE_READONLY")
"""How the names of other errors begin that say nothing about the file's contents."""


def no_room(path: Path, error: Exception) -> bool:
    """Whether this error means that the ledger's disk is full, and nothing about the file's contents."""
    if getattr(error, "sqlite_errorname", "") in _NO_ROOM or "is full" in str(error):
        return True
    if is_read_only(path.parent):
        return False
    disk = os.statvfs(path.parent)
    free = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
    return disk.f_blocks > 0 and free * disk.f_frsize < LITTLE


def damaged(path: Path, what: object) -> StartError:
    """The error with which a broker ends that cannot use its ledger."""
    return StartError(
        f"the ledger {path} is damaged ({what}): put a backup in its place, or move it away, together with "
        f"{path.name}-wal, to begin with an empty one; the jobs in it are then lost, and unfinished ones are "
        "to be submitted again (docs/guarantees.md, 'A damaged ledger')"
    )


def take_lock(path: Path) -> int:
    """Lock the ledger for this process; returns the open lock file.

    Raises:
        StartError: another broker has it.
    """
    handle = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "?"
        os.close(handle)
        raise StartError(
            f"the ledger {path} is in use by another broker (process {holder}): stop that one, or "
            "give this one a state folder of its own"
        ) from None
    os.ftruncate(handle, 0)
    with contextlib.suppress(OSError):  # a full disk does no harm: the number is for people alone
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle


def connect(path: Path) -> sqlite3.Connection:
    """Open a ledger in autocommit mode, check it, and bring its schema up to date. Makes a missing one.

    Raises:
        StartError: it is damaged, cannot be opened, or was written by a newer zturbo.
    """
    wal = path.with_name(path.name + "-wal")
    if path.exists():
        if not path.stat().st_size:  # to SQLite that is a new database
            raise damaged(path, "the file is empty")
    elif wal.exists() and wal.stat().st_size:  # SQLite would write it into the new one
        raise damaged(path, f"it is gone, and its {wal.name} is there")
    try:
        if not path.exists():
            _make(path)
        db = sqlite3.connect(path, isolation_level=None)
        try:
            version = _check(db)
        except BaseException:
            db.close()
            raise
    except DAMAGE as error:
        if no_room(path, error):
            raise StartError(f"the ledger {path} cannot be opened: its disk is full ({error})") from None
        if getattr(error, "sqlite_errorname", "").startswith(_NOT_DAMAGE):
            raise StartError(f"the ledger {path} cannot be opened: {error}") from None
        raise damaged(path, error) from None
    if version > MIGRATIONS[-1][0]:
        db.close()
        raise StartError(f"the ledger {path} was written by a newer zturbo (schema {version})")
    path.chmod(0o600)
    return db


def _check(db: sqlite3.Connection) -> int:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA secure_delete = OFF")  # with ON, SQLite writes zeros over deleted roots
    (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)
    return migrate(db)


def _make(path: Path) -> None:
    """Make a ledger, under another name until it is whole: so an empty file is known as a damaged one. It is
    synced once, as a whole: each step by itself takes some syncs."""
    new = path.with_name(path.name + ".new")
    for left in (new, new.with_name(new.name + "-journal")):
        left.unlink(missing_ok=True)
    with closing(sqlite3.connect(new, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        migrate(db)
        cluster = os.urandom(16)
        db.execute("INSERT INTO meta VALUES (?, ?, ?)", ("cluster", cluster, row_crc("cluster", cluster)))
    _sync(new)
    os.replace(new, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
