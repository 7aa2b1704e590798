"""Which files came, and when: what an expectation begins with, and what one is proposed from. Queries only."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from sftpgate.ledger import arrivals as records
from sftpgate.ledger.arrivals import Arrival

_MOST = 5000  # arrivals of one window that are looked through, the newest: a window is some hours


def since(connection: Connection, at: datetime, *, limit: int = _MOST) -> list[Arrival]:
    """Return the arrivals that came since a time, in their order; of more than ``limit`` the newest."""
    return list(reversed(records.newest(connection, since=at, limit=limit)))
