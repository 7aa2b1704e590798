"""The outbox: messages that somebody is to be told, from the event to the answer of who was told.

A message is one row for each who is told. It is written in the transaction in which its follower moves on, so an event has its
messages or is still to be read. It is delivered afterwards, at least once, under an id that never changes. While it gathers, more
events go into it; what it lists is bounded, what it counts is not.

Whoever delivers takes messages for a while (``take``) and says what became of them (``settle``). If it dies, they are free again
when that while is over. ``states``: ``due``, ``sent``, ``failed`` (given up, or refused) and ``dropped`` (nobody is there any
more). Queries look at an index of what is due alone: a million old messages cost nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, func, insert, or_, select, update

from sftpgate.errors import NotFound
from sftpgate.ledger.database.schema import outbox, outbox_lanes
from sftpgate.policy.deliveries import Attempt
from sftpgate.policy.notification_rules import ABOUT_US, Fact, Happened

LISTED = 50  # events that a message lists; a mail of more is not read
SAID = 20  # attempts that a message remembers
SLICE = 1000  # rows that one transaction ends: publishers wait for it


class MessageState(StrEnum):
    """Where a message stands."""

    DUE = "due"
    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a message tells: the first ``events``, and how many there are of each kind."""

    events: tuple[Happened, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Return how many events are told of."""
        return sum(self.counts.values())

    def with_event(self, kind: str, happened: Happened) -> Content:
        """Return this and one event more."""
        events = (*self.events, happened) if len(self.events) < LISTED else self.events
        return Content(events=events, counts={**self.counts, kind: self.counts.get(kind, 0) + 1})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message for one who is told. ``recipient``: a mail address, or ``user:NAME``; empty if the receiver is only one.

    ``gathers`` names what takes events in together, None if this tells one event alone. ``said``: time, verdict and words of the
    last attempts.
    """

    id: str
    lane: str
    receiver: str
    recipient: str = ""
    rule: str
    kind: str
    content: Content
    created_at: datetime
    due_at: datetime
    gathers: str | None = None
    state: MessageState = MessageState.DUE
    attempts: int = 0
    said: tuple[tuple[str, str, str], ...] = ()
    done_at: datetime | None = None
    seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What an attempt has made of a message."""

    message: Message
    attempt: Attempt | None  # None: it was not tried, and is free again
    state: MessageState = MessageState.DUE
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestTimes:
    """What times of messages can be at ``now``: none is made later, the next attempt is due by ``longest_wait_ends``, and whoever
    took one has it until ``longest_lease_ends`` at most.
    """

    now: datetime
    longest_wait_ends: datetime
    longest_lease_ends: datetime


def add(connection: Connection, messages: Sequence[Message]) -> None:
    """Put messages into the outbox; what is gathered goes into the message that gathers it already, if that is not due yet."""
    fresh = [message for message in messages if message.gathers is None or not _gathered(connection, message)]
    if fresh:
        connection.execute(insert(outbox), [_values(message) for message in fresh])


def _gathered(connection: Connection, message: Message) -> bool:
    query = select(outbox).where(outbox.c.gathers == message.gathers, outbox.c.due_at > message.created_at).limit(1)
    row = connection.execute(query).first()
    if row is None:
        return False
    known = _message(row)
    content = known.content
    room = max(0, LISTED - len(content.events))
    counts = dict(content.counts)
    for kind, count in message.content.counts.items():
        counts[kind] = counts.get(kind, 0) + count
    merged = Content(events=(*content.events, *message.content.events[:room]), counts=counts)
    values = {
        "content": _as_json(merged),
        "kind": known.kind if known.kind == message.kind else "digest",
        "last_seq": max((event.seq for event in message.content.events), default=0),
    }
    connection.execute(update(outbox).where(outbox.c.seq == known.seq).values(values))
    return True


def lanes_due(connection: Connection, lanes: Collection[str], now: datetime) -> list[str]:
    """Return those of ``lanes`` that have something to deliver, and may be sent it now."""
    closed = set(
        connection.scalars(
            select(outbox_lanes.c.lane).where(or_(outbox_lanes.c.off_at.is_not(None), outbox_lanes.c.not_before > now))
        )
    )
    return [lane for lane in lanes if lane not in closed and connection.execute(_due(lane, now).limit(1)).first() is not None]


def take(connection: Connection, lane: str, now: datetime, lease: timedelta, limit: int) -> list[Message]:
    """Return messages of a lane that are due, the oldest first, and take them for the length of ``lease``."""
    if not lanes_due(connection, [lane], now):
        return []
    rows = connection.execute(_due(lane, now).order_by(outbox.c.due_at, outbox.c.seq).limit(limit)).all()
    seqs = [row.seq for row in rows]
    connection.execute(update(outbox).where(outbox.c.seq.in_(seqs)).values(taken_until=now + lease, gathers=None))
    return [replace(_message(row), gathers=None) for row in rows]


def settle(connection: Connection, settled: Iterable[Settled], now: datetime) -> None:
    """Record what became of messages that were taken."""
    for each in settled:
        message, attempt = each.message, each.attempt
        values: dict[str, object] = {"taken_until": None, "state": each.state.value}
        if attempt is not None:
            entry = (now.isoformat(timespec="seconds"), attempt.verdict.value, attempt.said)
            values |= {"attempts": message.attempts + 1, "said": json.dumps([*message.said, entry][-SAID:])}
        if each.due_at is not None:
            values["due_at"] = each.due_at
        if each.state is not MessageState.DUE:
            values["done_at"] = now
        connection.execute(update(outbox).where(outbox.c.seq == message.seq).values(values))


def give_up(connection: Connection, lane: str, before: datetime, now: datetime) -> tuple[int, int]:
    """End the messages of a lane that have waited since ``before``, at most a slice of them; return how many, and how many of
    them somebody is to be told of: those about the notifications themselves are not among these.
    """
    rows = connection.execute(_older(lane, before, now).limit(SLICE)).all()
    _end(connection, [row.seq for row in rows], MessageState.FAILED, now)
    return len(rows), sum(not row.kind.startswith(ABOUT_US) for row in rows)


def are_older(connection: Connection, lane: str, before: datetime, now: datetime) -> bool:
    """Return whether ``give_up`` would end any."""
    return connection.execute(_older(lane, before, now).limit(1)).first() is not None


def drop_strangers(connection: Connection, lanes: Collection[str], now: datetime) -> int:
    """End messages to lanes that are none of ``lanes``, at most a slice; return how many."""
    seqs = list(connection.scalars(_strange(lanes).limit(SLICE)))
    _end(connection, seqs, MessageState.DROPPED, now)
    return len(seqs)


def are_strange(connection: Connection, lanes: Collection[str]) -> bool:
    """Return whether ``drop_strangers`` would end any."""
    return connection.execute(_strange(lanes).limit(1)).first() is not None


def are_ahead(connection: Connection, limits: LatestTimes) -> bool:
    """Return whether ``bring_back`` would change any."""
    return connection.execute(select(outbox.c.seq).where(_is_ahead(limits)).limit(1)).first() is not None


def bring_back(connection: Connection, limits: LatestTimes) -> int:
    """Make messages due now whose times cannot be: the clock was set back since. At most a slice; return how many."""
    seqs = list(connection.scalars(select(outbox.c.seq).where(_is_ahead(limits)).limit(SLICE)))
    values = {"created_at": limits.now, "due_at": limits.now, "taken_until": None, "gathers": None}
    connection.execute(update(outbox).where(outbox.c.seq.in_(seqs)).values(values))
    return len(seqs)


def prune(connection: Connection, before: datetime) -> int:
    """Forget messages that were done before then, at most a slice; return how many."""
    seqs = list(connection.scalars(select(outbox.c.seq).where(outbox.c.done_at < before).limit(SLICE)))
    connection.execute(delete(outbox).where(outbox.c.seq.in_(seqs)))
    return len(seqs)


def are_done(connection: Connection, before: datetime) -> bool:
    """Return whether ``prune`` would forget any."""
    return connection.execute(select(outbox.c.seq).where(outbox.c.done_at < before).limit(1)).first() is not None


def again(connection: Connection, message: Message, now: datetime) -> Message:
    """Make a message due once more, under its id; return it as it is now."""
    values = {"state": MessageState.DUE.value, "due_at": now, "done_at": None, "created_at": now, "attempts": 0, "gathers": None}
    connection.execute(update(outbox).where(outbox.c.seq == message.seq).values(values))
    return get(connection, message.id)


# -- looking ---------------------------------------------------------------------------------------------------------


def get(connection: Connection, beginning: str) -> Message:
    """Return the message whose id begins so. Raises NotFound if there is none, or more than one."""
    prefix = beginning.strip().upper()
    query = select(outbox).where(outbox.c.id >= prefix, outbox.c.id < prefix + "~").limit(2)
    rows = connection.execute(query).all()
    if not prefix or len(rows) != 1:
        what = "several messages have ids that begin" if rows else "there is no message whose id begins"
        raise NotFound(f"{what} with {beginning} (`sftpgate notify list`)")
    return _message(rows[0])


def listed(
    connection: Connection, *, state: MessageState | None = None, receiver: str | None = None, limit: int = 100
) -> list[Message]:
    """Return the newest messages that fit, the oldest of them first."""
    query = select(outbox)
    if state is not None:
        query = query.where(outbox.c.state == state.value)
    if receiver is not None:
        query = query.where(outbox.c.receiver == receiver)
    return [_message(row) for row in reversed(connection.execute(query.order_by(outbox.c.seq.desc()).limit(limit)).all())]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What is due: how many messages, at most ``counted_to`` are counted, and since when the oldest of them waits."""

    count: int = 0
    oldest: datetime | None = None


def backlog(connection: Connection, now: datetime, most: int = 10_000) -> Backlog:
    """Return what should have been delivered by now."""
    is_late = (outbox.c.state == MessageState.DUE.value, outbox.c.due_at <= now)
    some = select(outbox.c.due_at).where(*is_late).limit(most).subquery()
    count, oldest = connection.execute(select(func.count(), func.min(some.c.due_at)).select_from(some)).one()
    return Backlog(count=count, oldest=oldest)


# -- rows --------------------------------------------------------------------------------------------------------------


def _is_due(lane: str) -> ColumnElement[bool]:
    return and_(outbox.c.state == MessageState.DUE.value, outbox.c.lane == lane)


def _older(lane: str, before: datetime, now: datetime) -> Select[Any]:
    is_free = or_(outbox.c.taken_until.is_(None), outbox.c.taken_until <= now)
    is_old = (outbox.c.due_at <= now, outbox.c.created_at <= before)
    return select(outbox.c.seq, outbox.c.kind).where(_is_due(lane), *is_old, is_free)


def _is_ahead(limits: LatestTimes) -> ColumnElement[bool]:
    is_made_later = outbox.c.created_at > limits.longest_lease_ends  # some slack: gates that share a ledger have a clock each
    waits_too_long = and_(outbox.c.attempts > 0, outbox.c.due_at > limits.longest_wait_ends)
    is_taken_too_long = outbox.c.taken_until > limits.longest_lease_ends
    is_ahead = or_(is_made_later, waits_too_long, is_taken_too_long)
    return and_(outbox.c.state == MessageState.DUE.value, is_ahead)


def _strange(lanes: Collection[str]) -> Select[Any]:
    return select(outbox.c.seq).where(outbox.c.state == MessageState.DUE.value, outbox.c.lane.not_in(sorted(lanes)))


def _end(connection: Connection, seqs: Collection[int], state: MessageState, now: datetime) -> None:
    values = {"state": state.value, "done_at": now, "gathers": None}
    connection.execute(update(outbox).where(outbox.c.seq.in_(seqs)).values(values))


def _due(lane: str, now: datetime) -> Select[Any]:
    is_free = or_(outbox.c.taken_until.is_(None), outbox.c.taken_until <= now)
    return select(outbox).where(_is_due(lane), outbox.c.due_at <= now, is_free)


def _values(message: Message) -> dict[str, object]:
    seqs = [event.seq for event in message.content.events] or [0]
    return {
        "id": message.id,
        "lane": message.lane,
        "receiver": message.receiver,
        "recipient": message.recipient,
        "rule": message.rule,
        "kind": message.kind,
        "content": _as_json(message.content),
        "first_seq": min(seqs),
        "last_seq": max(seqs),
        "created_at": message.created_at,
        "due_at": message.due_at,
        "gathers": message.gathers,
        "state": message.state.value,
        "attempts": message.attempts,
        "said": json.dumps(message.said),
        "done_at": message.done_at,
    }


def _message(row: Row[tuple[object, ...]]) -> Message:
    return Message(
        seq=row.seq,
        id=row.id,
        lane=row.lane,
        receiver=row.receiver,
        recipient=row.recipient,
        rule=row.rule,
        kind=row.kind,
        content=_from_json(row.content),
        created_at=row.created_at,
        due_at=row.due_at,
        gathers=row.gathers,
        state=MessageState(row.state),
        attempts=row.attempts,
        said=tuple((str(at), str(verdict), str(words)) for at, verdict, words in json.loads(row.said)),
        done_at=row.done_at,
    )


_FACTS = ("seq", "event", "actor", "user", "arrival", "path", "size", "tool")


def _as_json(content: Content) -> str:
    events: list[dict[str, Fact | Mapping[str, Fact]]] = []
    for each in content.events:
        facts: dict[str, Fact | Mapping[str, Fact]] = {name: getattr(each, name) for name in _FACTS}
        events.append({**facts, "at": each.at.isoformat(), "details": dict(each.details)})
    return json.dumps({"events": events, "counts": dict(content.counts)})


def _from_json(text: str) -> Content:
    found = json.loads(text)
    events = tuple(Happened(**{**event, "at": datetime.fromisoformat(event["at"])}) for event in found["events"])
    return Content(events=events, counts=found["counts"])
