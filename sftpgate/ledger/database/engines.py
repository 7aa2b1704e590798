"""The two databases that a ledger can be in, and what differs between them.

SQLite in WAL mode: readers never wait for writers, a commit is one flush. A transaction takes the write lock at its
beginning (BEGIN IMMEDIATE), so it never fails half-way because somebody else wrote.

PostgreSQL: the same by an advisory lock that every writing transaction takes first, so that several gates on one ledger
take turns. If the connection breaks during a commit, nobody knows whether it was made; a writing transaction knows
its number, so that ``was_committed`` can ask when the server is back.

With ``durable`` a committed record survives a power cut; without, it survives a killed process of ours only. Everything
here blocks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import QueuePool

from sftpgate.errors import SettingsError

if TYPE_CHECKING:
    import psycopg

# Above the longest that a healthy neighbour holds the lock (a sweep's batch, a backup's checkpoint), below what a
# client waits for its CLOSE.
BUSY_TIMEOUT_SECONDS = 20

# How long a commit in doubt waits for a database server to come back: above what one needs to restart after a crash,
# below what a client waits for its CLOSE.
DOUBT_SECONDS = 10.0
_DOUBT_STEP_SECONDS = 0.25

_FLOCK = struct.Struct("hhqqi4x")  # struct flock: l_type, l_whence, l_start, l_len, l_pid
_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510  # the bytes of SQLite's file format that its readers lock

# How long SQLite's log becomes, in pages of 4 KiB, before a commit has to move it into the database, and waits for two flushes:
# far above what ``Ledger.move_log`` leaves.
_CHECKPOINT_PAGES = 8000
_KEPT = 6  # idle connections: as many as requests are in the ledger at a time, usually
_CONNECT_SECONDS = 5  # to a server of this machine or network; one that does not answer by then is down
_LOCK_KEY = 0x73667470  # "sftp": the advisory lock of all writing transactions of a database
_SUPPORTED = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}

_HOME_FILES = (".pgpass", ".pg_service.conf", ".postgresql")  # of libpq

_BEGIN_POSTGRESQL = f"SELECT pg_advisory_xact_lock({_LOCK_KEY}), pg_current_xact_id()::text"
_ASK_POSTGRESQL = f"SELECT pg_advisory_xact_lock({_LOCK_KEY}), pg_xact_status(%s::xid8)"  # the lock: once it has ended


def ledger_url(text: str) -> URL:
    """Return the URL with the driver that we use. Raises SettingsError."""
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise SettingsError(
            "ledger_url is not a database URL (example: postgresql://sftpgate@db.example.org/sftpgate)"
        ) from error
    backend = url.get_backend_name()
    if backend not in _SUPPORTED:
        raise SettingsError(f"ledger_url: {backend} is not supported: use sqlite:///… or postgresql://…")
    return url if "+" in url.drivername else url.set(drivername=_SUPPORTED[backend])


def client_files(url: URL, environ: Mapping[str, str]) -> list[Path]:
    """Return the files outside the system's directories that the database's client library may read: passwords, services,
    keys.
    """
    if url.get_backend_name() == "sqlite":
        return []
    home = Path("~").expanduser()
    named = [value for values in url.query.values() for value in ([values] if isinstance(values, str) else values)]
    named += [value for name, value in environ.items() if name.startswith("PG")]
    return [*(home / name for name in _HOME_FILES), *(Path(value) for value in named if value.startswith("/"))]


def make_engine(url: URL, *, durable: bool) -> Engine:
    """Return connections to the database. Connects to nothing yet. Raises SettingsError if the driver is missing."""
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, durable)
    try:
        return _postgresql(url, durable)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise SettingsError("ledger_url: PostgreSQL needs a driver: pip install 'sftpgate[postgresql]'") from error


def _sqlite(url: URL, durable: bool) -> Engine:
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
        connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA case_sensitive_like=ON")  # names of files have letter cases

    return engine


def _postgresql(url: URL, durable: bool) -> Engine:
    engine = create_engine(
        url,
        pool_size=4,  # of each process; a server usually has 100
        max_overflow=8,
        pool_timeout=BUSY_TIMEOUT_SECONDS,
        pool_pre_ping=True,  # a connection of before the server's restart is replaced, and nobody notices
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "application_name": "sftpgate",
        },
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: psycopg.Connection, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{BUSY_TIMEOUT_SECONDS}s'")
            if not durable:
                cursor.execute("SET synchronous_commit = off")
            elif cursor.execute("SHOW synchronous_commit").fetchone() == ("off",):
                cursor.execute("SET synchronous_commit = on")
        connection.commit()

    return engine


class KeptConnections:
    """Connections that stay with us between their uses: getting one from the engine's pool takes longer than a query.

    Only for SQLite, whose connections do not break while nobody looks. One that saw an error is not kept. Any thread.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._idle: list[Connection] = []
        self._keep = _KEPT if engine.dialect.name == "sqlite" else 0

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """Yield a connection for one transaction, which ends with the block."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._engine.connect()
        try:
            yield connection
            end(connection)
        except BaseException:
            connection.close()
            raise
        if len(self._idle) < self._keep:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close those that are idle. Those in use are closed by their users' end, at the latest."""
        while self._idle:
            self._idle.pop().close()


def is_damage(error: BaseException | None) -> bool:
    """Return whether a database's error says that its file is damaged. A full disk, a lock or a permission damages nothing."""
    code = getattr(getattr(error, "orig", error), "sqlite_errorcode", None)  # SQLAlchemy's, or the driver's own
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_open_elsewhere(file: Path) -> bool:
    """Return whether another process has a database open: each keeps SQLite's lock of readers for as long as it is (os_unix.c).

    Not while this process has it open itself: closing any descriptor of a file gives up a process's own locks on it.
    """
    fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _SHARED_FIRST, _SHARED_SIZE, 0)
        return bool(_FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, wanted))[0] != fcntl.F_UNLCK)
    finally:
        os.close(fd)


def begin_writing(connection: Connection) -> str | None:
    """Begin a transaction that nobody else's writes can get in the way of; its number, if the database has one."""
    if connection.dialect.name == "sqlite":
        driver(connection).execute("BEGIN IMMEDIATE")
        return None
    _, number = connection.exec_driver_sql(_BEGIN_POSTGRESQL).one()
    return str(number)


def begin_reading(connection: Connection) -> None:
    """Begin a transaction that sees one state of the database."""
    if connection.dialect.name == "sqlite":
        driver(connection).execute("BEGIN")
    else:
        connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def commit(connection: Connection) -> None:
    """Commit what ``begin_writing`` began."""
    if _is_ours(connection):
        driver(connection).commit()
    else:
        connection.commit()


def end(connection: Connection) -> None:
    """End what was begun, and take back what was not committed."""
    if _is_ours(connection):
        driver(connection).rollback()
    else:
        connection.rollback()


def _is_ours(connection: Connection) -> bool:
    """Return whether SQLAlchemy knows nothing of the transaction: it was not asked to run a statement in it."""
    return connection.dialect.name == "sqlite" and not connection.in_transaction()


def driver(connection: Connection) -> Any:  # each driver has a type of its own
    """Return the driver's own connection, for statements that SQLAlchemy would take longer to pass on than the database to
    run.
    """
    return connection.connection.driver_connection


def was_committed(engine: Engine, transaction: str, error: DBAPIError) -> bool:
    """Return whether a transaction was committed though its commit failed: the connection broke before the answer came.

    Waits for the server for DOUBT_SECONDS. False if it does not come back either: then it is unknown.
    """
    if not error.connection_invalidated:
        return False
    pause = threading.Event()
    for _ in range(int(DOUBT_SECONDS / _DOUBT_STEP_SECONDS)):
        try:
            with engine.connect() as connection:
                _, verdict = connection.exec_driver_sql(_ASK_POSTGRESQL, (transaction,)).one()
                return bool(verdict == "committed")
        except DBAPIError as again:
            if not again.connection_invalidated and not _is_down(again):
                return False  # a server that does not know of it: a copy that took over without it
            pause.wait(_DOUBT_STEP_SECONDS)
    return False


def _is_down(error: DBAPIError) -> bool:
    """Return whether an error says that the server cannot be reached, or is starting or stopping (class 57 of its codes)."""
    state = getattr(error.orig, "sqlstate", None)
    return state is None or str(state).startswith(("08", "57"))
