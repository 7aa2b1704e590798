from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.errors import KeyRefused, SftpgateError
from sftpgate.users.keys.authorized import parse_public_key
from sftpgate.users.keys.formats import decode_key_file

KINDS = [("ed25519", ""), ("ecdsa", "384"), ("rsa", "2048")]


def generated(directory: Path, kind: str, bits: str, *arguments: str) -> Path:
    """The private key file of a pair that ssh-keygen makes."""
    path = directory / "key"
    length = ["-b", bits] if bits else []
    subprocess.run(
        ["ssh-keygen", "-q", "-N", "", "-t", kind, *length, "-C", "made: here", "-f", str(path), *arguments], check=True
    )
    return path


def exported(path: Path, form: str) -> str:
    """The public key in another format, as ssh-keygen writes it."""
    command = ["ssh-keygen", "-e", "-m", form, "-f", f"{path}.pub"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_rfc_4716_is_converted(kind: str, bits: str, tmp_path: Path) -> None:
    """A public key in the format of RFC 4716 is the same key, with its comment as label."""
    path = generated(tmp_path, kind, bits)
    key = parse_public_key(exported(path, "RFC4716"))
    assert key.blob == parse_public_key(path.with_suffix(".pub").read_text()).blob
    assert "converted by" in key.comment


def test_rfc_4716_headers_may_go_over_several_lines(tmp_path: Path) -> None:
    """Continued headers, unknown headers and Windows line ends are understood."""
    path = generated(tmp_path, "ed25519", "")
    data = path.with_suffix(".pub").read_text().split()[1]
    text = (
        f'---- BEGIN SSH2 PUBLIC KEY ----\r\nSubject: x\r\nComment: "a long \\\r\nlabel"\r\n{data[:40]}\r\n{data[40:]}\r\n'
        "---- END SSH2 PUBLIC KEY ----\r\n"
    )
    assert parse_public_key(text).line == f"ssh-ed25519 {data} a long label"


@pytest.mark.parametrize(("kind", "bits", "form"), [("ecdsa", "256", "PKCS8"), ("rsa", "2048", "PKCS8"), ("rsa", "2048", "PEM")])
def test_pem_is_converted(kind: str, bits: str, form: str, tmp_path: Path) -> None:
    """A public key in PEM is the same key."""
    path = generated(tmp_path, kind, bits)
    assert parse_public_key(exported(path, form)).blob == parse_public_key(path.with_suffix(".pub").read_text()).blob


@pytest.mark.parametrize("form", ["RFC4716", "PEM", "PKCS8"])
def test_private_keys_are_refused(form: str, tmp_path: Path) -> None:
    """A private key is refused in every format, with words that say so, and nothing of it is in them."""
    path = generated(tmp_path, "rsa", "2048", "-m", form)
    with pytest.raises(KeyRefused, match="private key") as caught:
        parse_public_key(path.read_text())
    assert not any(line in caught.value.message for line in path.read_text().splitlines())


def test_putty_private_keys_are_explained() -> None:
    """A .ppk file is refused with the command that makes the public key from it."""
    with pytest.raises(KeyRefused, match=r"puttygen KEY\.ppk -O public-openssh"):
        parse_public_key("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n", "X.509"),
        ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n", "OpenPGP"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "damaged"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\n%%\n---- END SSH2 PUBLIC KEY ----\n", "not base64"),
        ("", "no key in this"),
        ("# only a comment\n", "no key in this"),
    ],
)
def test_what_is_no_public_key_is_named(text: str, words: str) -> None:
    """Other files are refused with what they are."""
    with pytest.raises(KeyRefused, match=words):
        parse_public_key(text)


def test_several_keys_at_a_time_are_refused(tmp_path: Path) -> None:
    """A file with two keys is refused: which one was meant is not for us to guess."""
    line = generated(tmp_path, "ed25519", "").with_suffix(".pub").read_text()
    with pytest.raises(KeyRefused, match="2 keys"):
        parse_public_key(line + line)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_key_files(encoding: str) -> None:
    """A key file is read in UTF-8, with or without a mark, and in the UTF-16 that PowerShell writes."""
    assert decode_key_file("ssh-ed25519 AAAA é".encode(encoding)) == "ssh-ed25519 AAAA é"


@given(st.binary())
def test_any_bytes_give_text_or_our_error(data: bytes) -> None:
    """Whatever is in a key file, it is read as text or refused by an error of ours."""
    try:
        decode_key_file(data)
    except SftpgateError:
        pass


@given(st.text())
def test_any_body_of_a_block_gives_a_key_or_our_error(body: str) -> None:
    """Whatever stands between the lines of a block, it is a key or an error of ours."""
    for begin, end in (
        ("---- BEGIN SSH2 PUBLIC KEY ----", "---- END SSH2 PUBLIC KEY ----"),
        ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"),
    ):
        try:
            parse_public_key(f"{begin}\n{body}\n{end}\n")
        except SftpgateError:
            pass
