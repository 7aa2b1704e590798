"""The formats in which people hand in a public key, and how each becomes the one line that OpenSSH writes.

OpenSSH's line is taken as it is; RFC 4716 and PEM are converted. Everything else is refused with words that say what it is
and how to get the right file. A private key is never taken: whoever sent it should make a new one. Nothing here touches the
disk.
"""

from __future__ import annotations

import base64
import binascii
import re

from sftpgate.errors import KeyRefused

_RFC4716 = re.compile(r"---- BEGIN SSH2 PUBLIC KEY ----[ \t]*\r?\n(.*?)---- END SSH2 PUBLIC KEY ----", re.DOTALL)
_PRIVATE = re.compile(r"---- ?BEGIN [A-Z0-9 ]*PRIVATE KEY|^SSH PRIVATE KEY FILE FORMAT", re.MULTILINE)
_PEM_PUBLIC = re.compile(r"-----BEGIN (RSA |EC |DSA )?PUBLIC KEY-----")
_FIELDS_OF_TYPE = {
    "ssh-rsa": 3,
    "ssh-dss": 5,
    "ssh-ed25519": 2,
    "sk-ssh-ed25519@openssh.com": 3,
    "sk-ecdsa-sha2-nistp256@openssh.com": 4,
}


def decode_key_file(data: bytes) -> str:
    """Return the text of a key file: UTF-8, or the UTF-16 that PowerShell's ``>`` writes. Raises KeyRefused for anything else."""
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise KeyRefused("this is not a text file, so no public key in a form that can be read") from error


def to_openssh(text: str) -> str:
    """Return the OpenSSH form of the public key in ``text``: one line, or the text itself if it seems to be OpenSSH's already."""
    _refuse_private(text)
    if match := _RFC4716.search(text):
        return _from_rfc4716(match[1])
    if _PEM_PUBLIC.search(text):
        return _from_pem(text)
    if "BEGIN CERTIFICATE" in text:
        raise KeyRefused("this is an X.509 certificate: send an OpenSSH public key (ssh-keygen -t ed25519 makes one)")
    if "BEGIN PGP" in text:
        raise KeyRefused("this is an OpenPGP key: send an OpenSSH public key (ssh-keygen -t ed25519 makes one)")
    return text


def wire_fields(blob: bytes) -> list[bytes]:
    """Return the length-prefixed strings that make up a key blob (RFC 4253 §6.6). Raises KeyRefused if it is cut or has a
    rest.
    """
    fields = []
    rest = memoryview(blob)
    while rest:
        length = int.from_bytes(rest[:4], "big")
        if len(rest) < 4 or len(rest) < 4 + length:
            raise KeyRefused("the key is cut off: copy the whole line")
        fields.append(bytes(rest[4 : 4 + length]))
        rest = rest[4 + length :]
    return fields


def wire_type(blob: bytes) -> str:
    """Return the type that a key blob names itself. Raises KeyRefused if there is none."""
    length = int.from_bytes(blob[:4], "big")
    name = blob[4 : 4 + length]
    if len(name) < length or not re.fullmatch(rb"[a-zA-Z0-9@.-]{1,64}", name):
        raise KeyRefused("the key is damaged: its data does not begin with a key type")
    return name.decode("ascii")


def key_bits(key_type: str, blob: bytes) -> int:
    """Return the length that ``ssh-keygen -l`` shows; 0 for a type that we do not know."""
    if key_type.startswith("ecdsa-sha2-nistp"):
        expected = 3
    elif key_type in _FIELDS_OF_TYPE:
        expected = _FIELDS_OF_TYPE[key_type]
    else:
        return 0
    fields = wire_fields(blob)
    if len(fields) != expected:
        raise KeyRefused("the key is damaged: it has too few or too many parts")
    if key_type == "ssh-rsa":
        return int.from_bytes(fields[2], "big").bit_length()
    if key_type == "ssh-dss":
        return int.from_bytes(fields[1], "big").bit_length()
    return int(key_type[-3:]) if key_type.startswith("ecdsa") and key_type[-3:].isdecimal() else 256


def _refuse_private(text: str) -> None:
    if "PuTTY-User-Key-File-" in text:
        raise KeyRefused(
            "this is a PuTTY private key file, which belongs to its owner alone: "
            "`puttygen KEY.ppk -O public-openssh -o KEY.pub` makes the public key to send"
        )
    if _PRIVATE.search(text):
        raise KeyRefused(
            "this is a private key, which belongs to its owner alone; it was not stored. "
            "Send the .pub file beside it; if this one has been on its way by mail, make a new pair"
        )


def _from_rfc4716(body: str) -> str:
    """Return the line for the inside of an RFC 4716 block: headers, whose lines a backslash continues, then base64."""
    comment = ""
    data: list[str] = []
    lines = iter(body.replace("\r\n", "\n").split("\n"))
    for line in lines:
        if ":" not in line:
            data.append(line.strip())
            continue
        header = line
        while header.endswith("\\"):
            header = header[:-1] + next(lines, "")
        tag, _, value = header.partition(":")
        if tag.strip().lower() == "comment":
            comment = value.strip().removeprefix('"').removesuffix('"')
    try:
        blob = base64.b64decode("".join(data), validate=True)
    except ValueError as error:
        raise KeyRefused("the key is damaged: its data is not base64") from error
    return _line(blob, comment)


def _from_pem(text: str) -> str:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    try:
        key = load_pem_public_key(text.encode("utf-8", "replace"))
        line = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    except (ValueError, UnsupportedAlgorithm, binascii.Error) as error:
        raise KeyRefused("this PEM public key is damaged, or of a kind that SSH does not know") from error
    return line.decode("ascii")


def _line(blob: bytes, comment: str) -> str:
    one_line = "".join(c for c in comment if c.isprintable())
    return f"{wire_type(blob)} {base64.b64encode(blob).decode('ascii')} {one_line}".rstrip()
