"""How a ledger of an earlier version becomes one of this version: at the first start, in one transaction.

A crash in it leaves the earlier version as it was. A ledger of a later version is refused: an old program would not keep what
the new one promises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from sqlalchemy import Connection, inspect

from sftpgate.errors import LedgerError
from sftpgate.ledger import audit, chain, volumes
from sftpgate.ledger.actor import SYSTEM
from sftpgate.ledger.audit import Event
from sftpgate.ledger.schema import SCHEMA_VERSION

BEGUN = "audit.begun"


def begin(connection: Connection, at: datetime) -> None:
    """The record of a new ledger begins."""
    chain.begin(connection)
    audit.record(connection, [Event(at=at, event=BEGUN, actor=SYSTEM, details={"reason": "a new ledger"})])


def upgrade(connection: Connection, found: str, at: datetime) -> None:
    """Bring tables and records from version ``found`` to this program's. Raises LedgerError where there is no way."""
    try:
        version = int(found)
    except ValueError:
        version = SCHEMA_VERSION + 1
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger has version {found}, this program knows up to {SCHEMA_VERSION}: use the program that wrote it"
        )
    for step in range(version, SCHEMA_VERSION):
        _STEPS[step](connection, at)


def _chain_events(connection: Connection, at: datetime) -> None:
    """1 → 2: events get their hashes. What was there before is taken as it is."""
    if "hash" not in {column["name"] for column in inspect(connection).get_columns("events")}:
        connection.exec_driver_sql("ALTER TABLE events ADD COLUMN hash VARCHAR(64) NOT NULL DEFAULT ''")
    chained = chain.begin(connection)
    details: dict[str, audit.Detail] = {
        "reason": "an upgrade: the records before this one were chained only now",
        "records": chained,
    }
    audit.record(connection, [Event(at=at, event=BEGUN, actor=SYSTEM, details=details)])


def _count_volumes(connection: Connection, at: datetime) -> None:
    """2 → 3: what users have sent today is counted."""
    volumes.fill(connection, at)


def _what_runs_did(connection: Connection, at: datetime) -> None:
    """3 → 4: runs have outcomes with longer names, and say what they did."""
    known = {column["name"] for column in inspect(connection).get_columns("runs")}
    for name, kind in (
        ("output", "TEXT"),
        ("rows", "INTEGER"),
        ("accepted", "INTEGER"),
        ("rejected", "INTEGER"),
        ("rejected_rows", "TEXT"),
        ("because", "TEXT"),
    ):
        if name not in known:
            connection.exec_driver_sql(f'ALTER TABLE runs ADD COLUMN "{name}" {kind}')
    if connection.dialect.name == "postgresql":  # SQLite does not look at lengths
        connection.exec_driver_sql("ALTER TABLE runs ALTER COLUMN outcome TYPE VARCHAR(32)")


def _time_claims(connection: Connection, at: datetime) -> None:
    """4 → 5: claims say when they end by a clock that nobody can set; those that are held keep to the wall clock."""
    known = {column["name"] for column in inspect(connection).get_columns("claims")}
    double = "DOUBLE PRECISION" if connection.dialect.name == "postgresql" else "FLOAT"
    for name, kind in (("lease_uptime", double), ("lease_seconds", double), ("process_start", "BIGINT")):
        if name not in known:
            connection.exec_driver_sql(f"ALTER TABLE claims ADD COLUMN {name} {kind} NOT NULL DEFAULT 0")


def _index_archives(connection: Connection, at: datetime) -> None:
    """5 → 6: a user's archives are read in pages."""
    connection.exec_driver_sql(
        "CREATE INDEX IF NOT EXISTS arrivals_archives ON arrivals (owner, archived_as) WHERE archived_as IS NOT NULL"
    )


_STEPS: Mapping[int, Callable[[Connection, datetime], None]] = {
    1: _chain_events,
    2: _count_volumes,
    3: _what_runs_did,
    4: _time_claims,
    5: _index_archives,
}
