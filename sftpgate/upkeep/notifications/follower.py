"""Reads the record, and writes into the outbox what somebody is to be told.

A follower of the feed: the messages of a batch and its new position are one transaction, so a crash leaves both or neither. What
a rule gathers goes into one message, whose size is bounded. Nothing here is written inside a change: a CLOSE costs what it did.
Everything blocks.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sftpgate.errors import UnknownArrival
from sftpgate.ids import Clock, new_id
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.audit import chain, feed
from sftpgate.ledger.audit.actor import Role
from sftpgate.ledger.audit.event_log import Event, Record
from sftpgate.ledger.audit.feed import Batch
from sftpgate.ledger.database.connection import Connection, Ledger
from sftpgate.ledger.outbox import lanes, messages
from sftpgate.ledger.outbox.messages import Content, Message
from sftpgate.policy.event_texts import may_be_told_to_senders
from sftpgate.policy.notification_rules import ABOUT_US, Happened, Rule, due_at, fits, kinds_of, wanted_events
from sftpgate.policy.pointers import Pointer, tool_for
from sftpgate.settings.notify import SENDERS
from sftpgate.upkeep.notifications.audience import USER, Audience, Receiver, SenderOf

NAME = "notifications"
TOGETHER = 25  # events of one transaction; each may be a message for many, and publishers wait for all of them


class Announcer:
    """Turns events into messages. One per process."""

    def __init__(
        self, ledger: Ledger, audience: Audience, *, pointers: Sequence[Pointer], sender_of: SenderOf, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._audience = audience
        self._pointers = pointers
        self._sender_of = sender_of
        self._clock = clock
        self._wanted = wanted_events(audience.rules)

    def join(self) -> None:
        """Begin with what happens from now on, unless this follower is known already."""
        with self._ledger.reading() as connection:
            if any(follower.name == NAME for follower in feed.all_followers(connection)):
                return
        with self._ledger.transaction() as connection:
            feed.join(connection, NAME, at=self._clock())

    def read_on(self, batches: int = 20) -> int:
        """Deal with what has happened since, at most so many batches; return how many events were read that can be told of."""
        count = 0
        for _ in range(batches):
            with self._ledger.reading() as connection:
                batch = feed.read(connection, NAME, events=self._wanted, limit=TOGETHER)
                if batch.is_empty:
                    break
                found, passed_by = self._announced(connection, batch)
            with self._ledger.transaction() as connection:  # as short as can be: publishers wait for it
                messages.add(connection, found)
                lanes.pass_by(connection, passed_by)
                feed.move_on(connection, batch, at=self._clock())
            count += len(batch.records)
        return count

    def _announced(self, connection: Connection, batch: Batch) -> tuple[list[Message], Mapping[str, int]]:
        """Return the messages of a batch, and how many events the lanes that are off are not told of."""
        off = {name for name, lane in lanes.known(connection).items() if lane.off_at is not None}
        now = self._clock()
        told: list[Happened] = list(self._happened(connection, batch.records))
        if batch.missed:
            told.append(Happened(seq=batch.end, at=now, event="notify.missed", details={"count": batch.missed}))
        found = [message for happened in told for message in self._messages(happened, now)]
        passed_by = Counter(message.lane for message in found if message.lane in off)
        return _gathered([message for message in found if message.lane not in off]), passed_by

    def _happened(self, connection: Connection, records: Iterable[Record]) -> Iterator[Happened]:
        for record in records:
            event = record.event
            item = _arrival_of(connection, event)
            path = str(event.details.get("path") or (item.path if item is not None else ""))
            actor = event.actor.name if event.actor.role is Role.SENDER else ""
            yield Happened(
                seq=record.seq,
                at=event.at,
                event=event.event,
                actor=str(event.actor),
                user=item.owner if item is not None else str(event.details.get("user") or actor),
                arrival=event.arrival or "",
                path=path,
                size=item.size if item is not None else None,
                tool=str(event.details.get("tool") or tool_for(path, self._pointers) or ""),
                details=event.details,
            )

    def _messages(self, happened: Happened, now: datetime) -> Iterator[Message]:
        told: set[tuple[str, str]] = set()  # of two rules that fit, the first one tells
        for rule in self._audience.rules:
            if not fits(rule, happened):
                continue
            for receiver in (self._audience.receivers[name] for name in rule.to):
                if happened.event.startswith(ABOUT_US) and happened.details.get("receiver") in (receiver.name, receiver.lane):
                    continue  # who is away cannot be told that it is
                for recipient in self._recipients(receiver, happened):
                    if (receiver.name, recipient) in told:
                        continue
                    told.add((receiver.name, recipient))
                    yield _message(rule, receiver, recipient, happened, now)

    def _recipients(self, receiver: Receiver, happened: Happened) -> Sequence[str]:
        if receiver.name != SENDERS:
            return receiver.recipients
        kind = kinds_of(happened.event, happened.details)[-1]
        if not happened.user or not may_be_told_to_senders(kind) or self._sender_of(happened.user) is None:
            return ()
        return (USER + happened.user,)


def leave(ledger: Ledger) -> None:
    """Follow no more: nobody is to be told of anything. The record does not wait for us then."""
    with ledger.reading() as connection:
        if not chain.is_there(connection) or all(follower.name != NAME for follower in feed.all_followers(connection)):
            return
    with ledger.transaction() as connection:
        feed.leave(connection, NAME)


def _message(rule: Rule, receiver: Receiver, recipient: str, happened: Happened, now: datetime) -> Message:
    kind = kinds_of(happened.event, happened.details)[-1]
    quiet = None if rule.urgent else receiver.quiet
    due = due_at(now, receiver.gathered if rule.digest is None else rule.digest, quiet)
    return Message(
        id=new_id(now),
        lane=receiver.lane,
        receiver=receiver.name,
        recipient=recipient,
        rule=rule.name,
        kind=kind,
        content=Content().with_event(kind, happened),
        created_at=now,
        due_at=due,
        gathers=_together(rule.name, receiver.name, recipient) if due > now else None,
    )


def _together(*parts: str) -> str:
    """Return one name for all that is gathered for one recipient by one rule; addresses may be longer than a column."""
    return hashlib.sha256("/".join(parts).encode()).hexdigest()


def _gathered(found: Sequence[Message]) -> list[Message]:
    """Return the messages of a batch, those that are gathered together as one."""
    alone: list[Message] = []
    together: dict[str, Message] = {}
    for message in found:
        if message.gathers is None:
            alone.append(message)
        elif (first := together.get(message.gathers)) is None:
            together[message.gathers] = message
        else:
            [event] = message.content.events
            content = first.content.with_event(message.kind, event)
            kind = first.kind if first.kind == message.kind else "digest"
            together[message.gathers] = replace(first, content=content, kind=kind)
    return [*alone, *together.values()]


def _arrival_of(connection: Connection, event: Event) -> Arrival | None:
    if event.arrival is None:
        return None
    try:
        return arrivals.get(connection, ArrivalId(event.arrival))
    except UnknownArrival:
        return None  # retention has forgotten it
