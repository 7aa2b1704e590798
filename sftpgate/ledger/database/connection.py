"""The connection to the ledger's database, and its transactions.

SQLite by default, PostgreSQL by URL; what differs between them is in ``engines``.

A transaction takes the write lock at its beginning, so it never fails half-way because somebody else wrote. Everything
here blocks: callers are in a thread. Errors of the driver become LedgerError here, once. A crash in a transaction
leaves nothing of it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection as Connection  # handed to callers, who pass it back and know nothing of it
from sqlalchemy import func, insert, inspect, select, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sftpgate.errors import LedgerError, LedgerFull
from sftpgate.ledger import reports
from sftpgate.ledger.database import migrations
from sftpgate.ledger.database.engines import (
    KeptConnections,
    begin_reading,
    begin_writing,
    commit,
    driver,
    is_damage,
    ledger_url,
    make_engine,
    was_committed,
)
from sftpgate.ledger.database.schema import SCHEMA_VERSION, facts, metadata

_VERSION_FACT = "schema_version"
_REPORTS_FACT = "reports_listed"  # the table of reports is newer than the first ledgers


class Ledger:
    """The database. One instance per process; its methods may be called from any thread."""

    def __init__(self, url: str, *, durable: bool = True, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.url = ledger_url(url)
        self._clock = clock
        self._engine = make_engine(self.url, durable=durable)
        self._kept = KeptConnections(self._engine)
        self._identity: tuple[int, int] | None = None  # of the file that we have open

    @property
    def file(self) -> Path | None:
        """The database's file, or None if it is no file."""
        is_file = self.url.get_backend_name() == "sqlite" and self.url.database
        return Path(str(self.url.database)) if is_file else None

    def create(self) -> None:
        """Make the tables that are missing, and bring an earlier version to this one. Raises LedgerError if it is of a later
        one.
        """
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.transaction() as connection:
            metadata.create_all(connection, checkfirst=True)
            found = get_fact(connection, _VERSION_FACT)
            if found is None:
                migrations.begin(connection, self._clock())
            elif found != str(SCHEMA_VERSION):
                migrations.upgrade(connection, found, self._clock())
            if found != str(SCHEMA_VERSION):
                set_fact(connection, _VERSION_FACT, str(SCHEMA_VERSION))
            if get_fact(connection, _REPORTS_FACT) is None:
                reports.fill_from_runs(connection)
                set_fact(connection, _REPORTS_FACT, "yes")
        self.require_in_place()

    def is_made(self) -> bool:
        """Return whether its tables are there: before the first start they are not. Raises LedgerError if nobody can tell."""
        if self.file is not None and not self.file.exists():
            return False
        with self.reading() as connection:
            return inspect(connection).has_table(facts.name)

    def version(self) -> str | None:
        """Return the version of its tables; None if they were never made whole. Raises LedgerError if there are none."""
        with self.reading() as connection:
            return get_fact(connection, _VERSION_FACT)

    def is_current(self) -> bool:
        """Return whether it has this program's version. Raises LedgerError if it has no tables."""
        return self.version() == str(SCHEMA_VERSION)

    def require_version(self) -> None:
        """Raise LedgerError if it is of an earlier version, which nobody has upgraded yet, or of a later one."""
        found = self.version()
        if found is not None:
            migrations.require_current(found)

    def step(self, operation: str) -> None:
        """Do nothing. Called before each commit; the crash suite overrides it, and nothing else does."""

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection that commits at the end of the block, and rolls back if the block raises.

        Raises LedgerError if it was not committed; and if nobody can tell, because the database's server went away
        in the middle of the commit and does not come back.
        """
        with _translated(), self._kept.connection() as connection:
            number = begin_writing(connection)
            yield connection
            self.step("commit")
            try:
                commit(connection)
            except DBAPIError as error:
                if number is None or not was_committed(self._engine, number, error):
                    raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection for queries, which see one state of the ledger."""
        with _translated(), self._kept.connection() as connection:
            begin_reading(connection)
            yield connection

    @contextlib.contextmanager
    def frozen(self) -> Iterator[Connection]:
        """Yield a connection of its own that sees the ledger as it is now, whatever is recorded until the end of the block."""
        with _translated(), self._engine.connect() as connection:
            begin_reading(connection)
            get_fact(connection, _VERSION_FACT)  # what is read first says which state is seen
            yield connection

    def check(self) -> str | None:
        """Return what is wrong with the database, or None."""
        try:
            return self.damage()
        except LedgerError as error:
            return error.message

    def damage(self) -> str | None:
        """Return what is damaged in the database's file, or None. Raises LedgerError if nobody can tell: on a full disk, for
        one.
        """
        try:
            with self.reading() as connection:
                if self._engine.dialect.name == "sqlite":
                    verdict = str(connection.exec_driver_sql("PRAGMA quick_check").scalar())
                    return None if verdict == "ok" else verdict
        except LedgerError as error:
            if not is_damage(error.__cause__):
                raise
            return error.message
        return None

    def require_in_place(self) -> None:
        """Raise LedgerError if somebody removed or replaced the database's file since this process uses it: what is recorded
        in the file that we have open would be lost with our end.
        """
        if self.file is None:
            return
        try:
            status = self.file.stat()
        except OSError:
            found = None
        else:
            found = status.st_dev, status.st_ino
        self._identity = self._identity or found
        if found is None or found != self._identity:
            raise LedgerError(
                "the ledger's file was removed or replaced while it was in use: bring it back, or restart sftpgate, "
                "which makes it anew from the disk"
            )

    def move_log(self) -> None:
        """Move what SQLite's log holds into the database, beside the commits of others, so that none has to do it on its way.
        Raises LedgerError.
        """
        if self._engine.dialect.name == "sqlite":
            with _translated(), self._kept.connection() as connection:
                driver(connection).execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Close all connections."""
        self._kept.close()
        self._engine.dispose()


def get_fact(connection: Connection, name: str) -> str | None:
    """Return a single remembered value, such as the result of the last sweep."""
    return connection.execute(select(facts.c.value).where(facts.c.name == name)).scalar()


def set_fact(connection: Connection, name: str, value: str) -> None:
    """Remember a single value."""
    if not connection.execute(update(facts).where(facts.c.name == name).values(value=value)).rowcount:
        connection.execute(insert(facts).values(name=name, value=value))


def shared_time(connection: Connection) -> datetime | None:
    """Return the database's own clock, which all hosts that share a ledger have in common; None for a database in this
    process.
    """
    if connection.dialect.name != "postgresql":
        return None
    found: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return found.astimezone(UTC)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = getattr(error, "orig", None) or error
        if _is_full(cause):
            raise LedgerFull() from error
        raise LedgerError(f"the ledger cannot be used: {' '.join(str(cause).split())}") from error


def _is_full(error: BaseException) -> bool:
    """Return whether a database says that its disk is full: SQLite's SQLITE_FULL, PostgreSQL's 53100 (disk_full)."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or getattr(error, "sqlstate", None) == "53100"
