"""What is said of a client is heard by log, record and meter (P8)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
import structlog

from sftpgate import logs
from sftpgate.gateway.recording_logger import recording_logger
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.actor import sender
from sftpgate.ledger.audit.event_log import Event, Wanted
from sftpgate.ledger.audit.trail import Trail
from sftpgate.ledger.database.connection import Ledger
from sftpgate.meter import Meter

AT = datetime(2026, 1, 2, tzinfo=UTC)


class Counts(Meter):
    """Remembers what was counted."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def login(self, outcome: str) -> None:
        """A login."""
        self.seen.append(outcome)

    def upload(self, outcome: str, size: int) -> None:
        """An upload."""
        self.seen.append((outcome, size))


@pytest.fixture
def quiet() -> Iterator[StringIO]:
    """A log that shows errors only."""
    before = structlog.get_config()
    out = StringIO()
    logs.configure("error", stream=out)
    yield out
    structlog.configure(**before)


@pytest.mark.promise("P8")
def test_the_level_of_the_log_does_not_matter(tmp_path: Path, quiet: StringIO) -> None:
    """With a log that shows errors only, everything is recorded and counted all the same, with what was bound."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", durable=False)
    ledger.create()
    meter, trail = Counts(), Trail(ledger, lambda: AT)
    log = recording_logger(logs.get_logger("gateway"), trail, meter).bind(address="192.0.2.1")
    log.warning("login.refused", user="erp", reason="unknown key")
    log = log.bind(user="erp")
    log.info("login.accepted", client="x", nothing=None)
    log.info("upload.published", size=7, reason=None, path="a.csv")
    log.info("upload.interrupted", size=3, path="b.csv")
    trail.close()
    with ledger.reading() as connection:
        [_, *events] = [record.event for record in event_log.search(connection, Wanted())]
    ledger.close()
    assert events == [
        Event(at=AT, event="login.refused", actor=sender("erp"), address="192.0.2.1", details={"reason": "unknown key"}),
        Event(at=AT, event="login.accepted", actor=sender("erp"), address="192.0.2.1", details={"client": "x"}),
        Event(at=AT, event="upload.interrupted", actor=sender("erp"), address="192.0.2.1", details={"size": 3, "path": "b.csv"}),
    ]
    assert meter.seen == ["unknown key", "accepted", ("published", 7), ("interrupted", 3)]
    assert quiet.getvalue() == ""
