"""The chain of events, against any change that a database tool can make."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, select, update

from sftpgate.ledger.audit import chain, event_log
from sftpgate.ledger.audit.actor import sender
from sftpgate.ledger.audit.event_log import Event
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.database.schema import events

AT = datetime(2026, 1, 2, tzinfo=UTC)
COUNT = 12
FIELDS = {
    "event": st.text(max_size=5),
    "actor": st.text(max_size=5),
    "address": st.text(max_size=5),
    "details": st.text(max_size=5),
}
Act = Callable[[Connection], None]

numbers = st.integers(1, COUNT + 1)


def _change(seq: int, field: str, value: str) -> Act:
    def act(connection: Connection) -> None:
        connection.execute(update(events).where(events.c.seq == seq).values({field: value}))

    return act


def _remove(seq: int) -> Act:
    def act(connection: Connection) -> None:
        connection.execute(delete(events).where(events.c.seq == seq))

    return act


def _swap(one: int, other: int) -> Act:
    """Let two records change their places, with or without their hashes."""

    def act(connection: Connection) -> None:
        for old, new in ((one, -1), (other, one), (-1, other)):
            connection.execute(update(events).where(events.c.seq == old).values(seq=new))

    return act


changes = st.one_of(
    st.sampled_from(sorted(FIELDS)).flatmap(lambda name: st.builds(_change, numbers, st.just(name), FIELDS[name])),
    st.builds(_change, numbers, st.just("hash"), st.text("0123456789abcdef", min_size=64, max_size=64)),
    st.builds(_remove, numbers),
    st.builds(_swap, numbers, numbers),
)


def _rows(connection: Connection) -> list[tuple[object, ...]]:
    return [tuple(row) for row in connection.execute(select(events).order_by(events.c.seq))]


@pytest.mark.promise("P8")
@settings(max_examples=60, deadline=None)
@given(acts=st.lists(changes, min_size=1, max_size=3), pruned=st.integers(0, 4))
def test_any_change_is_found(acts: list[Act], pruned: int) -> None:
    """The chain is found broken exactly where records are not what they were: changed, removed, or in another order."""
    with tempfile.TemporaryDirectory() as directory:
        ledger = Ledger(f"sqlite:///{Path(directory) / 'ledger.db'}", durable=False, clock=lambda: AT)
        try:
            ledger.create()
            with ledger.transaction() as connection:
                event_log.record(
                    connection, [Event(at=AT, event="e", actor=sender(f"user{n}"), address="a") for n in range(COUNT)]
                )
                if pruned:
                    event_log.prune_before(connection, AT.replace(year=2030), limit=pruned)
            with ledger.transaction() as connection:
                before = _rows(connection)
                assert chain.verify(connection) is None
                for act in acts:
                    act(connection)
                after = _rows(connection)
                assert (chain.verify(connection) is not None) is (after != before)
        finally:
            ledger.close()
