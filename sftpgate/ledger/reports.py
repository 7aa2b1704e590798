"""Whose report is whose: the names in ``reports`` that a sender may read, with the arrival that each is about.

Reports and rejected lines of runs are recorded with the end of their run; those about holds have ``held_at``. All functions
take an open connection, so that several of them make one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, delete, exists, insert, literal, or_, select

from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival, select_where
from sftpgate.ledger.database.schema import arrivals, reports, runs
from sftpgate.policy.lifecycle import ArrivalState, HoldReason


def add(connection: Connection, name: str, *, owner: str, arrival: str, at: datetime, held_at: datetime | None = None) -> None:
    """Record a report. A name that comes again, after its first file was removed, is the new one's."""
    connection.execute(delete(reports).where(reports.c.name == name))
    values = {"name": name, "owner": owner, "arrival": arrival, "at": at, "held_at": held_at}
    connection.execute(insert(reports).values(values))


def of_owner(connection: Connection, owner: str, *, after: str = "", limit: int | None = None) -> list[str]:
    """Return the first ``limit`` names behind ``after`` of the reports and rejected lines of the files of ``owner``, sorted."""
    query = select(reports.c.name).where(reports.c.owner == owner, reports.c.name > after).order_by(reports.c.name).limit(limit)
    return list(connection.execute(query).scalars())


def owner_of(connection: Connection, name: str) -> str | None:
    """Return whose file the report, or the file of rejected lines, called ``name`` is about; None if there is none."""
    return connection.execute(select(reports.c.owner).where(reports.c.name == name)).scalar()


def of_arrival(connection: Connection, arrival: str) -> list[str]:
    """Return the names of what was written about an arrival, in order."""
    query = select(reports.c.name).where(reports.c.arrival == arrival).order_by(reports.c.at, reports.c.name)
    return list(connection.execute(query).scalars())


def untold_holds(connection: Connection, now: datetime, after: Mapping[HoldReason, timedelta], limit: int) -> list[Arrival]:
    """Return held files of users that their senders were not told of, and that are held for longer than ``after`` says."""
    changed = arrivals.c.changed_at
    is_due = or_(
        *(
            and_(arrivals.c.hold_reason == reason.value, changed <= literal(now - delay, changed.type))
            for reason, delay in after.items()
        )
    )
    is_told = exists().where(reports.c.arrival == arrivals.c.id, reports.c.held_at == arrivals.c.changed_at)
    return select_where(
        connection,
        arrivals.c.state == ArrivalState.HELD.value,
        arrivals.c.owner != LOCAL_OWNER,
        is_due,
        ~is_told,
        limit=limit,
    )


def fill_from_runs(connection: Connection) -> None:
    """Record the reports of runs of a ledger that is older than this table."""
    for column in (runs.c.report, runs.c.tryback):
        query = select(column, runs.c.owner, runs.c.arrival, runs.c.started_at).where(column.is_not(None)).order_by(runs.c.seq)
        for name, owner, arrival, at in connection.execute(query).all():
            add(connection, name, owner=owner, arrival=arrival, at=at)
