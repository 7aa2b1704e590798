"""The users: directories below ``<keys>/users``, read as they change.

A user is a directory with an ``authorized_keys`` and a ``user.toml``; each may be missing. They are picked up without a
restart: a lookup compares the files' signatures with those of the last reading, which costs two ``stat`` calls, and reads
what is new. If a file cannot be read or understood, the last good version of the user stays in force and one warning
(``user.unreadable``) is logged; a user that was never readable does not exist for ``get``. ``load`` is the strict form, for
the command line.

Every change is whole after a crash (``files``). Lines, comments and options of ``authorized_keys`` that a change does not
mean stay as they are, byte for byte. All methods block; ``get`` for no longer than reading two small files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TypeVar

from sftpgate.errors import AlreadyExists, SftpgateError, UnknownUser, UserFileError
from sftpgate.logs import get_logger
from sftpgate.policy.accounts import USER_NAME_RULE, check_home, check_user_name, valid_user_name
from sftpgate.policy.quotas import OwnQuotas
from sftpgate.policy.wholeness import END_LINE, SETTLE_SECONDS, doubt, ended, is_ended, says_nothing
from sftpgate.settings.choices import Language
from sftpgate.users.accounts import (
    Account,
    Value,
    lifts,
    limits_somebody,
    new_account_text,
    parse_account,
    with_value,
    without_hash,
)
from sftpgate.users.files import (
    MAX_FILE_BYTES,
    Signature,
    locked,
    make_directory,
    new_directory,
    read_text,
    remove_directory,
    signature,
    write_text,
)
from sftpgate.users.keys.authorized import AuthorizedKey, parse_authorized_keys
from sftpgate.users.keys.changes import succeeding, with_expiry, with_key, without_key
from sftpgate.users.keys.revocations import Revocations
from sftpgate.users.last_whole import Memory
from sftpgate.users.modes import Unsafe, Watchman

T = TypeVar("T")

log = get_logger("users")

_KEYS_FILE, _ACCOUNT_FILE = "authorized_keys", "user.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Account):
    """A user as its files describe it."""

    name: str
    keys: tuple[AuthorizedKey, ...] = ()

    def lines_of_key(self, blob: bytes) -> list[AuthorizedKey]:
        """Return the lines of the user's key with this blob (SSH's wire format); an authority's own key is none to log in
        with.
        """
        return [key for key in self.keys if key.blob == blob and not key.cert_authority]

    def lines_of_authority(self, blob: bytes) -> list[AuthorizedKey]:
        """Return the cert-authority lines of the key that signed a client's certificate."""
        return [key for key in self.keys if key.blob == blob and key.cert_authority]


_Signatures = tuple[Signature | None, Signature | None, Unsafe | None]


@dataclass(frozen=True, slots=True)
class _Read:
    """The last reading of a user: what its files looked like, and the user then in force."""

    signatures: _Signatures
    user: User | None
    text: str = ""  # of the last whole user.toml
    problem: str | None = None
    seen_at: float = 0.0
    settling: bool = False  # to be looked at again though nothing has changed


def _now() -> datetime:
    return datetime.now(UTC)


class UserRegistry:
    """The users of one keys directory. One instance serves all threads; its cache is never the only copy of anything."""

    def __init__(
        self,
        keys_dir: Path,
        *,
        clock: Callable[[], datetime] = _now,
        seconds: Callable[[], float] = monotonic,
        memory: Memory | None = None,
    ) -> None:
        self._directory = keys_dir / "users"
        self._watchman = Watchman(keys_dir, seconds)
        self._memory = memory or Memory()
        self._seconds = seconds
        self.revocations = Revocations(keys_dir, self._watchman, self._memory, seconds)
        self._clock = clock
        self._cache: dict[str, _Read] = {}
        self._quotas: dict[str, tuple[Signature | None, OwnQuotas]] = {}

    # -- reading -----------------------------------------------------------------------------------------------------

    def names(self) -> Sequence[str]:
        """Return the names of all users, those with unreadable files too, in order."""
        try:
            entries = [entry.name for entry in self._directory.iterdir() if entry.is_dir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserFileError(
                f"{self._directory}: cannot be read: {error.strerror} (it belongs to the user that sftpgate runs as: chmod 700)"
            ) from error
        return sorted(filter(valid_user_name, entries))

    def list(self) -> Sequence[User]:
        """Return all users that can be read, by name."""
        return [user for name in self.names() if (user := self.get(name)) is not None]

    def homes(self) -> Sequence[str]:
        """Return the homes of all users that see a part of the drop only."""
        return [user.home for user in self.list() if user.home]

    def preload(self) -> None:
        """Read all users, so that files which break later leave a good version in force, and warn of what nobody can be.

        Raises UserFileError if the directory cannot be read.
        """
        self.revocations.in_force()
        for name in self.names():
            self.get(name)
        for path in self._directory.iterdir() if self._directory.is_dir() else ():
            if path.is_dir() and not valid_user_name(path.name) and not path.name.startswith("."):
                log.warning("user.ignored", directory=path.name, reason=USER_NAME_RULE)

    def get(self, name: str) -> User | None:
        """Return the user as it is in force, or None if there is none, or none whose files were ever readable.

        Raises nothing for any name.
        """
        directory = self._directory / name
        if not valid_user_name(name) or not _is_directory(directory):
            self._cache.pop(name, None)
            return None
        found = self._signatures(directory)
        known = self._cache.get(name)
        if known is None or known.signatures != found or known.settling:
            # the signatures are those from before the reading: a change in between is seen as one at the next lookup
            self._cache[name] = known = self._read(name, found, known)
        return known.user

    def is_settling(self, name: str) -> bool:
        """Return whether a change that lets somebody in was seen a moment ago, and may be half of one: look again."""
        known = self._cache.get(name)
        return self.revocations.is_settling or (known is not None and known.settling)

    def quotas(self, name: str) -> OwnQuotas:
        """Return the user's own quotas, none for one that does not exist. Asked for every upload: one ``stat`` if nothing
        changed.
        """
        found = signature(f"{self._directory}/{name}/{_ACCOUNT_FILE}")
        known = self._quotas.get(name)
        if known is None or known[0] != found or self.is_settling(name):
            user = self.get(name)
            known = self._quotas[name] = found, OwnQuotas() if user is None else user.quotas
        return known[1]

    def unsafe(self, name: str) -> Unsafe | None:
        """Return what lets others write a user's files, for people to mend; None if nothing does."""
        return self._unsafe(self._directory / name)

    def load(self, name: str) -> User:
        """Return the user as its files say at this moment. Raises UnknownUser, or UserFileError with the file and what is
        wrong.
        """
        directory = self._existing(name)
        if problem := self._unsafe(directory, anew=True):
            raise UserFileError(str(problem))
        text = read_text(directory / _ACCOUNT_FILE)
        if text == "":  # it would lift every limit, and is more likely just being written in place
            raise UserFileError(f"{_ACCOUNT_FILE} is empty: write it, or remove it for a user without limits and password")
        account = parse_account(text or "")
        keys = parse_authorized_keys(read_text(directory / _KEYS_FILE) or "")
        return User(name=name, keys=tuple(keys), **{item.name: getattr(account, item.name) for item in fields(Account)})

    def _signatures(self, directory: Path) -> _Signatures:
        return signature(directory / _ACCOUNT_FILE), signature(directory / _KEYS_FILE), self._unsafe(directory)

    def _unsafe(self, directory: Path, *, anew: bool = False) -> Unsafe | None:
        """Return what on the way to a user's files lets others write them; its text says what to do."""
        return self._watchman.unsafe(directory, directory / _ACCOUNT_FILE, directory / _KEYS_FILE, anew=anew)

    def _read(self, name: str, found: _Signatures, known: _Read | None) -> _Read:
        fresh = known is None or known.signatures != found or not known.settling
        seen_at = self._seconds() if fresh or known is None else known.seen_at
        in_force = known.user if known else None
        before = known.text if known is not None and known.text else self._memory.text(f"users/{name}", MAX_FILE_BYTES) or ""
        try:
            user = self.load(name)
            text = read_text(self._directory / name / _ACCOUNT_FILE)
        except UnknownUser:
            return _Read(found, None)
        except UserFileError as error:
            if fresh:
                log.warning("user.unreadable", user=name, reason=error.message, last_good_version_in_force=in_force is not None)
            return _Read(found, in_force, before, error.message, seen_at)
        kept = in_force or (_account(before) if before else None)
        problem, settling = None, False
        if kept is not None and lifts(user, kept):
            new = None if text is None else without_hash(text)
            problem = "has remarks only" if text and says_nothing(text) and not is_ended(text) else doubt(new, before)
            settling = problem is None and not is_ended(text or "") and self._seconds() - seen_at < SETTLE_SECONDS
        if kept is None or (problem is None and not settling):
            self._memory.keep(f"users/{name}", without_hash(text) if text and limits_somebody(user) else None)
            return _Read(found, user, without_hash(text or ""))
        reason = None
        if problem is not None:
            reason = (
                f"{_ACCOUNT_FILE} {problem}: what it said before holds (to lift it, say so: disabled = false, and {END_LINE})"
            )
            if fresh:
                log.warning("user.unreadable", user=name, reason=reason, last_good_version_in_force=True)
        limited = replace(user, **{item.name: getattr(kept, item.name) for item in fields(Account)})
        return _Read(found, limited, before, reason, seen_at, settling)

    def _existing(self, name: str) -> Path:
        directory = self._directory / name
        if not valid_user_name(name) or not _is_directory(directory):
            raise UnknownUser
        return directory

    # -- users -------------------------------------------------------------------------------------------------------

    def add(self, name: str, *, keys: Sequence[AuthorizedKey] = (), password_hash: str | None = None, home: str = "") -> User:
        """Make a user. Raises NameRefused for a bad name or home, AlreadyExists, and KeyRefused if a key is there twice."""
        check_user_name(name)
        check_home(home)
        text = ""
        for key in keys:
            text = with_key(text, key, self._now())
        directory = self._directory / name
        make_directory(self._directory)
        with locked(self._directory):
            if directory.exists():
                raise AlreadyExists(f"there is a user {name} already")
            with new_directory(directory) as fresh:
                account = new_account_text(password_hash=password_hash, home=home, added_at=self._now())
                write_text(fresh / _ACCOUNT_FILE, ended(account))
                write_text(fresh / _KEYS_FILE, text)
        return self.load(name)

    def remove(self, name: str) -> None:
        """Remove a user with its keys and password. Its files in drop and store stay. Raises UnknownUser."""
        self._existing(name)
        with locked(self._directory):
            remove_directory(self._existing(name))

    def set_password_hash(self, name: str, password_hash: str | None) -> None:
        """Give a user another password, or none. Raises UnknownUser, and UserFileError if its file cannot be understood."""
        self._set(name, "password_hash", password_hash)

    def disable(self, name: str) -> None:
        """Let nobody log in as this user any more. Raises as ``set_password_hash``."""
        self._set(name, "disabled", True)

    def enable(self, name: str) -> None:
        """Let the user log in again. Raises as ``set_password_hash``."""
        self._set(name, "disabled", False)

    def set_quotas(self, name: str, quotas: Mapping[str, Value | None]) -> None:
        """Give a user quotas of its own, by their keys in ``user.toml``; None: as the gate has it. All or none.

        Raises as ``set_password_hash``, and UserFileError for what is no quota.
        """
        self._set_all(name, quotas)

    def _set(self, name: str, key: str, value: Value | None) -> None:
        self._set_all(name, {key: value})

    def _set_all(self, name: str, values: Mapping[str, Value | None]) -> None:
        directory = self._existing(name)
        with locked(directory):
            path = directory / _ACCOUNT_FILE
            text = read_text(path) or ""
            before = parse_account(text)  # what cannot be understood is not changed
            for key, value in values.items():
                text = with_value(text, key, value)
            says_so = "disabled" in values or lifts(parse_account(text), before)
            write_text(path, ended(text) if says_so else text)

    # -- keys --------------------------------------------------------------------------------------------------------

    def add_key(self, name: str, key: AuthorizedKey) -> None:
        """Give a user one more key.

        Raises UnknownUser, KeyRefused if it has the key already, UserFileError for a broken file.
        """
        self.add_keys(name, [key])

    def add_keys(self, name: str, keys: Sequence[AuthorizedKey]) -> None:
        """Give a user several more keys, all or none. Raises as ``add_key``."""

        def added(text: str) -> tuple[str, None]:
            for key in keys:
                text = with_key(text, key, self._now())
            return text, None

        self._edit_keys(name, added)

    def remove_key(self, name: str, fingerprint: str) -> AuthorizedKey:
        """Take a key from a user, and return it.

        ``SHA256:`` may be left out. Raises UnknownUser, and NotFound for a key that it does not have.
        """
        return self._edit_keys(name, lambda text: without_key(text, fingerprint))

    def rotate_key(self, name: str, old: str, new: AuthorizedKey, until: datetime) -> AuthorizedKey:
        """Give a user ``new``, with the limits of its key ``old``, which is accepted until ``until``; return what was added.

        One change: there is no moment with neither, or with both for good. Raises as ``add_key``, and NotFound for ``old``.
        """

        def rotated(text: str) -> tuple[str, AuthorizedKey]:
            _, known = without_key(text, old)
            added = succeeding(new, known)
            return with_key(with_expiry(text, known.blob, until), added, self._now()), added

        return self._edit_keys(name, rotated)

    def _edit_keys(self, name: str, edit: Callable[[str], tuple[str, T]]) -> T:
        directory = self._existing(name)
        with locked(directory):
            path = directory / _KEYS_FILE
            text, result = edit(read_text(path) or "")
            parse_authorized_keys(text)  # what is written can be read
            write_text(path, text)
        return result

    def doubt(self, name: str) -> str | None:
        """Return why what a user's files say does not hold at the moment, for people to mend; None if it does."""
        self.get(name)
        known = self._cache.get(name)
        return known.problem if known is not None else None

    def _now(self) -> datetime:
        return self._clock().replace(microsecond=0)


def language_in(keys_dir: Path, name: str) -> Language | None:
    """Return the language that a user wants to be written to in; None if its ``user.toml`` does not say, or cannot be read."""
    account = account_in(keys_dir, name)
    return None if account is None else account.language


def account_in(keys_dir: Path, name: str) -> Account | None:
    """Return what a user's ``user.toml`` says now; None if there can be no such user, or it cannot be read."""
    if not valid_user_name(name):
        return None
    try:
        return parse_account(read_text(keys_dir / "users" / name / _ACCOUNT_FILE) or "")
    except SftpgateError:
        return None


def receipts_wanted(keys_dir: Path, name: str) -> bool:
    """Return whether a user is to have receipts: not, if its ``user.toml`` says so."""
    if not valid_user_name(name):
        return False  # a former user's
    try:
        return parse_account(read_text(keys_dir / "users" / name / _ACCOUNT_FILE) or "").receipts
    except SftpgateError:
        return True


def _account(text: str) -> Account | None:
    try:
        return parse_account(text)
    except UserFileError:
        return None


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a directory above it is closed to us
        return False
