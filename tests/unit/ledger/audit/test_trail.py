"""The trail: what is noted on the event loop gets on the record, and no flood makes it cost more (P8)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sftpgate.ledger.audit import chain, event_log
from sftpgate.ledger.audit.actor import sender
from sftpgate.ledger.audit.event_log import Event, Wanted
from sftpgate.ledger.audit.trail import Trail
from sftpgate.ledger.database.connection import Ledger

AT = datetime(2026, 1, 2, tzinfo=UTC)


class CountingLedger(Ledger):
    """Counts its commits."""

    commits = 0

    def step(self, operation: str) -> None:
        """One more."""
        self.commits += 1


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[CountingLedger]:
    """A new ledger."""
    made = CountingLedger(f"sqlite:///{tmp_path / 'ledger.db'}", durable=False)
    made.create()
    made.commits = 0
    yield made
    made.close()


def recorded(ledger: Ledger, event: str = "*") -> list[Event]:
    """What is on the record, without its beginning; the chain must hold."""
    with ledger.reading() as connection:
        assert chain.verify(connection) is None
        return [
            record.event for record in event_log.search(connection, Wanted(event=event)) if record.event.event != "audit.begun"
        ]


@pytest.mark.promise("P8")
def test_what_was_noted_is_recorded_at_the_end(ledger: CountingLedger) -> None:
    """Closing the trail writes what was noted, in its order."""
    trail = Trail(ledger, lambda: AT)
    trail.note("login.accepted", actor=sender("erp"), address="192.0.2.1", login="SHA256:x")
    trail.note("session.closed", actor=sender("erp"), address="192.0.2.1", requests=3)
    trail.close()
    assert recorded(ledger) == [
        Event(at=AT, event="login.accepted", actor=sender("erp"), address="192.0.2.1", details={"login": "SHA256:x"}),
        Event(at=AT, event="session.closed", actor=sender("erp"), address="192.0.2.1", details={"requests": 3}),
    ]


@pytest.mark.promise("P8")
def test_a_flood_of_failed_logins(ledger: CountingLedger) -> None:
    """Ten thousand refused logins of ten addresses are ten records that say how many, and a handful of commits."""
    trail = Trail(ledger, lambda: AT)
    for number in range(10_000):
        trail.note("login.refused", actor=sender("erp"), address=f"192.0.2.{number % 10}", reason="unknown key")
    trail.close()
    assert sum(int(str(event.details.get("times", 1))) for event in recorded(ledger)) == 10_000
    assert ledger.commits <= 10
    assert len(recorded(ledger)) <= 10 * ledger.commits


@pytest.mark.promise("P8")
def test_more_than_the_queue_holds(ledger: CountingLedger) -> None:
    """What does not fit is counted, and one record says how much of what was left out."""
    trail = Trail(ledger, lambda: AT, limit=3)
    for number in range(10):
        trail.note("login.refused", actor=sender("erp"), address=f"192.0.2.{number}")
    trail.close()
    lost = [event.details for event in recorded(ledger, "audit.overflow")]
    written = len(recorded(ledger, "login.refused"))
    assert written + sum(int(str(details["dropped"])) for details in lost) == 10
    assert lost


@pytest.mark.promise("P8")
def test_a_ledger_that_is_away(ledger: CountingLedger, tmp_path: Path) -> None:
    """What could not be written is written when the ledger is back."""
    trail = Trail(ledger, lambda: AT)
    file = tmp_path / "ledger.db"
    with ledger.transaction() as connection:
        connection.exec_driver_sql("ALTER TABLE events RENAME TO away")
    trail.note("login.refused", actor=sender("erp"), address="192.0.2.1")
    assert not trail.flush()
    with ledger.transaction() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO events")
    trail.note("login.refused", actor=sender("erp"), address="192.0.2.2")
    trail.close()
    assert [event.address for event in recorded(ledger)] == ["192.0.2.1", "192.0.2.2"]
    assert file.exists()
