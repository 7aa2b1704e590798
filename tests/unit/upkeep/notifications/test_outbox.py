"""From the event on the record to the answer of who was told: nothing left out, nothing twice under another id."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from sftpgate.app.notifications.parts import follower
from sftpgate.ledger.audit import event_log, feed
from sftpgate.ledger.audit.actor import SYSTEM, sender
from sftpgate.ledger.audit.event_log import Detail, Event
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.outbox import lanes, messages
from sftpgate.ledger.outbox.messages import Message, MessageState
from sftpgate.policy.deliveries import Attempt, Verdict
from sftpgate.policy.pointers import Pointer
from sftpgate.policy.reachable_addresses import networks
from sftpgate.settings.choices import Language
from sftpgate.settings.notify import NotifySettings
from sftpgate.settings.tree import Settings
from sftpgate.threads import Threads
from sftpgate.upkeep.notifications.audience import MAIL_LANE, Correspondent, audience_of
from sftpgate.upkeep.notifications.courier import Courier, lease_of
from sftpgate.upkeep.notifications.follower import Announcer, leave
from sftpgate.upkeep.notifications.ways.webhook import Webhook
from tests.harness import notified
from tests.harness.notified import HMAC_KEY, LOOPBACK, Time, webhook

HOOK: dict[str, Any] = {"url": "https://hooks.example/x", "keys": (HMAC_KEY,)}
MAIL: dict[str, Any] = {"host": "mx.example", "sender": "gate@school.example"}


class Mailbox:
    """A way that takes everything, or answers as it is told."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.answers: list[Attempt] = []

    async def deliver(self, message: Message) -> Attempt:
        """Take it."""
        self.got.append(message)
        return self.answers.pop(0) if self.answers else Attempt(verdict=Verdict.SENT, said="ok")

    async def close(self) -> None:
        """Nothing."""


class House:
    """A ledger, its follower and its courier, with a clock that stands still."""

    def __init__(self, ledger: Ledger, **settings: Any) -> None:
        self.clock = Time()
        self.ledger = ledger
        values: dict[str, Any] = {"to": {"hook": HOOK}, "rules": {"all": {"events": "arrival.* run.* notify.*", "to": "hook"}}}
        self.settings = NotifySettings(**(values | settings))
        self.audience = audience_of(self.settings, Language.ENGLISH)
        self.ways = {lane: Mailbox() for lane in self.audience.lanes}
        self.threads = Threads(2, "notify")
        self.addresses = {"erp": Correspondent("erp@school.example", Language.FRENCH)}
        self.announcer = Announcer(
            ledger,
            self.audience,
            pointers=[Pointer(tool="enrols", files=("enrols*.csv",), queued=False)],
            sender_of=self.addresses.get,
            clock=self.clock,
        )
        self.courier = Courier(ledger, self.settings, self.ways, self.threads, clock=self.clock, luck=lambda: 0.5)
        self.announcer.join()

    def happen(self, event: str = "arrival.quarantined", *, user: str = "erp", times: int = 1, **details: Detail) -> None:
        """Record an event."""
        known = {"path": "enrols.csv"} | details
        told = [Event(at=self.clock(), event=event, actor=sender(user), details=known)] * times
        with self.ledger.transaction() as connection:
            event_log.record(connection, told)

    def outbox(self) -> list[Message]:
        """All messages."""
        with self.ledger.reading() as connection:
            return messages.listed(connection, limit=10_000)

    def lane(self, name: str = "hook") -> lanes.Lane:
        """What is known of a lane."""
        with self.ledger.reading() as connection:
            return lanes.get(connection, name)

    def recorded(self, event: str) -> list[dict[str, Detail]]:
        """The details of the events of this name."""
        with self.ledger.reading() as connection:
            return [record.event.details for record in event_log.search(connection, event_log.Wanted(event=event))]


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger, in each of the databases."""
    if request.param == "sqlite":
        made = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", durable=False)
    else:
        made = Ledger(request.getfixturevalue("postgresql").new_database(), durable=False)
    made.create()
    yield made
    made.close()


@asynccontextmanager
async def house(ledger: Ledger, **settings: Any) -> AsyncIterator[House]:
    """A house, closed at the end."""
    made = House(ledger, **settings)
    try:
        yield made
    finally:
        made.threads.close()


@pytest.mark.promise("P8")
async def test_an_event_becomes_one_message(ledger: Ledger) -> None:
    """An event that a rule fits is delivered once, and what nobody asked for is not."""
    async with house(ledger) as it:
        it.happen()
        it.happen("login.refused")
        assert (it.announcer.read_on(), it.announcer.read_on()) == (1, 0)
        assert [await it.courier.deliver("hook"), await it.courier.deliver("hook")] == [1, 0]
        [got] = it.ways["hook"].got
        [event] = got.content.events
        assert (event.path, event.user, event.tool) == ("enrols.csv", "erp", "enrols")
        [kept] = it.outbox()
        assert (kept.state, kept.attempts, kept.said[0][1:]) == (MessageState.SENT, 1, ("sent", "ok"))


@pytest.mark.promise("P8")
async def test_who_follows_is_only_told_of_what_comes(ledger: Ledger) -> None:
    """What happened before somebody was to be told is not told; after leaving, nothing is kept for us."""
    async with house(ledger) as it:
        leave(ledger)
        it.happen()
        it.announcer.join()
        it.happen(path="later.csv")
        it.announcer.read_on()
        assert [message.content.events[0].path for message in it.outbox()] == ["later.csv"]
        leave(ledger)
        with ledger.reading() as connection:
            assert feed.all_followers(connection) == []


async def test_ten_thousand_arrivals_are_one_mail(ledger: Ledger) -> None:
    """What a rule gathers is one message, which counts all and lists the first; what comes later is the next one."""
    rules = {"all": {"events": "arrival.received", "to": "admins", "digest": "1h"}}
    async with house(ledger, mail=MAIL, to={"admins": {"mail": "it@school.example"}}, rules=rules) as it:
        it.happen("arrival.received", times=10_000, state="waiting")
        it.announcer.read_on(batches=500)
        [gathered] = it.outbox()
        assert gathered.content.counts == {"arrival.received": 10_000} and len(gathered.content.events) == messages.LISTED
        assert await it.courier.deliver(MAIL_LANE) == 0
        it.clock.advance(hours=1)
        assert await it.courier.deliver(MAIL_LANE) == 1
        it.happen("arrival.received", state="waiting")
        it.announcer.read_on()
        assert [message.content.total for message in it.outbox()] == [10_000, 1]


async def test_mail_comes_once_a_minute(ledger: Ledger) -> None:
    """Unless a rule says otherwise, mail gathers for a minute, and a webhook gets each event by itself at once."""
    to = {"hook": HOOK, "admins": {"mail": "it@school.example"}}
    async with house(ledger, mail=MAIL, to=to, rules={"all": {"events": "arrival.*", "to": "hook admins"}}) as it:
        it.happen(times=2)
        it.announcer.read_on()
        assert await it.courier.deliver("hook") == 2
        assert await it.courier.deliver(MAIL_LANE) == 0
        it.clock.advance(minutes=1)
        assert await it.courier.deliver(MAIL_LANE) == 1


async def test_files_of_local_programs(ledger: Ledger) -> None:
    """A user "-" in a rule stands for what has no sender."""
    async with house(ledger, rules={"all": {"events": "arrival.*", "users": "-", "to": "hook"}}) as it:
        it.happen()
        with ledger.transaction() as connection:
            event_log.record(
                connection, [Event(at=it.clock(), event="arrival.done", actor=SYSTEM, details={"path": "local.csv"})]
            )
        it.announcer.read_on()
        assert [message.content.events[0].path for message in it.outbox()] == ["local.csv"]


async def test_long_addresses_are_not_mixed_up(ledger: Ledger) -> None:
    """Two recipients whose long addresses begin alike have a message each."""
    domain = ".".join(["d" * 60] * 3)
    addresses = [f"it@{domain}.{end}.example" for end in ("one", "two")]
    rules = {"r" * 60: {"events": "arrival.*", "to": "n" * 60}}
    async with house(ledger, mail=MAIL, to={"n" * 60: {"mail": addresses}}, rules=rules) as it:
        it.happen()
        it.announcer.read_on()
        assert sorted(message.recipient for message in it.outbox()) == addresses


async def test_the_first_rule_that_fits_tells(ledger: Ledger) -> None:
    """Somebody whom two rules name is told once; users, tools and kinds say of what."""
    rules = {
        "held": {"events": "arrival.held", "users": "erp", "to": "hook"},
        "runs": {"events": "run.failed", "tools": "enrols", "to": "hook"},
        "more": {"events": "run.ended", "users": "erp", "to": "hook"},
    }
    async with house(ledger, rules=rules) as it:
        it.happen("arrival.received", state="held", reason="checksum mismatch")
        it.happen("arrival.received", state="held", reason="batch-lock")
        it.happen("arrival.received", state="waiting")
        it.happen("arrival.received", user="other", state="held", reason="checksum mismatch")
        it.happen("run.ended", tool="enrols", outcome="failed")
        it.happen("run.ended", tool="users", outcome="done")
        it.happen("run.ended", user="other", tool="users", outcome="failed")
        it.announcer.read_on()
        assert [(message.rule, message.kind) for message in it.outbox()] == [
            ("held", "arrival.held"),
            ("runs", "run.failed"),
            ("more", "run.done"),
        ]


async def test_senders_are_told_of_their_own_files(ledger: Ledger) -> None:
    """A rule to senders writes to the sender of the file, if its account has an address, and of what is for senders."""
    rules = {"all": {"events": "*", "to": "senders"}}
    async with house(ledger, mail=MAIL, rules=rules, to={}) as it:
        it.happen("arrival.received", state="waiting")
        it.happen("arrival.received", user="silent", state="waiting")
        it.happen("address.banned")
        it.announcer.read_on()
        assert [message.recipient for message in it.outbox()] == ["user:erp"]


async def test_a_receiver_that_is_away_is_asked_by_one_message(ledger: Ledger) -> None:
    """While a receiver is away, one message finds out whether it is back; then all are delivered, each with its id."""
    async with house(ledger) as it:
        it.happen(times=30)
        it.announcer.read_on()
        ids = [message.id for message in it.outbox()]
        way = it.ways["hook"]
        for failures in range(1, 4):
            way.answers = [Attempt(verdict=Verdict.AWAY, said="connection refused")]
            assert [await it.courier.deliver("hook"), await it.courier.deliver("hook")] == [1, 0]
            assert it.lane().failures == failures
            it.clock.advance(minutes=2)
        while await it.courier.deliver("hook"):
            it.clock.advance(minutes=10)
        assert it.lane().failures == 0
        assert {message.state for message in it.outbox()} == {MessageState.SENT}
        delivered = [message.id for message in way.got]
        assert set(delivered) == set(ids) and len(delivered) == 33


async def test_a_message_that_is_not_taken_keeps_nobody_waiting(ledger: Ledger) -> None:
    """A message that its receiver refuses is tried later and later; those behind it go on at once."""
    async with house(ledger) as it:
        it.happen(path="bad.csv")
        it.happen(path="good.csv")
        it.announcer.read_on()
        way = it.ways["hook"]
        way.answers = [Attempt(verdict=Verdict.LATER, said="400")]
        assert await it.courier.deliver("hook") == 2
        waits = []
        for _ in range(9):
            [bad] = [message for message in it.outbox() if message.state is MessageState.DUE]
            waits.append((bad.due_at - it.clock()).total_seconds())
            it.clock.now = bad.due_at
            way.answers = [Attempt(verdict=Verdict.LATER, said="400")]
            assert await it.courier.deliver("hook") == 1
        assert waits == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
        assert len({message.id for message in way.got if message.content.events[0].path == "bad.csv"}) == 1


async def test_what_is_given_up_is_said(ledger: Ledger) -> None:
    """After the days of the settings a message is given up, and the record says so once; no message follows about a message
    about that.
    """
    async with house(ledger, give_up_after="1h") as it:
        way = it.ways["hook"]
        it.happen()
        it.announcer.read_on()
        for _ in range(6):
            way.answers = [Attempt(verdict=Verdict.LATER, said="400")]
            await it.courier.deliver("hook")
            it.clock.advance(minutes=31)
        assert [message.state for message in it.outbox()] == [MessageState.FAILED]
        assert it.recorded("notify.given_up") == [{"receiver": "hook", "count": 1}]
        it.announcer.read_on()
        assert len(it.outbox()) == 1


async def test_a_receiver_that_is_gone_is_turned_off(ledger: Ledger) -> None:
    """A 410 turns a receiver off: the record says so, others are told, and nothing more is sent to it."""
    to = {"hook": HOOK, "other": HOOK}
    rules = {"all": {"events": "arrival.* notify.*", "to": "hook other"}}
    async with house(ledger, to=to, rules=rules) as it:
        it.happen(times=3)
        it.announcer.read_on()
        it.ways["hook"].answers = [Attempt(verdict=Verdict.GONE, said="410 Gone")]
        assert [await it.courier.deliver("hook"), await it.courier.deliver("hook")] == [1, 0]
        assert it.lane().off_because == "410 Gone"
        assert it.recorded("notify.turned_off") == [{"receiver": "hook", "said": "410 Gone"}]
        it.happen()
        it.announcer.read_on()
        assert it.lane().passed_by == 1
        await it.courier.deliver("other")
        assert [message.kind for message in it.ways["other"].got][-2:] == ["notify.turned_off", "arrival.quarantined"]
        assert len(it.ways["hook"].got) == 1


async def test_who_dies_while_it_delivers(ledger: Ledger) -> None:
    """What was taken when a process died is delivered by the next one, when its lease is over, under the same id."""
    async with house(ledger) as it:
        it.happen()
        it.announcer.read_on()
        with ledger.transaction() as connection:
            [taken] = messages.take(connection, "hook", it.clock(), lease_of(it.settings), 10)
        assert await it.courier.deliver("hook") == 0
        it.clock.advance(seconds=lease_of(it.settings).total_seconds())
        assert await it.courier.deliver("hook") == 1
        assert [message.id for message in it.ways["hook"].got] == [taken.id]


async def test_a_clock_that_was_ahead(ledger: Ledger) -> None:
    """What was recorded while the clock was ahead keeps nobody waiting when it is right again: messages that were made, tried and
    taken then, and a receiver's pause; each is delivered under its id.
    """
    away = Attempt(verdict=Verdict.AWAY, said="no answer")
    rules = {"all": {"events": "arrival.*", "to": "hook", "digest": 3600}}
    async with house(ledger, rules=rules, give_up_after=500 * 86400) as it:
        it.happen()
        it.announcer.read_on()
        it.clock.advance(seconds=3600)
        right = it.clock()
        it.clock.now = right + timedelta(days=400)
        it.ways["hook"].answers = [away]
        assert await it.courier.deliver("hook") == 1
        it.happen("arrival.lost")
        it.announcer.read_on()
        it.clock.advance(seconds=4000)
        with ledger.transaction() as connection:
            assert messages.take(connection, "hook", it.clock(), lease_of(it.settings), 1)
        it.clock.now = right + timedelta(minutes=1)
        ids = {message.id for message in it.outbox()}
        await it.courier.keep_house()
        while await it.courier.deliver("hook"):
            pass
        assert {message.state for message in it.outbox()} == {MessageState.SENT}
        assert {message.id for message in it.ways["hook"].got} == ids and len(it.ways["hook"].got) == 3


async def test_a_receiver_that_left_the_settings(ledger: Ledger) -> None:
    """A receiver that was turned off and is not in the settings any more is forgotten; one that is in them is not."""
    gone = Attempt(verdict=Verdict.GONE, said="410 Gone")
    async with house(ledger, to={"hook": HOOK, "other": HOOK}, rules={"all": {"events": "arrival.*", "to": "hook other"}}) as it:
        it.happen()
        it.announcer.read_on()
        for name in ("hook", "other"):
            it.ways[name].answers = [gone]
            await it.courier.deliver(name)
    async with house(ledger) as it:
        await it.courier.keep_house()
        with ledger.reading() as connection:
            assert lanes.turned_off(connection) == ["hook"]


async def test_nobody_is_told_any_more(ledger: Ledger) -> None:
    """If the settings tell nobody of anything any more, what is due ends, slice by slice, and what is known of receivers goes."""
    async with house(ledger) as it:
        it.happen()
        it.announcer.read_on()
        it.ways["hook"].answers = [Attempt(verdict=Verdict.GONE, said="410 Gone")]
        await it.courier.deliver("hook")
        fill(ledger, 1500, ["hook", "other"], it)
        [clearing] = follower(Settings(), ledger, it.clock)
        assert [clearing.step(), clearing.step()] == [True, False]
        assert {message.state for message in it.outbox()} == {MessageState.FAILED, MessageState.DROPPED}
        with ledger.reading() as connection:
            assert lanes.turned_off(connection) == [] and feed.all_followers(connection) == []
            assert messages.backlog(connection, it.clock()) == messages.Backlog()
        it.clock.advance(days=91)
        assert clearing.step() and not clearing.step() and it.outbox() == []


async def test_an_error_of_ours_keeps_nobody_waiting(ledger: Ledger) -> None:
    """A message with which our own code fails is tried again later, and says so; those behind it are delivered."""

    class Faulty(Mailbox):
        async def deliver(self, message: Message) -> Attempt:
            if message.content.events[0].path == "bad.csv":
                raise KeyError("s3cret")
            return await super().deliver(message)

    async with house(ledger) as it:
        it.happen(path="bad.csv")
        it.happen(path="good.csv")
        it.announcer.read_on()
        courier = Courier(ledger, it.settings, {"hook": Faulty()}, it.threads, clock=it.clock, luck=lambda: 0.5)
        assert await courier.deliver("hook") == 2
        bad, good = it.outbox()
        assert (bad.state, good.state) == (MessageState.DUE, MessageState.SENT)
        assert "KeyError" in bad.said[0][2] and "s3cret" not in bad.said[0][2]


async def test_a_stop_in_a_delivery_gives_back(ledger: Ledger) -> None:
    """A process that is told to stop gives what it has not delivered back at once."""

    class Slow(Mailbox):
        async def deliver(self, message: Message) -> Attempt:
            began.set()
            await asyncio.Event().wait()
            raise AssertionError

    began = asyncio.Event()
    async with house(ledger) as it:
        it.happen(times=2)
        it.announcer.read_on()
        slow = Courier(ledger, it.settings, {"hook": Slow()}, it.threads, clock=it.clock, luck=lambda: 0.5)
        task = asyncio.create_task(slow.deliver("hook"))
        await began.wait()
        task.cancel()
        await asyncio.wait([task])
        assert await it.courier.deliver("hook") == 2


async def test_what_should_have_been_delivered(ledger: Ledger) -> None:
    """Due is what somebody should have by now: neither what is gathered, nor what waits for its next attempt."""
    async with house(
        ledger, rules={"now": {"events": "arrival.*", "to": "hook"}, "later": {"events": "run.*", "to": "hook", "digest": "1h"}}
    ) as it:
        it.happen(times=2)
        it.happen("run.begun")
        it.announcer.read_on()
        with ledger.reading() as connection:
            assert messages.backlog(connection, it.clock()) == messages.Backlog(count=2, oldest=it.clock())
        it.ways["hook"].answers = [Attempt(verdict=Verdict.LATER, said="400")]
        await it.courier.deliver("hook")
        with ledger.reading() as connection:
            assert messages.backlog(connection, it.clock()) == messages.Backlog()


async def test_what_is_sent_again_has_its_id(ledger: Ledger) -> None:
    """A message that an admin sends again is the same message."""
    async with house(ledger) as it:
        it.happen()
        it.announcer.read_on()
        await it.courier.deliver("hook")
        [sent] = it.outbox()
        with ledger.transaction() as connection:
            messages.again(connection, messages.get(connection, sent.id[:20]), it.clock())
        await it.courier.deliver("hook")
        assert [message.id for message in it.ways["hook"].got] == [sent.id] * 2


async def test_quiet_hours(ledger: Ledger) -> None:
    """What comes in quiet hours is gathered until their end, unless it is urgent."""
    to = {"hook": HOOK | {"quiet_hours": "09:00-12:30", "quiet_days": ("sat", "sun")}}
    rules = {
        "urgent": {"events": "arrival.lost", "to": "hook", "urgent": True},
        "all": {"events": "arrival.*", "to": "hook"},
    }
    async with house(ledger, to=to, rules=rules, timezone="Europe/Paris") as it:
        it.happen("arrival.done", times=3)
        it.happen("arrival.lost")
        it.announcer.read_on()
        assert await it.courier.deliver("hook") == 1
        it.clock.now = it.clock.now.replace(hour=11, minute=29)
        assert await it.courier.deliver("hook") == 0
        it.clock.advance(minutes=1)
        assert await it.courier.deliver("hook") == 1
        assert [message.kind for message in it.ways["hook"].got] == ["arrival.lost", "arrival.done"]


async def test_events_that_are_gone_are_said(ledger: Ledger) -> None:
    """A follower that was passed by retention says how many events nobody was told of."""
    async with house(ledger) as it:
        it.happen(times=5)
        it.clock.advance(days=400)
        with ledger.transaction() as connection:
            event_log.prune_before(connection, it.clock() - timedelta(days=1), at=it.clock())
        it.announcer.read_on()
        [said] = it.outbox()
        assert said.kind == "notify.missed" and said.content.events[0].details["count"] == 5


def fill(ledger: Ledger, count: int, receivers: Sequence[str], it: House) -> None:
    """Put many due messages into the outbox."""
    from dataclasses import replace

    from sftpgate.ids import new_id

    sample = notified.message("hook")
    with ledger.transaction() as connection:
        for number in range(count):
            lane = receivers[number % len(receivers)]
            messages.add(connection, [replace(sample, id=new_id(it.clock()), lane=lane, receiver=lane)])


async def test_old_messages_are_given_up_in_slices(ledger: Ledger) -> None:
    """An outbox that a dead receiver filled is emptied slice by slice, the record says it once a slice, and what is done is
    forgotten in its time.
    """
    async with house(ledger) as it:
        fill(ledger, 2500, ["hook", "stranger"], it)
        it.clock.advance(days=6)
        await it.courier.keep_house()
        states = [message.state for message in it.outbox()]
        assert (states.count(MessageState.FAILED), states.count(MessageState.DROPPED)) == (1250, 1250)
        assert [details["count"] for details in it.recorded("notify.given_up")] == [1000, 250]
        it.clock.advance(days=91)
        await it.courier.keep_house()
        assert it.outbox() == []


async def test_from_the_record_to_a_real_webhook(ledger: Ledger) -> None:
    """A receiver that fails in three ways gets every message in the end, each under one id."""
    async with webhook() as hook, house(ledger) as it:
        it.happen(times=3)
        it.announcer.read_on()
        hook.answers = [notified.status(503, retry_after="60"), notified.hang_up, notified.status(400), notified.status(204)]
        settings = it.settings.to["hook"].model_copy(update={"url": SecretStr(hook.url)})
        way = Webhook(settings, networks(LOOPBACK), source="urn:x", gate="gate", clock=it.clock)
        courier = Courier(ledger, it.settings, {"hook": way}, it.threads, clock=it.clock, luck=lambda: 0.5)
        for _ in range(8):
            await courier.deliver("hook")
            it.clock.advance(minutes=6)
        await way.close()
        assert {message.state for message in it.outbox()} == {MessageState.SENT}
        assert {got.headers["webhook-id"] for got in hook.got} == {message.id for message in it.outbox()}
        assert len(hook.got) == 6
