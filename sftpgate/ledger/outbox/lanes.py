"""What is known of those who are told: whether they are there, and whether they want to be told anything.

A lane is what is reached together: a webhook, a command, a chat, or the mail server. One that is away is not asked again for each
message, but for one of them, after a pause that grows. One that said that it is gone is turned off, until somebody turns it on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, insert, select, update

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
