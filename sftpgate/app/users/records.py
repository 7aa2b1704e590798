"""Users and keys as listings have them: with their state, their last use, and what they have used of their quotas.

Only looks: what is not there (the ledger, before the first start) is not made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from sftpgate.app.users.access import Access
from sftpgate.errors import UserFileError
from sftpgate.ledger import arrivals, logins, volumes
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.logins import LastUse
from sftpgate.policy.login import LoginRefusal
from sftpgate.policy.quotas import Quotas, day_of
from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout
from sftpgate.uploads.quota.directory_counts import DirectoryCounts
from sftpgate.users.accounts import QUOTA_KEYS
from sftpgate.users.keys.authorized import AuthorizedKey
from sftpgate.users.keys.terms import KeyTerms
from sftpgate.users.registry import User

Uses = Mapping[tuple[str, str], LastUse]  # by user and fingerprint

_PASSWORD = "password"  # noqa: S105 - what the ledger calls it


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRecord:
    """A user. The password's hash is for nobody's eyes: ``password`` says whether there is one."""

    name: str
    state: str
    home: str
    keys: int
    password: bool
    required_auth: Sequence[str] | None
    expires_at: datetime | None
    networks: Sequence[str]
    added_at: datetime | None
    last_login_at: datetime | None
    password_last_used_at: datetime | None
    mail: str
    notes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableUser:
    """A user whose files cannot be read or understood: one of them hides no other user."""

    name: str
    state: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaRecord:
    """What a user may send, which of it is of its own, and what it has pending and sent today, as far as the ledger knows."""

    max_upload_bytes: int
    max_pending_bytes: int
    max_pending_files: int
    max_daily_bytes: int
    max_directories: int
    own_quotas: Sequence[str]
    pending_files: int
    pending_bytes: int
    sent_today_bytes: int
    directories: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key of a user, with what is to be said of its options. ``from_patterns``: the addresses that it is accepted from."""

    user: str
    type: str
    bits: int
    fingerprint: str
    label: str
    state: str
    added_at: datetime | None
    expires_at: datetime | None
    from_patterns: Sequence[str]
    principals: Sequence[str]
    options: Sequence[str]
    findings: Sequence[str]
    last_used_at: datetime | None
    last_used_from: str | None
    last_used_by: str | None


def last_uses(ledger: Ledger | None) -> Uses:
    """Return the last use of each key and password. Raises LedgerError if the ledger cannot be asked."""
    if ledger is None:
        return {}
    with ledger.reading() as connection:
        return {(use.owner, use.credential): use for use in logins.last_uses(connection)}


def list_users(access: Access, uses: Uses) -> list[UserRecord | UnreadableUser]:
    """Return all users, by name. Raises UserFileError if the keys directory cannot be read."""
    found: list[UserRecord | UnreadableUser] = []
    for name in access.registry.names():
        try:
            found.append(user_record(access.registry.load(name), uses))
        except UserFileError as error:
            found.append(UnreadableUser(name=name, state="unreadable", problem=error.message))
    return found


def list_keys(access: Access, uses: Uses, name: str | None = None) -> list[KeyRecord]:
    """Return the keys of all users that can be read, or of one. Raises UnknownUser and UserFileError for that one."""
    users = access.registry.list() if name is None else [access.registry.load(name)]
    terms = access.terms
    return [key_record(user.name, key, uses, terms) for user in users for key in user.keys]


def user_record(user: User, uses: Uses) -> UserRecord:
    """Return a user for a listing."""
    logins_of_user = [use.at for (owner, _), use in uses.items() if owner == user.name]
    by_password = uses.get((user.name, _PASSWORD))
    return UserRecord(
        name=user.name,
        state=_state_of_user(user),
        home=user.home,
        keys=len(user.keys),
        password=user.password_hash is not None,
        required_auth=None if user.required_auth is None else list(user.required_auth),
        expires_at=user.expires_at,
        networks=list(user.networks),
        added_at=user.added_at,
        last_login_at=max(logins_of_user, default=None),
        password_last_used_at=by_password.at if by_password else None,
        mail=user.mail,
        notes=user.notes,
    )


def quota_record(access: Access, user: User) -> QuotaRecord:
    """Return what a user may send, and what it has used of that."""
    settings = access.settings
    gates = Quotas(**{key: getattr(settings, key) for key in QUOTA_KEYS})
    files = size = sent = 0
    with access.ledger() as ledger:
        if ledger is not None:
            with ledger.reading() as connection:
                files, size = arrivals.usage(connection, user.name)
                sent = volumes.sent_on(connection, user.name, day_of(datetime.now(UTC)))
    return QuotaRecord(
        **{key: int(value) for key, value in asdict(gates.of(user.quotas)).items()},
        own_quotas=[key for key in QUOTA_KEYS if getattr(user.quotas, key) is not None],
        pending_files=files,
        pending_bytes=size,
        sent_today_bytes=sent,
        directories=_directories(access, user),
    )


def key_record(user: str, key: AuthorizedKey, uses: Uses, terms: KeyTerms) -> KeyRecord:
    """Return a key for a listing."""
    use = uses.get((user, key.fingerprint))
    return KeyRecord(
        user=user,
        type=key.type,
        bits=key.bits,
        fingerprint=key.fingerprint,
        label=key.comment,
        state=_state_of_key(key, terms),
        added_at=key.added_at,
        expires_at=key.expires_at,
        from_patterns=list(key.from_patterns),
        principals=list(key.principals),
        options=[name if value is None else f'{name}="{value}"' for name, value in key.options],
        findings=key.findings,
        last_used_at=use.at if use else None,
        last_used_from=use.address if use else None,
        last_used_by=use.client if use else None,
    )


def _state_of_user(user: User) -> str:
    if user.disabled:
        return "disabled"
    if user.expires_at is not None and user.expires_at <= datetime.now(UTC):
        return "expired"
    if not user.keys and user.password_hash is None:
        return "no key or password"
    return "active"


def _state_of_key(key: AuthorizedKey, terms: KeyTerms) -> str:
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


def _directories(access: Access, user: User) -> int:
    """Return how many directories count for a user."""
    homes = access.registry.homes()
    layout = Layout(store=access.settings.store, drop=access.settings.drop)
    counts = DirectoryCounts(layout, Disk(), lambda: homes, processes=1, clock=lambda: datetime.now(UTC))
    return counts.count(user.home)
