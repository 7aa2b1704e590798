"""What the ledger knows of the gate that it belongs to: its id, its seal, and what it expects to find on the disk.

All functions take an open connection of a ledger whose tables are there (``Ledger.is_made``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, or_, select

from sftpgate.ledger.database.connection import get_fact, set_fact
from sftpgate.ledger.database.schema import arrivals
from sftpgate.policy.lifecycle import LIVE_STATES
from sftpgate.policy.locations import Location

_IDENTITY, _SEAL = "identity", "seal"
_PLACE, _RESTORED, _RESTORED_AT = "place", "restored", "restored_at"
_EXPECTED = select(arrivals.c.seq, arrivals.c.location, arrivals.c.pending_from, arrivals.c.size, arrivals.c.inode)
_SAMPLE = 500  # of the newest files: enough to tell one store from another, few enough for any start


def identity(connection: Connection) -> str | None:
    """Return the id of the gate; None in a ledger of an earlier version, and in a new one."""
    return get_fact(connection, _IDENTITY)


def set_identity(connection: Connection, value: str) -> None:
    """Give the ledger to a gate."""
    set_fact(connection, _IDENTITY, value)


def seal(connection: Connection) -> tuple[int, int]:
    """Return the number of the last seal, and how many audit records there were when it was set; 0 if there was none."""
    number, _, records = (get_fact(connection, _SEAL) or "0").partition(" ")
    return int(number), int(records or 0)


def set_seal(connection: Connection, number: int, records: int) -> None:
    """Set the number of the seal, with the number of audit records."""
    set_fact(connection, _SEAL, f"{number} {records}")


def has_arrivals(connection: Connection) -> bool:
    """Return whether anything has ever arrived, as far as the ledger knows."""
    return connection.execute(select(arrivals.c.seq).limit(1)).first() is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedFile:
    """Where the file of an arrival must be, and how it is known: what a ledger of any version says, as it is not upgraded yet."""

    seq: int
    location: Location | None
    pending_from: Location | None
    size: int
    inode: int


def expected_files(connection: Connection) -> list[ExpectedFile]:
    """Return the newest of the arrivals whose files must be somewhere on the disk."""
    live = [state.value for state in LIVE_STATES]
    has_file = or_(arrivals.c.state.in_(live), arrivals.c.archived_as.is_not(None))
    query = _EXPECTED.where(arrivals.c.location.is_not(None), has_file).order_by(arrivals.c.seq.desc()).limit(_SAMPLE)
    return [ExpectedFile(**row) for row in connection.execute(query).mappings()]


def live_files_after(connection: Connection, seq: int, limit: int) -> list[ExpectedFile]:
    """Return the same of arrivals that are not at their end, in their order, from the one after ``seq`` on."""
    live = arrivals.c.state.in_([state.value for state in LIVE_STATES])
    query = _EXPECTED.where(live, arrivals.c.seq > seq).order_by(arrivals.c.seq).limit(limit)
    return [ExpectedFile(**row) for row in connection.execute(query).mappings()]


def place(connection: Connection) -> str | None:
    """Return where the gate was when it was last looked at; None if nobody has looked yet."""
    return get_fact(connection, _PLACE) or None


def set_place(connection: Connection, value: str) -> None:
    """Note where the gate is."""
    set_fact(connection, _PLACE, value)


def restored(connection: Connection) -> str | None:
    """Return why what waits has yet to be held, because a backup was brought back; None if it has not."""
    return get_fact(connection, _RESTORED) or None


def set_restored(connection: Connection, because: str | None) -> None:
    """Say that what waits has to be held, and why; None: it has been."""
    set_fact(connection, _RESTORED, because or "")


def restored_at_ns(connection: Connection) -> int | None:
    """Return when what waited in a backup was held, in nanoseconds of wall time; None if there is nothing to let go."""
    value = get_fact(connection, _RESTORED_AT)
    return int(value) if value else None


def set_restored_at(connection: Connection, at: datetime | None) -> None:
    """Say when it was held; None: what is left of it may go."""
    set_fact(connection, _RESTORED_AT, "" if at is None else str(int(at.timestamp() * 1e9)))
