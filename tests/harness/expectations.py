"""Expected files with a clock that the test sets, on a real ledger: what comes is put on its record as a change does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.ledger.audit.event_log import Event, Wanted
from sftpgate.ledger.database.connection import Ledger, set_fact
from sftpgate.policy.evidence import Grade
from sftpgate.policy.expectations import EVENT_PREFIX, Terms
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.schedules import zone_of
from sftpgate.settings.expect import ExpectSettings
from sftpgate.settings.tree import Settings
from sftpgate.upkeep.expectations import Expectations, Pace
from sftpgate.upkeep.sweep import LAST_SWEEP

PACE = Pace(sweeps=timedelta(seconds=40), keep=timedelta(days=3650))
USUAL: dict[str, object] = {"path": "enrols.csv", "by": "30 5 * * mon-fri", "timezone": "Europe/Paris"}


def expect(**changes: object) -> ExpectSettings:
    """An ``[expect.NAME]`` table: every weekday at half past five in Paris, but for what is given."""
    return ExpectSettings.model_validate(USUAL | changes)


def terms(name: str = "enrols", *, without: Sequence[str] = (), **changes: object) -> Terms:
    """What such a table expects; nothing on the days ``without``."""
    from sftpgate.app.expectations.terms import terms_of

    table = expect(**(changes | {"except": list(without)}))
    [found] = terms_of(Settings(expect={name: table}), datetime(2026, 6, 1, tzinfo=UTC).date())
    return found


def paris(text: str, *, fold: int = 0) -> datetime:
    """A time of day in Paris, such as ``2026-06-01 05:30``."""
    return datetime.fromisoformat(text).replace(tzinfo=zone_of("Europe/Paris"), fold=fold).astimezone(UTC)


def short(at: datetime | str) -> str:
    """A time as a test writes it: the day and the time of day in Paris."""
    at = datetime.fromisoformat(at) if isinstance(at, str) else at
    return f"{at.astimezone(zone_of('Europe/Paris')):%m-%d %H:%M}"


@dataclass(slots=True)
class Hand:
    """A clock that stands where the test puts it."""

    now: datetime

    def __call__(self) -> datetime:
        """The time."""
        return self.now


class Desk:
    """A follower of expected files, the ledger that it reads, and what a test lets come."""

    def __init__(self, ledger: Ledger, expected: Sequence[Terms], start: datetime) -> None:
        self.ledger = ledger
        self.expected = list(expected)
        self.clock = Hand(start)
        self.follower = self.another()
        self.look()

    def another(self) -> Expectations:
        """A follower in another process, begun now."""
        return Expectations(self.ledger, lambda: self.expected, PACE, self.clock)

    def look(self, at: datetime | None = None, *, follower: Expectations | None = None) -> None:
        """Let the time be ``at``, a sweep have passed, and the follower do all that is due."""
        if at is not None:
            self.clock.now = at
        with self.ledger.transaction() as connection:
            set_fact(connection, LAST_SWEEP, f'{{"at": "{self.clock.now.isoformat()}"}}')
        self.run(follower or self.follower)

    def run(self, follower: Expectations) -> None:
        """Let a follower do all that is due."""
        while follower.step():
            pass

    def happen(
        self, at: datetime, event: str, state: str, *, arrival: str = "A1", path: str = "enrols.csv", **details: Any
    ) -> None:
        """Put what became of an arrival on the record, as a change at ``at`` does."""
        facts = {"path": path, "state": state, **details}
        with self.ledger.transaction() as connection:
            happened = Event(at=at, event=f"arrival.{event}", actor=SYSTEM, arrival=arrival, details=facts)
            event_log.record(connection, [happened])

    def come(self, at: datetime, content: str = "1", *, arrival: str = "A1", path: str = "enrols.csv", **details: Any) -> None:
        """Let a good file come."""
        self.happen(at, "received", "waiting", arrival=arrival, path=path, sha256=content, **details)

    def events(self) -> list[Event]:
        """What the record has of expected files."""
        with self.ledger.reading() as connection:
            return [record.event for record in event_log.search(connection, Wanted(event=f"{EVENT_PREFIX}*"))]

    def said(self) -> list[str]:
        """The same in short: the state, the day that was meant, and since when it was so."""
        return [
            f"{event.details['state']} {short(str(event.details['due']))[:5]} since {short(str(event.details['since']))}"
            for event in self.events()
        ]


def came_regularly(ledger: Ledger, path: str, *, days: int) -> None:
    """Let a file have come at about half past four (UTC) on each weekday of the last ``days`` days."""
    today = datetime.now(UTC).replace(hour=4, minute=30, second=0, microsecond=0)
    came = [at for number in range(1, days) if (at := today - timedelta(days=number)).weekday() < 5]
    with ledger.transaction() as connection:
        arrivals.add(
            connection,
            [done(path, at + timedelta(minutes=number % 7), number) for number, at in enumerate(reversed(came))],
        )


def done(path: str, at: datetime, number: int) -> Arrival:
    """An arrival that was processed."""
    return Arrival(
        id=ArrivalId(f"01{number:024d}"),
        owner="erp",
        path=path,
        state=ArrivalState.DONE,
        size=1,
        sha256=f"{number}",
        grade=Grade.PLAUSIBLE,
        location=None,
        inode=1,
        mtime_ns=1,
        received_at=at,
        changed_at=at + timedelta(minutes=10),
        source="sftp",
    )
