"""Signatures of webhooks, by the Standard Webhooks specification, version 1.0.0 ("Signature scheme").

Signed is ``<id>.<timestamp>.<body>``: ``v1`` by HMAC-SHA256 with a shared secret (``whsec_…``), ``v1a`` by ed25519 with a key of
ours (``whsk_…``), whose public half (``whpk_…``) the receiver has. With several keys there are several signatures: the receiver
takes whichever it can check, so that a key is replaced without losing a message.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sftpgate.settings.notify import ED25519_PREFIX, HMAC_PREFIX, key_bytes

PUBLIC_PREFIX = "whpk_"
_SEED_BYTES = 32  # of an ed25519 key; some write the public key behind it


def signatures(keys: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of ``webhook-signature``: one signature for each key."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(_signature(key, signed) for key in keys)


def _signature(key: str, signed: bytes) -> str:
    raw = key_bytes(key)
    if key.startswith(HMAC_PREFIX):
        return f"v1,{_base64(hmac.new(raw, signed, hashlib.sha256).digest())}"
    return f"v1a,{_base64(_private(raw).sign(signed))}"


def public_key(key: str) -> str | None:
    """Return what a receiver needs to check signatures of ``key``; None for a shared secret, which it needs itself."""
    if not key.startswith(ED25519_PREFIX):
        return None
    return PUBLIC_PREFIX + _base64(_private(key_bytes(key)).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def new_key(random: bytes, *, shared: bool) -> str:
    """Return a key made of 32 random bytes: a shared secret, or one of which the receiver gets the public half."""
    return (HMAC_PREFIX if shared else ED25519_PREFIX) + _base64(random)


def _private(raw: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(raw[:_SEED_BYTES])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
