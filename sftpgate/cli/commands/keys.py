"""``sftpgate key …``: the keys and certificate authorities of users.

The commands change files in the keys directory and nothing else; a running server sees the change at once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.access_words import (
    KEY_COLUMNS,
    key_row,
    last_uses_if_known,
    open_access,
    read_key_file,
    say_if_locked_out,
)
from sftpgate.cli.command_record import changes, looks

if TYPE_CHECKING:
    from sftpgate.users.keys.authorized import AuthorizedKey

key_app = typer.Typer(help="Keys of users.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The user's name.")]
KeyFile = Annotated[Path, typer.Argument(help="File with one public key (OpenSSH, RFC 4716 or PEM); - for standard input.")]
Label = Annotated[str | None, typer.Option(help="What listings call the key; default: the file's comment.")]


@key_app.command("add")
@changes
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
    from sftpgate.app.users import keys
    from sftpgate.app.users.accounts import require

    if principals and not authority:
        raise typer.BadParameter("--principals goes with --authority")
    access = open_access()
    require(access, name)
    key = keys.add(
        access,
        name,
        keys.public_key(read_key_file(file), str(file), access.terms),
        label=label,
        expires=expires.date() if expires else None,
        from_patterns=_parts(source),
        authority=authority,
        principals=_parts(principals),
    )
    typer.echo(f"key {key.fingerprint} added to user {name}")
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        typer.echo("this key has expired already: it is not accepted", err=True)
    _say_findings(key)


@key_app.command("rotate")
@changes
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

    The new key gets the old one's limits (from=, principals= and the like). Exit code 6 if it is not clear which key is meant.

    Example: sftpgate key rotate erp new.pub --overlap 14d
    """
    from sftpgate.app.users import keys
    from sftpgate.app.users.accounts import require
    from sftpgate.cli.output import shown

    access = open_access()
    user = require(access, name)
    terms = access.terms
    replaced = keys.replaceable(user, old, terms)
    key = keys.public_key(read_key_file(file), str(file), terms)
    rotated = keys.rotate(access, name, replaced, key, overlap=_overlap(overlap), label=label)
    typer.echo(f"key {rotated.added.fingerprint} added to user {name}")
    typer.echo(f"key {replaced.fingerprint} is accepted until {shown(rotated.ends)}")
    _say_findings(rotated.added)


@key_app.command("list")
@looks
def key_list(
    name: Annotated[str | None, typer.Argument(help="Only this user's keys.")] = None,
    revoked: Annotated[bool, typer.Option("--revoked", help="The list of revoked keys, and who still has them.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the keys of all users, or of one, with their last use.

    Example: sftpgate key list erp
    """
    from sftpgate.app.users.keys import revoked_keys
    from sftpgate.app.users.records import list_keys
    from sftpgate.cli.output import emit

    access = open_access()
    if revoked:
        found = [
            {"fingerprint": key.fingerprint, "type": key.type, "bits": key.bits, "label": key.comment, "users": owners}
            for key, owners in revoked_keys(access, name)
        ]
        emit(found, ["fingerprint", "type", "bits", "label", "users"], json=json)
        return
    rows = [key_row(record) for record in list_keys(access, last_uses_if_known(access), name)]
    columns = ["user", *KEY_COLUMNS]
    emit(rows, [*columns, "findings"] if any(row["findings"] for row in rows) else columns, json=json)


@key_app.command("remove")
@changes
def key_remove(
    name: Name, fingerprint: Annotated[str, typer.Argument(help="As `sftpgate key list` shows it; SHA256: may be left out.")]
) -> None:
    """Take a key from a user. Connections that logged in with it end; all else in its authorized_keys stays as it is.

    Example: sftpgate key remove erp SHA256:uNiVztksCsDhcc0u9e8BrUQXhXfmnVhPoXUqVZBvB2g
    """
    from sftpgate.app.users import keys
    from sftpgate.app.users.accounts import require
    from sftpgate.logs import printable

    access = open_access()
    removed = keys.remove(access, name, fingerprint)
    label = f" ({printable(removed.comment)})" if removed.comment else ""
    typer.echo(f"key {removed.fingerprint}{label} removed from user {name}")
    say_if_locked_out(require(access, name))


@key_app.command("revoke")
@changes
def key_revoke(
    key: Annotated[
        str,
        typer.Argument(metavar="FINGERPRINT|FILE", help="A user's key, or a file with a public key or certificate; or -."),
    ],
) -> None:
    """Let nobody log in with a key any more, nor with certificates of it or signed by it, whichever user has it.

    It is written into `revoked_keys` in the keys directory. Running servers follow within two seconds, and end connections that
    logged in with it. To take it back, remove the line there.

    Example: sftpgate key revoke SHA256:uNiVztksCsDhcc0u9e8BrUQXhXfmnVhPoXUqVZBvB2g
    """
    from sftpgate.app.users import keys

    access = open_access()
    path = Path(key)
    if key == "-" or path.is_file():
        found = keys.key_to_revoke(read_key_file(path), str(path))
    else:
        found = keys.key_of_somebody(access, key)
    revoked = keys.revoke(access, found)
    typer.echo(f"key {found.fingerprint} {'revoked' if revoked.is_new else 'is revoked already'}")
    for owner in revoked.owners:
        typer.echo(f"{owner} still has it: `sftpgate key remove {owner} {found.fingerprint}`", err=True)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text else []


def _overlap(text: str) -> timedelta:
    from sftpgate.settings.durations import duration_of

    seconds = duration_of(text)
    if seconds is None:
        raise typer.BadParameter("--overlap is a duration such as 7d, 12h or 0")
    return timedelta(seconds=seconds)


def _say_findings(key: AuthorizedKey) -> None:
    for finding in key.findings:
        typer.echo(f"note: {finding}", err=True)
