"""On which terms a gate accepts keys, whoever has them and wherever they come from: for listings, checks and warnings. Pure.

A login is judged in ``logins`` and by its signature; this says before whether there is any use in trying.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sftpgate.policy.login import LoginRefusal, key_refusal, revocation_refusal, signatures_of
from sftpgate.users.keys.authorized import AuthorizedKey


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTerms:
    """What decides. ``signature_algs``: the names that the profile accepts; ``revoked``: see ``revocation_refusal``."""

    min_rsa_bits: int
    signature_algs: Collection[str]
    revoked: Collection[bytes] | None

    def refusal(self, key: AuthorizedKey, now: datetime) -> LoginRefusal | None:
        """Return why a key, or an authority's certificates, are not accepted from anywhere at ``now``; None if they are."""
        refusal = revocation_refusal(key.blob, None, self.revoked)
        refusal = refusal or key_refusal(key, address=None, now=now, min_rsa_bits=self.min_rsa_bits)
        if refusal is None and signatures_of(key.type).isdisjoint(self.signature_algs):
            return LoginRefusal.WEAK_SIGNATURE
        return refusal

    def usable(self, keys: Sequence[AuthorizedKey], now: datetime) -> list[AuthorizedKey]:
        """Return those of ``keys`` that are accepted from somewhere at ``now``."""
        return [key for key in keys if self.refusal(key, now) is None]
