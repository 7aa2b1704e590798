"""The keys that nobody may log in with any more, whichever user has them: ``revoked_keys`` in the keys directory.

The form is that of sshd's ``RevokedKeys`` as a text file (sshd_config(5)): one public key a line, ``#`` begins a remark. A key
counts for itself, for certificates that certify it, and for those that it has signed. A certificate's line stands for the key in
it.

A file that cannot be read or understood shuts nobody out who is let in, and lets nobody in who is shut out: the last good version
stays in force, and what can be read of the new one besides, and one error (``revoked_keys.unreadable``) is logged. sshd refuses
every key then; machines that send files at night would stand still for a slip of an editor. Where there is no last good version,
at a start, we do as sshd does: nobody can tell which keys are revoked. A file that is there and empty is one that is being
written, unless nothing was revoked before.

All functions block: one ``stat`` where nothing changed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sftpgate.errors import KeyRefused, UserFileError
from sftpgate.logs import get_logger
from sftpgate.users.certificates import is_certificate, parse_certificate
from sftpgate.users.files import Signature, locked, make_directory, read_text, signature, write_text
from sftpgate.users.keys import AuthorizedKey, parse_line
from sftpgate.users.modes import Watchman

log = get_logger("users")

FILE_NAME = "revoked_keys"
MAX_LIST_BYTES = 8 * 1024 * 1024  # some 50,000 keys, of which no user needs to be known any more
_KRL_MAGIC = "SSHKRL\n"  # PROTOCOL.krl
_KRL_SPECIFICATION = re.compile(r"(serial|id|key|sha1|sha256|hash|string|prefix):", re.IGNORECASE)
_CERTIFICATE = re.compile(r"([a-z0-9@.-]+-cert-v01@openssh\.com)[ \t]+([A-Za-z0-9+/=]+)(.*)")


@dataclass(frozen=True, slots=True)
class _Read:
    """The last reading: what the file looked like, and the blobs then in force; None where they are not known."""

    signature: Signature | None
    revoked: frozenset[bytes] | None


class Revocations:
    """The list of one keys directory. One instance serves all threads; its cache is never the only copy of anything."""

    def __init__(self, keys_dir: Path, watchman: Watchman) -> None:
        self.file = keys_dir / FILE_NAME
        self._watchman = watchman
        self._last: _Read | None = None

    def in_force(self) -> frozenset[bytes] | None:
        """The blobs (SSH's wire format) of the revoked keys; None where there is a list, and it could never be read."""
        found = signature(self.file)
        last = self._last
        if last is None or last.signature != found:
            # the signature is the one from before the reading: a change in between is seen as one at the next look
            self._last = last = _Read(found, self._read(last))
        return last.revoked

    def load(self) -> Sequence[AuthorizedKey]:
        """The keys of the file as it is now, in its order. Raises UserFileError with what is wrong, and where."""
        keys, problem = self._parsed()
        if problem is not None:
            raise UserFileError(problem)
        return keys

    def add(self, key: AuthorizedKey, at: datetime, remark: str) -> bool:
        """Revoke a key; False where it was already. ``remark`` says whose it was. Raises UserFileError for a broken file."""
        make_directory(self.file.parent)
        with locked(self.file.parent):
            if any(known.blob == key.blob for known in self.load()):
                return False
            before = read_text(self.file, MAX_LIST_BYTES) or ""
            said = " ".join(part for part in (f"# revoked {at:%Y-%m-%dT%H:%M:%SZ} {key.fingerprint}", remark) if part)
            line = " ".join(part for part in (key.type, base64.b64encode(key.blob).decode("ascii"), key.comment) if part)
            text = before + ("\n" if before and not before.endswith("\n") else "") + f"{said}\n{line}\n"
            write_text(self.file, text, most_bytes=MAX_LIST_BYTES)
        return True

    def _read(self, last: _Read | None) -> frozenset[bytes] | None:
        keys, problem = self._parsed()
        found = frozenset(key.blob for key in keys)
        before = None if last is None else last.revoked
        if problem is None and before and not found and signature(self.file) is not None and read_text(self.file) == "":
            problem = f"{self.file} is empty: write a remark into it, or remove it, where no key is to be revoked any more"
        if problem is None:
            if found or before:
                log.info("revoked_keys.loaded", keys=len(found))
            return found
        log.error("revoked_keys.unreadable", reason=problem, last_good_version_in_force=before is not None)
        return None if before is None else before | found

    def _parsed(self) -> tuple[list[AuthorizedKey], str | None]:
        """What can be read, and what is wrong with the first thing that cannot."""
        try:
            if unsafe := self._watchman.unsafe(self.file):
                return [], str(unsafe)
            text = read_text(self.file, MAX_LIST_BYTES) or ""
        except UserFileError as error:
            return [], error.message
        if text.startswith(_KRL_MAGIC):
            return [], (
                f"{self.file} is a binary revocation list (KRL, ssh-keygen -k), which is not supported: "
                "make it a text file with the public keys themselves, one a line"
            )
        keys: list[AuthorizedKey] = []
        problem = None
        for number, line in enumerate(text.split("\n"), start=1):
            try:
                keys += _keys_of(line)
            except KeyRefused as error:
                problem = problem or f"{self.file}, line {number}: {error.message}"
        return keys, problem


def key_of_certificate(text: str) -> AuthorizedKey | None:
    """The certified key, where ``text`` is the one line of a certificate; None where it is not. Raises KeyRefused."""
    match = _CERTIFICATE.fullmatch(text.strip())
    if match is None or not is_certificate(match[1]):
        return None
    try:
        blob = base64.b64decode(match[2], validate=True)
    except ValueError as error:
        raise KeyRefused("the certificate is damaged: its data is not base64") from error
    certificate = parse_certificate(blob)
    key = base64.b64encode(certificate.key_blob).decode("ascii")
    return parse_line(f"{certificate.key_type} {key} {match[3].strip()}")


def _keys_of(line: str) -> Iterator[AuthorizedKey]:
    body = line.strip(" \t\r")
    if _KRL_SPECIFICATION.match(body):
        raise KeyRefused("this is a line of a specification for ssh-keygen -k: enter the public key itself")
    key = key_of_certificate(body) or parse_line(line)
    if key is not None:
        yield key
