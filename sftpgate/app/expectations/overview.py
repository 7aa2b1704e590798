"""What is the case with each expected file, and how it was before: for commands, pages and the monitor. Only looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sftpgate.app.expectations.terms import terms_of
from sftpgate.errors import NotFound
from sftpgate.ledger.database.connection import Connection, Ledger
from sftpgate.ledger.expectations import occasions
from sftpgate.policy.event_texts import told
from sftpgate.policy.expectations import ExpectState, Occasion, Terms, Watched, event_of, state_at
from sftpgate.settings.choices import Language
from sftpgate.settings.tree import Settings
from sftpgate.upkeep.expectations import seen_now


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What is the case with an expected file: with the last time whose window has opened, or with the first one. ``arrival`` and
    ``path`` are of the file that makes it so; None: it is the lack of one. ``next_due_at``: None if that is the time meant.
    """

    name: str
    expected: str
    state: ExpectState
    since: datetime
    due_at: datetime
    late_at: datetime
    next_due_at: datetime | None
    arrival: str | None
    path: str | None
    reason: str
    timezone: str

    def sentence(self, language: Language) -> str:
        """Return what is the case, for people of its time zone."""
        from sftpgate.schedules import zone_of

        zone = zone_of(self.timezone)
        values = {
            "expected": self.expected,
            "path": self.path or self.expected,
            "due_local": f"{self.due_at.astimezone(zone):%Y-%m-%d %H:%M} ({self.timezone})",
            "late_local": f"{self.late_at.astimezone(zone):%Y-%m-%d %H:%M} ({self.timezone})",
        }
        return told(event_of(self.state), language, values)


def overview(settings: Settings, ledger: Ledger | None, now: datetime) -> list[Expected]:
    """Return what is the case with each expected file, in the order of the settings. Raises SettingsError and LedgerError."""
    terms = {each.name: each for each in terms_of(settings, now.date())}
    if ledger is None or not terms:
        return []
    with ledger.reading() as connection:
        return now_of(connection, terms, now)


def now_of(connection: Connection, terms: Mapping[str, Terms], now: datetime) -> list[Expected]:
    """Return the same of a ledger that is open."""
    found = seen_now(connection, terms, now)
    return [_expected(each, found[name], now) for name, each in terms.items() if found[name]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """How it was at one time at which a file was due."""

    due_at: datetime
    state: ExpectState
    since: datetime
    arrival: str | None
    path: str | None
    came_at: datetime | None


def history(settings: Settings, ledger: Ledger | None, name: str, now: datetime, *, limit: int) -> tuple[Expected, list[Past]]:
    """Return what is the case with one expected file, and the last times at which it was due, the latest first.

    Raises NotFound if the settings have no such expectation, SettingsError and LedgerError.
    """
    terms = {each.name: each for each in terms_of(settings, now.date()) if each.name == name}
    if not terms:
        raise NotFound(f"nothing is expected under the name {name} (`sftpgate expect list`)")
    if ledger is None:
        raise NotFound("nothing was expected yet: `sftpgate serve` has not been started with these settings")
    with ledger.reading() as connection:
        [expected] = now_of(connection, terms, now)
        kept = occasions.latest(connection, name, up_to=now, limit=limit)
        current = {item.occasion.due_at: item for item in seen_now(connection, terms, now)[name]}
    items = {item.occasion.due_at: item for item in kept} | {due: item for due, item in current.items() if due <= now}
    return expected, [_past(item) for _, item in sorted(items.items(), reverse=True)][:limit]


def _expected(terms: Terms, found: Sequence[Watched], now: datetime) -> Expected:
    begun = [item for item in found if item.occasion.opens_at <= now]
    item = begun[-1] if begun else found[0]
    following = [each.occasion for each in found if each.occasion.due_at > item.occasion.due_at]
    seen = state_at(item, max(item.judged_to, item.occasion.opens_at))
    return Expected(
        name=terms.name,
        expected=terms.path,
        state=item.state,
        since=item.since,
        due_at=item.occasion.due_at,
        late_at=item.occasion.late_at,
        next_due_at=_first(following),
        arrival=seen.file.arrival if seen.file else None,
        path=seen.file.path if seen.file else None,
        reason=seen.reason,
        timezone=terms.zone.key,
    )


def _first(following: Sequence[Occasion]) -> datetime | None:
    return following[0].due_at if following else None


def _past(item: Watched) -> Past:
    file = state_at(item, item.judged_to).file
    return Past(
        due_at=item.occasion.due_at,
        state=item.state,
        since=item.since,
        arrival=file.arrival if file else None,
        path=file.path if file else None,
        came_at=file.steps[0].at if file else None,
    )
