"""What the ledger says to a person who asks: one arrival by the beginning of its id, and the state of the whole.

Queries only. They use the indexes of what is live, so that they cost the same in a ledger with years of history.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from sftpgate.errors import Refused, UnknownArrival
from sftpgate.ledger import arrivals as records
from sftpgate.ledger import runs
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.database.connection import get_fact
from sftpgate.ledger.database.schema import arrivals, claims
from sftpgate.policy.clocks import is_due
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.policy.runs import RunOutcome

_SHOWN_CANDIDATES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The arrivals of one path in one state: how many, how large, and when the first of them came."""

    path: str
    state: ArrivalState
    count: int
    size: int
    oldest_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """The arrivals that are held for one reason, or that are in quarantine (without a reason)."""

    reason: HoldReason | None
    count: int
    size: int
    oldest_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenClaim:
    """Who has an arrival at this moment. ``lease_until``: when others may take it back, unless the holder is seen to live."""

    arrival: str
    path: str
    tool: str
    host: str
    pid: int
    claimed_at: datetime
    lease_until: datetime


_OLDEST = func.min(arrivals.c.received_at, type_=arrivals.c.received_at.type)


def by_prefix(connection: Connection, prefix: str) -> Arrival:
    """Return the one arrival whose id begins with ``prefix``, in any letter case.

    Raises UnknownArrival if there is none, and Refused if there are several.
    """
    wanted = prefix.strip().upper()
    query = select(arrivals.c.id).where(arrivals.c.id >= wanted, arrivals.c.id < wanted + "~").order_by(arrivals.c.id)
    found = list(connection.execute(query.limit(_SHOWN_CANDIDATES + 1)).scalars()) if wanted else []
    if not found:
        raise UnknownArrival(f"there is no arrival {prefix} (`sftpgate arrivals` lists them)")
    if len(found) > 1 and found[0] != wanted:
        raise Refused(f"several arrivals begin with {prefix}: {', '.join(found[:_SHOWN_CANDIDATES])}, …: give more of the id")
    return records.get(connection, ArrivalId(found[0]))


def waiting(connection: Connection) -> list[Waiting]:
    """Return what waits for a runner, by path; the longest wait first."""
    states = [ArrivalState.WAITING.value, ArrivalState.QUEUED.value]
    query = (
        select(arrivals.c.path, arrivals.c.state, func.count(), func.sum(arrivals.c.size), _OLDEST)
        .where(arrivals.c.state.in_(states))
        .group_by(arrivals.c.path, arrivals.c.state)
        .order_by(_OLDEST)
    )
    return [
        Waiting(path=path, state=ArrivalState(state), count=count, size=int(size), oldest_at=oldest_at)
        for path, state, count, size, oldest_at in connection.execute(query)
    ]


def held_back(connection: Connection) -> list[HeldBack]:
    """Return how many arrivals are held, by reason, and how many are in quarantine; the largest number first."""
    states = [ArrivalState.HELD.value, ArrivalState.QUARANTINED.value]
    query = (
        select(arrivals.c.hold_reason, func.count(), func.sum(arrivals.c.size), _OLDEST)
        .where(arrivals.c.state.in_(states))
        .group_by(arrivals.c.hold_reason)
        .order_by(func.count().desc())
    )
    return [
        HeldBack(reason=HoldReason(reason) if reason else None, count=count, size=int(size), oldest_at=oldest_at)
        for reason, count, size, oldest_at in connection.execute(query)
    ]


def open_claims(connection: Connection) -> list[OpenClaim]:
    """Return the claims that are held, the oldest first."""
    path = (
        select(arrivals.c.path).where(arrivals.c.id == claims.c.arrival).scalar_subquery()
    )  # a join may begin with all arrivals
    query = select(
        claims.c.arrival,
        path.label("path"),
        claims.c.tool,
        claims.c.host,
        claims.c.pid,
        claims.c.claimed_at,
        claims.c.lease_until,
    ).order_by(claims.c.claimed_at)
    rows = [row._mapping for row in connection.execute(query)]  # noqa: SLF001 - the documented way to a mapping
    return [OpenClaim(**(dict(row) | {"pid": abs(row["pid"])})) for row in rows if row["path"] is not None]


def journal_mode(connection: Connection) -> str | None:
    """Return how SQLite keeps its journal: ``wal`` if all is well. None for another database."""
    if connection.dialect.name != "sqlite":
        return None
    return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar())


def schema_version(connection: Connection) -> str | None:
    """Return the version of the ledger's tables, or None if they were never made."""
    return get_fact(connection, "schema_version")  # written by Ledger.create


def put_off_until(connection: Connection, tool: str, now: datetime) -> datetime | None:
    """Return from when on the tool's last file is tried again if it was not to blame; None if it does not wait for that.

    Until then the tool takes no other: what was missing is missing for all of them, and their order is to be kept. A newer file
    that has replaced it is tried at once: its sender may know that all is well again, and it costs one try.
    """
    last = runs.last_of_tool(connection, tool)
    if last is None or last.outcome is not RunOutcome.NOT_THE_FILE:
        return None
    found = records.find(connection, ids=[last.arrival], states=[ArrivalState.WAITING])
    return next((item.not_before for item in found if not is_due(item.not_before, item.changed_at, now)), None)
