"""OpenSSH certificates, as they are on the wire (OpenSSH's PROTOCOL.certkeys).

Only the reading: what a certificate says. Whether its authority signed it is not checked here. Pure; a certificate that
cannot be read whole raises KeyRefused, and so does one that says something twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sftpgate.errors import KeyRefused
from sftpgate.users.keys.formats import key_bits, wire_fields, wire_type

_TYPE = re.compile(r"(.+)-cert-v01(@openssh\.com)")
_KEY_PARTS = {"ssh-rsa": 2, "ssh-dss": 4, "ssh-ed25519": 1, "sk-ssh-ed25519": 2, "sk-ecdsa-sha2-nistp256": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a certificate says. ``critical`` values are text; an option without one has the empty text."""

    key_type: str
    key_bits: int
    key_blob: bytes  # of the certified key
    serial: int
    kind: int  # 1 for users, 2 for hosts
    key_id: str  # the authority's text: show it through ``printable``
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical: Mapping[str, str]
    authority_blob: bytes
    signature_algorithm: str


def is_certificate(key_type: str) -> bool:
    """Return whether a key type is one of certificates."""
    return _TYPE.fullmatch(key_type) is not None


def parse_certificate(blob: bytes) -> Certificate:
    """Return what the certificate in ``blob`` says. Raises KeyRefused if it cannot be read."""
    reader = _Reader(blob)
    try:
        key_type, parts = _key_type(reader.string().decode("ascii"))
        reader.string()  # the nonce
        key = b"".join(_string(part) for part in (reader.string() for _ in range(parts)))
        key_blob = _string(key_type.encode()) + key
        serial, kind = reader.number(8), reader.number(4)
        key_id = reader.string().decode("utf-8")
        principals = tuple(name.decode("utf-8") for name in wire_fields(reader.string()))
        after, before = reader.number(8), reader.number(8)
        critical = _options(reader.string())
        _options(reader.string())  # extensions: permissions that nobody has here, but they must be well formed
        reader.string()  # reserved
        authority, signature = reader.string(), reader.string()
    except UnicodeDecodeError as error:
        raise KeyRefused("the certificate has a text that is not UTF-8") from error
    if reader.rest:
        raise KeyRefused("the certificate has bytes behind its end")
    return Certificate(
        key_type=key_type,
        key_bits=key_bits(key_type, key_blob),
        key_blob=key_blob,
        serial=serial,
        kind=kind,
        key_id=key_id,
        principals=principals,
        valid_after=after,
        valid_before=before,
        critical=critical,
        authority_blob=authority,
        signature_algorithm=wire_type(signature),
    )


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.rest = data

    def string(self) -> bytes:
        return self._take(self.number(4))

    def number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def _take(self, count: int) -> bytes:
        if len(self.rest) < count:
            raise KeyRefused("the certificate is cut off")
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken


def _key_type(name: str) -> tuple[str, int]:
    """Return the type of the certified key, and of how many parts it is made."""
    match = _TYPE.fullmatch(name)
    base = match[1] if match else ""
    parts = 2 if base.startswith("ecdsa-sha2-nistp") else _KEY_PARTS.get(base)
    if match is None or parts is None:
        raise KeyRefused("this is no certificate of a kind that is supported")
    return base + match[2] if base.startswith("sk-") else base, parts


def _options(data: bytes) -> dict[str, str]:
    """Return names, each followed by a string that holds the value (or nothing)."""
    fields = wire_fields(data)
    if len(fields) % 2:
        raise KeyRefused("the certificate's options are cut off")
    found: dict[str, str] = {}
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        inner = wire_fields(value)
        text = inner[0].decode("utf-8") if len(inner) == 1 else ""
        if len(inner) > 1 or name.decode("utf-8") in found:
            raise KeyRefused("the certificate's options cannot be read")
        found[name.decode("utf-8")] = text
    return found


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
