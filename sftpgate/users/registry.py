"""The users: directories below ``<keys>/users``, read as they change.

A user is a directory with an ``authorized_keys`` and a ``user.toml``; each may be missing. They are picked up without a
restart: a lookup compares the files' signatures with those of the last reading, which costs two ``stat`` calls, and reads
what is new. Where a file cannot be read or understood, the last good version of the user stays in force and one warning
(``user.unreadable``) is logged; a user that was never readable does not exist for ``get``. ``load`` is the strict form, for
the command line.

Every change is whole after a crash (``files``). Lines, comments and options of ``authorized_keys`` that a change does not
mean stay as they are, byte for byte. All methods block; ``get`` for no longer than reading two small files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from sftpgate.errors import AlreadyExists, KeyRefused, NotFound, UnknownUser, UserFileError
from sftpgate.logs import get_logger
from sftpgate.policy.accounts import check_home, check_user_name, valid_user_name
from sftpgate.users.accounts import Account, Value, new_account_text, parse_account, with_value
from sftpgate.users.files import (
    Signature,
    locked,
    make_directory,
    new_directory,
    read_text,
    remove_directory,
    signature,
    write_text,
)
from sftpgate.users.keys import AuthorizedKey, parse_authorized_keys, parse_line

log = get_logger("users")

_KEYS_FILE, _ACCOUNT_FILE = "authorized_keys", "user.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Account):
    """A user as its files describe it."""

    name: str
    keys: tuple[AuthorizedKey, ...] = ()

    def find_key(self, blob: bytes) -> AuthorizedKey | None:
        """The user's key with this blob (SSH's wire format); an authority's own key is none to log in with."""
        return next((key for key in self.keys if key.blob == blob and not key.cert_authority), None)

    def find_authority(self, blob: bytes) -> AuthorizedKey | None:
        """The cert-authority line of the key that signed a client's certificate."""
        return next((key for key in self.keys if key.blob == blob and key.cert_authority), None)


_Signatures = tuple[Signature | None, Signature | None]


@dataclass(frozen=True, slots=True)
class _Read:
    """The last reading of a user: what its files looked like, and the user then in force."""

    signatures: _Signatures
    user: User | None


def _now() -> datetime:
    return datetime.now(UTC)


class UserRegistry:
    """The users of one keys directory. One instance serves all threads; its cache is never the only copy of anything."""

    def __init__(self, keys_dir: Path, *, clock: Callable[[], datetime] = _now) -> None:
        self._directory = keys_dir / "users"
        self._clock = clock
        self._cache: dict[str, _Read] = {}

    # -- reading -----------------------------------------------------------------------------------------------------

    def names(self) -> Sequence[str]:
        """The names of all users, those with unreadable files too, in order."""
        try:
            entries = [entry.name for entry in self._directory.iterdir() if entry.is_dir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserFileError(f"{self._directory}: cannot be read: {error.strerror}") from error
        return sorted(filter(valid_user_name, entries))

    def list(self) -> Sequence[User]:
        """All users that can be read, by name."""
        return [user for name in self.names() if (user := self.get(name)) is not None]

    def get(self, name: str) -> User | None:
        """The user as it is in force, or None where there is none, or none whose files were ever readable.

        Raises nothing for any name.
        """
        directory = self._directory / name
        if not valid_user_name(name) or not _is_directory(directory):
            self._cache.pop(name, None)
            return None
        found = _signatures(directory)
        known = self._cache.get(name)
        if known is None or known.signatures != found:
            known = _Read(found, self._read(name, known))
            # the signatures are those from before the reading: a change in between is seen as one at the next lookup
            self._cache[name] = known
        return known.user

    def load(self, name: str) -> User:
        """The user as its files say at this moment. Raises UnknownUser, or UserFileError with the file and what is wrong."""
        directory = self._existing(name)
        text = read_text(directory / _ACCOUNT_FILE)
        if text == "":  # it would lift every limit, and is more likely just being written in place
            raise UserFileError(f"{_ACCOUNT_FILE} is empty: write it, or remove it for a user without limits and password")
        account = parse_account(text or "")
        keys = parse_authorized_keys(read_text(directory / _KEYS_FILE) or "")
        return User(name=name, keys=tuple(keys), **{item.name: getattr(account, item.name) for item in fields(Account)})

    def _read(self, name: str, known: _Read | None) -> User | None:
        try:
            return self.load(name)
        except UnknownUser:
            return None
        except UserFileError as error:
            in_force = known.user if known else None
            log.warning("user.unreadable", user=name, reason=error.message, last_good_version_in_force=in_force is not None)
            return in_force

    def _existing(self, name: str) -> Path:
        directory = self._directory / name
        if not valid_user_name(name) or not _is_directory(directory):
            raise UnknownUser
        return directory

    # -- users -------------------------------------------------------------------------------------------------------

    def add(self, name: str, *, keys: Sequence[AuthorizedKey] = (), password_hash: str | None = None, home: str = "") -> User:
        """Make a user. Raises NameRefused for a bad name or home, AlreadyExists, and KeyRefused where a key is there twice."""
        check_user_name(name)
        check_home(home)
        text = ""
        for key in keys:
            text = _with_key(text, key)
        directory = self._directory / name
        make_directory(self._directory)
        with locked(self._directory):
            if directory.exists():
                raise AlreadyExists(f"there is a user {name} already")
            with new_directory(directory) as fresh:
                account = new_account_text(password_hash=password_hash, home=home, added_at=self._clock().replace(microsecond=0))
                write_text(fresh / _ACCOUNT_FILE, account)
                write_text(fresh / _KEYS_FILE, text)
        return self.load(name)

    def remove(self, name: str) -> None:
        """Remove a user with its keys and password. Its files in drop and store stay. Raises UnknownUser."""
        self._existing(name)
        with locked(self._directory):
            remove_directory(self._existing(name))

    def set_password_hash(self, name: str, password_hash: str | None) -> None:
        """Give a user another password, or none. Raises UnknownUser, and UserFileError where its file cannot be understood."""
        self._set(name, "password_hash", password_hash)

    def disable(self, name: str) -> None:
        """Let nobody log in as this user any more. Raises as ``set_password_hash``."""
        self._set(name, "disabled", True)

    def enable(self, name: str) -> None:
        """Let the user log in again. Raises as ``set_password_hash``."""
        self._set(name, "disabled", False)

    def _set(self, name: str, key: str, value: Value | None) -> None:
        directory = self._existing(name)
        with locked(directory):
            path = directory / _ACCOUNT_FILE
            text = read_text(path) or ""
            parse_account(text)  # what cannot be understood is not changed
            edited = with_value(text, key, value)
            parse_account(edited)
            write_text(path, edited)

    # -- keys --------------------------------------------------------------------------------------------------------

    def add_key(self, name: str, key: AuthorizedKey) -> None:
        """Give a user one more key.

        Raises UnknownUser, KeyRefused where it has the key already, UserFileError for a broken file.
        """
        directory = self._existing(name)
        with locked(directory):
            path = directory / _KEYS_FILE
            write_text(path, _with_key(read_text(path) or "", key))

    def remove_key(self, name: str, fingerprint: str) -> AuthorizedKey:
        """Take a key from a user, and return it.

        ``SHA256:`` may be left out. Raises UnknownUser, and NotFound for a key that it does not have.
        """
        directory = self._existing(name)
        wanted = "SHA256:" + fingerprint.removeprefix("SHA256:").rstrip("=")
        with locked(directory):
            path = directory / _KEYS_FILE
            text = read_text(path) or ""
            removed = [key for key in parse_authorized_keys(text) if key.fingerprint == wanted]
            if not removed:
                raise NotFound(f"{name} has no key with this fingerprint (`sftpgate key list {name}` shows them)")
            write_text(path, _without_key(text, wanted))
        return removed[0]


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a directory above it is closed to us
        return False


def _signatures(directory: Path) -> _Signatures:
    return signature(directory / _ACCOUNT_FILE), signature(directory / _KEYS_FILE)


def _with_key(text: str, key: AuthorizedKey) -> str:
    """``text`` of an ``authorized_keys`` with a line more. One that does not end with a line end still does not."""
    if any(known.fingerprint == key.fingerprint for known in parse_authorized_keys(text)):
        raise KeyRefused(f"the user has the key {key.fingerprint} already")
    lines = text.split("\n")
    lines.insert(len(lines) if lines[-1] else len(lines) - 1, key.line)
    return "\n".join(lines)


def _without_key(text: str, fingerprint: str) -> str:
    """``text`` without the lines of this key."""
    kept = [line for line in text.split("\n") if (key := parse_line(line)) is None or key.fingerprint != fingerprint]
    return "\n".join(kept)
