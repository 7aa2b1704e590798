"""Files that were made to undo what a run did: which arrival undoes which. All functions take an open connection.

A file of commands is no snapshot: a later file is not compared with it, and not with the one that it undid either, once a tool
has run on it (``runs.processed_by``).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, insert, select

from sftpgate.ledger.database.schema import arrivals, undos
from sftpgate.policy.lifecycle import ArrivalState

SOURCE = "undo"  # of the arrivals that are made so


def add(connection: Connection, arrival: str, *, undone: str, is_commands: bool, at: datetime) -> None:
    """Record what an arrival undoes."""
    connection.execute(insert(undos).values(arrival=arrival, undone=undone, is_commands=is_commands, at=at))


def of(connection: Connection, undone: str, *, states: Collection[ArrivalState]) -> str | None:
    """Return the arrival in one of these states that undoes another one; None if there is none."""
    query = (
        select(undos.c.arrival)
        .join(arrivals, arrivals.c.id == undos.c.arrival)
        .where(undos.c.undone == undone, arrivals.c.state.in_([state.value for state in states]))
    )
    return connection.execute(query).scalars().first()


def undone_by(connection: Connection, arrival: str) -> str | None:
    """Return what an arrival undoes; None if it was not made for that."""
    return connection.execute(select(undos.c.undone).where(undos.c.arrival == arrival)).scalar()
