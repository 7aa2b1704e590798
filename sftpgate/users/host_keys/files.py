"""The server's own keys: made at the first start, checked at each.

There is one of each kind: ed25519 is what clients want, ECDSA and RSA are for old ones (JSch 0.1.55 knows no ed25519). A key
is never replaced but by a rotation (``rotation``): if the private half is missing and the public one is there,
somebody lost it or forgot to mount it, and
a new one would make every client shout. A crash between the two files leaves the private key alone; the next start writes the
public one. All functions block.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from sftpgate.errors import HostKeyError, KeyRefused, UserFileError
from sftpgate.users.files import locked, make_directory, read_bytes, read_text, write_text
from sftpgate.users.keys.authorized import parse_public_key

HostPrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_RSA_BITS = 3072  # ssh-keygen's default, about as strong as nistp256
_DEFAULT_PORT = 22
PUBLIC_MODE = 0o644
_SSHFP_ALGORITHMS = {"ssh-rsa": 1, "ecdsa": 3, "ssh-ed25519": 4}
_SSHFP_SHA256 = 2

# best first: the order in which the server offers them
_GENERATORS: dict[str, Callable[[], HostPrivateKey]] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa": lambda: rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """The public half of a host key."""

    type: str
    bits: int
    fingerprint: str
    line: str  # type and key, without a label


def ensure_host_keys(keys_dir: Path) -> list[Path]:
    """Return the private host keys, best first; what is missing is made. Raises HostKeyError with the file and what to do."""
    directory = keys_dir / "host"
    make_directory(directory)
    with locked(directory):  # several workers start at a time
        return make_host_keys(directory)


def make_host_keys(directory: Path) -> list[Path]:
    """Return as ``ensure_host_keys``, in a directory that the caller has for itself."""
    return [_ensure(directory / file_name(kind), generate) for kind, generate in _GENERATORS.items()]


def host_key_fingerprints(keys_dir: Path) -> list[HostKey]:
    """Return the host keys that there are, for people to compare; nothing is made. Raises HostKeyError."""
    return public_halves(keys_dir / "host")


def public_halves(directory: Path) -> list[HostKey]:
    """Return the public halves of the host keys in ``directory``, best first."""
    found = []
    for kind in _GENERATORS:
        path = public_file(directory / file_name(kind))
        try:
            text = read_text(path)
            key = None if text is None else parse_public_key(text)
        except (UserFileError, KeyRefused) as error:
            raise HostKeyError(f"{path}: {error.message}") from error
        if key is not None:
            line = " ".join(key.line.split()[:2])
            found.append(HostKey(type=key.type, bits=key.bits, fingerprint=key.fingerprint, line=line))
    return found


def known_hosts_lines(keys_dir: Path, host: str, port: int) -> Sequence[str]:
    """Return lines for a client's ``known_hosts``, of the keys in use and, during a rotation, of the next ones."""
    return [known_hosts_line(key, host, port) for part in ("host", "host/next") for key in public_halves(keys_dir / part)]


def known_hosts_line(key: HostKey, host: str, port: int) -> str:
    """Return the line of one key (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT); a port other than 22 is part of the name."""
    name = host.lower() if port == _DEFAULT_PORT else f"[{host.lower()}]:{port}"
    return f"{name} {key.line}"


def sshfp_record(key: HostKey, host: str) -> str:
    """Return the DNS record of one key (RFC 4255, with the numbers of RFC 6594 and RFC 7479), its fingerprint by SHA-256."""
    digest = hashlib.sha256(base64.b64decode(key.line.split()[1])).hexdigest()
    return f"{host.lower().rstrip('.')}. IN SSHFP {_SSHFP_ALGORITHMS[key.type.partition('-sha2-')[0]]} {_SSHFP_SHA256} {digest}"


def file_name(kind: str) -> str:
    """Return the name of the private key's file."""
    return f"ssh_host_{kind}_key"


def public_file(path: Path) -> Path:
    """Return the file of the public half."""
    return path.with_name(path.name + ".pub")


def _ensure(path: Path, generate: Callable[[], HostPrivateKey]) -> Path:
    public = public_file(path)
    if path.exists():
        line = _public_line(load_private_key(path))
    elif public.exists():
        raise HostKeyError(
            f"{path} is missing, and {public.name} is there: bring the private key back, or remove {public} for a new one"
        )
    else:
        key = generate()
        line = _public_line(key)
        write_text(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode("ascii"))
    if not public.exists():
        write_text(public, line, mode=PUBLIC_MODE)
    elif (read_text(public) or "").split()[:2] != line.split():
        raise HostKeyError(f"{public} does not belong to {path.name}: remove it, and it is made again")
    return path


def load_private_key(path: Path) -> HostPrivateKey:
    """Return the private key, if only its owner can read it."""
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            raise HostKeyError(f"{path}: others can read this private key (mode {mode & 0o777:04o}): chmod 600 {path}")
        data = read_bytes(path) or b""
    except (OSError, UserFileError) as error:
        raise HostKeyError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    load = load_ssh_private_key if b"BEGIN OPENSSH PRIVATE KEY" in data else load_pem_private_key
    try:
        key = load(data, password=None)
    except TypeError as error:
        raise HostKeyError(f"{path}: a host key has no passphrase: ssh-keygen -p -f {path}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise HostKeyError(f"{path}: this is no private key that can be used") from error
    if not isinstance(key, HostPrivateKey):
        raise HostKeyError(f"{path}: this kind of key cannot be a host key")
    return key


def _public_line(key: HostPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii") + "\n"


KINDS = tuple(_GENERATORS)
