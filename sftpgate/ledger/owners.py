"""Whose things are whose when a user's name is used again.

Everything that a user sent is recorded under its name. When the user is removed, or its name is given to a new one, the
records go on under a name that no user can have (``anna~1``): whoever is called ``anna`` afterwards owns nothing of it, by
every rule that asks for an owner. What happened stays on the audit record as it was written.

All functions take an open connection.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from sftpgate.ledger.database.schema import arrivals, metadata, reports
from sftpgate.policy.lifecycle import UNCLAIMED_STATES, ArrivalState

_MARK = "~"  # in no user's name (policy/accounts.py)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estate:
    """What is recorded as a user's: numbers of files."""

    waiting: int = 0  # for a tool, in a queue too
    held: int = 0  # whatever for, and what lies in the drop under a name that is never taken
    processing: int = 0
    quarantined: int = 0
    archived: int = 0
    reports: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing."""
        return not any((self.waiting, self.held, self.processing, self.quarantined, self.archived, self.reports))


def estate_of(connection: Connection, user: str) -> Estate:
    """Return what ``user`` has."""
    query = select(arrivals.c.state, func.count()).where(arrivals.c.owner == user).group_by(arrivals.c.state)
    states = {ArrivalState(state): count for state, count in connection.execute(query)}
    archived = select(func.count()).where(arrivals.c.owner == user, arrivals.c.archived_as.is_not(None))
    waits = (ArrivalState.WAITING, ArrivalState.QUEUED)
    return Estate(
        waiting=sum(states.get(state, 0) for state in waits),
        held=sum(states.get(state, 0) for state in UNCLAIMED_STATES if state not in waits),
        processing=states.get(ArrivalState.CLAIMED, 0),
        quarantined=states.get(ArrivalState.QUARANTINED, 0),
        archived=connection.execute(archived).scalar_one(),
        reports=connection.execute(select(func.count()).where(reports.c.owner == user)).scalar_one(),
    )


def hand_on(connection: Connection, user: str, former: str) -> None:
    """Record everything of ``user`` as that of ``former``."""
    for table in metadata.tables.values():
        if "owner" in table.c:
            connection.execute(update(table).where(table.c.owner == user).values(owner=former))


def next_former(connection: Connection, user: str) -> str:
    """Return a name under which nothing is recorded yet, for what ``user`` leaves."""
    number = 1
    while any(_has(connection, table_name, f"{user}{_MARK}{number}") for table_name in ("arrivals", "runs", "reports")):
        number += 1
    return f"{user}{_MARK}{number}"


def _has(connection: Connection, table_name: str, owner: str) -> bool:
    table = metadata.tables[table_name]
    return connection.execute(select(table.c.owner).where(table.c.owner == owner).limit(1)).first() is not None
