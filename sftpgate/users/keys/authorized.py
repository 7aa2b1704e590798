"""Public keys of users: lines of an ``authorized_keys`` file, and what they mean.

The format is OpenSSH's (sshd(8), AUTHORIZED_KEYS FILE FORMAT). A line is kept as it was written; everything else is read from
it, so that what we understand and what stays in the file cannot differ. An option that is not known is an error and not
ignored: a misspelt ``from=`` would otherwise let everybody in (``options``).

OpenSSH's format has no place for the time at which a key was added. It stands in a remark of its own, a line above the key:
``# added 2030-01-31T12:00:00Z SHA256:…``. Whoever edits the file may lose it; nothing else depends on it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sftpgate.errors import KeyRefused, UserFileError
from sftpgate.policy.login import ACCEPTED_KEY_TYPES, key_weakness
from sftpgate.users.keys.formats import key_bits, to_openssh, wire_type
from sftpgate.users.keys.options import Option, end_of_options, expiry, listed, option_findings, options_of, patterns

_REMARK = re.compile(r"# added ([0-9TZ:-]{20}) (SHA256:[A-Za-z0-9+/]{43})")
_TYPE_WORD = re.compile(r"[A-Za-z0-9@.-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizedKey:
    """One key of a user, with the options that limit it."""

    line: str = field(repr=False)  # as written, without its line end
    blob: bytes = field(repr=False)  # the key in SSH's wire format
    type: str
    bits: int
    options: tuple[Option, ...]
    comment: str  # anybody's text: show it through ``printable``
    cert_authority: bool
    principals: tuple[str, ...]
    from_patterns: tuple[str, ...]
    expires_at: datetime | None  # UTC
    added_at: datetime | None = field(default=None, compare=False)  # UTC; if a remark in the file says it

    @property
    def fingerprint(self) -> str:
        """``SHA256:…`` as ``ssh-keygen -l`` shows it."""
        return fingerprint(self.blob)

    @property
    def forced_command(self) -> str | None:
        """The value of ``command=``, None if the line has none."""
        return next((value for name, value in self.options if name == "command"), None)

    @property
    def findings(self) -> list[str]:
        """What an admin should know of the line's options, a sentence each."""
        return option_findings(self.type, self.options)

    def has_option(self, name: str) -> bool:
        """Return True if the line carries the option ``name`` (lower case)."""
        return any(option == name for option, _ in self.options)


def fingerprint(blob: bytes) -> str:
    """Return the SHA-256 fingerprint of a key blob, as ``ssh-keygen -l`` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")


def parse_authorized_keys(text: str) -> list[AuthorizedKey]:
    """Return the keys of a file, in its order. Raises UserFileError with the number of the first line that cannot be read."""
    keys = []
    added: dict[str, datetime] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            key = parse_line(line)
        except KeyRefused as error:
            raise UserFileError(f"authorized_keys, line {number}: {error.message}") from error
        if key is not None:
            keys.append(key)
        elif (remark := read_remark(line)) is not None:
            added[remark[0]] = remark[1]
    return [replace(key, added_at=added.get(key.fingerprint)) for key in keys] if added else keys


def remark(key_fingerprint: str, added_at: datetime) -> str:
    """Return the line that says when a key was added."""
    return f"# added {added_at:%Y-%m-%dT%H:%M:%SZ} {key_fingerprint}"


def read_remark(line: str) -> tuple[str, datetime] | None:
    """Return the fingerprint and the time of such a line; None for every other one."""
    match = _REMARK.fullmatch(line.rstrip("\r"))
    try:
        return (match[2], datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)) if match else None
    except ValueError:
        return None


def parse_public_key(text: str) -> AuthorizedKey:
    """Return the one key in what somebody sent: OpenSSH's line, RFC 4716 or PEM.

    Raises KeyRefused with what it is instead, and what to do.
    """
    keys = [key for line in to_openssh(text).split("\n") if (key := parse_line(line.removeprefix("\ufeff"))) is not None]
    if not keys:
        raise KeyRefused("there is no key in this: the file is empty or has comments only")
    if len(keys) > 1:
        raise KeyRefused(f"there are {len(keys)} keys in this: add them one by one")
    _check_mathematics(keys[0])
    return keys[0]


def check_strength(key: AuthorizedKey, min_rsa_bits: int) -> None:
    """Refuse a weak key, naming the weakness."""
    if weakness := key_weakness(key.type, key.bits, min_rsa_bits=min_rsa_bits):
        raise KeyRefused(weakness)


def parse_line(line: str) -> AuthorizedKey | None:
    """Return the key of one line, or None if it is empty or a comment. Raises KeyRefused with what is wrong."""
    kept, body = line.rstrip("\r"), line.strip(" \t\r")
    if not body or body.startswith("#"):
        return None
    first, rest = _word(body)
    options: tuple[Option, ...] = ()
    if first not in ACCEPTED_KEY_TYPES and not (_TYPE_WORD.fullmatch(first) and rest.startswith("AAAA")):
        end = end_of_options(body)
        options = tuple(options_of(body[:end]))
        first, rest = _word(body[end:].lstrip(" \t"))
    if not first or not rest:
        raise KeyRefused("there is no key in this line (a line is: options, if any, then type, key and label)")
    encoded, comment = _word(rest)
    blob = _blob(first, encoded)
    return AuthorizedKey(
        line=kept,
        blob=blob,
        type=first,
        bits=key_bits(first, blob),
        options=options,
        comment=comment,
        cert_authority=("cert-authority", None) in options,
        principals=listed(options, "principals"),
        from_patterns=patterns(options),
        expires_at=min((expiry(value) for name, value in options if name == "expiry-time" and value is not None), default=None),
    )


def _word(text: str) -> tuple[str, str]:
    """Return the text up to the first blank, and what follows the blanks."""
    match = re.search(r"[ \t]+", text)
    return (text[: match.start()], text[match.end() :]) if match else (text, "")


def _blob(key_type: str, encoded: str) -> bytes:
    try:
        blob = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise KeyRefused("the key is damaged: its data is not base64") from error
    if "-cert-v" in key_type:
        raise KeyRefused("this is a certificate: enter the key of its authority instead, with the option cert-authority")
    if wire_type(blob) != key_type:
        raise KeyRefused("the key's data is of another type than the line says")
    return blob


def _check_mathematics(key: AuthorizedKey) -> None:
    """Refuse numbers that make no key, such as a point that is not on its curve."""
    import warnings

    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    if key_weakness(key.type, key.bits, min_rsa_bits=0):
        return  # refused by ``check_strength`` in better words
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_ssh_public_key(f"{key.type} {base64.b64encode(key.blob).decode('ascii')}".encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyRefused("the key is damaged: its numbers make no key") from error
