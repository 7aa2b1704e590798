"""What was told to whom, and what they said: messages and receivers as plain values, without secrets. Only looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from sftpgate.app.context import ledger_for_reading
from sftpgate.app.notifications.parts import make_audience
from sftpgate.errors import NotFound, Refused
from sftpgate.ledger.outbox import lanes, messages
from sftpgate.ledger.outbox.lanes import Lane
from sftpgate.ledger.outbox.messages import Message, MessageState
from sftpgate.settings.notify import SENDERS
from sftpgate.settings.tree import Settings
from sftpgate.upkeep.notifications.audience import MAIL_LANE, Receiver


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedMessage:
    """A message. ``said``: what its receiver said last; ``attempts`` are all that are remembered, as time, verdict and words."""

    id: str
    state: MessageState
    receiver: str
    recipient: str
    kind: str
    events: int
    rule: str
    created_at: datetime
    due_at: datetime | None
    done_at: datetime | None
    tries: int
    said: str
    attempts: Sequence[tuple[str, str, str]]
    counts: Mapping[str, int]
    about: Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverStanding:
    """A receiver: how it is told, where, and whether it is there. ``failures`` are in a row."""

    receiver: str
    way: str
    where: str
    rules: Sequence[str]
    state: str
    failures: int
    not_before: datetime | None
    off_because: str
    passed_by: int


def list_messages(
    settings: Settings, *, state: str | None = None, receiver: str | None = None, limit: int = 100
) -> list[ListedMessage]:
    """Return the newest messages that fit, the oldest of them first. Raises Refused for a state that there is not."""
    try:
        wanted = MessageState(state) if state else None
    except ValueError as error:
        raise Refused(f"there is no state {state}: say {', '.join(MessageState)}") from error
    with ledger_for_reading(settings) as ledger:
        if ledger is None:
            return []
        ledger.create()
        with ledger.reading() as connection:
            return [as_told(each) for each in messages.listed(connection, state=wanted, receiver=receiver, limit=limit)]


def show_message(settings: Settings, beginning: str) -> ListedMessage:
    """Return the message whose id begins so. Raises NotFound."""
    with ledger_for_reading(settings) as ledger:
        if ledger is None:
            raise NotFound("nothing has happened yet: there is no ledger")
        ledger.create()
        with ledger.reading() as connection:
            return as_told(messages.get(connection, beginning))


def list_receivers(settings: Settings) -> list[ReceiverStanding]:
    """Return those who are told, with what is known of them. Raises SettingsError."""
    audience = make_audience(settings)
    known: Mapping[str, Lane] = {}
    with ledger_for_reading(settings) as ledger:
        if ledger is not None:
            ledger.create()
            with ledger.reading() as connection:
                known = lanes.known(connection)
    rules = {name: [rule.name for rule in audience.rules if name in rule.to] for name in audience.receivers}
    found = [each for each in audience.receivers.values() if each.name != SENDERS or rules[SENDERS]]
    return [_standing(each, known.get(each.lane) or Lane(name=each.lane), rules[each.name]) for each in found]


def as_told(message: Message) -> ListedMessage:
    """Return a message as plain values."""
    about = [{"at": each.at, "event": each.event, "path": each.path, "user": each.user} for each in message.content.events]
    return ListedMessage(
        id=message.id,
        state=message.state,
        receiver=message.receiver,
        recipient=message.recipient,
        kind=message.kind,
        events=message.content.total,
        rule=message.rule,
        created_at=message.created_at,
        due_at=message.due_at if message.state is MessageState.DUE else None,
        done_at=message.done_at,
        tries=message.attempts,
        said=message.said[-1][2] if message.said else "",
        attempts=message.said,
        counts=message.content.counts,
        about=about,
    )


def _standing(receiver: Receiver, lane: Lane, rules: Sequence[str]) -> ReceiverStanding:
    told = receiver.settings
    return ReceiverStanding(
        receiver=receiver.name,
        way="mail" if told is None else told.way,
        where=_where(receiver),
        rules=rules,
        state="off" if lane.off_at else "away" if lane.failures else "on",
        failures=lane.failures,
        not_before=lane.not_before,
        off_because=lane.off_because,
        passed_by=lane.passed_by,
    )


def _where(receiver: Receiver) -> str:
    """Return where a receiver is, without what may be a secret."""
    told = receiver.settings
    if told is None:
        return "each sender's address in user.toml"
    if receiver.lane == MAIL_LANE:
        return ", ".join(receiver.recipients)
    if told.url is not None:
        parts = urlsplit(told.url.get_secret_value())
        return f"{parts.scheme}://{parts.hostname}"
    if told.chat is not None:
        return f"{told.chat.get_secret_value().partition(':')[0]}://…"
    return told.command[0]
