"""The ledger's tables, as an ordered list of migrations: each is applied once, in its turn.

Each row has a checksum of its columns, made by :func:`row_crc`. A chunk has two: ``crc`` of the payload, and
``head`` of all other columns. A migration that adds a column has to make the checksums of its table anew.
"""

from __future__ import annotations

import sqlite3
import zlib

from zturbo_broker.ledger.rows import pack

__all__ = ["MIGRATIONS", "migrate", "row_crc"]

MIGRATIONS: list[tuple[int, tuple[str, ...]]] = [
    (
        1,
        (
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
            """CREATE TABLE job (
                number INTEGER PRIMARY KEY AUTOINCREMENT,
                id BLOB NOT NULL UNIQUE,
                name TEXT NOT NULL,
                pipeline TEXT NOT NULL,
                client BLOB NOT NULL,
                state TEXT NOT NULL,
                epoch INTEGER NOT NULL,
                options BLOB NOT NULL,
                digest BLOB NOT NULL,
                stream INTEGER NOT NULL,
                closed INTEGER NOT NULL,
                total INTEGER NOT NULL,
                stamp BLOB,
                created REAL NOT NULL,
                ended REAL,
                results INTEGER NOT NULL,
                failed INTEGER NOT NULL,
                error_kind TEXT,
                error TEXT
            )""",
            """CREATE TABLE chunk (
                job BLOB NOT NULL,
                seq INTEGER NOT NULL,
                first INTEGER NOT NULL,
                n INTEGER NOT NULL,
                nbytes INTEGER NOT NULL,
                crc INTEGER NOT NULL,
                payload BLOB NOT NULL,
                PRIMARY KEY (job, seq)
            )""",
        ),
    ),
    (2, ("ALTER TABLE job ADD COLUMN notes BLOB",)),
    (
        3,
        (
            "ALTER TABLE meta ADD COLUMN crc INTEGER NOT NULL DEFAULT 0",
            "UPDATE meta SET crc = row_crc(key, value)",
            "ALTER TABLE job ADD COLUMN crc INTEGER NOT NULL DEFAULT 0",
            """UPDATE job SET crc = row_crc(
                id, name, pipeline, client, state, epoch, options, digest, stream, closed, total, stamp,
                created, ended, results, failed, error_kind, error, notes
            )""",
            "ALTER TABLE chunk ADD COLUMN head INTEGER NOT NULL DEFAULT 0",
            "UPDATE chunk SET head = row_crc(job, seq, first, n, nbytes, crc)",
        ),
    ),
    (4, ("CREATE INDEX ended_job ON job (number) WHERE ended IS NOT NULL",)),
    (5, ()),  # the payload of a large chunk is its place in a file beside the ledger
    (6, ()),  # a chunk's payload may name contents in shared memory
]
"""(version, statements), versions counting up from 1."""


def row_crc(*values: bytes | str | int | float | None) -> int:
    """Checksum of a row's columns: of their values, and of their types in SQLite."""
    return zlib.crc32(pack(values))


def migrate(connection: sqlite3.Connection) -> int:
    """Bring a database up to date; returns its version. The connection is in autocommit mode."""
    connection.create_function("row_crc", -1, row_crc)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, statements in MIGRATIONS:
        if number <= version:
            continue
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
        version = number
    return int(version)
