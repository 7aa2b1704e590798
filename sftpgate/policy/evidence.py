"""Is a closed upload complete? (promise P1)

Pure. A CLOSE alone proves nothing: OpenSSH's own client sends it after Ctrl-C, and so does every program that closes in
``finally``. What such a client leaves is an upload of full-length writes only, cut in the middle of a line. Everything
else that was closed is taken as complete, and some uploads carry a proof. Source of the rule: observed clients (see
``tests/clients`` and the abort suite).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """How sure it is that an upload is complete."""

    VERIFIED = "verified"  # a checksum file matched its content: one that differs speaks of another file of the name
    PROVEN = "proven"
    PLAUSIBLE = "plausible"
    SUSPECT = "suspect"


# A single write of fewer bytes than this is the tail of a file, never a client's full write: the smallest full length seen is
# 4096 (PuTTY's psftp of old); WinSCP, JSch, curl and OpenSSH use 16 KiB to 255 KiB.
SMALLEST_FULL_WRITE = 4096
# A single write of these lengths may be a full one whatever its length: JSch, phpseclib and libssh2 use odd lengths up
# to 32 KiB. Longer full writes are whole KiB (OpenSSH: 255 KiB).
ODD_FULL_WRITES = range(16384, 32768 + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteTrace:
    """What is known of how the bytes of an upload came in.

    ``longest_write_bytes`` is the longest write of the whole SFTP session so far, ``last_write_bytes`` the length of
    the write that ends at the end of the file, ``short_writes`` the number of writes of this upload shorter than its
    own longest, that one not counted.
    """

    size: int
    declared_size: int | None
    writes: int
    last_write_bytes: int
    longest_write_bytes: int
    short_writes: int


def grade(trace: WriteTrace, *, is_text: bool, ends_with_newline: bool) -> Grade:
    """The grade of an upload without gaps. ``is_text``: no NUL in the sample that was read."""
    if trace.declared_size is not None:
        return Grade.PROVEN if trace.declared_size == trace.size else Grade.SUSPECT
    if not is_text or ends_with_newline or not trace.writes:
        return Grade.PLAUSIBLE
    if trace.short_writes or trace.last_write_bytes < trace.longest_write_bytes:
        return Grade.PLAUSIBLE
    return Grade.SUSPECT if _may_be_full(trace) else Grade.PLAUSIBLE


def _may_be_full(trace: WriteTrace) -> bool:
    """Whether the writes, all of one length, may have been as long as the client can make them."""
    if trace.writes > 1:
        return trace.last_write_bytes >= 1024
    length = trace.last_write_bytes
    return length in ODD_FULL_WRITES or (length >= SMALLEST_FULL_WRITE and length % 1024 == 0)
