"""``sftpgate user …``: who may log in.

The commands change files in the keys directory and nothing else; a running server sees the change at once.
Passwords come from the terminal or standard input, never as arguments: those are in everybody's ``ps``. Errors rise as they
are; ``main`` turns them into one line and an exit code. What costs time to import is imported by the command that needs it:
``--help`` and cron want a quick start.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from sftpgate.cli.accounts import (
    KEY_COLUMNS,
    key_row,
    last_uses,
    open_registry,
    quota_row,
    read_key,
    say_if_locked_out,
    terms_of,
    user_row,
)
from sftpgate.cli.record import changes, looks, only_looked

user_app = typer.Typer(help="Users: the SFTP accounts, usually one per ERP.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The user's name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from the first line of standard input.")]


def Quota(what: str) -> Any:  # noqa: N802  # as typer's own Option
    """An option of one quota."""
    return typer.Option(help=what, metavar="NUMBER|default", show_default=False)


# -- users -----------------------------------------------------------------------------------------------------------


@user_app.command("add")
@changes
def user_add(
    name: Annotated[str, typer.Argument(help="1 to 32 characters of a-z, 0-9, '_', '-' and '.'.")],
    key: Annotated[list[Path] | None, typer.Option("--key", help="File with a public key; may be given several times.")] = None,
    password_stdin: PasswordStdin = False,
    home: Annotated[str, typer.Option(help="Directory in the drop that the user is confined to; default: all of it.")] = "",
) -> None:
    """Make a user.

    Example: sftpgate user add erp --key erp.pub --home campus-north
    """
    from sftpgate.cli import former
    from sftpgate.policy.accounts import check_home, check_user_name
    from sftpgate.users.passwords import hash_password

    settings, registry = open_registry()
    check_user_name(name)
    check_home(home)
    terms = terms_of(settings, registry)
    keys = [read_key(path, terms) for path in key or []]
    password_hash = hash_password(_first_line(sys.stdin)) if password_stdin else None
    is_known = former.has_anything(settings, name)  # of one that was removed by hand, or whose last upload came after that
    user = registry.add(name, keys=keys, password_hash=password_hash, home=home)
    typer.echo(f"user {name} added")
    for added in keys:
        typer.echo(f"key {added.fingerprint} added")
    say_if_locked_out(user)
    if is_known:  # last: a command of root goes on as the store's owner, who may write no keys
        for sentence in former.part(settings, name):
            typer.echo(sentence)


@user_app.command("list")
@looks
def user_list(json: Json = False) -> None:
    """List all users.

    Example: sftpgate user list --json
    """
    from sftpgate.cli.output import emit
    from sftpgate.errors import UserFileError

    settings, registry = open_registry()
    uses = last_uses(settings)
    rows: list[dict[str, object]] = []
    for name in registry.names():
        try:
            rows.append(user_row(registry.load(name), uses))
        except UserFileError as error:  # one broken file must not hide the other users
            rows.append({"name": name, "state": "unreadable", "problem": error.message})
    columns = ["name", "state", "home", "keys", "password", "expires_at", "networks", "last_login_at"]
    emit(rows, [*columns, "problem"] if any("problem" in row for row in rows) else columns, json=json)


@user_app.command("show")
@looks
def user_show(name: Name, json: Json = False) -> None:
    """Show one user and its keys.

    Example: sftpgate user show erp
    """
    from sftpgate.cli.output import emit, emit_record

    settings, registry = open_registry()
    user = registry.load(name)
    uses = last_uses(settings)
    record = {**user_row(user, uses), **quota_row(settings, user)}
    terms = terms_of(settings, registry)
    keys = [key_row(name, key, uses, terms) for key in user.keys]
    if json:
        emit_record({**record, "keys": keys}, json=True)
        return
    emit_record(record)
    if keys:
        typer.echo()
        emit(keys, KEY_COLUMNS)


@user_app.command("disable")
@changes
def user_disable(name: Name) -> None:
    """Let nobody log in as this user; its keys and password stay. Its connections end within a few seconds.

    Example: sftpgate user disable erp
    """
    _, registry = open_registry()
    registry.disable(name)
    typer.echo(f"user {name} disabled")


@user_app.command("enable")
@changes
def user_enable(name: Name) -> None:
    """Let a disabled user log in again.

    Example: sftpgate user enable erp
    """
    _, registry = open_registry()
    registry.enable(name)
    typer.echo(f"user {name} enabled")
    say_if_locked_out(registry.load(name))


@user_app.command("remove")
@changes
def user_remove(name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Remove a user with its keys and password. What it has sent stays, and nobody who gets its name later sees it.

    Example: sftpgate user remove erp --yes
    """
    from sftpgate.cli import former
    from sftpgate.errors import LedgerError, Refused, UnknownUser

    settings, registry = open_registry()
    if name not in registry.names():
        raise UnknownUser
    try:
        left = former.describe(former.estate(settings, name))
    except LedgerError as error:  # whoever must not get in any more is kept out all the same
        left = [f"what it has sent cannot be looked up: {error.message}"]
    for sentence in left:
        typer.echo(f"{name} leaves {sentence}" if sentence[0].isdigit() else sentence, err=not yes)
    if not yes:
        if not sys.stdin.isatty():
            raise Refused("there is no terminal to ask on: say --yes")
        if not typer.confirm(f"Remove the user {name} with its keys and password?"):
            raise Refused(f"user {name} not removed")
    registry.remove(name)
    typer.echo(f"user {name} removed")
    for sentence in former.part(settings, name):
        typer.echo(sentence)


@user_app.command("passwd")
@changes
def user_passwd(
    name: Name,
    password_stdin: PasswordStdin = False,
    generate: Annotated[bool, typer.Option("--generate", help="Make a random password and print it, this one time.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Let the user log in with keys only.")] = False,
) -> None:
    """Set, generate or remove a user's password. Without an option, asks for it twice.

    Example: sftpgate user passwd erp --generate
    """
    from sftpgate.users.passwords import generate_password, hash_password

    if password_stdin + generate + remove > 1:
        raise typer.BadParameter("only one of --password-stdin, --generate and --remove at a time")
    _, registry = open_registry()
    registry.load(name)  # before anybody types a password for nothing
    if remove:
        registry.set_password_hash(name, None)
        typer.echo(f"password of user {name} removed")
        say_if_locked_out(registry.load(name))
        return
    password = generate_password() if generate else _first_line(sys.stdin) if password_stdin else _ask_password()
    registry.set_password_hash(name, hash_password(password))
    if generate:
        typer.echo(f"password of user {name} set; it is shown this one time:", err=True)
        typer.echo(password)
    else:
        typer.echo(f"password of user {name} set")


@user_app.command("quota")
@changes
def user_quota(
    name: Name,
    max_upload_bytes: Annotated[str | None, Quota("Largest upload, such as 512MiB.")] = None,
    max_pending_bytes: Annotated[str | None, Quota("Bytes that may wait, held and in staging.")] = None,
    max_pending_files: Annotated[str | None, Quota("Files that may wait, held and in staging.")] = None,
    max_daily_bytes: Annotated[str | None, Quota("Bytes that may be sent in one day of UTC; 0: any number.")] = None,
    max_directories: Annotated[str | None, Quota("Directories in its home, or in the drop outside of all homes.")] = None,
    json: Json = False,
) -> None:
    """Give a user quotas of its own, or show what it has. They hold for its next upload. "default": as the settings have it.

    Example: sftpgate user quota erp --max-upload-bytes 1GiB --max-daily-bytes default
    """
    from sftpgate.cli.output import emit_record

    settings, registry = open_registry()
    asked = {
        "max_upload_bytes": max_upload_bytes,
        "max_pending_bytes": max_pending_bytes,
        "max_pending_files": max_pending_files,
        "max_daily_bytes": max_daily_bytes,
        "max_directories": max_directories,
    }
    given = {key: None if text == "default" else int(text) if text.isdecimal() else text for key, text in asked.items() if text}
    if given:
        registry.set_quotas(name, given)
    else:
        only_looked()
    emit_record({"name": name, **quota_row(settings, registry.load(name))}, json=json)


@user_app.command("import")
@changes
def user_import(
    directory: Annotated[Path, typer.Argument(help="Holds NAME, NAME/authorized_keys or NAME/.ssh/authorized_keys.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    json: Json = False,
) -> None:
    """Make users of a directory of authorized_keys files, and give users that exist the keys that they lack.

    Each file is taken whole or refused whole. Exit code 6 where one was refused; the others are in all the same.

    Example: sftpgate user import /etc/ssh/authorized_keys.d --dry-run
    """
    from dataclasses import asdict

    from sftpgate.cli import former
    from sftpgate.cli.output import emit
    from sftpgate.errors import ExitCode
    from sftpgate.users.imports import import_users

    settings, registry = open_registry()
    if dry_run:
        only_looked()
    found = list(import_users(directory, registry, min_rsa_bits=settings.min_rsa_bits, dry_run=dry_run))
    for item in found if not dry_run else ():
        for sentence in former.part(settings, item.name) if item.new_user else ():
            typer.echo(sentence, err=True)
    rows = [asdict(item) for item in found]
    columns = ["name", "new_user", "added", "known"]
    emit(rows, [*columns, "problem"] if any(item.problem for item in found) else columns, json=json)
    refused = sum(item.problem is not None for item in found)
    if refused:
        typer.echo(f"sftpgate: {refused} of {len(found)} files were refused", err=True)
        raise typer.Exit(ExitCode.REFUSED)
    if not found:
        typer.echo("there is no authorized_keys file in this directory", err=True)
        raise typer.Exit(ExitCode.NOTHING_TO_DO)


# -- passwords from people -------------------------------------------------------------------------------------------


def _first_line(stream: TextIO) -> str:
    return stream.readline().rstrip("\r\n")


def _ask_password() -> str:
    from sftpgate.errors import Refused

    if not sys.stdin.isatty():
        raise Refused("there is no terminal to ask on: say --password-stdin or --generate")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt="The same again"))
