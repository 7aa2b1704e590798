"""A ledger in one file, as it was at one moment, and a ledger made of such a file.

The file is a SQLite database with the tables of the ledger, whichever database the ledger is in: so a backup can be brought back
into either. Values go from table to table as SQLAlchemy reads them. Everything blocks; nobody waits for a snapshot that is read.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, create_engine, delete, func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from sftpgate.errors import LedgerError
from sftpgate.ledger.database.connection import Ledger, get_fact
from sftpgate.ledger.database.engines import driver
from sftpgate.ledger.database.schema import SCHEMA_VERSION, metadata

_ROWS = 1000  # that go from one database to the other at a time


def write_snapshot(connection: Connection, file: Path) -> None:
    """Write the ledger as ``connection`` sees it into a new file. Raises LedgerError."""
    with _translated(), contextlib.closing(sqlite3.connect(file)) as target:
        if connection.dialect.name == "sqlite":
            driver(connection).backup(target)
            target.execute("PRAGMA journal_mode=DELETE")  # one file, and none beside it
            return
    with _of_file(file) as made:
        metadata.create_all(made)
        _copy(connection, made)


def load_snapshot(file: Path, ledger: Ledger) -> None:
    """Put everything of a snapshot of this version's tables into a ledger, in the place of what is there, in one transaction.

    Raises LedgerError.
    """
    ledger.create()
    with _of_file(file) as source, ledger.transaction() as target:
        if get_fact(source, "schema_version") != str(SCHEMA_VERSION):
            raise LedgerError("the ledger in the backup is of another version")
        for table in reversed(metadata.sorted_tables):
            target.execute(delete(table))
        _copy(source, target)
        if target.dialect.name == "postgresql":
            _set_counters(target)


def version_of(file: Path) -> str | None:
    """Return the version of the tables in a snapshot. Raises LedgerError if it is none."""
    with _of_file(file) as connection:
        return get_fact(connection, "schema_version")


def _copy(source: Connection, target: Connection) -> None:
    for table in metadata.sorted_tables:
        rows = source.execute(select(table).execution_options(yield_per=_ROWS)).mappings()
        for part in rows.partitions(_ROWS):
            target.execute(insert(table), [dict(row) for row in part])


def _set_counters(connection: Connection) -> None:
    """Let PostgreSQL go on counting behind the rows that came with their numbers."""
    for table in metadata.sorted_tables:
        column = table.autoincrement_column
        if column is None:
            continue
        last = connection.execute(select(func.max(column))).scalar()
        counter = connection.execute(
            text("SELECT pg_get_serial_sequence(:table, :column)"), {"table": table.name, "column": column.name}
        ).scalar()
        if last is not None and counter is not None:
            connection.execute(text("SELECT setval(:counter, :last)"), {"counter": counter, "last": last})


@contextlib.contextmanager
def _of_file(file: Path) -> Iterator[Connection]:
    engine = create_engine(f"sqlite:///{file}", poolclass=NullPool)
    try:
        with _translated(), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise LedgerError(f"the ledger cannot be copied: {' '.join(str(error).split())}") from error
