"""Records of claims: which runner has which arrival, and until when its lease runs.

All functions take an open connection, so that several of them make one transaction. Whether a claim is alive is not
decided here: see ``policy/runs.py`` and ``runners/claims.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import NewType

from sqlalchemy import Connection, Row, delete, insert, select, update

from sftpgate.ledger.arrivals import ArrivalId
from sftpgate.ledger.database.schema import arrivals, claims
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import Lease

Token = NewType("Token", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRecord:
    """A runner's exclusive right to one arrival. ``pid`` is 0 if only the lease holds it: no process lives as long.

    ``process_start`` tells the process from a later one of the same id. The times of the lease: see ``policy.runs.Lease``.
    """

    arrival: ArrivalId
    token: Token
    tool: str
    host: str
    pid: int
    claimed_at: datetime
    lease_until: datetime
    lease_uptime: float = 0.0
    lease_seconds: float = 0.0
    process_start: int = 0

    @property
    def lease(self) -> Lease:
        """How long it holds."""
        return Lease(until=self.lease_until, until_uptime=self.lease_uptime, seconds=self.lease_seconds)


_FIELDS = [field.name for field in fields(ClaimRecord)]
_ALL = select(*(claims.c[name] for name in _FIELDS))


def add(connection: Connection, claim: ClaimRecord) -> None:
    """Record a new claim. The arrival is the primary key: two claims of one cannot be recorded (promise P4)."""
    connection.execute(insert(claims).values({name: getattr(claim, name) for name in _FIELDS}))


def by_token(connection: Connection, token: str) -> ClaimRecord | None:
    """Return the claim with this token, or None."""
    return _one(connection.execute(_ALL.where(claims.c.token == token)).all())


def of_arrival(connection: Connection, arrival: str) -> ClaimRecord | None:
    """Return the claim of an arrival, or None."""
    return _one(connection.execute(_ALL.where(claims.c.arrival == arrival)).all())


def tokens(connection: Connection) -> set[str]:
    """Return the tokens of all claims."""
    return set(connection.execute(select(claims.c.token)).scalars())


def extend(connection: Connection, token: str, lease: Lease) -> bool:
    """Give a claim another lease. False if there is no such claim."""
    values = {"lease_until": lease.until, "lease_uptime": lease.until_uptime, "lease_seconds": lease.seconds}
    return bool(connection.execute(update(claims).where(claims.c.token == token).values(values)).rowcount)


def remove(connection: Connection, arrival: str) -> None:
    """Forget the claim of an arrival."""
    connection.execute(delete(claims).where(claims.c.arrival == arrival))


def claimed_arrivals(
    connection: Connection, *, after_seq: int = 0, limit: int
) -> list[tuple[int, ArrivalId, ClaimRecord | None]]:
    """Return claimed arrivals in order: sequence number, id, and claim, which is None if the ledger was made anew from the
    disk.
    """
    query = (
        select(arrivals.c.seq, arrivals.c.id, *(claims.c[name] for name in _FIELDS))
        .select_from(arrivals.outerjoin(claims, claims.c.arrival == arrivals.c.id))
        .where(arrivals.c.state == ArrivalState.CLAIMED.value, arrivals.c.seq > after_seq)
        .order_by(arrivals.c.seq)
        .limit(limit)
    )
    found: list[tuple[int, ArrivalId, ClaimRecord | None]] = []
    for seq, arrival, *values in connection.execute(query):
        record = ClaimRecord(**dict(zip(_FIELDS, values, strict=True))) if values[0] is not None else None
        found.append((seq, arrival, record))
    return found


def forget_ended(connection: Connection) -> None:
    """Remove the claims of arrivals that are not claimed any more: their files were lost, and no runner came to say so."""
    claimed = select(arrivals.c.id).where(arrivals.c.state == ArrivalState.CLAIMED.value)
    connection.execute(delete(claims).where(claims.c.arrival.not_in(claimed)))


def _one(rows: Sequence[Row[tuple[object, ...]]]) -> ClaimRecord | None:
    found = _claims(rows)
    return found[0] if found else None


def _claims(rows: Sequence[Row[tuple[object, ...]]]) -> list[ClaimRecord]:
    return [ClaimRecord(**row._mapping) for row in rows]  # noqa: SLF001  # the documented way to a row's mapping
