"""What is known of those who are told: whether they are there, and whether they want to be told anything.

A lane is what is reached together: a webhook, a command, a chat, or the mail server. One that is away is not asked again for each
message, but for one of them, after a pause that grows. One that said that it is gone is turned off, until somebody turns it on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, inspect, select, update

from sftpgate.ledger.database.schema import outbox_lanes


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One lane. ``failures`` in a row; ``passed_by``: events that it was not told of while it was off."""

    name: str
    failures: int = 0
    not_before: datetime | None = None
    off_at: datetime | None = None
    off_because: str = ""
    passed_by: int = 0


def is_there(connection: Connection) -> bool:
    """Return whether the ledger has an outbox: one of an earlier version has none until it is upgraded."""
    return inspect(connection).has_table(outbox_lanes.name)


def known(connection: Connection) -> dict[str, Lane]:
    """Return the lanes that something is known of, by name."""
    return {row.lane: _lane(row) for row in connection.execute(select(outbox_lanes))}


def get(connection: Connection, name: str) -> Lane:
    """Return what is known of a lane."""
    row = connection.execute(select(outbox_lanes).where(outbox_lanes.c.lane == name)).first()
    return Lane(name=name) if row is None else _lane(row)


def put(connection: Connection, lane: Lane) -> None:
    """Record what is known of a lane."""
    values = {
        "failures": lane.failures,
        "not_before": lane.not_before,
        "off_at": lane.off_at,
        "off_because": lane.off_because,
        "passed_by": lane.passed_by,
    }
    if not connection.execute(update(outbox_lanes).where(outbox_lanes.c.lane == lane.name).values(values)).rowcount:
        connection.execute(insert(outbox_lanes).values(lane=lane.name, **values))


def turned_off(connection: Connection) -> list[str]:
    """Return the names of the lanes that are off."""
    query = select(outbox_lanes.c.lane).where(outbox_lanes.c.off_at.is_not(None)).order_by(outbox_lanes.c.lane)
    return list(connection.scalars(query))


def are_strange(connection: Connection, names: Collection[str], longest_pause_ends: datetime) -> bool:
    """Return whether ``put_in_order`` would change any."""
    query = select(outbox_lanes.c.lane).where(_is_strange(names) | _is_too_late(longest_pause_ends)).limit(1)
    return connection.execute(query).first() is not None


def put_in_order(connection: Connection, names: Collection[str], longest_pause_ends: datetime) -> None:
    """Forget all lanes but ``names``, and end pauses that no receiver can have got: the clock was set back since."""
    connection.execute(delete(outbox_lanes).where(_is_strange(names)))
    connection.execute(update(outbox_lanes).where(_is_too_late(longest_pause_ends)).values(not_before=None))


def _is_strange(names: Collection[str]) -> ColumnElement[bool]:
    return outbox_lanes.c.lane.not_in(sorted(names))


def _is_too_late(longest_pause_ends: datetime) -> ColumnElement[bool]:
    return outbox_lanes.c.not_before > longest_pause_ends


def pass_by(connection: Connection, counts: Mapping[str, int]) -> None:
    """Count events that lanes which are off were not told of."""
    for name, count in counts.items():
        passed = outbox_lanes.c.passed_by + count
        connection.execute(update(outbox_lanes).where(outbox_lanes.c.lane == name).values(passed_by=passed))


def _lane(row: Row[tuple[object, ...]]) -> Lane:
    return Lane(
        name=row.lane,
        failures=row.failures,
        not_before=row.not_before,
        off_at=row.off_at,
        off_because=row.off_because,
        passed_by=row.passed_by,
    )
