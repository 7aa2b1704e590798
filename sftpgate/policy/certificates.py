"""Which certificates log in as whom.

Pure. A certificate is good for a user whose ``authorized_keys`` names its authority (``cert-authority``), for the principals
in it, for a time and perhaps for some addresses (OpenSSH's PROTOCOL.certkeys). The authority's line can limit it further.
Whether the authority signed it, and whether the client has its key, is for the gateway to check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from sftpgate.policy.login import KeyRules, LoginRefusal, address_matches, key_refusal, key_weakness, pattern_problem

USER_CERTIFICATE = 1  # PROTOCOL.certkeys: SSH_CERT_TYPE_USER
SOURCE_ADDRESS = "source-address"


class AuthorityRules(KeyRules, Protocol):
    """What of a ``cert-authority`` line decides about a login."""

    @property
    def principals(self) -> Sequence[str]:
        """The principals that the line asks for; empty: the user's own name."""


class CertificateRules(Protocol):
    """What of a certificate decides about a login."""

    @property
    def kind(self) -> int:
        """1 for users, 2 for hosts."""

    @property
    def key_type(self) -> str:
        """The type of the certified key."""

    @property
    def key_bits(self) -> int:
        """Its length."""

    @property
    def principals(self) -> Sequence[str]:
        """Whom it speaks for."""

    @property
    def valid_after(self) -> int:
        """Seconds since 1970 from which on it is valid."""

    @property
    def valid_before(self) -> int:
        """Seconds since 1970 from which on it is not valid any more."""

    @property
    def critical(self) -> Mapping[str, str]:
        """Options that whoever does not know them must refuse."""


def certificate_refusal(
    certificate: CertificateRules,
    authority: AuthorityRules | None,
    *,
    user: str,
    address: str,
    now: datetime,
    issued: datetime,
    min_rsa_bits: int,
) -> LoginRefusal | None:
    """Return why ``certificate`` does not log in as ``user`` from ``address``; None if it does.

    ``authority`` is the user's line for the key that signed it, None if there is none. ``issued`` is the moment at which
    the certificate's own times count: that of the login, also while the connection lasts, as with OpenSSH.
    """
    if authority is None:
        return LoginRefusal.UNKNOWN_AUTHORITY
    if refusal := key_refusal(authority, address=address, now=now, min_rsa_bits=min_rsa_bits):
        return refusal
    if certificate.kind != USER_CERTIFICATE:
        return LoginRefusal.NO_USER_CERTIFICATE
    if key_weakness(certificate.key_type, certificate.key_bits, min_rsa_bits=min_rsa_bits):
        return LoginRefusal.WEAK_KEY
    if not principal_fits(user, allowed=authority.principals, certificate=certificate.principals):
        return LoginRefusal.NO_PRINCIPAL
    if issued.timestamp() < certificate.valid_after:
        return LoginRefusal.EARLY_CERTIFICATE
    if issued.timestamp() >= certificate.valid_before:
        return LoginRefusal.EXPIRED_CERTIFICATE
    return _critical_refusal(certificate.critical, address)


def principal_fits(name: str, *, allowed: Sequence[str], certificate: Sequence[str]) -> bool:
    """Return whether a certificate's principals let it log in as ``name``.

    ``allowed`` is the ``principals=`` option of the cert-authority line; if it is empty, the certificate must name the
    user itself. A certificate without principals would be good for everybody and fits nobody here.
    """
    return not set(allowed or (name,)).isdisjoint(certificate)


def _critical_refusal(critical: Mapping[str, str], address: str) -> LoginRefusal | None:
    if critical.keys() - {SOURCE_ADDRESS}:
        return LoginRefusal.CRITICAL_OPTION  # force-command is one: there are no commands here to force
    networks = critical.get(SOURCE_ADDRESS)
    if networks is None:
        return None
    patterns = [part.strip() for part in networks.split(",")]
    # networks and addresses only: a name or a "!" is nothing that this option has
    if any(pattern_problem(part) or part.startswith("!") or "*" in part or "?" in part for part in patterns):
        return LoginRefusal.CRITICAL_OPTION
    return None if address_matches(address, patterns) else LoginRefusal.WRONG_CERTIFICATE_NETWORK
