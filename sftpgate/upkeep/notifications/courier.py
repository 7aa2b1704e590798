"""Delivers what the outbox has, each lane for itself: who is slow or dead keeps nobody else waiting.

A message is tried until it is taken, refused for good, or given up after days; every attempt has its id. One that was taken when
this process died is tried again when its lease is over: twice at worst, and known by its id. While a receiver is away, one
message finds out whether it is back; the others wait without being tried. One that answers 410 is turned off, and the record says
so, as it says what was given up: whoever follows the record can be told.

Blocking work is in threads. What is wrong with the ledger (a full disk) is waited out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from sftpgate.errors import LedgerError
from sftpgate.ids import Clock
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.ledger.audit.event_log import Event
from sftpgate.ledger.database.connection import Connection, Ledger
from sftpgate.ledger.outbox import lanes, messages
from sftpgate.ledger.outbox.lanes import Lane
from sftpgate.ledger.outbox.messages import SLICE, Message, MessageState, Settled
from sftpgate.logs import get_logger
from sftpgate.policy.deliveries import LONGEST_WAIT_WITH_LUCK, Attempt, Verdict, next_attempt, pause_until
from sftpgate.policy.notification_rules import ABOUT_US
from sftpgate.settings.notify import NotifySettings
from sftpgate.threads import Threads
from sftpgate.upkeep.notifications.ways.way import Way

log = get_logger("notify")

LOOK_SECONDS = 1.0  # between two looks at a lane; a look is one query of an index
TAKEN = 20  # messages that are taken together
TOGETHER_SECONDS = 2.0  # after which what was delivered is recorded, whatever else was taken
HOUSEKEEPING_SECONDS = 60.0
LEASE_MARGIN = timedelta(minutes=1)  # beyond the longest attempt: what is taken is delivered and recorded by then
LEDGER_PAUSE_SECONDS = 5.0


class Courier:
    """Delivers. One per process, on one event loop. ``luck``: a random number from 0 to 1."""

    def __init__(
        self,
        ledger: Ledger,
        settings: NotifySettings,
        ways: Mapping[str, Way],
        threads: Threads,
        *,
        clock: Clock,
        luck: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._ways = ways
        self._threads = threads
        self._clock = clock
        self._luck = luck

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_house())
                for lane in self._ways:
                    group.create_task(self._serve(lane))
        finally:
            for way in self._ways.values():
                await way.close()

    async def deliver(self, lane: str) -> int:
        """Deliver messages of a lane that are due, as many as are taken together; return how many were tried."""
        taken = await self._threads.run(self._take, lane)
        results: list[tuple[Message, Attempt]] = []
        loop = asyncio.get_running_loop()
        until = loop.time() + TOGETHER_SECONDS
        try:
            for message in taken:
                attempt = await self._attempt(lane, message)
                results.append((message, attempt))
                _say(message, attempt)
                if attempt.verdict in (Verdict.AWAY, Verdict.GONE) or loop.time() > until:
                    break
        finally:
            if taken:
                untried = taken[len(results) :]
                await self._threads.run(self._settle, lane, results, untried)
        return len(results)

    async def _attempt(self, lane: str, message: Message) -> Attempt:
        """Try once. A fault of ours is a failed attempt of that message: the others go on."""
        try:
            return await self._ways[lane].deliver(message)
        except Exception as error:  # nobody foresaw it, and it must keep nobody else waiting
            log.error("notify.failed", message=message.id, receiver=message.receiver, exc_info=error)
            return Attempt(verdict=Verdict.LATER, said=f"an error of sftpgate itself ({type(error).__name__}): see the log")

    async def keep_house(self) -> None:
        """Bring back times that a wrong clock left, give up what is too old, forget what was done long ago, and end what nobody
        is there for any more.
        """
        await self._threads.run(self._put_lanes_in_order)
        for work in (self._bring_back, self._drop_strangers):
            while await self._threads.run(work):
                pass
        for lane in self._ways:
            is_more = True
            while is_more:
                is_more = await self._threads.run(self._give_up, lane)
        is_more = self._settings.keep > 0
        while is_more:
            is_more = await self._threads.run(self._prune)

    async def _serve(self, lane: str) -> None:
        while True:
            try:
                tried = await self.deliver(lane)
            except LedgerError as error:
                log.warning("notify.waiting", receiver=lane, reason=error.message)
                await asyncio.sleep(LEDGER_PAUSE_SECONDS)
            else:
                if not tried:
                    await asyncio.sleep(LOOK_SECONDS)

    async def _keep_house(self) -> None:
        while True:
            try:
                await self.keep_house()
            except LedgerError as error:
                log.warning("notify.waiting", reason=error.message)
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    # -- in a thread -----------------------------------------------------------------------------------------------------

    def _take(self, lane: str) -> list[Message]:
        now = self._clock()
        with self._ledger.reading() as connection:
            if not messages.lanes_due(connection, [lane], now):
                return []
        with self._ledger.transaction() as connection:
            return messages.take(connection, lane, now, lease_of(self._settings), TAKEN)

    def _settle(self, name: str, results: list[tuple[Message, Attempt]], untried: list[Message]) -> None:
        now = self._clock()
        with self._ledger.transaction() as connection:
            lane = before = lanes.get(connection, name)
            settled = [Settled(message=message, attempt=None) for message in untried]
            for message, attempt in results:
                lane = self._after(lane, attempt, now)
                settled.append(self._settled(message, attempt, now))
            messages.settle(connection, settled, now)
            if lane != before:
                lanes.put(connection, lane)
            self._record(connection, name, settled, lane if before.off_at is None else None, now)

    def _after(self, lane: Lane, attempt: Attempt, now: datetime) -> Lane:
        """Return what is known of a lane after an attempt."""
        match attempt.verdict:
            case Verdict.AWAY:
                failures = lane.failures + 1
                until = pause_until(now, failures, self._luck(), attempt.retry_after)
                return replace(lane, failures=failures, not_before=until)
            case Verdict.GONE:
                return replace(lane, off_at=now, off_because=attempt.said, passed_by=0)
            case _:
                return replace(lane, failures=0, not_before=None)

    def _settled(self, message: Message, attempt: Attempt, now: datetime) -> Settled:
        match attempt.verdict:
            case Verdict.SENT:
                return Settled(message=message, attempt=attempt, state=MessageState.SENT)
            case Verdict.REFUSED | Verdict.GONE:
                return Settled(message=message, attempt=attempt, state=MessageState.FAILED)
            case Verdict.LATER | Verdict.AWAY:
                due = next_attempt(now, message.attempts + 1, self._luck(), attempt.retry_after)
                is_over = due > message.created_at + timedelta(seconds=self._settings.give_up_after)
                state = MessageState.FAILED if is_over else MessageState.DUE
                return Settled(message=message, attempt=attempt, state=state, due_at=due)

    def _record(self, connection: Connection, lane: str, settled: list[Settled], now_off: Lane | None, now: datetime) -> None:
        """Put on the record what nobody would hear of otherwise. About messages that tell of us there is no further one."""
        failed = [
            each.message for each in settled if each.state is MessageState.FAILED and not each.message.kind.startswith(ABOUT_US)
        ]
        for receiver in sorted({message.receiver for message in failed}):
            self._given_up(connection, receiver, sum(message.receiver == receiver for message in failed), now)
        if now_off is not None and now_off.off_at is not None:
            log.error("notify.turned_off", receiver=lane, reason=now_off.off_because)
            _note(connection, "notify.turned_off", now, receiver=lane, said=now_off.off_because)

    def _give_up(self, lane: str) -> bool:
        """Give up a slice of what is too old; return whether there may be more."""
        now = self._clock()
        before = now - timedelta(seconds=self._settings.give_up_after)
        with self._ledger.reading() as connection:
            if not messages.are_older(connection, lane, before, now):
                return False
        with self._ledger.transaction() as connection:
            ended, worth_telling = messages.give_up(connection, lane, before, now)
            if worth_telling:
                self._given_up(connection, lane, worth_telling, now)
        return ended == SLICE

    def _given_up(self, connection: Connection, receiver: str, count: int, now: datetime) -> None:
        log.error("notify.given_up", receiver=receiver, messages=count)
        _note(connection, "notify.given_up", now, receiver=receiver, count=count)

    def _put_lanes_in_order(self) -> None:
        """Forget receivers that are not in the settings any more, and pauses that a clock which was ahead has left."""
        names, until = list(self._ways), self._clock() + LONGEST_WAIT_WITH_LUCK
        with self._ledger.reading() as connection:
            if not lanes.are_strange(connection, names, until):
                return
        with self._ledger.transaction() as connection:
            lanes.put_in_order(connection, names, until)

    def _bring_back(self) -> bool:
        """Make a slice of messages due whose times were written while the clock was ahead; return whether there may be more."""
        now = self._clock()
        limits = messages.LatestTimes(
            now=now, longest_wait_ends=now + LONGEST_WAIT_WITH_LUCK, longest_lease_ends=now + lease_of(self._settings)
        )
        with self._ledger.reading() as connection:
            if not messages.are_ahead(connection, limits):
                return False
        with self._ledger.transaction() as connection:
            count = messages.bring_back(connection, limits)
        log.warning("notify.brought_back", messages=count, reason="the clock was set back: they are due now")
        return count == SLICE

    def _drop_strangers(self) -> bool:
        return drop_strangers(self._ledger, list(self._ways), self._clock())

    def _prune(self) -> bool:
        return prune(self._ledger, self._clock() - timedelta(seconds=self._settings.keep))


def drop_strangers(ledger: Ledger, names: Collection[str], now: datetime) -> bool:
    """End a slice of the messages to lanes that are none of ``names``; return whether there may be more."""
    with ledger.reading() as connection:
        if not messages.are_strange(connection, names):
            return False
    with ledger.transaction() as connection:
        count = messages.drop_strangers(connection, names, now)
    log.warning("notify.dropped", messages=count, reason="their receiver is not in the settings any more")
    return count == SLICE


def prune(ledger: Ledger, before: datetime) -> bool:
    """Forget a slice of the messages that were done before then; return whether there may be more."""
    with ledger.reading() as connection:
        if not messages.are_done(connection, before):
            return False
    with ledger.transaction() as connection:
        return messages.prune(connection, before) == SLICE


def lease_of(settings: NotifySettings) -> timedelta:
    """Return for how long messages are taken: longer than the longest attempt, so that nobody else delivers them meanwhile."""
    longest = max([each.timeout for each in settings.to.values()] + [settings.mail.timeout if settings.mail else 0.0])
    return timedelta(seconds=longest) + LEASE_MARGIN


def _note(connection: Connection, event: str, at: datetime, **details: event_log.Detail) -> None:
    event_log.record(connection, [Event(at=at, event=event, actor=SYSTEM, details=details)])


def _say(message: Message, attempt: Attempt) -> None:
    said = log.info if attempt.verdict is Verdict.SENT else log.warning
    said(
        "notify.tried",
        message=message.id,
        receiver=message.receiver,
        kind=message.kind,
        verdict=attempt.verdict,
        reason=attempt.said,
    )
