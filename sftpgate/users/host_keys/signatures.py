"""Signatures by the server's own ed25519 key, in OpenSSH's form for files (SSHSIG; openssh-portable, PROTOCOL.sshsig).

    ssh-keygen -Y verify -f allowed_signers -I sftpgate -n sftpgate-receipt -s FILE.sig < FILE

So a sender proves what it was told with what it has: the host key that its client has pinned, and a program of OpenSSH. Each key
that signs is remembered in ``host/receipt_signers`` before its first signature, and stays there after a rotation: what it
signed can be verified for ever. An admin removes the line of a key that was stolen.

A signature of ed25519 over the same bytes is the same bytes. All functions but ``verify`` and ``armoured`` block.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sftpgate.errors import HostKeyError
from sftpgate.users.files import Signature as FileSignature
from sftpgate.users.files import locked, read_text, signature, write_text
from sftpgate.users.host_keys.files import PUBLIC_MODE, file_name, load_private_key, public_halves

NAMESPACE = "sftpgate-receipt"
PRINCIPAL = "sftpgate"  # whom the lines of allowed signers name

_MAGIC = b"SSHSIG"
_VERSION = 1
_HASH = "sha512"
_KIND = "ssh-ed25519"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_COLUMNS = 70  # of ssh-keygen's armour
_SIGNERS = "receipt_signers"
_HEADER = "# Public keys that have signed receipts. A line that is removed here makes what its key signed unbelievable.\n"


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that can sign. ``line`` is its public half: type and key."""

    key: Ed25519PrivateKey
    line: str

    def sign(self, message: bytes) -> str:
        """Return the armoured signature of a message."""
        signed = self.key.sign(_to_be_signed(message))
        blob = base64.b64decode(self.line.split()[1])
        parts = (NAMESPACE.encode(), b"", _HASH.encode(), _string(_KIND.encode()) + _string(signed))
        return armoured(_MAGIC + struct.pack(">I", _VERSION) + _string(blob) + b"".join(map(_string, parts)))


class Signers:
    """The key in use, loaded once and again when its file changes. One instance per process."""

    def __init__(self, keys_dir: Path) -> None:
        self._keys_dir = keys_dir
        self._path = keys_dir / "host" / file_name("ed25519")
        self._seen: FileSignature | None = None
        self._current: Signer | None = None

    def current(self) -> Signer:
        """Return the key in use, remembered as one that signs. Raises HostKeyError, UserFileError."""
        seen = signature(self._path)
        if self._current is None or seen != self._seen:
            key = load_private_key(self._path)
            if not isinstance(key, Ed25519PrivateKey):
                raise HostKeyError(f"{self._path}: this is no ed25519 key, and receipts are signed by one: bring it back")
            line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")
            _remember(self._keys_dir, line)
            self._current, self._seen = Signer(key, line), seen
        return self._current


def signer_lines(keys_dir: Path) -> list[str]:
    """Return the public keys by which receipts are believed: those that have signed, the one in use, and the next one of a
    rotation.
    """
    known = _remembered(keys_dir)
    for part in ("host", "host/next"):
        known += [key.line for key in public_halves(keys_dir / part) if key.type == _KIND]
    return list(dict.fromkeys(known))


def allowed_signers(keys_dir: Path) -> list[str]:
    """Return the lines of an allowed signers file (ssh-keygen(1)) for these keys, good for receipts and for nothing else."""
    return [f'{PRINCIPAL} namespaces="{NAMESPACE}" {line}' for line in signer_lines(keys_dir)]


def verify(message: bytes, signature_text: str) -> str:
    """Return the public key that made a signature of ``message``, as type and key. Whether to believe it is another question.

    Raises ValueError, which says what is wrong, if the signature is none, or not of this message.
    """
    blob, signed = _parsed(signature_text)
    kind, key = _strings(blob, 2)
    signature_kind, value = _strings(signed, 2)
    if (kind, signature_kind) != (_KIND.encode(), _KIND.encode()):
        raise ValueError("the signature is not by an ed25519 key")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(value, _to_be_signed(message))
    except (InvalidSignature, ValueError) as error:
        raise ValueError("the signature is not of this content: one of the two was changed") from error
    return f"{_KIND} {base64.b64encode(blob).decode('ascii')}"


def armoured(blob: bytes) -> str:
    """Return a signature as text, in ssh-keygen's lines."""
    text = base64.b64encode(blob).decode("ascii")
    lines = [text[start : start + _COLUMNS] for start in range(0, len(text), _COLUMNS)]
    return "\n".join([_BEGIN, *lines, _END, ""])


def _parsed(text: str) -> tuple[bytes, bytes]:
    """Return public key and signature of an armoured one that is for receipts."""
    body = text.strip()
    if not (body.startswith(_BEGIN) and body.endswith(_END)):
        raise ValueError("this is no signature of OpenSSH's")
    try:
        blob = base64.b64decode("".join(body.removeprefix(_BEGIN).removesuffix(_END).split()), validate=True)
    except ValueError as error:
        raise ValueError("the signature cannot be read") from error
    if not blob.startswith(_MAGIC + struct.pack(">I", _VERSION)):
        raise ValueError("the signature is of another version")
    key, namespace, _, hash_name, signed = _strings(blob[len(_MAGIC) + 4 :], 5)
    if namespace != NAMESPACE.encode():
        raise ValueError("the signature was made for something else than receipts")
    if hash_name != _HASH.encode():
        raise ValueError(f"the signature is over another hash than {_HASH}")
    return key, signed


def _to_be_signed(message: bytes) -> bytes:
    parts = (NAMESPACE.encode(), b"", _HASH.encode(), hashlib.sha512(message).digest())
    return _MAGIC + b"".join(map(_string, parts))


def _string(value: bytes) -> bytes:
    """Return a string of SSH (RFC 4251, section 5)."""
    return struct.pack(">I", len(value)) + value


def _strings(data: bytes, count: int) -> list[bytes]:
    """Return ``count`` strings of SSH that are all of ``data``."""
    found = []
    for _ in range(count):
        if len(data) < 4 or len(data) < 4 + (length := struct.unpack_from(">I", data)[0]):
            raise ValueError("the signature breaks off")
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    if data:
        raise ValueError("the signature has something behind its end")
    return found


def _remembered(keys_dir: Path) -> list[str]:
    text = read_text(keys_dir / "host" / _SIGNERS) or ""
    return [" ".join(line.split()[:2]) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _remember(keys_dir: Path, line: str) -> None:
    directory = keys_dir / "host"
    with locked(directory):
        if line not in _remembered(keys_dir):
            text = (read_text(directory / _SIGNERS) or _HEADER).rstrip("\n")
            write_text(directory / _SIGNERS, f"{text}\n{line}\n", mode=PUBLIC_MODE)
