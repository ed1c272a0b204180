"""The ledger's tables, as an ordered list of migrations: each is applied once, in its turn."""

from __future__ import annotations

import sqlite3

__all__ = ["MIGRATIONS", "migrate"]

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
]
"""(version, statements), versions counting up from 1."""


def migrate(connection: sqlite3.Connection) -> int:
    """Bring a database up to date; returns its version. The connection is in autocommit mode."""
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
