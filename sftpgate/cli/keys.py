"""``sftpgate key …``: the keys and certificate authorities of users.

The commands change files in the keys directory and nothing else; a running server sees the change at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.accounts import KEY_COLUMNS, key_row, last_uses, open_registry, read_key, say_if_locked_out

if TYPE_CHECKING:
    from sftpgate.users.keys import AuthorizedKey
    from sftpgate.users.registry import User

key_app = typer.Typer(help="Keys of users.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The user's name.")]
KeyFile = Annotated[Path, typer.Argument(help="File with one public key (OpenSSH, RFC 4716 or PEM); - for standard input.")]
Label = Annotated[str | None, typer.Option(help="What listings call the key; default: the file's comment.")]


@key_app.command("add")
def key_add(
    name: Name,
    file: KeyFile,
    label: Label = None,
    expires: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day (UTC) on which the key is not accepted any more.")
    ] = None,
    source: Annotated[
        str, typer.Option("--from", metavar="PATTERNS", help="Addresses to accept it from: 192.0.2.0/24,!192.0.2.7,10.1.*")
    ] = "",
    authority: Annotated[
        bool, typer.Option("--authority", help="The key signs certificates; it logs nobody in by itself.")
    ] = False,
    principals: Annotated[
        str, typer.Option(help="With --authority: principals of which a certificate must have one; default: the user's name.")
    ] = "",
) -> None:
    """Give a user one more key. Keys that it has stay: `sftpgate key rotate` changes one for another.

    Example: sftpgate key add erp new.pub --label 2030 --from 192.0.2.0/24

    Example: sftpgate key add erp ca.pub --authority --principals erp-batch
    """
    from sftpgate.users.keyedits import limited

    if principals and not authority:
        raise typer.BadParameter("--principals goes with --authority")
    settings, registry = open_registry()
    registry.load(name)
    key = read_key(file, settings.min_rsa_bits)
    if label is not None or expires is not None or source or authority:
        key = limited(
            key,
            label=label,
            expires=expires.date() if expires else None,
            from_patterns=_parts(source),
            authority=authority,
            principals=_parts(principals),
        )
    registry.add_key(name, key)
    typer.echo(f"key {key.fingerprint} added to user {name}")
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        typer.echo("this key has expired already: it is not accepted", err=True)
    _say_findings(key)


@key_app.command("rotate")
def key_rotate(
    name: Name,
    file: KeyFile,
    overlap: Annotated[str, typer.Option(help="How long the old key is still accepted: 7d, 12h, 0.")] = "7d",
    old: Annotated[
        str, typer.Option(metavar="FINGERPRINT", help="The key to take the place of; needed where the user has several.")
    ] = "",
    label: Label = None,
) -> None:
    """Give a user a new key in the place of an old one, which is accepted until the overlap has passed.

    The new key gets the old one's limits (from=, principals= and the like). Exit code 6 where it is not clear which key is meant.

    Example: sftpgate key rotate erp new.pub --overlap 14d
    """
    from sftpgate.cli.output import shown
    from sftpgate.users.keyedits import limited

    settings, registry = open_registry()
    user = registry.load(name)
    replaced = _replaced_key(user, old, settings.min_rsa_bits)
    key = read_key(file, settings.min_rsa_bits)
    if label is not None:
        key = limited(key, label=label)
    until = (datetime.now(UTC) + _overlap(overlap)).replace(microsecond=0)
    added = registry.rotate_key(name, replaced.fingerprint, key, until)
    ends = next(known.expires_at for known in registry.load(name).keys if known.fingerprint == replaced.fingerprint)
    typer.echo(f"key {added.fingerprint} added to user {name}")
    typer.echo(f"key {replaced.fingerprint} is accepted until {shown(ends)}")
    _say_findings(added)


@key_app.command("list")
def key_list(
    name: Annotated[str | None, typer.Argument(help="Only this user's keys.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the keys of all users, or of one, with their last use.

    Example: sftpgate key list erp
    """
    from sftpgate.cli.output import emit

    settings, registry = open_registry()
    users: Sequence[User] = registry.list() if name is None else [registry.load(name)]
    uses = last_uses(settings)
    rows = [key_row(user.name, key, uses, settings.min_rsa_bits) for user in users for key in user.keys]
    columns = ["user", *KEY_COLUMNS]
    emit(rows, [*columns, "findings"] if any(row["findings"] for row in rows) else columns, json=json)


@key_app.command("remove")
def key_remove(
    name: Name, fingerprint: Annotated[str, typer.Argument(help="As `sftpgate key list` shows it; SHA256: may be left out.")]
) -> None:
    """Take a key from a user. Connections that logged in with it end; all else in its authorized_keys stays as it is.

    Example: sftpgate key remove erp SHA256:uNiVztksCsDhcc0u9e8BrUQXhXfmnVhPoXUqVZBvB2g
    """
    from sftpgate.logs import printable

    _, registry = open_registry()
    removed = registry.remove_key(name, fingerprint)
    label = f" ({printable(removed.comment)})" if removed.comment else ""
    typer.echo(f"key {removed.fingerprint}{label} removed from user {name}")
    say_if_locked_out(registry.load(name))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text else []


def _overlap(text: str) -> timedelta:
    from sftpgate.settings import duration_of

    seconds = duration_of(text)
    if seconds is None:
        raise typer.BadParameter("--overlap is a duration such as 7d, 12h or 0")
    return timedelta(seconds=seconds)


def _replaced_key(user: User, fingerprint: str, min_rsa_bits: int) -> AuthorizedKey:
    """The key of ``user`` that is meant. Raises NotFound, and Refused where several could be."""
    from sftpgate.errors import NotFound, Refused
    from sftpgate.users.expiry import usable_keys
    from sftpgate.users.keyedits import full_fingerprint

    if fingerprint:
        found = [key for key in user.keys if key.fingerprint == full_fingerprint(fingerprint)]
    else:
        usable = usable_keys(user, now=datetime.now(UTC), min_rsa_bits=min_rsa_bits)
        found = [key for key in usable if key.expires_at is None] or list(usable)
    if not found:
        raise NotFound(f"{user.name} has no such key to take the place of: `sftpgate key add` gives it one more")
    if len(found) > 1:
        raise Refused(f"{user.name} has {len(found)} keys: say --old FINGERPRINT (`sftpgate key list {user.name}` shows them)")
    return found[0]


def _say_findings(key: AuthorizedKey) -> None:
    for finding in key.findings:
        typer.echo(f"note: {finding}", err=True)
