"""``sftpgate ban …``: which addresses are refused at the door. A running server follows a change within a second or two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.record import changes, looks

if TYPE_CHECKING:
    from sftpgate.policy.bans import BanRules
    from sftpgate.settings import Settings
    from sftpgate.users.registry import UserRegistry

ban_app = typer.Typer(help="Bans: addresses that are refused at the door.", no_args_is_help=True)

Address = Annotated[str, typer.Argument(help="An IPv4 or IPv6 address; of IPv6, its /64 is meant.")]


@ban_app.command("list")
@looks
def ban_list(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List who is banned, why, and until when; the latest first.

    Example: sftpgate ban list
    """
    from sftpgate.cli.context import ledger_for_reading, read_settings
    from sftpgate.cli.output import emit
    from sftpgate.ledger import bans

    with ledger_for_reading(read_settings()) as ledger:
        found = []
        if ledger is not None:
            ledger.create()
            with ledger.reading() as connection:
                found = bans.banned(connection, datetime.now(UTC))
    rows = [
        {
            "source": ban.source,
            "reason": ban.reason,
            "banned_at": ban.banned_at,
            "until": ban.banned_until,
            "times": ban.bans or None,
            "by": "admin" if ban.by_admin else "score",
        }
        for ban in found
    ]
    emit(rows, ["source", "reason", "banned_at", "until", "times", "by"], json=json)


@ban_app.command("add")
@changes
def ban_add(
    address: Address,
    reason: Annotated[str, typer.Option(help="Why, for the listing and the log.")] = "",
    duration: Annotated[str, typer.Option("--for", metavar="TIME", help="30m, 12h, 7d; default: until it is removed.")] = "",
) -> None:
    """Refuse connections from an address, and end those that it has, of users too. What they were sending can be resumed.

    Example: sftpgate ban add 203.0.113.7 --for 7d --reason "tries passwords"
    """
    from sftpgate.cli.context import opened, read_settings
    from sftpgate.errors import Refused
    from sftpgate.ledger import bans
    from sftpgate.policy.bans import Standing, is_exempt
    from sftpgate.users.registry import UserRegistry

    settings = read_settings()
    source = _source(address)
    if is_exempt(address.partition("/")[0], named_by_admin(settings, UserRegistry(settings.keys_dir))()):
        raise Refused(f"{address} is named by trusted_networks, by a key's from= or by a user's networks: it is never banned")
    now = datetime.now(UTC)
    until = now + _duration(duration) if duration else None
    standing = Standing(
        source=source,
        score=0.0,
        scored_at=now,
        banned_at=now,
        banned_until=until,
        by_admin=True,
        reason=reason or "banned by hand",
    )
    with opened(settings) as system, system.ledger.transaction() as connection:
        bans.ban(connection, standing)
    typer.echo(f"{source} is banned {f'until {until:%Y-%m-%d %H:%M} UTC' if until else 'until `sftpgate ban remove`'}")


@ban_app.command("remove")
@changes
def ban_remove(address: Address) -> None:
    """Let an address in again, and forget its failed logins.

    Example: sftpgate ban remove 203.0.113.7
    """
    from sftpgate.cli.context import opened, read_settings
    from sftpgate.errors import NotFound
    from sftpgate.ledger import bans

    source = _source(address)
    with opened(read_settings()) as system, system.ledger.transaction() as connection:
        if not bans.unban(connection, source):
            raise NotFound(f"{source} is not banned, and has no failed logins (`sftpgate ban list`)")
    typer.echo(f"{source} is let in again")


def named_by_admin(settings: Settings, registry: UserRegistry) -> Callable[[], Sequence[Sequence[str]]]:
    """Reads the lists of address patterns of those that are never banned: of the settings, and of the users."""

    def read() -> Sequence[Sequence[str]]:
        users = registry.list()
        found = {user.networks for user in users} | {key.from_patterns for user in users for key in user.keys}
        return [settings.trusted_networks, settings.proxy_protocol_from, *(patterns for patterns in found if patterns)]

    return read


def ban_rules(settings: Settings) -> BanRules:
    """The rules of the settings."""
    from sftpgate.policy.bans import BanRules

    return BanRules(
        threshold=settings.ban_threshold,
        half_life=timedelta(seconds=settings.ban_half_life),
        first_ban=timedelta(seconds=settings.ban_time),
        longest_ban=timedelta(seconds=settings.ban_time_max),
    )


def _source(address: str) -> str:
    from sftpgate.errors import Refused
    from sftpgate.policy.bans import source_named

    source = source_named(address)
    if source is None:
        raise Refused(f"{address} is no IPv4 address, IPv6 address or IPv6 /64; larger networks are a firewall's work")
    return source


def _duration(text: str) -> timedelta:
    from sftpgate.errors import Refused
    from sftpgate.settings import parse_duration

    seconds = parse_duration(text)
    if not isinstance(seconds, float) or seconds <= 0:
        raise Refused(f"--for {text}: say 30m, 12h or 7d")
    try:
        return timedelta(seconds=min(seconds, timedelta(days=36500).total_seconds()))
    except OverflowError as error:
        raise Refused(f"--for {text}: too long") from error
