"""The connection to the ledger's database, and its transactions.

SQLite in WAL mode by default: readers never wait for writers, a commit is one fsync. With ``synchronous=FULL`` a
committed record survives a power cut; ``relaxed`` durability uses NORMAL, where it survives a killed process only.
PostgreSQL works by URL.

A transaction takes the write lock at its beginning (BEGIN IMMEDIATE), so it never fails half-way because somebody else
wrote. Everything here blocks: callers are in a thread. Errors of the driver become LedgerError here, once. A crash in a
transaction leaves nothing of it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection as Connection  # handed to callers, who pass it back and know nothing of it
from sqlalchemy import Engine, create_engine, event, insert, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from sftpgate.errors import LedgerError
from sftpgate.ledger.schema import SCHEMA_VERSION, facts, metadata

# Above the longest that a healthy neighbour holds the lock (a sweep's batch, a backup's checkpoint), below what a
# client waits for its CLOSE.
BUSY_TIMEOUT_SECONDS = 20

_VERSION_FACT = "schema_version"


class Ledger:
    """The database. One instance per process; its methods may be called from any thread."""

    def __init__(self, url: str, *, durable: bool = True) -> None:
        self.url = make_url(url)
        self._engine = _engine(url, durable)

    @property
    def file(self) -> Path | None:
        """The database's file, or None where it is no file."""
        is_file = self.url.get_backend_name() == "sqlite" and self.url.database
        return Path(str(self.url.database)) if is_file else None

    def create(self) -> None:
        """Make the tables that are missing. Raises LedgerError where the ledger is of another version."""
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
        with _translated():
            metadata.create_all(self._engine, checkfirst=True)
        with self.transaction() as connection:
            found = get_fact(connection, _VERSION_FACT)
            if found is None:
                set_fact(connection, _VERSION_FACT, str(SCHEMA_VERSION))
            elif found != str(SCHEMA_VERSION):
                raise LedgerError(
                    f"the ledger has version {found}, this program needs {SCHEMA_VERSION}: use the program that wrote it"
                )

    def step(self, operation: str) -> None:
        """Called before each commit; the crash suite overrides it, and nothing else does."""

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection that commits at the end of the block, and rolls back where the block raises."""
        with _translated(), self._engine.connect() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            self.step("commit")
            connection.commit()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for queries, which see one state of the ledger."""
        with _translated(), self._engine.connect() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            yield connection

    def check(self) -> str | None:
        """What is wrong with the database's file, or None."""
        try:
            with self.reading() as connection:
                if self._engine.dialect.name == "sqlite":
                    verdict = str(connection.exec_driver_sql("PRAGMA quick_check").scalar())
                    return None if verdict == "ok" else verdict
        except LedgerError as error:
            return error.message
        return None

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def get_fact(connection: Connection, name: str) -> str | None:
    """A single remembered value, such as the result of the last sweep."""
    return connection.execute(select(facts.c.value).where(facts.c.name == name)).scalar()


def set_fact(connection: Connection, name: str, value: str) -> None:
    """Remember a single value."""
    if not connection.execute(update(facts).where(facts.c.name == name).values(value=value)).rowcount:
        connection.execute(insert(facts).values(name=name, value=value))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise LedgerError(f"the ledger cannot be used: {cause}") from error


def _engine(url: str, durable: bool) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=8,
        max_overflow=24,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys=ON")

    return engine
