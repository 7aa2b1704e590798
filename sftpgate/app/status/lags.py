"""What ``status`` and ``doctor`` say of followers and of a delivery that do not keep up."""

from __future__ import annotations

from datetime import datetime, timedelta

from sftpgate.ledger.audit import feed
from sftpgate.ledger.database.connection import Connection
from sftpgate.ledger.outbox import lanes, messages
from sftpgate.policy.lags import delivery_behind, followers_behind, receivers_off
from sftpgate.settings.tree import Settings


def lag_notes(settings: Settings, connection: Connection, now: datetime) -> list[str]:
    """Return a sentence for each follower that stands still, for a delivery that does, and for receivers that are turned off."""
    if not lanes.is_there(connection):
        return []
    return [
        *followers_behind(feed.lags(connection), now, timedelta(seconds=settings.sweep_interval)),
        *delivery_behind(messages.backlog(connection, now).oldest, now),
        *receivers_off(lanes.turned_off(connection)),
    ]
