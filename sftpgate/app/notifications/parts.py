"""The parts of the notifications, put together from the settings: the follower of the record, and what delivers."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from sftpgate.app.composition import pointers_of
from sftpgate.ids import Clock
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.database.identity import identity
from sftpgate.ledger.outbox import lanes
from sftpgate.policy.reachable_addresses import networks
from sftpgate.settings.choices import Language
from sftpgate.settings.tree import Settings
from sftpgate.threads import Threads
from sftpgate.upkeep.followers import FeedFollower
from sftpgate.upkeep.notifications.audience import Audience, Correspondent, Receiver, audience_of
from sftpgate.upkeep.notifications.courier import Courier, drop_strangers, prune
from sftpgate.upkeep.notifications.follower import NAME, Announcer, leave
from sftpgate.upkeep.notifications.ways.way import Way
from sftpgate.upkeep.notifications.wording import Reader
from sftpgate.users.registry import account_in

NOBODY_SECONDS = 3600.0  # between two looks whether something is left to end, if nobody is told of anything
FOLLOW_SECONDS = 0.5  # between two looks at the record; with the courier's own, a message is under way within two seconds


def make_audience(settings: Settings) -> Audience:
    """Return who is told of what. Raises SettingsError if a rule names an event that there is not."""
    return audience_of(settings.notify, settings.language)


def correspondent(keys_dir: Path, language: Language, user: str) -> Correspondent | None:
    """Return where a user wants to be written to, by its ``user.toml`` as it is now; None if it does not want that."""
    account = account_in(keys_dir, user)
    if account is None or not account.mail:
        return None
    return Correspondent(account.mail, account.language or language)


def follower(settings: Settings, ledger: Ledger, clock: Clock) -> list[FeedFollower]:
    """Return the follower that writes into the outbox. If nobody is to be told of anything, the record does not wait for it, and
    it ends what an earlier setting left in the outbox, and keeps that for as long as it would.
    """
    if not settings.notify.is_wanted:
        return [FeedFollower(name=NAME, step=partial(_clear, settings, ledger, clock), pause_seconds=NOBODY_SECONDS)]
    announcer = Announcer(
        ledger,
        make_audience(settings),
        pointers=pointers_of(settings),
        sender_of=partial(correspondent, settings.keys_dir, settings.language),
        clock=clock,
    )

    def step() -> bool:
        announcer.join()
        return announcer.read_on() > 0

    return [FeedFollower(name=NAME, step=step, pause_seconds=FOLLOW_SECONDS)]


def _clear(settings: Settings, ledger: Ledger, clock: Clock) -> bool:
    """Do a slice of what is left to do when nobody is told of anything any more; return whether there is more."""
    leave(ledger)
    now, keep = clock(), timedelta(seconds=settings.notify.keep)
    with ledger.reading() as connection:
        has_lanes = lanes.are_strange(connection, (), now)
    if has_lanes:
        with ledger.transaction() as connection:
            lanes.put_in_order(connection, (), now)
    return drop_strangers(ledger, (), now) or (settings.notify.keep > 0 and prune(ledger, now - keep))


def make_courier(settings: Settings, ledger: Ledger, threads: Threads, clock: Clock) -> Courier:
    """Return what delivers the outbox."""
    luck = random.SystemRandom().random
    return Courier(ledger, settings.notify, make_ways(settings, ledger, clock), threads, clock=clock, luck=luck)


def make_ways(settings: Settings, ledger: Ledger, clock: Clock) -> Mapping[str, Way]:
    """Return the way to each lane."""
    audience = make_audience(settings)
    with ledger.reading() as connection:
        source = f"urn:sftpgate:{identity(connection) or 'unknown'}"
    return {lane: _way(settings, audience, receiver, source, clock) for lane, receiver in audience.lanes.items()}


def _way(settings: Settings, audience: Audience, receiver: Receiver | None, source: str, clock: Clock) -> Way:
    notify = settings.notify
    reader_of = partial(_reader, ZoneInfo(notify.timezone), notify.name)
    if receiver is None:
        from sftpgate.upkeep.notifications.ways.mail import Mail

        assert notify.mail is not None
        sender_of = partial(correspondent, settings.keys_dir, settings.language)
        return Mail(notify.mail, audience.receivers, reader_of=reader_of, sender_of=sender_of, clock=clock)
    told = receiver.settings
    assert told is not None
    match told.way:
        case "webhook":
            from sftpgate.upkeep.notifications.ways.webhook import Webhook

            return Webhook(told, networks(notify.allowed_networks), source=source, gate=notify.name, clock=clock)
        case "command":
            from sftpgate.upkeep.notifications.ways.program import Program

            return Program(told, source=source, gate=notify.name)
        case _:
            from sftpgate.upkeep.notifications.ways.chat import Chat

            return Chat(told, reader_of(receiver))


def _reader(zone: ZoneInfo, gate: str, receiver: Receiver) -> Reader:
    return Reader(language=receiver.language, zone=zone, gate=gate)
