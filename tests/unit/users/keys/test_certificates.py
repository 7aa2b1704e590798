from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.errors import KeyRefused
from sftpgate.policy.login import LoginRefusal
from sftpgate.users.keys.authorized import parse_line
from sftpgate.users.keys.certificates import is_certificate, parse_certificate
from sftpgate.users.logins import judge_key
from sftpgate.users.registry import User
from tests.harness.credentials import KeyFile, keygen, make_key

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
KINDS = {"ed25519": ["ed25519"], "rsa": ["rsa", "-b", "2048"], "ecdsa": ["ecdsa", "-b", "384"]}


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    """A key that signs certificates."""
    return make_key(tmp_path_factory.mktemp("authority") / "ca")


def certificate(authority: KeyFile, path: Path, kind: str, *options: str) -> bytes:
    """The blob of a certificate by ``ssh-keygen``."""
    key = make_key(path / "id", *KINDS[kind])
    keygen("-q", "-s", authority.path, "-I", "an id", "-z", "41", *options, f"{key.path}.pub")
    return b64decode((path / "id-cert.pub").read_text().split()[1])


@pytest.mark.parametrize("kind", KINDS)
def test_what_ssh_keygen_wrote_is_read(authority: KeyFile, tmp_path: Path, kind: str) -> None:
    """Each kind of certificate says what ssh-keygen put into it."""
    options = ["-n", "erp,hr", "-V", "20300101000000Z:20310101000000Z", "-O", "source-address=192.0.2.0/24"]
    found = parse_certificate(certificate(authority, tmp_path, kind, *options))
    plain = parse_line((tmp_path / "id.pub").read_text().strip())
    signer = parse_line(authority.line)
    assert plain is not None
    assert signer is not None
    assert (found.key_type, found.key_bits, found.key_blob) == (plain.type, plain.bits, plain.blob)
    assert (found.serial, found.kind, found.key_id, found.principals) == (41, 1, "an id", ("erp", "hr"))
    assert datetime.fromtimestamp(found.valid_after, UTC) == datetime(2030, 1, 1, tzinfo=UTC)
    assert datetime.fromtimestamp(found.valid_before, UTC) == datetime(2031, 1, 1, tzinfo=UTC)
    assert found.critical == {"source-address": "192.0.2.0/24"}
    assert (found.authority_blob, found.signature_algorithm) == (signer.blob, "ssh-ed25519")


@given(data=st.data())
def test_no_blob_does_more_than_be_refused(
    authority: KeyFile, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A cut or changed certificate is refused as unreadable or reads as something that fits nobody; it raises nothing else."""
    global _BLOB
    _BLOB = _BLOB or certificate(authority, tmp_path_factory.mktemp("blob"), "ed25519", "-n", "erp")
    blob = bytearray(_BLOB)
    cut = data.draw(st.integers(0, len(blob)))
    position = data.draw(st.integers(0, len(blob) - 1))
    blob[position] ^= data.draw(st.integers(0, 255))
    try:
        parse_certificate(bytes(blob[:cut]))
    except KeyRefused:
        pass
    judged = judge_key(
        "erp",
        User(name="erp"),
        bytes(blob[:cut]),
        address="192.0.2.1",
        now=NOW,
        issued=NOW,
        min_rsa_bits=2048,
        revoked=frozenset(),
    )
    assert judged.refusal in (LoginRefusal.UNREADABLE_KEY, LoginRefusal.UNKNOWN_KEY, LoginRefusal.UNKNOWN_AUTHORITY)


_BLOB = b""


@given(st.binary(max_size=300))
def test_noise_is_no_key(blob: bytes) -> None:
    """Whatever bytes a client sends as its key, they are judged and raise nothing."""
    judged = judge_key("erp", None, blob, address="192.0.2.1", now=NOW, issued=NOW, min_rsa_bits=2048, revoked=frozenset())
    assert judged.refusal is LoginRefusal.UNKNOWN_USER


def test_names_of_certificates() -> None:
    """Only OpenSSH's certificates are taken for some."""
    assert is_certificate("ssh-ed25519-cert-v01@openssh.com")
    assert is_certificate("sk-ssh-ed25519-cert-v01@openssh.com")
    assert not is_certificate("ssh-ed25519")
    assert not is_certificate("x509v3-ssh-rsa")
