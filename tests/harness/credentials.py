"""Keys, certificates and logins for the protocol tests: certificates by ``ssh-keygen``, hardware keys by software."""

from __future__ import annotations

import subprocess
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncssh
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sftpgate.users.keys.authorized import parse_line
from sftpgate.users.registry import UserRegistry
from tests.harness.gates import Gate
from tests.harness.raw import WAIT_SECONDS, string

TOUCHED, VERIFIED = 0x01, 0x04  # PROTOCOL.u2f
_APPLICATION = b"ssh:"


def registry(gate: Gate) -> UserRegistry:
    """The users of a running gate, for changes."""
    return UserRegistry(gate.directory / "keys")


def authorize(gate: Gate, *lines: str, user: str = "erp") -> None:
    """Give a user these lines, and no others."""
    for line in lines:
        assert parse_line(line) is not None
    path = gate.directory / "keys" / "users" / user / "authorized_keys"
    fresh = path.with_suffix(".fresh")
    fresh.write_text("".join(f"{line}\n" for line in lines))
    fresh.rename(path)


@asynccontextmanager
async def login(gate: Gate, user: str = "erp", **options: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection of asyncssh's client with exactly these credentials."""
    connection = await asyncssh.connect(
        "127.0.0.1",
        gate.port,
        username=user,
        known_hosts=None,
        config=None,
        agent_path=None,
        **({"client_keys": None, "kex_algs": ["curve25519-sha256", "mlkem768x25519-sha256"]} | options),
    )
    try:
        yield connection
    finally:
        connection.close()
        await connection.wait_closed()


async def refused(gate: Gate, user: str = "erp", **options: Any) -> list[str]:
    """The reasons in the log of a login that must fail; the client learns none of them."""
    before = len(gate.log.events("login.refused"))
    try:
        async with login(gate, user, **options):
            raise AssertionError("the login was accepted")
    except asyncssh.PermissionDenied as error:
        assert "Permission denied" in str(error)
    return [str(line["reason"]) for line in gate.log.events("login.refused")[before:]]


# -- keys and certificates -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeyFile:
    """A private key in a file, its public half beside it."""

    path: Path

    @property
    def line(self) -> str:
        """The public key's line."""
        return self.path.with_name(f"{self.path.name}.pub").read_text().strip()


def keygen(*arguments: str | Path) -> str:
    """What ``ssh-keygen`` prints."""
    done = subprocess.run(["ssh-keygen", *map(str, arguments)], capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_key(path: Path, *options: str) -> KeyFile:
    """A new key pair."""
    keygen("-q", "-t", *(options or ["ed25519"]), "-N", "", "-C", path.name, "-f", path)
    return KeyFile(path)


def certify(authority: KeyFile, key: KeyFile, *options: str) -> list[asyncssh.SSHKeyPair]:
    """A certificate by ``ssh-keygen -s``, as asyncssh's ``client_keys`` takes it: alone, without the plain key."""
    keygen("-q", "-s", authority.path, "-I", "night shift", "-z", "7", *options, f"{key.path}.pub")
    [pair] = asyncssh.load_keypairs([asyncssh.read_private_key(str(key.path))])
    name, encoded = Path(f"{key.path}-cert.pub").read_text().split()[:2]
    # by hand: asyncssh's client does not read certificates with options that it does not know
    pair.algorithm, pair.public_data = name.encode(), b64decode(encoded)
    return [pair]


# -- hardware keys ---------------------------------------------------------------------------------------------------


class SoftwareToken(asyncssh.SSHKeyPair):
    """A hardware key without hardware: signs as PROTOCOL.u2f has it, with whatever flags it is told."""

    _key_type = "token"

    def __init__(self, *, flags: int, curve: bool = False) -> None:
        self._flags = flags
        self._private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
        if curve:
            name = b"sk-ecdsa-sha2-nistp256@openssh.com"
            self._private = ec.generate_private_key(ec.SECP256R1())
            point = self._private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            public = string(b"nistp256") + string(point)
        else:
            name = b"sk-ssh-ed25519@openssh.com"
            self._private = ed25519.Ed25519PrivateKey.generate()
            public = string(self._private.public_key().public_bytes_raw())
        blob = string(name) + public + string(_APPLICATION)
        super().__init__(name, name, [name], [name], blob, None)

    @property
    def line(self) -> str:
        """The public key's line."""
        return asyncssh.import_public_key(self._blob_line()).export_public_key().decode().strip()

    def _blob_line(self) -> str:
        return f"{self.algorithm.decode()} {b64encode(self.public_data).decode()}"

    def sign(self, data: bytes) -> bytes:
        """A signature with the token's flags and a counter."""
        rest = bytes([self._flags]) + (41).to_bytes(4, "big")
        message = sha256(_APPLICATION).digest() + rest + sha256(data).digest()
        if isinstance(self._private, ed25519.Ed25519PrivateKey):
            signature = self._private.sign(message)
        else:
            signature = b"".join(map(_mpint, decode_dss_signature(self._private.sign(message, ec.ECDSA(SHA256())))))
        return string(self.algorithm) + string(signature) + rest


def _mpint(number: int) -> bytes:
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


async def reasons(gate: Gate, event: str, count: int = 1) -> Sequence[str]:
    """The reasons that the log gives for an event, as soon as it has come so many times."""
    return [str(line["reason"]) for line in await gate.said(event, count)]
