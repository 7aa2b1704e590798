"""What goes when it is old, and what others still need of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sftpgate.app.composition import make_retention
from sftpgate.ledger.audit import feed
from sftpgate.policy.retention import KeptKind
from tests.harness.handover import Gate

RECEIVED = ["arrival.received"]


@pytest.mark.promise("P8")
def test_events_stay_for_those_who_have_to_read_them(make_gate: Any) -> None:
    """Old events are neither removed nor announced as removable before every follower has read them."""
    gate: Gate = make_gate(keep_events="3d")
    gate.sweeper.run()
    retention = make_retention(gate.system)
    with gate.system.ledger.transaction() as connection:
        feed.join(connection, "receipts", at=gate.clock())
    gate.clock.ahead = timedelta(hours=1)
    arrival = gate.put("x.csv")
    gate.clock.ahead = timedelta(days=9)
    retention.prune()
    assert list(retention.plan()) == [] and KeptKind.EVENTS not in retention.prune()
    with gate.system.ledger.reading() as connection:
        batch = feed.read(connection, "receipts", events=RECEIVED)
    assert ([record.event.arrival for record in batch.records], batch.missed) == ([arrival.id], 0)
    with gate.system.ledger.transaction() as connection:
        feed.move_on(connection, batch, at=gate.clock())
    assert [doomed.kind for doomed in retention.plan()] == [KeptKind.EVENTS]
    assert retention.prune()[KeptKind.EVENTS] > 0
