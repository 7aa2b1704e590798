"""What the ledger says to a person who asks: one arrival by the beginning of its id, its runs, and the state of the whole.

Queries only. They use the indexes of what is live, so that they cost the same in a ledger with years of history.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Select, func, select

from sftpgate.errors import Refused, UnknownArrival
from sftpgate.ledger import arrivals as records
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.schema import arrivals, claims, runs
from sftpgate.policy.lifecycle import ArrivalState, HoldReason

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
class Run:
    """One execution of a tool on an arrival. ``ended_at`` and what follows are None while it runs, and after a crash."""

    id: str
    arrival: str
    tool: str
    attempt: int
    started_at: datetime
    ended_at: datetime | None
    exit_status: int | None
    outcome: str | None
    report: str | None
    tryback: str | None


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


_RUN = select(*(runs.c[name] for name in Run.__dataclass_fields__))
_OLDEST = func.min(arrivals.c.received_at, type_=arrivals.c.received_at.type)


def by_prefix(connection: Connection, prefix: str) -> Arrival:
    """The one arrival whose id begins with ``prefix``, in any letter case.

    Raises UnknownArrival where there is none, and Refused where there are several.
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
    """What waits for a runner, by path; the longest wait first."""
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
    """How many arrivals are held, by reason, and how many are in quarantine; the largest number first."""
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


def runs_of(connection: Connection, arrival: str) -> list[Run]:
    """The runs on an arrival, in order."""
    return _runs(connection, _RUN.where(runs.c.arrival == arrival).order_by(runs.c.seq))


def last_runs(connection: Connection) -> list[Run]:
    """The last run of each tool that ever ran, by tool."""
    last = select(func.max(runs.c.seq)).group_by(runs.c.tool)
    return _runs(connection, _RUN.where(runs.c.seq.in_(last)).order_by(runs.c.tool))


def open_claims(connection: Connection) -> list[OpenClaim]:
    """The claims that are held, the oldest first."""
    query = (
        select(
            claims.c.arrival,
            arrivals.c.path,
            claims.c.tool,
            claims.c.host,
            claims.c.pid,
            claims.c.claimed_at,
            claims.c.lease_until,
        )
        .join(arrivals, arrivals.c.id == claims.c.arrival)
        .order_by(claims.c.claimed_at)
    )
    return [OpenClaim(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - the documented way to a mapping


def _runs(connection: Connection, query: Select[tuple[object, ...]]) -> list[Run]:
    return [Run(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - as above
