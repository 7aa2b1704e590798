"""The keys of users: to read one that somebody sent, to add, rotate and revoke.

The functions change files in the keys directory, and put that on the record in the name of whoever asked for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sftpgate.app.users.access import Access
from sftpgate.errors import KeyRefused, NotFound, Refused
from sftpgate.users.keys.authorized import AuthorizedKey, check_strength, parse_public_key
from sftpgate.users.keys.changes import full_fingerprint, limited
from sftpgate.users.keys.formats import decode_key_file
from sftpgate.users.keys.revocations import key_of_certificate
from sftpgate.users.keys.terms import KeyTerms
from sftpgate.users.registry import User

MAX_KEY_FILE_BYTES = 64 * 1024  # a public key of 16384 bits has 3 KB


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """A key that took the place of another, which is accepted until ``ends``."""

    added: AuthorizedKey
    replaced: AuthorizedKey
    ends: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """A key that logs nobody in any more, and the users who still have it; not ``is_new``: it was revoked before."""

    key: AuthorizedKey
    owners: Sequence[str]
    is_new: bool


# -- reading ---------------------------------------------------------------------------------------------------------


def key_text(content: bytes, source: str) -> str:
    """Return the text of a key file that somebody sent; ``source`` is what to call it. Raises KeyRefused."""
    if len(content) > MAX_KEY_FILE_BYTES:
        raise KeyRefused(f"{source}: too large for a public key")
    try:
        return decode_key_file(content)
    except KeyRefused as error:
        raise KeyRefused(f"{source}: {error.message}") from error


def public_key(text: str, source: str, terms: KeyTerms) -> AuthorizedKey:
    """Return the key in ``text``, for a user. Raises KeyRefused, with ``source``, if it is none or not accepted on ``terms``."""
    try:
        key = parse_public_key(text)
        check_strength(key, terms.min_rsa_bits)
        if key.blob in (terms.revoked or ()):
            raise KeyRefused("this key is revoked (revoked_keys in the keys directory): have a new one made")
    except KeyRefused as error:
        raise KeyRefused(f"{source}: {error.message}") from error
    return key


def key_to_revoke(text: str, source: str) -> AuthorizedKey:
    """Return the key in ``text``, or that of the certificate in it. Raises KeyRefused."""
    try:
        return key_of_certificate(text) or parse_public_key(text)
    except KeyRefused as error:
        raise KeyRefused(f"{source}: {error.message}") from error


# -- changing --------------------------------------------------------------------------------------------------------


def add(
    access: Access,
    name: str,
    key: AuthorizedKey,
    *,
    label: str | None = None,
    expires: date | None = None,
    from_patterns: Sequence[str] = (),
    authority: bool = False,
    principals: Sequence[str] = (),
) -> AuthorizedKey:
    """Give a user one more key, with these limits; return it as it was written. Keys that the user has stay.

    It is not accepted from the day ``expires`` on (UTC). With ``authority`` it signs certificates, for ``principals``, and logs
    nobody in by itself. Raises UnknownUser, AlreadyExists and KeyRefused.
    """
    if label is not None or expires is not None or from_patterns or authority:
        key = limited(key, label=label, expires=expires, from_patterns=from_patterns, authority=authority, principals=principals)
    access.registry.add_key(name, key)
    access.record("key.added", user=name, fingerprint=key.fingerprint)
    return key


def replaceable(user: User, fingerprint: str, terms: KeyTerms) -> AuthorizedKey:
    """Return the key of ``user`` that a new one may take the place of: the one with that fingerprint; without it, the only one
    that is in use. Raises NotFound, and Refused if several could be meant.
    """
    if fingerprint:
        found = [key for key in user.keys if key.fingerprint == full_fingerprint(fingerprint)]
    else:
        usable = terms.usable(user.keys, datetime.now(UTC))
        found = [key for key in usable if key.expires_at is None] or usable
    found = list({key.blob: key for key in reversed(found)}.values())  # of a key on several lines, the first
    if not found:
        raise NotFound(f"{user.name} has no such key to take the place of: `sftpgate key add` gives it one more")
    if len(found) > 1:
        raise Refused(f"{user.name} has {len(found)} keys: say --old FINGERPRINT (`sftpgate key list {user.name}` shows them)")
    return found[0]


def rotate(
    access: Access,
    name: str,
    replaced: AuthorizedKey,
    key: AuthorizedKey,
    *,
    overlap: timedelta,
    label: str | None = None,
) -> Rotated:
    """Give a user a new key in the place of ``replaced``, which is accepted until the overlap has passed, and no longer than it
    was before. The new one gets the old one's limits.
    """
    if label is not None:
        key = limited(key, label=label)
    until = (datetime.now(UTC) + overlap).replace(microsecond=0)
    added = access.registry.rotate_key(name, replaced.fingerprint, key, until)
    access.record("key.rotated", user=name, fingerprint=added.fingerprint, replaced=replaced.fingerprint)
    ends = max(known.expires_at or until for known in access.registry.load(name).lines_of_key(replaced.blob))
    return Rotated(added=added, replaced=replaced, ends=ends)


def revoke(access: Access, key: AuthorizedKey) -> Revoked:
    """Let nobody log in with a key any more, nor with certificates of it or signed by it, whichever user has it."""
    owners = owners_of(access, key.blob)
    at = datetime.now(UTC).replace(microsecond=0)
    is_new = access.registry.revocations.add(key, at, f"of {', '.join(owners)}" if owners else "")
    if is_new:
        access.record("key.revoked", fingerprint=key.fingerprint)
    return Revoked(key=key, owners=owners, is_new=is_new)


def remove(access: Access, name: str, fingerprint: str) -> AuthorizedKey:
    """Take a key from a user, and return it. Connections that logged in with it end. ``SHA256:`` may be left out.

    Raises UnknownUser, and NotFound for a key that it does not have.
    """
    removed = access.registry.remove_key(name, fingerprint)
    access.record("key.removed", user=name, fingerprint=removed.fingerprint)
    return removed


# -- finding ---------------------------------------------------------------------------------------------------------


def key_of_somebody(access: Access, fingerprint: str) -> AuthorizedKey:
    """Return the key of a user that has this fingerprint. Raises NotFound."""
    wanted = full_fingerprint(fingerprint)
    for user in access.registry.list():
        for key in user.keys:
            if key.fingerprint == wanted:
                return key
    raise NotFound(f"no user has a key {fingerprint}, and it is no file: give the file of the public key")


def revoked_keys(access: Access, name: str | None = None) -> Iterator[tuple[AuthorizedKey, Sequence[str]]]:
    """Yield each revoked key with the users who still have it; with ``name``, only those that this user has."""
    for key in access.registry.revocations.load():
        owners = owners_of(access, key.blob)
        if name is None or name in owners:
            yield key, owners


def owners_of(access: Access, blob: bytes) -> Sequence[str]:
    """Return the names of the users who have a key with this blob (SSH's wire format)."""
    return [user.name for user in access.registry.list() if any(key.blob == blob for key in user.keys)]
