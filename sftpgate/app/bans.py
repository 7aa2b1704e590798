"""Bans: which addresses are refused, and by which rules. A running server follows a change within a second or two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sftpgate.app.audit import record_act
from sftpgate.errors import NotFound, Refused
from sftpgate.ledger import bans
from sftpgate.ledger.audit.actor import Actor
from sftpgate.ledger.database.connection import Ledger
from sftpgate.policy.bans import BanRules, SourceStanding, is_exempt, source_named
from sftpgate.settings.tree import Settings
from sftpgate.site import Site
from sftpgate.users.registry import UserRegistry


def banned(ledger: Ledger | None, now: datetime) -> Sequence[SourceStanding]:
    """Return who is banned, why, and until when; the latest first. ``ledger`` is None before the first start."""
    if ledger is None:
        return []
    ledger.create()
    with ledger.reading() as connection:
        return bans.banned(connection, now)


def require_bannable(settings: Settings, address: str) -> str:
    """Return the source that ``address`` names: the address, or the /64 of an IPv6 address.

    Raises Refused if it is no address, or one that the settings or a user name as theirs.
    """
    source = source_of(address)
    if is_exempt(address.partition("/")[0], named_by_admin(settings, UserRegistry(settings.keys_dir))()):
        raise Refused(f"{address} is named by trusted_networks, by a key's from= or by a user's networks: it is never banned")
    return source


def ban(site: Site, actor: Actor, source: str, *, reason: str = "", until: datetime | None = None) -> SourceStanding:
    """Refuse connections from ``source``, and end those that it has; ``until`` None: until it is let in again."""
    now = site.clock()
    standing = SourceStanding(
        source=source,
        score=0.0,
        scored_at=now,
        banned_at=now,
        banned_until=until,
        by_admin=True,
        reason=reason or "banned by hand",
    )
    with site.ledger.transaction() as connection:
        bans.ban(connection, standing)
    record_act(site.settings, actor, "address.banned", source=source, reason=standing.reason)
    return standing


def let_in(site: Site, actor: Actor, source: str) -> None:
    """Let ``source`` in again, and forget its failed logins. Raises NotFound if there is nothing to forget."""
    with site.ledger.transaction() as connection:
        if not bans.unban(connection, source):
            raise NotFound(f"{source} is not banned, and has no failed logins (`sftpgate ban list`)")
    record_act(site.settings, actor, "address.let_in", source=source)


def source_of(address: str) -> str:
    """Return the source that ``address`` names. Raises Refused if it is no address, and no IPv6 /64."""
    source = source_named(address)
    if source is None:
        raise Refused(f"{address} is no IPv4 address, IPv6 address or IPv6 /64; larger networks are a firewall's work")
    return source


# -- rules -----------------------------------------------------------------------------------------------------------


def named_by_admin(settings: Settings, registry: UserRegistry) -> Callable[[], Sequence[Sequence[str]]]:
    """Return a reader of the lists of address patterns that are never banned: those of the settings, and of the users."""

    def read() -> Sequence[Sequence[str]]:
        users = registry.list()
        found = {user.networks for user in users} | {key.from_patterns for user in users for key in user.keys}
        return [settings.trusted_networks, settings.proxy_protocol_from, *(patterns for patterns in found if patterns)]

    return read


def ban_rules(settings: Settings) -> BanRules:
    """Return the rules of the settings."""
    return BanRules(
        threshold=settings.ban_threshold,
        half_life=timedelta(seconds=settings.ban_half_life),
        first_ban=timedelta(seconds=settings.ban_time),
        longest_ban=timedelta(seconds=settings.ban_time_max),
    )
