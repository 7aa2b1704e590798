"""Users: to make one, to limit it, to keep it out and let it in again, and to remove it.

The functions change files in the keys directory, and put that on the record in the name of whoever asked for it. What a former
user of the same name has left is parted from a new one after the files are written: a command of root goes on as the store's
owner then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sftpgate.app.users.access import Access
from sftpgate.app.users.former_users import NOTHING, Parted, has_anything, part
from sftpgate.policy.accounts import check_home, check_user_name
from sftpgate.users.imports import Imported, import_users
from sftpgate.users.keys.authorized import AuthorizedKey
from sftpgate.users.passwords import hash_password
from sftpgate.users.registry import User

DEFAULT = "default"  # a quota as the settings have it


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A user that was made, and what was parted from it that a former one of its name had left."""

    user: User
    parted: Parted


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedUser:
    """What became of one file of an import, and what was parted from a user that it made."""

    imported: Imported
    parted: Parted


def check_new(name: str, home: str) -> None:
    """Raise NameRefused for what can be no user's name or home: before a key is read or a password typed for it."""
    check_user_name(name)
    check_home(home)


def add(access: Access, name: str, *, keys: Sequence[AuthorizedKey] = (), password: str | None = None, home: str = "") -> Added:
    """Make a user. ``home``: the directory in the drop that it is confined to. Raises Refused, NameRefused and AlreadyExists."""
    check_new(name, home)
    is_known = has_anything(access, name)  # of one that was removed by hand, or whose last upload came after that
    password_hash = None if password is None else hash_password(password)
    user = access.registry.add(name, keys=keys, password_hash=password_hash, home=home)
    access.record("user.added", user=name, home=home, keys=len(keys))
    return Added(user=user, parted=part(access, name) if is_known else NOTHING)


def require(access: Access, name: str) -> User:
    """Return a user as its files say at this moment. Raises UnknownUser and UserFileError."""
    return access.registry.load(name)


def set_password(access: Access, name: str, password: str | None) -> User:
    """Set a user's password; None: it logs in with keys only. Return the user.

    Raises UnknownUser, and Refused for a password that is too short or cannot be sent.
    """
    access.registry.set_password_hash(name, None if password is None else hash_password(password))
    access.record("user.password_set" if password is not None else "user.password_removed", user=name)
    return access.registry.load(name)


def set_quotas(access: Access, name: str, quotas: Mapping[str, str]) -> User:
    """Give a user quotas of its own, by their names in the settings: a number, a size such as 512MiB, or "default".

    They hold for its next upload. Return the user. Raises UnknownUser and UserFileError.
    """
    values = {key: None if text == DEFAULT else int(text) if text.isdecimal() else text for key, text in quotas.items()}
    access.registry.set_quotas(name, values)
    access.record("user.quotas_set", user=name, **quotas)
    return access.registry.load(name)


def disable(access: Access, name: str) -> None:
    """Let nobody log in as a user; its keys and password stay. Its connections end within a few seconds. Raises UnknownUser."""
    access.registry.disable(name)
    access.record("user.disabled", user=name)


def enable(access: Access, name: str) -> User:
    """Let a disabled user log in again. Return the user. Raises UnknownUser and UserFileError."""
    access.registry.enable(name)
    access.record("user.enabled", user=name)
    return access.registry.load(name)


def remove(access: Access, name: str) -> Parted:
    """Remove a user with its keys and password; return what was parted from whoever gets its name. What it has sent stays.

    Raises UnknownUser.
    """
    access.registry.remove(name)
    access.record("user.removed", user=name)
    return part(access, name)


def import_from(access: Access, directory: Path, *, dry_run: bool = False) -> list[ImportedUser]:
    """Make users of a directory of authorized_keys files, and give users that exist the keys that they lack.

    Each file is taken whole or refused whole. With ``dry_run``, only say what would be done. Raises UserFileError.
    """
    found = list(import_users(directory, access.registry, min_rsa_bits=access.settings.min_rsa_bits, dry_run=dry_run))
    for item in () if dry_run else found:
        if item.problem is None:
            access.record("user.imported", user=item.name, new=item.new_user, keys=item.added)
    return [
        ImportedUser(imported=item, parted=part(access, item.name) if item.new_user and not dry_run else NOTHING)
        for item in found
    ]
