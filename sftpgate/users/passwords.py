"""Passwords: argon2id, at the same cost whether or not the user exists.

All functions that hash take tens of milliseconds of a processor and 19 MiB: the gateway runs them in a bounded pool. A
password is the text in Unicode's form C, so that the two ways to type an "é" are one (RFC 4252 §8 asks for a normal form).
"""

from __future__ import annotations

import secrets
import unicodedata

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type

from sftpgate.errors import Refused

MIN_PASSWORD_CHARACTERS = 12
MAX_PASSWORD_BYTES = 1024  # a login must not be a way to make us hash megabytes

# OWASP Password Storage Cheat Sheet, argon2id: m=19456 (19 MiB), t=2, p=1. One thread, so that the pool's size is the whole load.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)

# The hash of 32 random bytes that nobody kept, made with the parameters above; a test compares them.
_DUMMY_HASH = "$argon2id$v=19$m=19456,t=2,p=1$fsP29wbkIeYlE6kycCDhEA$7KMLjRt5KfEAOODrhwS7bGEHZyGoNjiEYaoSYB7NVEo"

# 31 letters and digits that no font confuses; 25 of them are 123 bits
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_GROUPS, _GROUP_LENGTH = 5, 5


def hash_password(password: str) -> str:
    """Return the argon2id hash of ``password``. Raises Refused if ``check_password_rules`` does."""
    check_password_rules(password)
    return _HASHER.hash(_encoded(password))


def verify(password_hash: str | None, password: str) -> bool:
    """Return whether ``password`` is the one that ``password_hash`` was made from.

    None, for an unknown user or one without a password, costs the same.
    """
    if _too_long(password):
        return False  # at once, for known and unknown users alike
    encoded = _encoded(password)
    known = password_hash if password_hash is not None and valid_hash(password_hash) else None
    try:
        _HASHER.verify(known or _DUMMY_HASH, encoded)
    except (VerificationError, InvalidHashError):
        return False
    return known is not None


def valid_hash(text: str) -> bool:
    """Return whether ``text`` is an argon2id hash in the usual notation."""
    try:
        return extract_parameters(text).type is Type.ID
    except (InvalidHashError, ValueError):
        return False


def check_password_rules(password: str) -> None:
    """Refuse a password that is too short or cannot be sent, with the rule."""
    if len(password) < MIN_PASSWORD_CHARACTERS:
        raise Refused(f"the password has fewer than {MIN_PASSWORD_CHARACTERS} characters")
    if _too_long(password):
        raise Refused(f"the password has more than {MAX_PASSWORD_BYTES} bytes")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in password):
        raise Refused("the password has a control character or a line break")


def generate_password() -> str:
    """Return a new random password, in groups that can be read aloud."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS))
    return "-".join(groups)


def _encoded(password: str) -> bytes:
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _too_long(password: str) -> bool:
    return len(password) > MAX_PASSWORD_BYTES or len(_encoded(password)) > MAX_PASSWORD_BYTES
