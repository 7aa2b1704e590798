"""The feed of events against a plain list: followers that die anywhere, come twice, or are passed by retention."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sftpgate.errors import FollowerMoved
from sftpgate.ledger.audit import chain, event_log, feed
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.ledger.audit.event_log import Event
from sftpgate.ledger.audit.feed import Batch
from sftpgate.ledger.database.connection import Connection, Ledger, get_fact, set_fact

AT = datetime(2026, 1, 2, tzinfo=UTC)
WANTED = "arrival.received"
NAME = "receipts"


class Killed(Exception):
    """The process ends here."""


class Dying(Ledger):
    """A ledger whose process can end right before it commits."""

    dies = False

    def step(self, operation: str) -> None:
        """Before a commit."""
        if self.dies:
            raise Killed


@pytest.mark.promise("P8")
class Feed(RuleBasedStateMachine):
    """One follower by name, and whatever happens to those who run it."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.ledger = Dying(f"sqlite:///{Path(self._directory.name) / 'ledger.db'}", durable=False, clock=lambda: AT)
        self.now = AT
        self.count = 0
        self.due: dict[int, datetime] = {}  # the events that are to be dealt with, in order, and when they were
        self.read_earlier: Batch | None = None  # by another process of the same name, that has not moved on yet

    @initialize()
    def begin(self) -> None:
        """The follower joins a new ledger."""
        self.ledger.create()
        with self.ledger.transaction() as connection:
            feed.join(connection, NAME, at=AT)

    @rule(wanted=st.lists(st.booleans(), min_size=1, max_size=12), hours=st.integers(0, 400))
    def happen(self, wanted: list[bool], hours: int) -> None:
        """Events that the follower wants, and others between them."""
        self.now += timedelta(hours=hours)
        events = []
        for is_wanted in wanted:
            number = self.count = self.count + 1
            if is_wanted:
                self.due[number] = self.now
            name = WANTED if is_wanted else "login.refused"
            events.append(Event(at=self.now, event=name, actor=SYSTEM, details={"number": number}))
        with self.ledger.transaction() as connection:
            event_log.record(connection, events)

    @rule(limit=st.integers(1, 5), death=st.sampled_from(["never", "in its work", "before the commit", "after the commit"]))
    def read_on(self, limit: int, death: str) -> None:
        """The follower deals with a batch, and dies somewhere, or nowhere."""

        def work(connection: Connection, batch: Batch) -> None:
            self.note(connection, batch)
            if death == "in its work":
                raise Killed

        self.ledger.dies = death == "before the commit"
        with suppress(Killed):
            feed.follow(self.ledger, NAME, work, events=[WANTED], clock=lambda: self.now, limit=limit, batches=1)
            if death == "after the commit":
                self.read_earlier = None  # what it had in its memory is gone with it
        self.ledger.dies = False

    @rule(limit=st.integers(1, 5))
    def another_reads(self, limit: int) -> None:
        """Another process of the same name reads a batch, and takes its time."""
        with self.ledger.reading() as connection:
            self.read_earlier = feed.read(connection, NAME, events=[WANTED], limit=limit)

    @rule()
    def another_moves_on(self) -> None:
        """It moves on, unless somebody was there before it."""
        if self.read_earlier is not None and not self.read_earlier.is_empty:
            with suppress(FollowerMoved), self.ledger.transaction() as connection:
                self.note(connection, self.read_earlier)
                feed.move_on(connection, self.read_earlier, at=self.now)
        self.read_earlier = None

    @rule(days=st.integers(0, 100))
    def prune(self, days: int) -> None:
        """Old events go; those that nobody has read only when they are long overdue."""
        cutoff = self.now - timedelta(days=days)
        with self.ledger.transaction() as connection:
            seen = self.seen(connection)
            event_log.prune_before(connection, cutoff, up_to=feed.read_by_all(connection, cutoff), at=self.now)
        is_lost = {number for number, at in self.due.items() if number not in seen and at < cutoff - feed.GRACE}
        if is_lost:
            self.read_earlier = None  # it may have read them before they went, and deal with them all the same
        self.due = {number: at for number, at in self.due.items() if number not in is_lost}

    def note(self, connection: Connection, batch: Batch) -> None:
        """Record what was seen."""
        numbers = [record.event.details["number"] for record in batch.records]
        set_fact(connection, "seen", json.dumps([*self.seen(connection), *numbers]))

    def seen(self, connection: Connection) -> list[int]:
        """What was dealt with."""
        return list(json.loads(get_fact(connection, "seen") or "[]"))

    @invariant()
    def each_once_in_order(self) -> None:
        """What was dealt with is the beginning of what was to be: nothing twice, nothing left out; the chain is whole."""
        with self.ledger.reading() as connection:
            seen = self.seen(connection)
            assert seen == list(self.due)[: len(seen)]
            assert chain.verify(connection) is None

    def teardown(self) -> None:
        """In the end everything was dealt with."""
        feed.follow(self.ledger, NAME, self.note, events=[WANTED], clock=lambda: self.now)
        with self.ledger.reading() as connection:
            assert self.seen(connection) == list(self.due)
            assert feed.all_followers(connection)[0].behind == 0
        self.ledger.close()
        self._directory.cleanup()


TestFeed = Feed.TestCase
TestFeed.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
