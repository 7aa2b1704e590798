"""What is known of the sources whose logins failed, and who is banned: one row a source, shared by all processes.

Each change of who is banned counts up a number (``generation``), so that a process sees with one query whether the list that
it has in memory still holds. Nothing here needs to survive: an emptied table lets everybody try again. The table has
at most ``MAX_SOURCES`` rows, whatever an attacker does: those that failed longest ago go first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, delete, func, insert, or_, select

from sftpgate.ledger.database.connection import get_fact, set_fact
from sftpgate.ledger.database.schema import bans
from sftpgate.policy.bans import BanRules, SourceStanding, after_failures, is_forgotten

MAX_SOURCES = 50_000  # some megabytes
_GENERATION = "bans_generation"
_AT_ONCE = 500  # names in one query: below every database's limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """What a source did since it was recorded last: the sum of the weights, and the heaviest of the reasons."""

    weight: float
    reason: str


def record(connection: Connection, failed: Mapping[str, Failures], now: datetime, rules: BanRules) -> list[SourceStanding]:
    """Add failures to their sources' scores. Returns the bans that this caused."""
    known = _known(connection, list(failed))
    changed, caused = [], []
    for source, failures in failed.items():
        before = known.get(source)
        after = after_failures(before, source, failures.weight, failures.reason, now, rules)
        if after != before:
            changed.append(after)
            if after.is_banned(now):
                caused.append(after)
    _save(connection, changed)
    if caused:
        _count_up(connection)
    return caused


def forget(connection: Connection, sources: Sequence[str]) -> None:
    """Clear scores and bans, but for those that an admin made: a valid login came from there."""
    for start in range(0, len(sources), _AT_ONCE):
        chosen = bans.c.source.in_(sources[start : start + _AT_ONCE])
        if connection.execute(delete(bans).where(chosen, bans.c.by_admin.is_(False))).rowcount:
            _count_up(connection)


def ban(connection: Connection, standing: SourceStanding) -> None:
    """Put a ban on the list, in place of what was known of its source."""
    _save(connection, [standing])
    _count_up(connection)


def unban(connection: Connection, source: str) -> bool:
    """Take a source from the list, with its score; False if nothing was known of it."""
    found = bool(connection.execute(delete(bans).where(bans.c.source == source)).rowcount)
    if found:
        _count_up(connection)
    return found


def banned(connection: Connection, now: datetime) -> list[SourceStanding]:
    """Return who is banned, the latest first."""
    query = select(bans).where(bans.c.banned_at.is_not(None), or_(bans.c.banned_until.is_(None), bans.c.banned_until > now))
    return [_standing(row) for row in connection.execute(query.order_by(bans.c.banned_at.desc(), bans.c.source))]


def is_known(connection: Connection, source: str) -> bool:
    """Return whether a source has a score or a ban."""
    return connection.execute(select(bans.c.source).where(bans.c.source == source)).first() is not None


def generation(connection: Connection) -> str:
    """Return what changes whenever somebody is banned or is not any more, but for the end of a ban's time."""
    return get_fact(connection, _GENERATION) or ""


def clean(connection: Connection, now: datetime, rules: BanRules) -> int:
    """Remove sources of which nothing needs to be kept; their number."""
    quiet = select(bans).where(bans.c.scored_at < now - rules.half_life * 10)
    gone = [row.source for row in connection.execute(quiet) if is_forgotten(_standing(row), now, rules)]
    for start in range(0, len(gone), _AT_ONCE):
        connection.execute(delete(bans).where(bans.c.source.in_(gone[start : start + _AT_ONCE])))
    too_many = (connection.execute(select(func.count()).select_from(bans)).scalar() or 0) - MAX_SOURCES
    if too_many > 0:
        oldest = select(bans.c.source).where(bans.c.by_admin.is_(False)).order_by(bans.c.scored_at).limit(too_many)
        connection.execute(delete(bans).where(bans.c.source.in_(oldest)))
        _count_up(connection)
    return len(gone) + max(0, too_many)


def _known(connection: Connection, sources: Sequence[str]) -> dict[str, SourceStanding]:
    found: dict[str, SourceStanding] = {}
    for start in range(0, len(sources), _AT_ONCE):
        query = select(bans).where(bans.c.source.in_(sources[start : start + _AT_ONCE]))
        found |= {row.source: _standing(row) for row in connection.execute(query)}
    return found


def _save(connection: Connection, standings: Sequence[SourceStanding]) -> None:
    sources = [standing.source for standing in standings]
    for start in range(0, len(sources), _AT_ONCE):
        connection.execute(delete(bans).where(bans.c.source.in_(sources[start : start + _AT_ONCE])))
    if standings:
        connection.execute(insert(bans), [asdict(standing) for standing in standings])


def _count_up(connection: Connection) -> None:
    set_fact(connection, _GENERATION, str(int(generation(connection) or 0) + 1))


def _standing(row: Row[tuple[object, ...]]) -> SourceStanding:
    return SourceStanding(**row._mapping)  # noqa: SLF001 - the documented way to a row's mapping
