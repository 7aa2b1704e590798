"""Occasions of expected files: one row each, from the beginning of its window to its end and long after, for who asks.

What is said of an occasion (its state) and the event that says it are written in one transaction, so it is said exactly once. All
functions take an open connection.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, literal_column, select, update

from sftpgate.ledger.database.schema import microseconds, occasions, utc_time
from sftpgate.policy.expectations import ExpectState, File, Occasion, Standing, Step, Watched

_WATCHED: ColumnElement[bool] = literal_column("watched = 1")  # as it stands in the partial index
_KEY = ("name", "due_at")
_BY_TIME = (occasions.c.name, occasions.c.due_at)


def watched(connection: Connection, names: Collection[str]) -> dict[str, list[Watched]]:
    """Return the occasions of these expectations that are not over, by name, in order."""
    query = select(occasions).where(_WATCHED, occasions.c.name.in_(sorted(names))).order_by(*_BY_TIME)
    found: dict[str, list[Watched]] = {name: [] for name in names}
    for row in connection.execute(query):
        item = _watched(row)
        found[item.name].append(item)
    return found


def latest(connection: Connection, name: str, *, up_to: datetime | None = None, limit: int = 1) -> list[Watched]:
    """Return the last occasions of an expectation, over or not, the latest first; ``up_to``: of those due by then."""
    query = select(occasions).where(occasions.c.name == name).order_by(occasions.c.due_at.desc()).limit(limit)
    if up_to is not None:
        query = query.where(occasions.c.due_at <= up_to)
    return [_watched(row) for row in connection.execute(query)]


def since(connection: Connection, name: str, due_at: datetime) -> list[Watched]:
    """Return the occasions of an expectation that are due from a time on, over or not, in order."""
    query = select(occasions).where(occasions.c.name == name, occasions.c.due_at >= due_at).order_by(occasions.c.due_at)
    return [_watched(row) for row in connection.execute(query)]


def add(connection: Connection, new: Iterable[Watched]) -> None:
    """Add occasions, each in the place of one that is due at the same time: the clock was ahead then, and was set back."""
    for item in new:
        remove(connection, item.name, [item.occasion.due_at])
        connection.execute(insert(occasions).values(_values(item)))


def save(connection: Connection, changed: Iterable[Watched]) -> None:
    """Record what became of occasions."""
    for item in changed:
        values = _values(item)
        is_it = [occasions.c[key] == values[key] for key in _KEY]
        connection.execute(update(occasions).where(*is_it).values(values))


def remove(connection: Connection, name: str, dues: Sequence[datetime]) -> None:
    """Forget occasions that are not due any more."""
    if dues:
        connection.execute(delete(occasions).where(occasions.c.name == name, occasions.c.due_at.in_(dues)))


def leave(connection: Connection, names: Collection[str], *, before: datetime) -> int:
    """Watch no more what belongs to none of these expectations, or was due before a time; return how many that are."""
    is_left = occasions.c.name.not_in(sorted(names)) | (occasions.c.due_at < before)
    return int(connection.execute(update(occasions).where(_WATCHED, is_left).values(watched=0)).rowcount)


def prune(connection: Connection, before: datetime) -> int:
    """Remove occasions that are over and were due before a time; return how many."""
    return int(connection.execute(delete(occasions).where(occasions.c.watched == 0, occasions.c.due_at < before)).rowcount)


# -- rows --------------------------------------------------------------------------------------------------------------


def _values(item: Watched) -> dict[str, object]:
    occasion = item.occasion
    return {
        "name": item.name,
        "due_at": occasion.due_at,
        "opens_at": occasion.opens_at,
        "warn_at": occasion.warn_at,
        "late_at": occasion.late_at,
        "missing_at": occasion.missing_at,
        "closes_at": occasion.closes_at,
        "take_seconds": None if occasion.take_within is None else occasion.take_within.total_seconds(),
        "says_unchanged": occasion.says_unchanged,
        "files": json.dumps([_written(file) for file in item.files], ensure_ascii=False),
        "state": item.state.value,
        "since": item.since,
        "judged_to": item.judged_to,
        "is_troubled": item.is_troubled,
        "sha256_before": item.before,
        "watched": int(not item.is_over),
    }


def _watched(row: Row[Any]) -> Watched:
    occasion = Occasion(
        due_at=row.due_at,
        opens_at=row.opens_at,
        warn_at=row.warn_at,
        late_at=row.late_at,
        missing_at=row.missing_at,
        closes_at=row.closes_at,
        take_within=None if row.take_seconds is None else timedelta(seconds=row.take_seconds),
        says_unchanged=row.says_unchanged,
    )
    return Watched(
        name=row.name,
        occasion=occasion,
        files=tuple(_read(file) for file in json.loads(row.files)),
        state=ExpectState(row.state),
        since=row.since,
        judged_to=row.judged_to,
        is_troubled=row.is_troubled,
        before=row.sha256_before,
        is_over=not row.watched,
    )


def _written(file: File) -> list[object]:
    steps = [
        [microseconds(step.at), microseconds(step.known_at or step.at), step.standing.value, step.reason] for step in file.steps
    ]
    return [file.arrival, file.path, file.sha256, steps]


def _read(written: Sequence[Any]) -> File:
    arrival, path, sha256, steps = written
    found = tuple(Step(utc_time(at), Standing(standing), reason, utc_time(known)) for at, known, standing, reason in steps)
    return File(arrival=arrival, path=path, sha256=sha256, steps=found)
