"""``sftpgate ban …``: which addresses are refused. A running server follows a change within a second or two."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from sftpgate.cli.command_record import changes, looks

ban_app = typer.Typer(help="Bans: addresses that are refused.", no_args_is_help=True)

Address = Annotated[str, typer.Argument(help="An IPv4 or IPv6 address; of IPv6, its /64 is meant.")]


@ban_app.command("list")
@looks
def ban_list(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List who is banned, why, and until when; the latest first.

    Example: sftpgate ban list
    """
    from sftpgate.app.bans import banned
    from sftpgate.app.context import ledger_for_reading, read_settings
    from sftpgate.cli.output import emit

    with ledger_for_reading(read_settings()) as ledger:
        found = banned(ledger, datetime.now(UTC))
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
    from sftpgate.app.bans import ban, require_bannable
    from sftpgate.app.context import opened, read_settings
    from sftpgate.ledger.audit.actor import command

    settings = read_settings()
    source = require_bannable(settings, address)  # reads users' files, as whoever called us
    until = datetime.now(UTC) + _duration(duration) if duration else None
    with opened(settings) as site:
        ban(site, command(), source, reason=reason, until=until)
    typer.echo(f"{source} is banned {f'until {until:%Y-%m-%d %H:%M} UTC' if until else 'until `sftpgate ban remove`'}")


@ban_app.command("remove")
@changes
def ban_remove(address: Address) -> None:
    """Let an address in again, and forget its failed logins.

    Example: sftpgate ban remove 203.0.113.7
    """
    from sftpgate.app.bans import let_in, source_of
    from sftpgate.app.context import opened, read_settings
    from sftpgate.ledger.audit.actor import command

    source = source_of(address)
    with opened(read_settings()) as site:
        let_in(site, command(), source)
    typer.echo(f"{source} is let in again")


def _duration(text: str) -> timedelta:
    from sftpgate.errors import Refused
    from sftpgate.settings.durations import parse_duration

    seconds = parse_duration(text)
    if not isinstance(seconds, float) or seconds <= 0:
        raise Refused(f"--for {text}: say 30m, 12h or 7d")
    try:
        return timedelta(seconds=min(seconds, timedelta(days=36500).total_seconds()))
    except OverflowError as error:
        raise Refused(f"--for {text}: too long") from error
