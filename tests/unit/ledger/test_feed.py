"""The feed of events: followers read on from where they were, and each event is dealt with once, whatever dies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sftpgate.errors import FollowerMoved, UnknownFollower
from sftpgate.ledger.audit import chain, event_log, feed
from sftpgate.ledger.audit.actor import sender
from sftpgate.ledger.audit.event_log import Event
from sftpgate.ledger.audit.feed import Batch, Follower
from sftpgate.ledger.database.connection import Connection, Ledger, get_fact, set_fact
from sftpgate.policy.lags import Lag

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ARRIVALS = ["arrival.received", "arrival.held"]


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger, in each of the databases; its chain has one event, which begins it."""
    if request.param == "sqlite":
        made = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", durable=False, clock=lambda: AT)
    else:
        made = Ledger(request.getfixturevalue("postgresql").new_database(), durable=False, clock=lambda: AT)
    made.create()
    yield made
    made.close()


def happen(ledger: Ledger, *numbers: int, event: str = "arrival.received") -> None:
    """Record numbered events, one an hour."""
    with ledger.transaction() as connection:
        at = {number: AT + timedelta(hours=number) for number in numbers}
        event_log.record(connection, [Event(at=at[n], event=event, actor=sender("erp"), details={"number": n}) for n in numbers])


def joined(ledger: Ledger, name: str = "receipts", *, from_beginning: bool = False) -> None:
    """Let a follower begin."""
    with ledger.transaction() as connection:
        feed.join(connection, name, at=AT, from_beginning=from_beginning)


def batch_of(ledger: Ledger, name: str = "receipts", limit: int = feed.BATCH) -> Batch:
    """What a follower reads next."""
    with ledger.reading() as connection:
        return feed.read(connection, name, events=ARRIVALS, limit=limit)


def numbers_of(batch: Batch) -> list[object]:
    """The numbers of a batch's events."""
    return [record.event.details["number"] for record in batch.records]


def seen(ledger: Ledger) -> list[int]:
    """What was dealt with, by the records of the follower itself."""
    with ledger.reading() as connection:
        return list(json.loads(get_fact(connection, "seen") or "[]"))


def note(connection: Connection, batch: Batch) -> None:
    """Deal with a batch: record what was seen."""
    before = json.loads(get_fact(connection, "seen") or "[]")
    set_fact(connection, "seen", json.dumps([*before, *numbers_of(batch)]))


def follow(ledger: Ledger, *, limit: int = feed.BATCH, batches: int | None = None) -> int:
    """Let the follower read on."""
    return feed.follow(ledger, "receipts", note, events=ARRIVALS, clock=lambda: AT, limit=limit, batches=batches)


def test_a_follower_reads_on(ledger: Ledger) -> None:
    """A follower begins with what happens after it joined, and reads each event that it wants once, in order."""
    happen(ledger, 1, 2)
    joined(ledger)
    joined(ledger)  # again, as at each start: it stays where it is
    assert batch_of(ledger).is_empty
    happen(ledger, 3, 4)
    happen(ledger, 5, event="login.refused")
    happen(ledger, 6, event="arrival.held")
    assert (follow(ledger, limit=2), seen(ledger)) == (3, [3, 4, 6])
    joined(ledger)
    assert (follow(ledger), seen(ledger)) == (0, [3, 4, 6])


def test_a_follower_can_begin_at_the_beginning(ledger: Ledger) -> None:
    """One that joins from the beginning reads every event that is still there, and has missed none."""
    happen(ledger, 1, 2, 3)
    with ledger.transaction() as connection:
        assert event_log.prune_before(connection, AT + timedelta(hours=2)) == 2
    joined(ledger, from_beginning=True)
    batch = batch_of(ledger)
    assert (numbers_of(batch), batch.missed) == ([2, 3], 0)


def test_batches_are_bounded(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch has so many events at most, and looks at so many at most: what nobody wants does not make it long."""
    joined(ledger)
    monkeypatch.setattr(feed, "LOOKED_AT", 5)
    happen(ledger, *range(12), event="login.refused")
    happen(ledger, *range(12, 15))
    empty = batch_of(ledger)
    assert (empty.records, empty.end - empty.begin, empty.is_empty) == ((), 5, False)
    assert (follow(ledger, limit=2, batches=1), seen(ledger)) == (0, [])
    assert (follow(ledger, limit=2), seen(ledger)) == (3, [12, 13, 14])


def test_a_batch_that_fails_is_read_again(ledger: Ledger) -> None:
    """What raises before the commit has recorded nothing and moved nobody; the batch comes again, whole."""
    joined(ledger)
    happen(ledger, 1, 2)

    def die(connection: Connection, batch: Batch) -> None:
        note(connection, batch)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        feed.follow(ledger, "receipts", die, events=ARRIVALS, clock=lambda: AT)
    assert seen(ledger) == []
    assert (follow(ledger), seen(ledger)) == (2, [1, 2])


def test_two_under_one_name(ledger: Ledger) -> None:
    """Of two processes that follow under one name the second to come records nothing of what the first has done."""
    joined(ledger)
    happen(ledger, 1, 2)
    batch = batch_of(ledger)
    follow(ledger)
    with pytest.raises(FollowerMoved), ledger.transaction() as connection:
        note(connection, batch)
        feed.move_on(connection, batch, at=AT)
    assert seen(ledger) == [1, 2]


def test_followers_are_apart(ledger: Ledger) -> None:
    """Each follower has a position of its own; the lists say how far behind it is, and since when; one that left is not known."""
    joined(ledger)
    joined(ledger, "late")
    happen(ledger, 1, 2, 3)
    follow(ledger)
    with ledger.transaction() as connection:
        assert feed.all_followers(connection) == [
            Follower(name="late", position=1, behind=3, moved_at=AT),
            Follower(name="receipts", position=4, behind=0, moved_at=AT),
        ]
        first, _, _ = [record.event.at for record in batch_of(ledger, "late").records]
        assert feed.lags(connection) == [Lag(name="late", events=3, since=first), Lag(name="receipts")]
        feed.leave(connection, "late")
        feed.leave(connection, "late")
    with pytest.raises(UnknownFollower, match="late"):
        batch_of(ledger, "late")


def prune(ledger: Ledger, cutoff: datetime) -> int:
    """Remove old events, as retention does."""
    with ledger.transaction() as connection:
        return event_log.prune_before(connection, cutoff, up_to=feed.read_by_all(connection, cutoff), at=AT)


def test_old_events_wait_for_their_readers(ledger: Ledger) -> None:
    """Events that are due to go stay until every follower has read them; the chain stays whole."""
    joined(ledger)
    happen(ledger, 1, 2, 3, 4)
    later = AT + timedelta(hours=3)
    assert prune(ledger, later) == 1  # the one that began the chain
    follow(ledger, limit=1, batches=1)
    assert prune(ledger, later) == 1
    follow(ledger)
    assert seen(ledger) == [1, 2, 3, 4]
    assert prune(ledger, later) == 1
    with ledger.reading() as connection:
        assert chain.verify(connection) is None
    with ledger.transaction() as connection:
        feed.leave(connection, "receipts")
    assert prune(ledger, later + timedelta(hours=9)) > 0


def test_a_follower_that_is_far_behind(ledger: Ledger) -> None:
    """One that has not read an event long after it was due loses it, is told how many, and goes on with the others."""
    joined(ledger)
    happen(ledger, 1, 2, 3, 4)
    assert prune(ledger, AT + feed.GRACE + timedelta(hours=3)) == 3
    batch = batch_of(ledger)
    assert (numbers_of(batch), batch.missed) == ([3, 4], 2)
    assert (follow(ledger), seen(ledger)) == (2, [3, 4])
    assert batch_of(ledger).is_empty


def test_nobody_follows(ledger: Ledger) -> None:
    """Without followers old events go when they are due, as they always did."""
    happen(ledger, 1, 2, 3)
    with ledger.reading() as connection:
        assert feed.read_by_all(connection, AT) is None
    assert prune(ledger, AT + timedelta(hours=3)) == 3
