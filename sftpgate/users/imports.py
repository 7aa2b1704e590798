"""Users from a directory of ``authorized_keys`` files, as other servers and configuration managers keep them.

Three layouts, also mixed: ``DIR/<name>``, ``DIR/<name>/authorized_keys``, ``DIR/<name>/.ssh/authorized_keys``. Each user is
whole or not at all: a line that cannot be used refuses the user's file and names the line, because half of somebody's keys
is a riddle at the next rotation. Keys that a user has already are left alone, so an import can be repeated. All blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sftpgate.errors import KeyRefused, SftpgateError, UserFileError
from sftpgate.policy.accounts import check_user_name
from sftpgate.users.files import read_text
from sftpgate.users.keys.authorized import AuthorizedKey, check_strength, parse_authorized_keys
from sftpgate.users.keys.formats import to_openssh
from sftpgate.users.registry import UserRegistry

_INSIDE = ("authorized_keys", ".ssh/authorized_keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of one user of the directory. ``problem`` is None if its keys are in."""

    name: str
    file: str
    new_user: bool
    added: int
    known: int
    problem: str | None = None


def import_users(directory: Path, registry: UserRegistry, *, min_rsa_bits: int, dry_run: bool = False) -> Iterator[Imported]:
    """Import each user of ``directory``, in the order of names. With ``dry_run``, only say what would be done.

    Raises UserFileError if the directory cannot be read.
    """
    for name, path in _files(directory):
        try:
            if name not in registry.names():  # one that has the name already keeps it
                check_user_name(name)
            keys = _keys(path, min_rsa_bits)
            yield _import(name, path, keys, registry, dry_run)
        except SftpgateError as error:
            yield Imported(name=name, file=str(path), new_user=False, added=0, known=0, problem=error.message)


def _files(directory: Path) -> Iterator[tuple[str, Path]]:
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise UserFileError(f"{directory}: cannot be read: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_file():
            yield entry.name, entry
        elif found := [entry / inside for inside in _INSIDE if (entry / inside).is_file()]:
            yield entry.name, found[0]


def _keys(path: Path, min_rsa_bits: int) -> Sequence[AuthorizedKey]:
    text = to_openssh(read_text(path) or "")  # says what a private key, an RFC 4716 file and the like are
    keys = parse_authorized_keys(text)
    for key in keys:
        try:
            check_strength(key, min_rsa_bits)
        except KeyRefused as error:
            raise KeyRefused(f"{key.fingerprint}: {error.message}") from error
    if not keys:
        raise UserFileError("there is no key in this file")
    first: dict[bytes, AuthorizedKey] = {}
    for key in keys:
        first.setdefault(key.blob, key)  # of one that is there twice the first line counts, as in a login
    return list(first.values())


def _import(name: str, path: Path, keys: Sequence[AuthorizedKey], registry: UserRegistry, dry_run: bool) -> Imported:
    new_user = name not in registry.names()
    there = set() if new_user else {key.blob for key in registry.load(name).keys}
    fresh = [key for key in keys if key.blob not in there]
    if revoked := [key.fingerprint for key in fresh if key.blob in (registry.revocations.in_force() or ())]:
        raise KeyRefused(f"{revoked[0]}: this key is revoked")
    if new_user and not dry_run:
        registry.add(name, keys=fresh)
    elif fresh and not dry_run:
        registry.add_keys(name, fresh)
    return Imported(name=name, file=str(path), new_user=new_user, added=len(fresh), known=len(keys) - len(fresh))
