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

from sftpgate.cli.access_words import (
    KEY_COLUMNS,
    key_row,
    last_uses_if_known,
    open_access,
    read_key_file,
    say_if_locked_out,
    say_what_was_parted,
    what_is_left,
)
from sftpgate.cli.command_record import changes, looks, only_looked

user_app = typer.Typer(help="Users: the SFTP accounts, usually one per ERP.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The user's name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from the first line of standard input.")]


def Quota(what: str) -> Any:  # noqa: N802  # as typer's own Option
    """Return an option of one quota."""
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
    from sftpgate.app.users import accounts
    from sftpgate.app.users.keys import public_key

    access = open_access()
    accounts.check_new(name, home)  # before anything is read
    terms = access.terms
    keys = [public_key(read_key_file(path), str(path), terms) for path in key or []]
    password = _first_line(sys.stdin) if password_stdin else None
    made = accounts.add(access, name, keys=keys, password=password, home=home)
    typer.echo(f"user {name} added")
    for added in keys:
        typer.echo(f"key {added.fingerprint} added")
    say_if_locked_out(made.user)
    say_what_was_parted(name, made.parted)


@user_app.command("list")
@looks
def user_list(json: Json = False) -> None:
    """List all users.

    Example: sftpgate user list --json
    """
    from dataclasses import asdict

    from sftpgate.app.users.records import list_users
    from sftpgate.cli.output import emit

    access = open_access()
    rows = [asdict(record) for record in list_users(access, last_uses_if_known(access))]
    columns = ["name", "state", "home", "keys", "password", "expires_at", "networks", "last_login_at"]
    emit(rows, [*columns, "problem"] if any("problem" in row for row in rows) else columns, json=json)


@user_app.command("show")
@looks
def user_show(name: Name, json: Json = False) -> None:
    """Show one user and its keys.

    Example: sftpgate user show erp
    """
    from dataclasses import asdict

    from sftpgate.app.users.accounts import require
    from sftpgate.app.users.records import list_keys, quota_record, user_record
    from sftpgate.cli.output import emit, emit_record

    access = open_access()
    user = require(access, name)
    uses = last_uses_if_known(access)
    record = {**asdict(user_record(user, uses)), **asdict(quota_record(access, user))}
    keys = [key_row(key) for key in list_keys(access, uses, name)]
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
    from sftpgate.app.users.accounts import disable

    disable(open_access(), name)
    typer.echo(f"user {name} disabled")


@user_app.command("enable")
@changes
def user_enable(name: Name) -> None:
    """Let a disabled user log in again.

    Example: sftpgate user enable erp
    """
    from sftpgate.app.users.accounts import enable

    user = enable(open_access(), name)
    typer.echo(f"user {name} enabled")
    say_if_locked_out(user)


@user_app.command("remove")
@changes
def user_remove(name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Remove a user with its keys and password. What it has sent stays, and nobody who gets its name later sees it.

    Example: sftpgate user remove erp --yes
    """
    from sftpgate.app.users.accounts import remove
    from sftpgate.app.users.former_users import require_estate
    from sftpgate.errors import LedgerError, Refused

    access = open_access()
    try:
        left = what_is_left(require_estate(access, name))
    except LedgerError as error:  # whoever must not get in any more is kept out all the same
        left = [f"what it has sent cannot be looked up: {error.message}"]
    for sentence in left:
        typer.echo(f"{name} leaves {sentence}" if sentence[0].isdigit() else sentence, err=not yes)
    if not yes:
        if not sys.stdin.isatty():
            raise Refused("there is no terminal to ask on: say --yes")
        if not typer.confirm(f"Remove the user {name} with its keys and password?"):
            raise Refused(f"user {name} not removed")
    parted = remove(access, name)
    typer.echo(f"user {name} removed")
    say_what_was_parted(name, parted)


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
    from sftpgate.app.users.accounts import require, set_password
    from sftpgate.users.passwords import generate_password

    if password_stdin + generate + remove > 1:
        raise typer.BadParameter("only one of --password-stdin, --generate and --remove at a time")
    access = open_access()
    require(access, name)  # before anybody types a password for nothing
    if remove:
        user = set_password(access, name, None)
        typer.echo(f"password of user {name} removed")
        say_if_locked_out(user)
        return
    password = generate_password() if generate else _first_line(sys.stdin) if password_stdin else _ask_password()
    set_password(access, name, password)
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
    from dataclasses import asdict

    from sftpgate.app.users.accounts import require, set_quotas
    from sftpgate.app.users.records import quota_record
    from sftpgate.cli.output import emit_record

    access = open_access()
    asked = {
        "max_upload_bytes": max_upload_bytes,
        "max_pending_bytes": max_pending_bytes,
        "max_pending_files": max_pending_files,
        "max_daily_bytes": max_daily_bytes,
        "max_directories": max_directories,
    }
    if given := {key: text for key, text in asked.items() if text}:
        user = set_quotas(access, name, given)
    else:
        only_looked()
        user = require(access, name)
    emit_record({"name": name, **asdict(quota_record(access, user))}, json=json)


@user_app.command("import")
@changes
def user_import(
    directory: Annotated[Path, typer.Argument(help="Holds NAME, NAME/authorized_keys or NAME/.ssh/authorized_keys.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    json: Json = False,
) -> None:
    """Make users of a directory of authorized_keys files, and give users that exist the keys that they lack.

    Each file is taken whole or refused whole. Exit code 6 if one was refused; the others are in all the same.

    Example: sftpgate user import /etc/ssh/authorized_keys.d --dry-run
    """
    from dataclasses import asdict

    from sftpgate.app.users.accounts import import_from
    from sftpgate.cli.output import emit
    from sftpgate.errors import ExitCode

    if dry_run:
        only_looked()
    found = import_from(open_access(), directory, dry_run=dry_run)
    for item in found:
        say_what_was_parted(item.imported.name, item.parted, err=True)
    rows = [asdict(item.imported) for item in found]
    refused = sum(item.imported.problem is not None for item in found)
    columns = ["name", "new_user", "added", "known"]
    emit(rows, [*columns, "problem"] if refused else columns, json=json)
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
