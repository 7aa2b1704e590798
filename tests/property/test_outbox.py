"""The outbox against a plain list: followers and couriers that die anywhere, receivers that fail in every way, full disks.

Whatever happens, each event that somebody is to be told of is told under one id, and in the end it is told, or the record says
that it was given up.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sftpgate.errors import LedgerFull
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.ledger.audit.event_log import Event
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.outbox import messages
from sftpgate.ledger.outbox.messages import Message, MessageState
from sftpgate.policy.deliveries import Attempt, Verdict
from sftpgate.settings.choices import Language
from sftpgate.settings.notify import NotifySettings
from sftpgate.upkeep.notifications.audience import audience_of
from sftpgate.upkeep.notifications.courier import Courier, lease_of
from sftpgate.upkeep.notifications.follower import Announcer
from tests.harness.notified import HMAC_KEY, InLine, Time

HOOK = {"url": "https://hooks.example/x", "keys": (HMAC_KEY,)}
RULES = {"one": {"events": "arrival.done", "to": "alone"}, "many": {"events": "arrival.done", "to": "gathering", "digest": "10m"}}
LANES = ("alone", "gathering")


class Killed(BaseException):
    """The process ends here."""


class Fragile(Ledger):
    """A ledger whose process can end, or whose disk can be full, at a commit that is counted."""

    def __init__(self, url: str) -> None:
        super().__init__(url, durable=False)
        self.commits = itertools.count(1)
        self.dies_at = 0
        self.is_full = False
        self.is_dead = False

    def step(self, operation: str) -> None:
        """Before a commit."""
        if self.is_full:
            raise LedgerFull
        if self.is_dead or next(self.commits) == self.dies_at:
            self.is_dead = True  # nothing that is still on its way is written
            raise Killed

    def revive(self) -> None:
        """Another process begins, with room on the disk."""
        self.commits, self.dies_at, self.is_full, self.is_dead = itertools.count(1), 0, False, False


class Receiver:
    """Gets messages, and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.accepted: set[str] = set()
        self.answers: list[Verdict] = []
        self.dies_with: Fragile | None = None

    async def deliver(self, message: Message) -> Attempt:
        """Take it."""
        self.got.append(message)
        verdict = self.answers.pop(0) if self.answers else Verdict.SENT
        if verdict is Verdict.SENT:
            self.accepted.add(message.id)
        if self.dies_with is not None:
            self.dies_with.is_dead = True
            raise Killed
        return Attempt(verdict=verdict, said="")

    async def close(self) -> None:
        """Nothing."""


@pytest.mark.promise("P8")
class Outbox(RuleBasedStateMachine):
    """One ledger, two receivers, and whatever happens to those who serve them."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.ledger = Fragile(f"sqlite:///{Path(self._directory.name) / 'ledger.db'}")
        self.clock = Time()
        self.settings = NotifySettings(to={"alone": HOOK, "gathering": HOOK}, rules=RULES, give_up_after="30d")
        self.receivers = {lane: Receiver() for lane in LANES}
        self.threads = InLine(1, "notify")
        self.runner = asyncio.Runner()
        self.count = 0

    @initialize()
    def begin(self) -> None:
        """Somebody is to be told from now on."""
        self.ledger.create()
        self.announcer().join()

    def announcer(self) -> Announcer:
        """The follower of a fresh process."""
        audience = audience_of(self.settings, Language.ENGLISH)
        return Announcer(self.ledger, audience, pointers=(), sender_of=lambda _: None, clock=self.clock)

    def courier(self) -> Courier:
        """What delivers, in a fresh process."""
        return Courier(self.ledger, self.settings, self.receivers, self.threads, clock=self.clock, luck=lambda: 0.5)

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run it to its end, or to the death of its process."""
        with suppress(Killed, LedgerFull):
            self.runner.run(coroutine)

    @rule(count=st.integers(1, 5))
    def happen(self, count: int) -> None:
        """Events that both are told of, and others."""
        events = []
        for _ in range(count):
            self.count += 1
            events.append(Event(at=self.clock(), event="arrival.done", actor=SYSTEM, details={"path": str(self.count)}))
            events.append(Event(at=self.clock(), event="arrival.claimed", actor=SYSTEM))
        with self.ledger.transaction() as connection:
            event_log.record(connection, events)

    @rule(dies_after=st.integers(0, 3), is_full=st.booleans())
    def follow(self, dies_after: int, is_full: bool) -> None:
        """The follower reads on, and perhaps dies at one of its commits, or finds the disk full."""
        self.ledger.is_full = is_full
        self.ledger.commits, self.ledger.dies_at = itertools.count(1), dies_after
        with suppress(Killed, LedgerFull):
            self.announcer().read_on()
        self.ledger.revive()

    @rule(
        lane=st.sampled_from(LANES),
        answers=st.lists(st.sampled_from([Verdict.SENT, Verdict.LATER, Verdict.AWAY]), max_size=3),
        death=st.sampled_from(["never", "at the receiver", "at its first commit", "at its second commit", "full"]),
    )
    def deliver(self, lane: str, answers: list[Verdict], death: str) -> None:
        """A courier delivers what is due, and perhaps dies before or after the receiver has it, or finds the disk full."""
        receiver = self.receivers[lane]
        receiver.answers, receiver.dies_with = answers, self.ledger if death == "at the receiver" else None
        self.ledger.is_full = death == "full"
        self.ledger.commits, self.ledger.dies_at = (
            itertools.count(1),
            ["", "at its first commit", "at its second commit"].index(death if death.startswith("at its") else ""),
        )
        self.wait(self.courier().deliver(lane))
        receiver.dies_with = None
        self.ledger.revive()

    @rule(minutes=st.sampled_from([1, 10, 20, 600]))
    def pass_time(self, minutes: int) -> None:
        """Time passes."""
        self.clock.advance(minutes=minutes)

    @rule()
    def keep_house(self) -> None:
        """What is old is looked for."""
        self.wait(self.courier().keep_house())

    def told(self, lane: str) -> dict[str, set[str]]:
        """Under which ids a receiver heard of each event."""
        found: dict[str, set[str]] = {}
        for message in self.receivers[lane].got:
            for event in message.content.events:
                found.setdefault(event.path, set()).add(message.id)
        return found

    @invariant()
    def under_one_id(self) -> None:
        """Nobody hears of an event under two ids, and nothing that was taken is due again for good."""
        for lane in LANES:
            assert all(len(ids) == 1 for ids in self.told(lane).values())

    def teardown(self) -> None:
        """In the end everybody has heard of everything, and all that was taken is recorded so."""
        self.clock.advance(seconds=lease_of(self.settings).total_seconds())
        self.announcer().read_on()
        for _ in range(40):
            for lane in LANES:
                while self.runner.run(self.courier().deliver(lane)):
                    pass
            self.clock.advance(minutes=30)
        wanted = {str(number) for number in range(1, self.count + 1)}
        assert set(self.told("alone")) == wanted
        counted = {message.id: message.content.total for message in self.receivers["gathering"].got}
        assert sum(counted.values()) == self.count  # of more than fifty the rest is only counted
        assert set(self.told("gathering")) <= wanted
        with self.ledger.reading() as connection:
            kept = messages.listed(connection, limit=10_000)
        assert {message.state for message in kept} <= {MessageState.SENT}
        assert {message.id for message in kept} == set().union(*(each.accepted for each in self.receivers.values()))
        self.threads.close()
        self.runner.close()
        self.ledger.close()
        self._directory.cleanup()


TestOutbox = Outbox.TestCase
TestOutbox.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
