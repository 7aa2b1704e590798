"""Which SSH algorithms each profile offers. ``docs/algorithms.md`` names the client that needs each of the old ones.

``default`` is what a current OpenSSH server offers, as far as asyncssh has it and does it as well; clients choose by their
own order. ``hardened`` leaves out what auditors find fault with, key exchange that is not post-quantum included. ``legacy``
adds, at the end of the lists, what clients of ten and more years ago need: SHA-1 and CBC.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sftpgate.settings.choices import Algorithms

_KEXINIT, _COOKIE_BYTES = bytes([20]), 16
_CLIENT_TO_SERVER, _SERVER_TO_CLIENT = 2, 3  # the name lists of ciphers in a KEXINIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Names of algorithms in the server's order, for asyncssh's options of the same names."""

    kex_algs: tuple[str, ...]
    encryption_algs: tuple[str, ...]
    mac_algs: tuple[str, ...]
    signature_algs: tuple[str, ...]
    host_key_algs: tuple[str, ...]


_DEFAULT = Offer(
    kex_algs=(
        "mlkem768x25519-sha256",
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group18-sha512",
        "diffie-hellman-group14-sha256",
    ),
    encryption_algs=(
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
        "aes128-ctr",
        "aes192-ctr",
        "aes256-ctr",
    ),
    mac_algs=(
        "hmac-sha2-256-etm@openssh.com",
        "hmac-sha2-512-etm@openssh.com",
        "hmac-sha1-etm@openssh.com",
        "hmac-sha2-256",
        "hmac-sha2-512",
        "hmac-sha1",
    ),
    signature_algs=(
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "rsa-sha2-512",
        "rsa-sha2-256",
    ),
    host_key_algs=("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"),
)

_HARDENED = Offer(
    kex_algs=("mlkem768x25519-sha256",),
    encryption_algs=("aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr"),
    mac_algs=("hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"),
    signature_algs=("ssh-ed25519", "sk-ssh-ed25519@openssh.com", "rsa-sha2-512", "rsa-sha2-256"),
    host_key_algs=("ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"),
)

_LEGACY = Offer(
    kex_algs=(
        *_DEFAULT.kex_algs,
        "diffie-hellman-group-exchange-sha256",  # asyncssh gives 1024 bits to who asks for no more
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group-exchange-sha1",
        "diffie-hellman-group1-sha1",
    ),
    encryption_algs=(*_DEFAULT.encryption_algs, "aes256-cbc", "aes192-cbc", "aes128-cbc", "3des-cbc"),
    mac_algs=(*_DEFAULT.mac_algs, "hmac-md5"),
    signature_algs=(*_DEFAULT.signature_algs, "ssh-rsa"),
    host_key_algs=(*_DEFAULT.host_key_algs, "ssh-rsa"),
)

_OFFERS = {Algorithms.DEFAULT: _DEFAULT, Algorithms.HARDENED: _HARDENED, Algorithms.LEGACY: _LEGACY}


def offer(profile: Algorithms) -> Offer:
    """Return what the profile offers."""
    return _OFFERS[profile]


def profiles_with(signatures: Collection[str]) -> list[Algorithms]:
    """Return the profiles that accept one of these signatures, ``default`` first."""
    return [profile for profile in Algorithms if not set(signatures).isdisjoint(_OFFERS[profile].signature_algs)]


def added_by_legacy() -> tuple[str, ...]:
    """Return the names that only ``legacy`` offers, for the warning at start."""
    groups = (
        (_LEGACY.kex_algs, _DEFAULT.kex_algs),
        (_LEGACY.encryption_algs, _DEFAULT.encryption_algs),
        (_LEGACY.mac_algs, _DEFAULT.mac_algs),
        (_LEGACY.signature_algs, _DEFAULT.signature_algs),
    )
    return tuple(name for names, usual in groups for name in names if name not in usual)


def quickest(ciphers: Sequence[str], kexinit: bytes) -> Sequence[str]:
    """Return what to offer a client that offers what its KEXINIT says: AES-GCM alone if it has that in both directions, which is
    quickest for us whatever it prefers, and otherwise everything.

    ``kexinit`` is the packet's content, from its type on (RFC 4253 §7.1); one that is not well formed has nothing.
    """
    lists = _name_lists(kexinit)
    if len(lists) <= _SERVER_TO_CLIENT:
        return ciphers
    both = lists[_CLIENT_TO_SERVER] & lists[_SERVER_TO_CLIENT]
    return tuple(name for name in ciphers if "-gcm" in name and name in both) or ciphers


def _name_lists(kexinit: bytes) -> list[set[str]]:
    """Return key exchange, host keys, ciphers of the client and of the server; as many as are there."""
    found: list[set[str]] = []
    position = 1 + _COOKIE_BYTES
    while kexinit[:1] == _KEXINIT and len(kexinit) >= position + 4 and len(found) <= _SERVER_TO_CLIENT:
        end = position + 4 + int.from_bytes(kexinit[position : position + 4], "big")
        found.append(set(kexinit[position + 4 : end].decode("ascii", "replace").split(",")))
        position = end
    return found
