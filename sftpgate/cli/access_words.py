"""What the commands of users and keys share: where users are, key files that people hand in, and what is said beside the rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sftpgate.app.users.access import Access
    from sftpgate.app.users.former_users import Parted
    from sftpgate.app.users.records import KeyRecord, Uses
    from sftpgate.ledger.owners import Estate
    from sftpgate.users.registry import User

KEY_COLUMNS = ["type", "bits", "fingerprint", "label", "state", "expires_at", "from", "last_used_at", "last_used_from"]


def open_access() -> Access:
    """Return the users of the gate, for the account that calls. Warnings of what is read come out on stderr as those of every
    command.
    """
    from sftpgate.app.context import read_settings
    from sftpgate.app.users.access import Access
    from sftpgate.ledger.audit.actor import command

    return Access(read_settings(), command())


def read_key_file(path: Path) -> str:
    """Return the text of a file that somebody sent; - for standard input. Raises NotFound and KeyRefused, the file named."""
    from sftpgate.app.users.keys import MAX_KEY_FILE_BYTES, key_text
    from sftpgate.errors import NotFound

    try:
        if str(path) == "-":
            content = sys.stdin.buffer.read(MAX_KEY_FILE_BYTES + 1)
        else:
            with path.open("rb") as file:
                content = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise NotFound(f"{path}: cannot be read: {error.strerror}") from error
    return key_text(content, str(path))


def key_row(record: KeyRecord) -> dict[str, object]:
    """Return a key for a listing, by the names of the options of its line."""
    from dataclasses import asdict

    return {"from" if key == "from_patterns" else key: value for key, value in asdict(record).items()}


def last_uses_if_known(access: Access) -> Uses:
    """Return the last use of each key and password; says so on stderr and returns none if the ledger cannot be asked."""
    from sftpgate.app.users.records import last_uses
    from sftpgate.errors import LedgerError

    try:
        with access.ledger() as ledger:
            return last_uses(ledger)
    except LedgerError as error:
        typer.echo(f"the last uses are not known: {error.message}", err=True)
        return {}


def say_what_was_parted(name: str, parted: Parted, *, err: bool = False) -> None:
    """Say what a former user of a name had left, and nobody of this name sees. Raises what kept it from being parted."""
    if parted.problem is not None:
        raise parted.problem
    if parted.former:
        typer.echo(f"what {name} has sent is recorded as {parted.former}'s: no user of the name {name} sees it", err=err)
    if parted.removed_uploads:
        typer.echo(f"{parted.removed_uploads} interrupted uploads removed", err=err)


def what_is_left(found: Estate) -> list[str]:
    """Return what becomes of what a user has sent, in sentences that go on from its name."""
    said = []
    if found.waiting:
        said.append(f"{_files(found.waiting)} waiting for a tool: it takes them as before (`sftpgate discard` removes one)")
    if found.held:
        said.append(f"{_files(found.held)} held or set aside: `sftpgate status` lists what is held, release or discard it")
    if found.processing:
        said.append(f"{_files(found.processing)} being processed: this goes on")
    if found.quarantined:
        said.append(f"{_files(found.quarantined)} in quarantine: release or discard them")
    if found.archived or found.reports:
        said.append(f"{_files(found.archived)} in archives and {found.reports} in reports: they are kept as the settings say")
    return said


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


def say_if_locked_out(user: User) -> None:
    """Tell the admin that nobody can log in as this user, if that is so."""
    if user.disabled:
        typer.echo(f"nobody can log in as {user.name}: it is disabled (`sftpgate user enable {user.name}`)", err=True)
    elif not user.keys and user.password_hash is None:
        typer.echo(
            f"nobody can log in as {user.name} yet: "
            f"`sftpgate key add {user.name} FILE.pub` or `sftpgate user passwd {user.name}`",
            err=True,
        )
