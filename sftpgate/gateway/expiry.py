"""One warning a day for each user and key that ends soon. The ledger knows the day: the server's processes warn once together."""

from __future__ import annotations

from datetime import datetime, timedelta

from sftpgate.ledger.database import Ledger, get_fact, set_fact
from sftpgate.logs import get_logger
from sftpgate.users.expiry import endings
from sftpgate.users.registry import UserRegistry
from sftpgate.users.terms import Terms

log = get_logger("users")

_FACT = "expiry_warned"


def warn_of_endings(ledger: Ledger, registry: UserRegistry, *, now: datetime, within: timedelta, terms: Terms) -> bool:
    """Log what ends before ``now + within``, where nobody did so today; True where it was done. Blocks."""
    today = now.date().isoformat()
    with ledger.reading() as connection:
        if get_fact(connection, _FACT) == today:
            return False
    with ledger.transaction() as connection:
        if get_fact(connection, _FACT) == today:  # another process was quicker
            return False
        set_fact(connection, _FACT, today)
    for ending in endings(registry.list(), now=now, within=within, terms=terms):
        log.warning(
            "user.expires" if ending.fingerprint is None else "key.expires",
            user=ending.user,
            key=ending.fingerprint,
            label=ending.label or None,
            expires_at=ending.expires_at.isoformat(),
            expired=ending.expired,
            what_to_do=ending.what_to_do,
        )
    return True
