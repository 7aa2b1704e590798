"""The record of what happened: one event a row, never changed (promise P8)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, bindparam, insert, select

from sftpgate.ledger.prepared import Prepared
from sftpgate.ledger.schema import events, microseconds

_INSERT = Prepared(
    insert(events).values({name: bindparam(name) for name in ("at", "event", "actor", "address", "arrival", "details")})
)

SYSTEM = "system"
ADMIN = "admin"
RUNNER = "runner"

Detail = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened. ``actor`` is a user's name, or one of SYSTEM, ADMIN, RUNNER."""

    at: datetime
    event: str
    actor: str
    address: str | None = None
    arrival: str | None = None
    details: dict[str, Detail] = field(default_factory=dict)


def record(connection: Connection, happened: Sequence[Event]) -> None:
    """Add events to the record."""
    if happened:
        _INSERT.run(
            connection,
            [
                {
                    "at": microseconds(item.at),
                    "event": item.event,
                    "actor": item.actor,
                    "address": item.address,
                    "arrival": item.arrival,
                    "details": json.dumps(item.details, ensure_ascii=False),
                }
                for item in happened
            ],
        )


def history(connection: Connection, arrival: str) -> list[Event]:
    """Everything that happened to an arrival, in order."""
    query = select(events).where(events.c.arrival == arrival).order_by(events.c.seq)
    return [
        Event(
            at=row.at, event=row.event, actor=row.actor, address=row.address, arrival=row.arrival, details=json.loads(row.details)
        )
        for row in connection.execute(query)
    ]
