"""What people do about notifications: try a receiver, send a message again, turn a receiver on again, make a key."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sftpgate.app.audit import record_act
from sftpgate.app.notifications.listing import ListedMessage, as_told
from sftpgate.app.notifications.parts import make_audience, make_ways
from sftpgate.errors import NotFound, Refused
from sftpgate.ids import new_id
from sftpgate.ledger.audit.actor import Actor
from sftpgate.ledger.outbox import lanes, messages
from sftpgate.ledger.outbox.messages import Content, Message, MessageState
from sftpgate.policy.deliveries import Attempt, Verdict
from sftpgate.policy.notification_rules import Happened
from sftpgate.settings.notify import SENDERS
from sftpgate.site import Site
from sftpgate.upkeep.notifications.audience import USER, Receiver
from sftpgate.upkeep.notifications.ways.signatures import new_key, public_key
from sftpgate.upkeep.notifications.ways.way import Way

TEST = "notify.test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key that signs webhooks, and what its receiver needs to check them: the public half, or the same secret."""

    secret: str
    for_receiver: str


def send_test(site: Site, actor: Actor, receiver: str, user: str = "") -> list[ListedMessage]:
    """Send a test to a receiver at once, and return what became of it, once for each address. ``user``: whose address, if it is
    the senders.

    It is listed as other messages are, and is not tried again. Raises NotFound for a receiver that there is not, and Refused for
    the senders without a user.
    """
    audience = make_audience(site.settings)
    found = audience.receivers.get(receiver)
    if found is None:
        raise NotFound(f"there is no receiver {receiver} in the settings (`sftpgate notify receivers`)")
    if found.name == SENDERS and not user:
        raise Refused("senders are many: say which one, with --user")
    recipients = (USER + user,) if found.name == SENDERS else found.recipients
    way = make_ways(site.settings, site.ledger, site.clock)[found.lane]
    tests = [_test(found, each, actor, user, site.clock()) for each in recipients]
    attempts = asyncio.run(_deliver(way, tests))
    done = [_done(test, attempt, site.clock()) for test, attempt in zip(tests, attempts, strict=True)]
    with site.ledger.transaction() as connection:
        messages.add(connection, done)
    return [as_told(each) for each in done]


def resend(site: Site, actor: Actor, beginnings: Sequence[str]) -> list[ListedMessage]:
    """Let messages be delivered once more, under the ids that they have. Raises NotFound, and then none of them is."""
    with site.ledger.transaction() as connection:
        found = [messages.get(connection, each) for each in beginnings]
        sent = [as_told(messages.again(connection, each, site.clock())) for each in found]
    record_act(site.settings, actor, "notify.resent", messages=len(sent))
    return sent


def resume(site: Site, actor: Actor, receiver: str) -> None:
    """Send to a receiver again that was turned off, or that was away, at once. Raises NotFound."""
    found = make_audience(site.settings).receivers.get(receiver)
    if found is None:
        raise NotFound(f"there is no receiver {receiver} in the settings (`sftpgate notify receivers`)")
    with site.ledger.transaction() as connection:
        lanes.put(connection, lanes.Lane(name=found.lane))
    record_act(site.settings, actor, "notify.resumed", receiver=receiver)


def make_key(*, shared: bool) -> Key:
    """Return a fresh key for a webhook: a shared secret, or a pair of which the receiver gets the public half."""
    secret = new_key(secrets.token_bytes(32), shared=shared)
    return Key(secret=secret, for_receiver=public_key(secret) or secret)


async def _deliver(way: Way, tests: Sequence[Message]) -> list[Attempt]:
    try:
        return [await way.deliver(test) for test in tests]
    finally:
        await way.close()


def _test(receiver: Receiver, recipient: str, actor: Actor, user: str, now: datetime) -> Message:
    happened = Happened(seq=0, at=now, event=TEST, actor=str(actor), user=user, details={})
    return Message(
        id=new_id(now),
        lane=receiver.lane,
        receiver=receiver.name,
        recipient=recipient,
        rule="",
        kind=TEST,
        content=Content().with_event(TEST, happened),
        created_at=now,
        due_at=now,
    )


def _done(test: Message, attempt: Attempt, now: datetime) -> Message:
    state = MessageState.SENT if attempt.verdict is Verdict.SENT else MessageState.FAILED
    said = ((now.isoformat(timespec="seconds"), attempt.verdict.value, attempt.said),)
    return replace(test, state=state, attempts=1, said=said, done_at=now)
