"""Which users and keys end soon, or have ended and lock somebody out: for warnings. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sftpgate.users.keys.authorized import AuthorizedKey
from sftpgate.users.keys.terms import KeyTerms
from sftpgate.users.registry import User


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """Something that ends. ``fingerprint`` is None if it is the whole user."""

    user: str
    fingerprint: str | None
    label: str  # anybody's text: show it through ``printable``
    expires_at: datetime
    expired: bool
    what_to_do: str


def about_to_expire(users: Iterable[User], *, now: datetime, within: timedelta, terms: KeyTerms) -> Iterator[Expiry]:
    """Yield the users and keys that end before ``now + within``.

    One that has ended is told while the user has nothing else to log in with; disabled users are nobody's concern.
    """
    for user in users:
        if user.disabled:
            continue
        if user.expires_at is not None and user.expires_at <= now + within:
            yield Expiry(
                user=user.name,
                fingerprint=None,
                label="",
                expires_at=user.expires_at,
                expired=user.expires_at <= now,
                what_to_do=f"change expires in its user.toml, or sftpgate user disable {user.name}",
            )
        elif user.expires_at is None or user.expires_at > now:
            yield from _expiring_keys(user, now, within, terms)


def _expiring_keys(user: User, now: datetime, within: timedelta, terms: KeyTerms) -> Iterator[Expiry]:
    usable = terms.usable(user.keys, now)
    lasting = [key for key in usable if not _ends(key, now + within)]
    for key in user.keys:
        if not _ends(key, now + within) or key.expires_at is None or key.blob in (terms.revoked or ()):
            continue
        expired = key.expires_at <= now
        if expired and (usable or user.password_hash is not None):
            continue
        yield Expiry(
            user=user.name,
            fingerprint=key.fingerprint,
            label=key.comment,
            expires_at=key.expires_at,
            expired=expired,
            what_to_do="see that the other key is in use (`sftpgate key list`)"
            if lasting
            else f"have a new key sent, and sftpgate key rotate {user.name} NEW.pub",
        )


def _ends(key: AuthorizedKey, moment: datetime) -> bool:
    return key.expires_at is not None and key.expires_at <= moment
