"""What the commands of users and keys share: the registry, key files that people hand in, and the rows of listings.

Only looks: what is not there (the ledger, before the first start) is not made.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sftpgate.ledger.logins import LastUse
    from sftpgate.settings import Settings
    from sftpgate.users.keys import AuthorizedKey
    from sftpgate.users.registry import User, UserRegistry
    from sftpgate.users.terms import Terms

    Uses = Mapping[tuple[str, str], LastUse]

KEY_COLUMNS = ["type", "bits", "fingerprint", "label", "state", "expires_at", "from", "last_used_at", "last_used_from"]

_MAX_KEY_FILE_BYTES = 64 * 1024  # a public key of 16384 bits has 3 KB
_PASSWORD = "password"  # noqa: S105 - what the ledger calls it


def open_registry() -> tuple[Settings, UserRegistry]:
    """The settings and the users. Warnings of what is read come out on stderr as those of every command."""
    from sftpgate.cli.context import read_settings
    from sftpgate.users.registry import UserRegistry

    settings = read_settings()
    return settings, UserRegistry(settings.keys_dir)


def terms_of(settings: Settings, registry: UserRegistry) -> Terms:
    """On which terms the gate of these settings accepts keys, now."""
    from sftpgate.gateway.algorithms import offer
    from sftpgate.users.terms import Terms

    return Terms(
        min_rsa_bits=settings.min_rsa_bits,
        signature_algs=offer(settings.algorithms).signature_algs,
        revoked=registry.revocations.in_force(),
    )


def last_uses(settings: Settings) -> Uses:
    """The last use of each key and password, by user and fingerprint; none where the ledger cannot be asked."""
    from sftpgate.cli.context import ledger_for_reading
    from sftpgate.errors import LedgerError
    from sftpgate.ledger import logins

    try:
        with ledger_for_reading(settings) as ledger:
            if ledger is None:
                return {}
            with ledger.reading() as connection:
                return {(use.owner, use.credential): use for use in logins.last_uses(connection)}
    except LedgerError as error:
        typer.echo(f"the last uses are not known: {error.message}", err=True)
        return {}


def read_key(path: Path, terms: Terms) -> AuthorizedKey:
    """The key in a file, for a user. Raises NotFound, or KeyRefused with what is wrong, the file named."""
    from sftpgate.errors import KeyRefused
    from sftpgate.users.keys import check_strength, parse_public_key

    text = read_key_file(path)
    try:
        key = parse_public_key(text)
        check_strength(key, terms.min_rsa_bits)
        if key.blob in (terms.revoked or ()):
            raise KeyRefused("this key is revoked (revoked_keys in the keys directory): have a new one made")
    except KeyRefused as error:
        raise KeyRefused(f"{path}: {error.message}") from error
    return key


def read_key_file(path: Path) -> str:
    """The text of a file that somebody sent; - for standard input. Raises NotFound and KeyRefused, the file named."""
    from sftpgate.errors import KeyRefused, NotFound
    from sftpgate.users.keyformats import decode_key_file

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
        return decode_key_file(data)
    except KeyRefused as error:
        raise KeyRefused(f"{path}: {error.message}") from error


def say_if_locked_out(user: User) -> None:
    """Tell the admin where nobody can log in as this user."""
    if user.disabled:
        typer.echo(f"nobody can log in as {user.name}: it is disabled (`sftpgate user enable {user.name}`)", err=True)
    elif not user.keys and user.password_hash is None:
        typer.echo(
            f"nobody can log in as {user.name} yet: "
            f"`sftpgate key add {user.name} FILE.pub` or `sftpgate user passwd {user.name}`",
            err=True,
        )


def user_row(user: User, uses: Uses) -> dict[str, object]:
    """A user for a listing. The password's hash is for nobody's eyes."""
    if user.disabled:
        state = "disabled"
    elif user.expires_at is not None and user.expires_at <= datetime.now(UTC):
        state = "expired"
    elif not user.keys and user.password_hash is None:
        state = "no key or password"
    else:
        state = "active"
    logins = [use.at for (owner, _), use in uses.items() if owner == user.name]
    by_password = uses.get((user.name, _PASSWORD))
    return {
        "name": user.name,
        "state": state,
        "home": user.home,
        "keys": len(user.keys),
        "password": user.password_hash is not None,
        "required_auth": None if user.required_auth is None else list(user.required_auth),
        "expires_at": user.expires_at,
        "networks": list(user.networks),
        "added_at": user.added_at,
        "last_login_at": max(logins, default=None),
        "password_last_used_at": by_password.at if by_password else None,
        "notes": user.notes,
    }


def quota_row(settings: Settings, user: User) -> dict[str, object]:
    """What a user may send, which of it is of its own, and what it has pending and sent today, as far as the ledger knows."""
    from dataclasses import asdict

    from sftpgate.cli.context import ledger_for_reading
    from sftpgate.ledger import arrivals, volumes
    from sftpgate.policy.quotas import Quotas, day_of
    from sftpgate.users.accounts import QUOTA_KEYS

    gates = Quotas(**{key: getattr(settings, key) for key in QUOTA_KEYS})
    row: dict[str, object] = {key: int(value) for key, value in asdict(gates.of(user.quotas)).items()}
    row["own_quotas"] = [key for key in QUOTA_KEYS if getattr(user.quotas, key) is not None]
    with ledger_for_reading(settings) as ledger:
        files = size = sent = 0
        if ledger is not None:
            with ledger.reading() as connection:
                files, size = arrivals.usage(connection, user.name)
                sent = volumes.sent_on(connection, user.name, day_of(datetime.now(UTC)))
    used = {"pending_files": files, "pending_bytes": size, "sent_today_bytes": sent}
    return row | used | {"directories": _directories(settings, user)}


def _directories(settings: Settings, user: User) -> int:
    """How many directories count for a user."""
    from sftpgate.intake.directory_counts import DirectoryCounts
    from sftpgate.store.disk import Disk
    from sftpgate.store.layout import Layout
    from sftpgate.users.registry import UserRegistry

    registry = UserRegistry(settings.keys_dir)
    homes = [other.home for other in registry.list() if other.home]
    layout = Layout(store=settings.store, drop=settings.drop)
    counts = DirectoryCounts(layout, Disk(), lambda: homes, processes=1, clock=lambda: datetime.now(UTC))
    return counts.count(user.home)


def key_row(user: str, key: AuthorizedKey, uses: Uses, terms: Terms) -> dict[str, object]:
    """A key for a listing, with what is to be said of its options."""
    use = uses.get((user, key.fingerprint))
    return {
        "user": user,
        "type": key.type,
        "bits": key.bits,
        "fingerprint": key.fingerprint,
        "label": key.comment,
        "state": _state(key, terms),
        "added_at": key.added_at,
        "expires_at": key.expires_at,
        "from": list(key.from_patterns),
        "principals": list(key.principals),
        "options": [name if value is None else f'{name}="{value}"' for name, value in key.options],
        "findings": key.findings,
        "last_used_at": use.at if use else None,
        "last_used_from": use.address if use else None,
        "last_used_by": use.client if use else None,
    }


def _state(key: AuthorizedKey, terms: Terms) -> str:
    from sftpgate.policy.login import LoginRefusal

    match terms.refusal(key, datetime.now(UTC)):
        case None:
            return "authority" if key.cert_authority else "active"
        case LoginRefusal.EXPIRED_KEY:
            return "expired"
        case LoginRefusal.WEAK_KEY:
            return "too weak"
        case LoginRefusal.REVOKED_KEY:
            return "revoked"
        case _:
            return "not accepted"
