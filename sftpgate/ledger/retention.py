"""What of the ledger, and of the files that it knows, has come to its end: the oldest first, for pruning.

Never what is live: rows whose state is not final, or whose last move is not known to be durable, are not found here,
but for those in quarantine, which are asked for by name. All functions take an open connection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, case, delete, exists, func, select, update

from sftpgate.ledger.arrivals import Arrival, each_where, select_where
from sftpgate.ledger.database.schema import arrivals, events, reports, runs
from sftpgate.policy.lifecycle import FINAL_STATES, ArrivalState

_FINAL = [state.value for state in sorted(FINAL_STATES)]
_ENDED = arrivals.c.state.in_(_FINAL) & (arrivals.c.live == 0)
_PAGE = 500  # rows that are fetched together
_OLDEST = (arrivals.c.changed_at, arrivals.c.seq)


def _oldest(connection: Connection, *conditions: ColumnElement[bool], limit: int | None) -> Iterable[Arrival]:
    """Those that fit, the oldest first: a few at once, or any number as they are consumed."""
    if limit is None:
        return each_where(connection, *conditions, order_by=_OLDEST)
    return select_where(connection, *conditions, order_by=_OLDEST, limit=limit)


def unchanged(connection: Connection, found: Sequence[Arrival]) -> list[Arrival]:
    """Those of ``found`` whose records are as they were. Asked by their numbers alone: beside another condition a database may
    prefer the index of that, and look at everything.
    """
    now = {row.seq: row for row in select_where(connection, arrivals.c.seq.in_([row.seq for row in found]), limit=None)}
    return [row for row in found if now.get(row.seq) == row]


def archived(connection: Connection, limit: int | None = None, *, among: Collection[int] | None = None) -> Iterable[Arrival]:
    """Return arrivals at their end whose files are in the archives, the oldest end first; ``among``: of those with these
    numbers.
    """
    return _oldest(connection, _ENDED, arrivals.c.archived_as.is_not(None), limit=limit)


def archived_bytes(connection: Connection) -> int:
    """Return how many bytes those have."""
    query = select(func.coalesce(func.sum(arrivals.c.size), 0)).where(_ENDED, arrivals.c.archived_as.is_not(None))
    return int(connection.execute(query).scalar_one())


def quarantined(connection: Connection, limit: int | None = None, *, among: Collection[int] | None = None) -> Iterable[Arrival]:
    """Return arrivals in quarantine, those first that are there longest; ``among``: of those with these numbers."""
    return _oldest(connection, arrivals.c.state == ArrivalState.QUARANTINED.value, limit=limit)


def quarantined_bytes(connection: Connection) -> int:
    """Return how many bytes those have."""
    query = select(func.coalesce(func.sum(arrivals.c.size), 0)).where(arrivals.c.state == ArrivalState.QUARANTINED.value)
    return int(connection.execute(query).scalar_one())


def reported(connection: Connection, limit: int | None = None) -> Iterator[tuple[str, datetime]]:
    """Return the names of reports and rejected lines, with the time at which they were written, oldest first."""
    query = select(reports.c.name, reports.c.at).order_by(reports.c.at, reports.c.name).limit(limit)
    found = connection.execute(query.execution_options(yield_per=_PAGE))
    return ((name, at) for name, at in found)


def without_report(connection: Connection, found: Sequence[Arrival]) -> list[Arrival]:
    """Those of ``found`` that have no report."""
    reported = set(connection.scalars(select(reports.c.arrival).where(reports.c.arrival.in_([row.id for row in found]))))
    return [row for row in found if row.id not in reported]


def reported_at(connection: Connection, names: Collection[str]) -> list[tuple[str, datetime]]:
    """Return those of these reports that there are, with the time at which they were written."""
    query = select(reports.c.name, reports.c.at).where(reports.c.name.in_(names))
    return [(name, at) for name, at in connection.execute(query)]


def forget_reports(connection: Connection, names: Collection[str]) -> None:
    """Forget reports whose files are gone."""
    if not names:
        return
    connection.execute(delete(reports).where(reports.c.name.in_(names)))
    for column in (runs.c.report, runs.c.tryback, runs.c.output):
        gone = case((column.in_(names), None), else_=column)
        connection.execute(update(runs).where(column.in_(names)).values({column: gone}))


def fileless(
    connection: Connection, before: datetime, limit: int | None = None, *, among: Collection[int] | None = None
) -> Iterable[Arrival]:
    """Return arrivals that came to their end before ``before`` and have no file any more, oldest first; ``among``: of those
    with these numbers. Those that have a report are kept as long as it is.
    """
    has_report = exists().where(reports.c.arrival == arrivals.c.id)
    conditions = (_ENDED, arrivals.c.location.is_(None), arrivals.c.changed_at <= before, ~has_report)
    return _oldest(connection, *conditions, limit=limit)


def events_before(connection: Connection, before: datetime, up_to: int | None = None) -> tuple[int, datetime | None]:
    """Return how many audit events are older than ``before``, and the time of the oldest. None above ``up_to`` counts."""
    oldest = func.min(events.c.at, type_=events.c.at.type)
    is_counted = [events.c.at < before] if up_to is None else [events.c.at < before, events.c.seq <= up_to]
    count, at = connection.execute(select(func.count(), oldest).where(*is_counted)).one()
    return int(count), at


def forget(connection: Connection, doomed: Sequence[Arrival]) -> None:
    """Remove the records of arrivals and of their runs."""
    if not doomed:
        return
    connection.execute(delete(runs).where(runs.c.arrival.in_([item.id for item in doomed])))
    connection.execute(delete(arrivals).where(arrivals.c.seq.in_([item.seq for item in doomed])))
