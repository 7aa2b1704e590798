"""How many bytes each user has sent today: one row a user, written in the transaction that records its arrivals.

A running number, because a sum over the day's arrivals would cost more the more there are, and old arrivals may be removed.
It counts what came over SFTP, also what was withdrawn since. A ledger that is made anew from the disk begins at 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, time

from sqlalchemy import Connection, bindparam, func, select, text

from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival
from sftpgate.ledger.database.prepared import Prepared
from sftpgate.ledger.database.schema import arrivals, volumes
from sftpgate.policy.quotas import day_of

SENT = "sftp"  # the source of what a user sent

# A clock that jumps back must not empty today's row: an earlier day changes nothing.
_ADD = Prepared(
    text(
        "INSERT INTO volumes (owner, day, bytes) VALUES (:owner, :day, :bytes) ON CONFLICT (owner) DO UPDATE SET"
        " bytes = CASE WHEN volumes.day = excluded.day THEN volumes.bytes + excluded.bytes"
        " WHEN volumes.day < excluded.day THEN excluded.bytes ELSE volumes.bytes END,"
        " day = CASE WHEN volumes.day < excluded.day THEN excluded.day ELSE volumes.day END"
    )
)
_TODAY = Prepared(select(volumes.c.bytes).where(volumes.c.owner == bindparam("owner"), volumes.c.day == bindparam("day")))


def add(connection: Connection, new: Iterable[Arrival]) -> None:
    """Count new arrivals."""
    found: Counter[tuple[str, int]] = Counter()
    for item in new:
        if item.source == SENT and item.owner != LOCAL_OWNER:
            found[item.owner, day_of(item.received_at)] += item.size
    if found:
        _ADD.run(connection, [{"owner": owner, "day": day, "bytes": size} for (owner, day), size in sorted(found.items())])


def sent_on(connection: Connection, owner: str, day: int) -> int:
    """Return how many bytes of ``owner`` arrived on a day; 0 for any but the last one on which it sent something."""
    rows = _TODAY.rows(connection, [{"owner": owner, "day": day}])
    return int(rows[0][0]) if rows else 0


def fill(connection: Connection, now: datetime) -> None:
    """Count the arrivals of the day that an earlier version of sftpgate recorded."""
    midnight = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    query = select(arrivals.c.owner, func.sum(arrivals.c.size)).where(
        arrivals.c.source == SENT, arrivals.c.owner != LOCAL_OWNER, arrivals.c.received_at >= midnight
    )
    rows = connection.execute(query.group_by(arrivals.c.owner)).all()
    if rows:
        _ADD.run(connection, [{"owner": owner, "day": day_of(now), "bytes": int(size)} for owner, size in rows])
