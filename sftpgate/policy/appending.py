"""Where the writes of a handle go that was opened with APPEND (filexfer-02 §6.3: at the end, whatever their offsets say).

Pure. Two kinds of clients are in use, and the first write tells them apart:

- **Counting from 0** (libssh2 and with it curl and PHP's ssh2, Ruby's Net::SFTP, Go's pkg/sftp, asyncssh, sshj, MINA SSHD): the
  offsets 0, N, 2N … are counted from the end of the file as it was when it was opened. Some send 0 for ever.
- **True offsets** (OpenSSH's ``reput``, which resumes): the offsets are the file's. They are believed, so that bytes which a dead
  connection still delivered cannot shift the rest.

Whichever it is, what is in the file already is never changed: a write that covers some of it must bring the same bytes, as a
client does that resumes a little before the end. The caller compares, as this module reads nothing.
"""

from __future__ import annotations


class AppendPlacement:
    """The places of the writes of one handle. ``existing_bytes`` were in the file when it was opened."""

    __slots__ = ("_begun", "_counts_from_zero", "_existing_bytes")

    def __init__(self, existing_bytes: int) -> None:
        self._existing_bytes = existing_bytes
        self._begun = False
        self._counts_from_zero = False

    @property
    def counts_from_zero(self) -> bool:
        """True where the first write said that the client leaves the place to the server."""
        return self._counts_from_zero

    def place(self, offset: int, size: int) -> int:
        """Where the write at ``offset`` goes in the file, which has ``size`` bytes now."""
        if not self._begun:
            self._begun = True
            self._counts_from_zero = offset == 0
            return self._existing_bytes if self._counts_from_zero else offset
        if not self._counts_from_zero:
            return offset
        return size if offset == 0 else self._existing_bytes + offset

    def truncated(self, size: int) -> None:
        """The file was cut to ``size`` bytes: what is counted from 0 goes behind those."""
        self._existing_bytes = min(self._existing_bytes, size)
