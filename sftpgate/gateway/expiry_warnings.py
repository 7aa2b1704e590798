"""One warning a day for each user and key that ends soon. The ledger knows the day: the server's processes warn once together."""

from __future__ import annotations

from datetime import datetime, timedelta

from sftpgate.ledger.database.connection import Ledger, get_fact, set_fact
from sftpgate.logs import get_logger
from sftpgate.users.expiry import about_to_expire
from sftpgate.users.keys.terms import KeyTerms
from sftpgate.users.registry import UserRegistry

log = get_logger("users")

_FACT = "expiry_warned"


def warn_of_expiry(ledger: Ledger, registry: UserRegistry, *, now: datetime, within: timedelta, terms: KeyTerms) -> bool:
    """Log what ends before ``now + within``, if nobody did so today; True if it was done. Blocks."""
    today = now.date().isoformat()
    with ledger.reading() as connection:
        if get_fact(connection, _FACT) == today:
            return False
    with ledger.transaction() as connection:
        if get_fact(connection, _FACT) == today:  # another process was quicker
            return False
        set_fact(connection, _FACT, today)
    for expiry in about_to_expire(registry.list(), now=now, within=within, terms=terms):
        log.warning(
            "user.expires" if expiry.fingerprint is None else "key.expires",
            user=expiry.user,
            key=expiry.fingerprint,
            label=expiry.label or None,
            expires_at=expiry.expires_at.isoformat(),
            expired=expiry.expired,
            what_to_do=expiry.what_to_do,
        )
    return True
