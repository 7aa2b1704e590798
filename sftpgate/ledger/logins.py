"""The last use of each credential: what an admin looks at before taking a key away."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, inspect, select, update

from sftpgate.ledger.database.schema import logins


@dataclass(frozen=True, slots=True, kw_only=True)
class LastUse:
    """When a user last logged in with a credential: the fingerprint of a line in ``authorized_keys``, or "password"."""

    owner: str
    credential: str
    at: datetime
    address: str
    client: str  # as it names itself: show it through ``printable``


def remember(connection: Connection, uses: Iterable[LastUse]) -> None:
    """Remember these uses, if no later one of the same credential is known."""
    for use in uses:
        same = (logins.c.owner == use.owner) & (logins.c.credential == use.credential)
        known = connection.execute(select(logins.c.at).where(same)).scalar()
        if known is None:
            connection.execute(insert(logins).values(**asdict(use)))
        elif known < use.at:
            connection.execute(update(logins).where(same).values(at=use.at, address=use.address, client=use.client))


def last_uses(connection: Connection, owner: str | None = None) -> list[LastUse]:
    """Return the last uses by one user, or by all. Empty if the ledger is of a time when nobody remembered them."""
    if not inspect(connection).has_table(logins.name):
        return []
    query = select(logins).order_by(logins.c.owner, logins.c.credential)
    if owner is not None:
        query = query.where(logins.c.owner == owner)
    return [LastUse(**row) for row in connection.execute(query).mappings()]
