"""``sftpgate key …``: the keys and certificate authorities of users.

The commands change files in the keys directory and nothing else; a running server sees the change at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.accounts import (
    KEY_COLUMNS,
    key_row,
    last_uses,
    open_registry,
    read_key,
    read_key_file,
    say_if_locked_out,
    terms_of,
)
from sftpgate.cli.record import changes, looks

if TYPE_CHECKING:
    from sftpgate.users.keys import AuthorizedKey
    from sftpgate.users.registry import User, UserRegistry
    from sftpgate.users.terms import Terms

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
    from sftpgate.users.keyedits import limited

    if principals and not authority:
        raise typer.BadParameter("--principals goes with --authority")
    settings, registry = open_registry()
    registry.load(name)
    key = read_key(file, terms_of(settings, registry))
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

    The new key gets the old one's limits (from=, principals= and the like). Exit code 6 where it is not clear which key is meant.

    Example: sftpgate key rotate erp new.pub --overlap 14d
    """
    from sftpgate.cli.output import shown
    from sftpgate.users.keyedits import limited

    settings, registry = open_registry()
    user = registry.load(name)
    terms = terms_of(settings, registry)
    replaced = _replaced_key(user, old, terms)
    key = read_key(file, terms)
    if label is not None:
        key = limited(key, label=label)
    until = (datetime.now(UTC) + _overlap(overlap)).replace(microsecond=0)
    added = registry.rotate_key(name, replaced.fingerprint, key, until)
    ends = max(known.expires_at or until for known in registry.load(name).lines_of_key(replaced.blob))
    typer.echo(f"key {added.fingerprint} added to user {name}")
    typer.echo(f"key {replaced.fingerprint} is accepted until {shown(ends)}")
    _say_findings(added)


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
    from sftpgate.cli.output import emit

    settings, registry = open_registry()
    if revoked:
        emit(list(_revoked_rows(registry, name)), ["fingerprint", "type", "bits", "label", "users"], json=json)
        return
    users: Sequence[User] = registry.list() if name is None else [registry.load(name)]
    uses = last_uses(settings)
    terms = terms_of(settings, registry)
    rows = [key_row(user.name, key, uses, terms) for user in users for key in user.keys]
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
    from sftpgate.logs import printable

    _, registry = open_registry()
    removed = registry.remove_key(name, fingerprint)
    label = f" ({printable(removed.comment)})" if removed.comment else ""
    typer.echo(f"key {removed.fingerprint}{label} removed from user {name}")
    say_if_locked_out(registry.load(name))


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
    _, registry = open_registry()
    found = _meant(registry, key)
    owners = _owners(registry, found.blob)
    fresh = registry.revocations.add(found, datetime.now(UTC).replace(microsecond=0), f"of {', '.join(owners)}" if owners else "")
    typer.echo(f"key {found.fingerprint} {'revoked' if fresh else 'is revoked already'}")
    for owner in owners:
        typer.echo(f"{owner} still has it: `sftpgate key remove {owner} {found.fingerprint}`", err=True)


def _meant(registry: UserRegistry, text: str) -> AuthorizedKey:
    """The key in a file, or the one of a user with this fingerprint. Raises NotFound, and KeyRefused with what is wrong."""
    from sftpgate.errors import KeyRefused, NotFound
    from sftpgate.users.keyedits import full_fingerprint
    from sftpgate.users.keys import parse_public_key
    from sftpgate.users.revocations import key_of_certificate

    path = Path(text)
    if text == "-" or path.is_file():
        content = read_key_file(path)
        try:
            return key_of_certificate(content) or parse_public_key(content)
        except KeyRefused as error:
            raise KeyRefused(f"{path}: {error.message}") from error
    wanted = full_fingerprint(text)
    for user in registry.list():
        for key in user.keys:
            if key.fingerprint == wanted:
                return key
    raise NotFound(f"no user has a key {text}, and it is no file: give the file of the public key")


def _owners(registry: UserRegistry, blob: bytes) -> list[str]:
    return [user.name for user in registry.list() if any(key.blob == blob for key in user.keys)]


def _revoked_rows(registry: UserRegistry, name: str | None) -> Iterator[dict[str, object]]:
    for key in registry.revocations.load():
        owners = _owners(registry, key.blob)
        if name is None or name in owners:
            said = {"fingerprint": key.fingerprint, "type": key.type, "bits": key.bits, "label": key.comment}
            yield said | {"users": owners}


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text else []


def _overlap(text: str) -> timedelta:
    from sftpgate.settings import duration_of

    seconds = duration_of(text)
    if seconds is None:
        raise typer.BadParameter("--overlap is a duration such as 7d, 12h or 0")
    return timedelta(seconds=seconds)


def _replaced_key(user: User, fingerprint: str, terms: Terms) -> AuthorizedKey:
    """The key of ``user`` that is meant. Raises NotFound, and Refused where several could be."""
    from sftpgate.errors import NotFound, Refused
    from sftpgate.users.keyedits import full_fingerprint

    if fingerprint:
        found = [key for key in user.keys if key.fingerprint == full_fingerprint(fingerprint)]
    else:
        usable = terms.usable(user.keys, datetime.now(UTC))
        found = [key for key in usable if key.expires_at is None] or usable
    found = list({key.blob: key for key in reversed(found)}.values())  # of a key on several lines, the first
    if not found:
        raise NotFound(f"{user.name} has no such key to take the place of: `sftpgate key add` gives it one more")
    if len(found) > 1:
        raise Refused(f"{user.name} has {len(found)} keys: say --old FINGERPRINT (`sftpgate key list {user.name}` shows them)")
    return found[0]


def _say_findings(key: AuthorizedKey) -> None:
    for finding in key.findings:
        typer.echo(f"note: {finding}", err=True)
