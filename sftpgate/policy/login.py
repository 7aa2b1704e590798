"""Who may log in, from where, and with which key.

Pure: the address and the time come in as arguments. The functions here decide; a client learns nothing from a refusal but
that it was refused, and the log line carries the reason (``LoginRefusal``).

Address patterns mean what they mean to OpenSSH (sshd(8), ``from=``; ssh_config(5), PATTERNS): ``*`` and ``?``, CIDR networks,
and ``!``, where one negated match refuses whatever else matches. Host names are not looked up: whoever controls a reverse
zone could choose one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Container, Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Protocol

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_RSA_BITS = 16384  # OpenSSH's own limit (SSHBUF_MAX_BIGNUM): longer ones only cost time

# The kinds of keys that are accepted. RSA stands for rsa-sha2-256 and rsa-sha2-512 too: the key is the same, the signature
# differs.
ACCEPTED_KEY_TYPES = frozenset(
    {
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "ssh-rsa",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)


# What signs for a key if that is not called as the key is (RFC 8332 §3).
_SIGNATURES = {"ssh-rsa": frozenset({"rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"})}


class LoginRefusal(StrEnum):
    """Why a login is refused: for the log, never for the client."""

    UNKNOWN_USER = "unknown user"
    DISABLED_USER = "disabled user"
    EXPIRED_USER = "expired user"
    WRONG_NETWORK = "wrong network"
    UNKNOWN_KEY = "unknown key"
    REVOKED_KEY = "revoked key"
    REVOKED_AUTHORITY = "certificate of a revoked authority"
    UNKNOWN_REVOCATIONS = "list of revoked keys that cannot be read"
    WEAK_KEY = "weak key"
    EXPIRED_KEY = "expired key"
    WRONG_KEY_NETWORK = "wrong network for this key"
    LIMITED_TO_COMMAND = "key that is limited to another command"
    UNREADABLE_KEY = "key or certificate that cannot be read"
    WEAK_SIGNATURE = "signature of a kind that the algorithms profile leaves out"
    WRONG_SIGNATURE = "wrong signature"
    NO_VERIFICATION = "hardware key used without PIN or biometrics"
    UNKNOWN_AUTHORITY = "certificate of an unknown authority"
    NO_USER_CERTIFICATE = "certificate that is not for users"
    NO_PRINCIPAL = "certificate without a fitting principal"
    EARLY_CERTIFICATE = "certificate that is not valid yet"
    EXPIRED_CERTIFICATE = "expired certificate"
    WRONG_CERTIFICATE_NETWORK = "wrong network for this certificate"
    CRITICAL_OPTION = "certificate with a critical option that is not supported"
    WRONG_PASSWORD = "wrong password"  # noqa: S105 - a reason, not a password
    LONG_PASSWORD = "password that is too long, or several at a time"  # noqa: S105 - a reason
    METHOD_NOT_ACCEPTED = "method not accepted at this point (rule: required_auth)"


class AccountRules(Protocol):
    """What of a user decides about a login."""

    @property
    def disabled(self) -> bool:
        """True if the user may not log in at all."""

    @property
    def expires_at(self) -> datetime | None:
        """From when on the user may not log in (aware)."""

    @property
    def networks(self) -> Sequence[str]:
        """Address patterns that the user may come from; empty for everywhere."""


class KeyRules(Protocol):
    """What of a key decides about a login."""

    @property
    def type(self) -> str:
        """The key's type, as SSH names it."""

    @property
    def bits(self) -> int:
        """The key's length."""

    @property
    def expires_at(self) -> datetime | None:
        """From when on the key is not accepted (aware)."""

    @property
    def from_patterns(self) -> Sequence[str]:
        """Address patterns that the key may be used from; empty for everywhere."""

    @property
    def forced_command(self) -> str | None:
        """The one command that the key is for; None if there is no such limit."""


def account_refusal(account: AccountRules | None, *, address: str, now: datetime) -> LoginRefusal | None:
    """Return why ``account`` may not log in from ``address`` at ``now``, whatever it proves; None if it may.

    None stands for an unknown user.
    """
    if account is None:
        return LoginRefusal.UNKNOWN_USER
    if account.disabled:
        return LoginRefusal.DISABLED_USER
    if account.expires_at is not None and now >= account.expires_at:
        return LoginRefusal.EXPIRED_USER
    if account.networks and not address_matches(address, account.networks):
        return LoginRefusal.WRONG_NETWORK
    return None


def key_refusal(key: KeyRules | None, *, address: str | None, now: datetime, min_rsa_bits: int) -> LoginRefusal | None:
    """Return why ``key`` is not accepted from ``address`` at ``now``; None if it is.

    A ``key`` of None stands for one that the user does not have, an ``address`` of None for any that would do.
    """
    if key is None:
        return LoginRefusal.UNKNOWN_KEY
    if key_weakness(key.type, key.bits, min_rsa_bits=min_rsa_bits):
        return LoginRefusal.WEAK_KEY
    if key.expires_at is not None and now >= key.expires_at:
        return LoginRefusal.EXPIRED_KEY
    if address is not None and key.from_patterns and not address_matches(address, key.from_patterns):
        return LoginRefusal.WRONG_KEY_NETWORK
    if key.forced_command is not None and not is_sftp_command(key.forced_command):
        return LoginRefusal.LIMITED_TO_COMMAND
    return None


def revocation_refusal(key: bytes, authority: bytes | None, revoked: Container[bytes] | None) -> LoginRefusal | None:
    """Return why the key with the blob ``key``, or the certificate for it that ``authority`` signed, is not accepted from
    anybody.

    ``revoked`` are the blobs of keys that are revoked; None: they are not known, and any key could be one of them.
    """
    if revoked is None:
        return LoginRefusal.UNKNOWN_REVOCATIONS
    if key in revoked:
        return LoginRefusal.REVOKED_KEY
    return LoginRefusal.REVOKED_AUTHORITY if authority is not None and authority in revoked else None


def signatures_of(key_type: str) -> frozenset[str]:
    """Return the names of the signatures that keys of this type make."""
    return _SIGNATURES.get(key_type, frozenset({key_type}))


def is_sftp_command(command: str) -> bool:
    """Return whether ``command`` is OpenSSH's SFTP server without arguments: what is served here anyway.

    Arguments limit it (``-R``: read only), and a limit that is not kept must not be passed over.
    """
    return re.fullmatch(r"internal-sftp|(/[^\s]+/)?sftp-server", command) is not None


def key_weakness(key_type: str, bits: int, *, min_rsa_bits: int) -> str | None:
    """Return what is wrong with keys of this type and length, as words that end a sentence; None for a good one."""
    if key_type == "ssh-dss":
        return "DSA keys are broken by their length: make an ed25519 key"
    if key_type not in ACCEPTED_KEY_TYPES:
        return f"keys of the type {key_type} are not supported: make an ed25519 key"
    if key_type == "ssh-rsa" and bits < min_rsa_bits:
        return f"this RSA key has {bits} bits, fewer than the {min_rsa_bits} that are asked for (rule: min_rsa_bits)"
    if key_type == "ssh-rsa" and bits > MAX_RSA_BITS:
        return f"this RSA key has {bits} bits, more than the {MAX_RSA_BITS} that are supported"
    return None


def address_matches(address: str, patterns: Sequence[str]) -> bool:
    """Return whether ``address`` matches the pattern list.

    A pattern that is not valid makes the whole list match nothing: fail closed.
    """
    ip = _ip(address)
    text = str(ip) if ip is not None else address.lower()
    matched = False
    for pattern in patterns:
        if pattern_problem(pattern):
            return False
        body = pattern.removeprefix("!")
        if _matches_one(ip, text, body):
            if body != pattern:
                return False
            matched = True
    return matched


def pattern_problem(pattern: str) -> str | None:
    """Return what is wrong with an address pattern, as words that follow its name; None for a good one."""
    body = pattern.removeprefix("!")
    if not body:
        return "is empty"
    if not re.fullmatch(r"[!-~]+", body) or re.search(r'[",!]', body):
        return "has a character that no address has"
    if "/" not in body:
        return None
    try:
        _network(body)
    except ValueError as error:
        # OpenSSH refuses 10.0.0.1/8 as well: it may be meant as a network or as one address
        return "has bits set behind its length" if "host bits" in str(error) else "is not a network such as 192.0.2.0/24"
    return None


def _matches_one(ip: IpAddress | None, text: str, body: str) -> bool:
    if "/" in body:
        network = _network(body)
        return ip is not None and ip.version == network.version and ip in network
    exact = _ip(body)
    return exact == ip if exact is not None else _glob(body.lower()).fullmatch(text) is not None


def _ip(text: str) -> IpAddress | None:
    """Return the address, without an IPv6 scope; one of IPv4 that came in over IPv6 is that IPv4 address."""
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip


@lru_cache(maxsize=1024)
def _network(text: str) -> IpNetwork:
    if not re.fullmatch(r"[0-9A-Fa-f.:]+/[0-9]{1,3}", text):
        raise ValueError(f"not a network: {text}")  # a netmask such as /255.0.0.0 is nothing that OpenSSH knows
    return ipaddress.ip_network(text)


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    body = re.sub(r"\*+", "*", pattern)  # a run of stars means one star, and would be slow
    return re.compile("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in body), re.DOTALL)
