"""The keys that nobody may log in with any more, whichever user has them: ``revoked_keys`` in the keys directory.

The form is that of sshd's ``RevokedKeys`` as a text file (sshd_config(5)): one public key a line, ``#`` begins a remark. A key
counts for itself, for certificates that certify it, and for those that it has signed. A certificate's line stands for the key in
it.

A file that cannot be read or understood shuts nobody out who is let in, and lets nobody in who is shut out: the last good version
stays in force, and what can be read of the new one besides, and one error (``revoked_keys.unreadable``) is logged. sshd refuses
every key then; machines that send files at night would stand still for a slip of an editor. If there is no last good version,
at a first start, we do as sshd does: nobody can tell which keys are revoked. The last good version is kept over restarts
(``last_whole``). A version by which a key would be revoked no more counts when it is whole (``policy.wholeness``): one that is
gone or empty never is.

All functions block: one ``stat`` if nothing changed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic

from sftpgate.errors import KeyRefused, UserFileError
from sftpgate.logs import get_logger
from sftpgate.policy.wholeness import END_LINE, SETTLE_SECONDS, doubt, is_ended
from sftpgate.users.files import Signature, locked, make_directory, read_text, signature, write_text
from sftpgate.users.keys.authorized import AuthorizedKey, parse_line
from sftpgate.users.keys.certificates import is_certificate, parse_certificate
from sftpgate.users.last_whole import Memory
from sftpgate.users.modes import Watchman

log = get_logger("users")

FILE_NAME = "revoked_keys"
MAX_LIST_BYTES = 8 * 1024 * 1024  # some 50,000 keys, of which no user needs to be known any more
_KRL_MAGIC = "SSHKRL\n"  # PROTOCOL.krl
_KRL_SPECIFICATION = re.compile(r"(serial|id|key|sha1|sha256|hash|string|prefix):", re.IGNORECASE)
_CERTIFICATE = re.compile(r"([a-z0-9@.-]+-cert-v01@openssh\.com)[ \t]+([A-Za-z0-9+/=]+)(.*)")


@dataclass(frozen=True, slots=True)
class _Read:
    """The last reading: what the file looked like, and the blobs then in force; None if they are not known."""

    signature: Signature | None
    revoked: frozenset[bytes] | None
    text: str = ""  # of the last whole version
    seen_at: float = 0.0
    settling: bool = False  # to be looked at again though it has not changed


class Revocations:
    """The list of one keys directory. One instance serves all threads; its cache is never the only copy of anything."""

    def __init__(
        self, keys_dir: Path, watchman: Watchman, memory: Memory | None = None, seconds: Callable[[], float] = monotonic
    ) -> None:
        self.file = keys_dir / FILE_NAME
        self._watchman = watchman
        self._memory = memory or Memory()
        self._seconds = seconds
        self._last: _Read | None = None

    def in_force(self) -> frozenset[bytes] | None:
        """Return the blobs (SSH's wire format) of the revoked keys; None if there is a list, and it could never be read."""
        found = signature(self.file)
        last = self._last
        if last is None or last.signature != found or last.settling:
            # the signature is the one from before the reading: a change in between is seen as one at the next look
            self._last = last = self._read(found, last)
        return last.revoked

    @property
    def is_settling(self) -> bool:
        """Whether a change that lets somebody in was seen a moment ago, and may be half of one: look again."""
        return self._last is not None and self._last.settling

    def load(self) -> Sequence[AuthorizedKey]:
        """Return the keys of the file as it is now, in its order. Raises UserFileError with what is wrong, and where."""
        keys, problem, text = self._parsed()
        kept = self._memory.text(FILE_NAME, MAX_LIST_BYTES)
        if problem is None and kept is not None and not _blobs(_parsed(kept, self.file)[0]) <= _blobs(keys):
            problem = self._doubt(text, kept)
        if problem is not None:
            raise UserFileError(problem)
        return keys

    def add(self, key: AuthorizedKey, at: datetime, remark: str) -> bool:
        """Revoke a key; False if it was already. ``remark`` says whose it was. Raises UserFileError for a broken file."""
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

    def _read(self, found: Signature | None, last: _Read | None) -> _Read:
        if last is None:
            last = self._remembered()
        fresh = last is None or last.signature != found or not last.settling
        seen_at = self._seconds() if fresh or last is None else last.seen_at
        keys, problem, text = self._parsed()
        blobs = _blobs(keys)
        before = None if last is None else last.revoked
        settling = False
        if problem is None and last is not None and before is not None and not before <= blobs:
            problem = self._doubt(text, last.text)
            settling = problem is None and not is_ended(text or "") and self._seconds() - seen_at < SETTLE_SECONDS
        if problem is None and not settling:
            if fresh and (blobs or before):
                log.info("revoked_keys.loaded", keys=len(blobs))
            self._memory.keep(FILE_NAME, text if blobs else None)
            return _Read(found, blobs, text or "")
        if fresh and problem is not None:
            log.error("revoked_keys.unreadable", reason=problem, last_good_version_in_force=before is not None)
        revoked = None if before is None else before | blobs
        return _Read(found, revoked, "" if last is None else last.text, seen_at, settling)

    def _remembered(self) -> _Read | None:
        """Return what was in force when the list was last whole, as an earlier process left it."""
        text = self._memory.text(FILE_NAME, MAX_LIST_BYTES)
        return None if text is None else _Read(None, _blobs(_parsed(text, self.file)[0]), text)

    def _doubt(self, text: str | None, before: str) -> str | None:
        problem = doubt(text, before)
        if problem is None:
            return None
        if text is None or not text.strip():
            problem += f": where no key is to be revoked any more, write the line {END_LINE} into it"
        return f"{self.file} {problem}"

    def _parsed(self) -> tuple[list[AuthorizedKey], str | None, str | None]:
        """Return what can be read, what is wrong with the first thing that cannot, and the text; None if there is no file."""
        try:
            if unsafe := self._watchman.unsafe(self.file, anew=True):
                return [], str(unsafe), None
            text = read_text(self.file, MAX_LIST_BYTES)
        except UserFileError as error:
            return [], error.message, None
        return (*_parsed(text or "", self.file), text)


def _parsed(text: str, file: Path) -> tuple[list[AuthorizedKey], str | None]:
    if text.startswith(_KRL_MAGIC):
        return [], (
            f"{file} is a binary revocation list (KRL, ssh-keygen -k), which is not supported: "
            "make it a text file with the public keys themselves, one a line"
        )
    keys: list[AuthorizedKey] = []
    problem = None
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            keys += _keys_of(line)
        except KeyRefused as error:
            problem = problem or f"{file}, line {number}: {error.message}"
    return keys, problem


def _blobs(keys: Iterable[AuthorizedKey]) -> frozenset[bytes]:
    return frozenset(key.blob for key in keys)


def key_of_certificate(text: str) -> AuthorizedKey | None:
    """Return the certified key, if ``text`` is the one line of a certificate; None if it is not. Raises KeyRefused."""
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
