"""``sftpgate user …`` and ``sftpgate key …``: who may log in, and with what.

The commands change files in the keys directory and nothing else; a running server sees the change at the next login.
Passwords come from the terminal or standard input, never as arguments: those are in everybody's ``ps``. Errors rise as they
are; ``main`` turns them into one line and an exit code. What costs time to import is imported by the command that needs it:
``--help`` and cron want a quick start.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

if TYPE_CHECKING:
    from sftpgate.settings import Settings
    from sftpgate.users.keys import AuthorizedKey
    from sftpgate.users.registry import User, UserRegistry

user_app = typer.Typer(help="Users: the SFTP accounts, usually one per ERP.", no_args_is_help=True)
key_app = typer.Typer(help="Keys of users.", no_args_is_help=True)

_MAX_KEY_FILE_BYTES = 64 * 1024  # a public key of 16384 bits has 3 KB

Name = Annotated[str, typer.Argument(help="The user's name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from the first line of standard input.")]


# -- users -----------------------------------------------------------------------------------------------------------


@user_app.command("add")
def user_add(
    name: Annotated[str, typer.Argument(help="1 to 32 characters of a-z, 0-9, '_', '-' and '.'.")],
    key: Annotated[list[Path] | None, typer.Option("--key", help="File with a public key; may be given several times.")] = None,
    password_stdin: PasswordStdin = False,
    home: Annotated[str, typer.Option(help="Directory in the drop that the user is confined to; default: all of it.")] = "",
) -> None:
    """Make a user.

    Example: sftpgate user add erp --key erp.pub --home campus-north
    """
    from sftpgate.policy.accounts import check_home, check_user_name
    from sftpgate.users.passwords import hash_password

    settings, registry = _open()
    check_user_name(name)
    check_home(home)
    keys = [_read_key(path, settings.min_rsa_bits) for path in key or []]
    password_hash = hash_password(_first_line(sys.stdin)) if password_stdin else None
    user = registry.add(name, keys=keys, password_hash=password_hash, home=home)
    typer.echo(f"user {name} added")
    for added in keys:
        typer.echo(f"key {added.fingerprint} added")
    _say_if_locked_out(user)


@user_app.command("list")
def user_list(json: Json = False) -> None:
    """List all users.

    Example: sftpgate user list --json
    """
    from sftpgate.cli.output import emit
    from sftpgate.errors import UserFileError

    _, registry = _open()
    rows: list[dict[str, object]] = []
    for name in registry.names():
        try:
            rows.append(_user_row(registry.load(name)))
        except UserFileError as error:  # one broken file must not hide the other users
            rows.append({"name": name, "state": "unreadable", "problem": error.message})
    columns = ["name", "state", "home", "keys", "password", "expires_at", "networks"]
    emit(rows, [*columns, "problem"] if any("problem" in row for row in rows) else columns, json=json)


@user_app.command("show")
def user_show(name: Name, json: Json = False) -> None:
    """Show one user and its keys.

    Example: sftpgate user show erp
    """
    from sftpgate.cli.output import emit, emit_record

    _, registry = _open()
    user = registry.load(name)
    record = _user_row(user)
    keys = [_key_row(name, key) for key in user.keys]
    if json:
        emit_record({**record, "keys": keys}, json=True)
        return
    emit_record(record)
    if keys:
        typer.echo()
        emit(keys, _KEY_COLUMNS)


@user_app.command("disable")
def user_disable(name: Name) -> None:
    """Let nobody log in as this user; its keys and password stay. Open connections are not ended.

    Example: sftpgate user disable erp
    """
    _, registry = _open()
    registry.disable(name)
    typer.echo(f"user {name} disabled")


@user_app.command("enable")
def user_enable(name: Name) -> None:
    """Let a disabled user log in again.

    Example: sftpgate user enable erp
    """
    _, registry = _open()
    registry.enable(name)
    typer.echo(f"user {name} enabled")
    _say_if_locked_out(registry.load(name))


@user_app.command("remove")
def user_remove(name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Remove a user with its keys and password. Its files in the drop and the store stay.

    Example: sftpgate user remove erp --yes
    """
    from sftpgate.errors import Refused, UnknownUser

    _, registry = _open()
    if name not in registry.names():
        raise UnknownUser
    if not yes:
        if not sys.stdin.isatty():
            raise Refused("there is no terminal to ask on: say --yes")
        if not typer.confirm(f"Remove the user {name} with its keys and password?"):
            raise Refused(f"user {name} not removed")
    registry.remove(name)
    typer.echo(f"user {name} removed")


@user_app.command("passwd")
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
    _, registry = _open()
    registry.load(name)  # before anybody types a password for nothing
    if remove:
        registry.set_password_hash(name, None)
        typer.echo(f"password of user {name} removed")
        _say_if_locked_out(registry.load(name))
        return
    password = generate_password() if generate else _first_line(sys.stdin) if password_stdin else _ask_password()
    registry.set_password_hash(name, hash_password(password))
    if generate:
        typer.echo(f"password of user {name} set; it is shown this one time:", err=True)
        typer.echo(password)
    else:
        typer.echo(f"password of user {name} set")


# -- keys ------------------------------------------------------------------------------------------------------------


@key_app.command("add")
def key_add(
    name: Name,
    file: Annotated[Path, typer.Argument(help="File with one public key (OpenSSH, RFC 4716 or PEM); - for standard input.")],
    label: Annotated[str | None, typer.Option(help="What listings call the key; default: the file's comment.")] = None,
    expires: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day (UTC) on which the key is not accepted any more.")
    ] = None,
    source: Annotated[
        str, typer.Option("--from", metavar="PATTERNS", help="Addresses to accept it from: 192.0.2.0/24,!192.0.2.7,10.1.*")
    ] = "",
) -> None:
    """Give a user one more key. Keys that it has stay, so that old and new one overlap during a rotation.

    Example: sftpgate key add erp new.pub --label 2030 --from 192.0.2.0/24
    """
    from sftpgate.users.keys import limited

    settings, registry = _open()
    registry.load(name)
    key = _read_key(file, settings.min_rsa_bits)
    patterns = [part.strip() for part in source.split(",")] if source else []
    if label is not None or expires is not None or patterns:
        key = limited(key, label=label, expires=expires.date() if expires else None, from_patterns=patterns)
    registry.add_key(name, key)
    typer.echo(f"key {key.fingerprint} added to user {name}")
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        typer.echo("this key has expired already: it is not accepted", err=True)


@key_app.command("list")
def key_list(name: Annotated[str | None, typer.Argument(help="Only this user's keys.")] = None, json: Json = False) -> None:
    """List the keys of all users, or of one.

    Example: sftpgate key list erp
    """
    from sftpgate.cli.output import emit

    _, registry = _open()
    users: Sequence[User] = registry.list() if name is None else [registry.load(name)]
    emit([_key_row(user.name, key) for user in users for key in user.keys], ["user", *_KEY_COLUMNS], json=json)


@key_app.command("remove")
def key_remove(
    name: Name, fingerprint: Annotated[str, typer.Argument(help="As `sftpgate key list` shows it; SHA256: may be left out.")]
) -> None:
    """Take a key from a user. All else in its authorized_keys stays as it is.

    Example: sftpgate key remove erp SHA256:uNiVztksCsDhcc0u9e8BrUQXhXfmnVhPoXUqVZBvB2g
    """
    from sftpgate.logs import printable

    _, registry = _open()
    removed = registry.remove_key(name, fingerprint)
    label = f" ({printable(removed.comment)})" if removed.comment else ""
    typer.echo(f"key {removed.fingerprint}{label} removed from user {name}")
    _say_if_locked_out(registry.load(name))


# -- what they share -------------------------------------------------------------------------------------------------

_KEY_COLUMNS = ["type", "bits", "fingerprint", "label", "state", "expires_at", "from"]


def _open() -> tuple[Settings, UserRegistry]:
    from sftpgate import settings
    from sftpgate.users.registry import UserRegistry

    loaded = settings.load()
    return loaded, UserRegistry(loaded.keys_dir)


def _read_key(path: Path, min_rsa_bits: int) -> AuthorizedKey:
    """The key in a file. Raises NotFound, or KeyRefused with what is wrong, the file named."""
    from sftpgate.errors import KeyRefused, NotFound
    from sftpgate.users.keyformats import decode_key_file
    from sftpgate.users.keys import check_strength, parse_public_key

    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(_MAX_KEY_FILE_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(_MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise NotFound(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > _MAX_KEY_FILE_BYTES:
        raise KeyRefused(f"{path}: too large for a public key")
    try:
        key = parse_public_key(decode_key_file(data))
        check_strength(key, min_rsa_bits)
    except KeyRefused as error:
        raise KeyRefused(f"{path}: {error.message}") from error
    return key


def _first_line(stream: TextIO) -> str:
    return stream.readline().rstrip("\r\n")


def _ask_password() -> str:
    from sftpgate.errors import Refused

    if not sys.stdin.isatty():
        raise Refused("there is no terminal to ask on: say --password-stdin or --generate")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt="The same again"))


def _say_if_locked_out(user: User) -> None:
    if user.disabled:
        typer.echo(f"nobody can log in as {user.name}: it is disabled (`sftpgate user enable {user.name}`)", err=True)
    elif not user.keys and user.password_hash is None:
        typer.echo(
            f"nobody can log in as {user.name} yet: "
            f"`sftpgate key add {user.name} FILE.pub` or `sftpgate user passwd {user.name}`",
            err=True,
        )


def _user_row(user: User) -> dict[str, object]:
    """A user for a listing. The password's hash is for nobody's eyes."""
    if user.disabled:
        state = "disabled"
    elif user.expires_at is not None and user.expires_at <= datetime.now(UTC):
        state = "expired"
    elif not user.keys and user.password_hash is None:
        state = "no key or password"
    else:
        state = "active"
    return {
        "name": user.name,
        "state": state,
        "home": user.home,
        "keys": len(user.keys),
        "password": user.password_hash is not None,
        "expires_at": user.expires_at,
        "networks": list(user.networks),
        "added_at": user.added_at,
        "notes": user.notes,
    }


def _key_row(user: str, key: AuthorizedKey) -> dict[str, object]:
    expired = key.expires_at is not None and key.expires_at <= datetime.now(UTC)
    return {
        "user": user,
        "type": key.type,
        "bits": key.bits,
        "fingerprint": key.fingerprint,
        "label": key.comment,
        "state": "expired" if expired else "authority" if key.cert_authority else "active",
        "expires_at": key.expires_at,
        "from": list(key.from_patterns),
        "principals": list(key.principals),
        "options": [name if value is None else f'{name}="{value}"' for name, value in key.options],
    }
