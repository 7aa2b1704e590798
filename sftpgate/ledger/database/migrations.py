"""How a ledger of an earlier version becomes one of this version: at the first start, in one transaction.

A crash in it leaves the earlier version as it was. A ledger of a later version is refused: an old program would not keep what
the new one promises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from sqlalchemy import Connection, inspect, select, update

from sftpgate.errors import LedgerError
from sftpgate.ledger import volumes
from sftpgate.ledger.audit import chain, event_log
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.ledger.audit.event_log import Event
from sftpgate.ledger.database.schema import SCHEMA_VERSION, arrivals
from sftpgate.policy.lifecycle import ArrivalState, HoldReason

BEGUN = "audit.begun"


def begin(connection: Connection, at: datetime) -> None:
    """Begin the record of a new ledger."""
    chain.begin(connection)
    event_log.record(connection, [Event(at=at, event=BEGUN, actor=SYSTEM, details={"reason": "a new ledger"})])


def upgrade(connection: Connection, found: str, at: datetime) -> None:
    """Bring tables and records from version ``found`` to this program's. Raises LedgerError if there is no way."""
    for step in range(_known(found), SCHEMA_VERSION):
        _STEPS[step](connection, at)


def require_current(found: str) -> None:
    """Raise LedgerError if version ``found`` is not this program's."""
    if _known(found) < SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger has version {found}, this program's is {SCHEMA_VERSION}: it is upgraded when the server starts, or "
            "by `sftpgate sweep`"
        )


def _known(found: str) -> int:
    try:
        version = int(found)
    except ValueError:
        version = SCHEMA_VERSION + 1
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger has version {found}, this program knows up to {SCHEMA_VERSION}: use the program that wrote it, or "
            "restore the backup from before the upgrade (docs/backup.md)"
        )
    return version


def _chain_events(connection: Connection, at: datetime) -> None:
    """Give events their hashes (1 → 2). What was there before is taken as it is."""
    if "hash" not in {column["name"] for column in inspect(connection).get_columns("events")}:
        connection.exec_driver_sql("ALTER TABLE events ADD COLUMN hash VARCHAR(64) NOT NULL DEFAULT ''")
    chained = chain.begin(connection)
    details: dict[str, event_log.Detail] = {
        "reason": "an upgrade: the records before this one were chained only now",
        "records": chained,
    }
    event_log.record(connection, [Event(at=at, event=BEGUN, actor=SYSTEM, details=details)])


def _count_volumes(connection: Connection, at: datetime) -> None:
    """Count what users have sent today (2 → 3)."""
    volumes.fill(connection, at)


def _what_runs_did(connection: Connection, at: datetime) -> None:
    """Let runs have outcomes with longer names, and say what they did (3 → 4)."""
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
    """Let claims say when they end by a clock that nobody can set (4 → 5); those that are held keep to the wall clock."""
    known = {column["name"] for column in inspect(connection).get_columns("claims")}
    double = "DOUBLE PRECISION" if connection.dialect.name == "postgresql" else "FLOAT"
    for name, kind in (("lease_uptime", double), ("lease_seconds", double), ("process_start", "BIGINT")):
        if name not in known:
            connection.exec_driver_sql(f"ALTER TABLE claims ADD COLUMN {name} {kind} NOT NULL DEFAULT 0")


def _index_archives(connection: Connection, at: datetime) -> None:
    """Index archives, so that a user's are read in pages (5 → 6)."""
    connection.exec_driver_sql(
        "CREATE INDEX IF NOT EXISTS arrivals_archives ON arrivals (owner, archived_as) WHERE archived_as IS NOT NULL"
    )


def _keep_hold_details(connection: Connection, at: datetime) -> None:
    """Give holds a detail (6 → 7). That of an upload that looks interrupted stands in the event of its arrival."""
    if "hold_detail" not in {column["name"] for column in inspect(connection).get_columns("arrivals")}:
        connection.exec_driver_sql("ALTER TABLE arrivals ADD COLUMN hold_detail TEXT")
    doubted = (arrivals.c.state == ArrivalState.HELD.value) & (arrivals.c.hold_reason == HoldReason.INCOMPLETE.value)
    for held in connection.scalars(select(arrivals.c.id).where(doubted)).all():
        if why := event_log.doubt_of(connection, held):
            connection.execute(update(arrivals).where(arrivals.c.id == held).values(hold_detail=why))


def _judge_contents(connection: Connection, at: datetime) -> None:
    """7 → 8: contents have verdicts, in a table that is made where it is missing."""


def _tell_others(connection: Connection, at: datetime) -> None:
    """8 → 9: there is an outbox, in tables that are made where they are missing."""


def _approve_contents(connection: Connection, at: datetime) -> None:
    """9 → 10: files are approved, in a table that is made where it is missing."""


def _index_listings(connection: Connection, at: datetime) -> None:
    """Index what is listed by user, state and time (10 → 11)."""
    if connection.dialect.name == "postgresql":  # as SQLite compares it
        connection.exec_driver_sql('ALTER TABLE events ALTER COLUMN actor TYPE TEXT COLLATE "C"')
    for name in ("arrivals_owner", "arrivals_archived"):
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name}")
    for index in (
        "arrivals_newest ON arrivals (state, received_at, seq)",
        "arrivals_newest_of ON arrivals (owner, state, received_at, seq)",
        "arrivals_usage ON arrivals (owner, state, size) WHERE live = 1",
        "arrivals_replaced ON arrivals (owner, changed_at, size) WHERE state = 'replaced' AND archived_as IS NOT NULL",
        "arrivals_archived ON arrivals (archived_as) WHERE archived_as IS NOT NULL",
        "events_at ON events (at, seq)",
        "events_actor ON events (actor, at, seq)",
    ):
        connection.exec_driver_sql(f"CREATE INDEX IF NOT EXISTS {index}")


def _keep_receipts(connection: Connection, at: datetime) -> None:
    """11 → 12: senders have receipts, in a table that is made where it is missing."""


def _expect_files(connection: Connection, at: datetime) -> None:
    """12 → 13: files are expected, at times that have a table, which is made where it is missing."""


def _undo_runs(connection: Connection, at: datetime) -> None:
    """13 → 14: files undo what others did, in a table that is made where it is missing."""


_STEPS: Mapping[int, Callable[[Connection, datetime], None]] = {
    1: _chain_events,
    2: _count_volumes,
    3: _what_runs_did,
    4: _time_claims,
    5: _index_archives,
    6: _keep_hold_details,
    7: _judge_contents,
    8: _tell_others,
    9: _approve_contents,
    10: _index_listings,
    11: _keep_receipts,
    12: _expect_files,
    13: _undo_runs,
}
