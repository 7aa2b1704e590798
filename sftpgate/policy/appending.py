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

from datetime import timedelta

from sftpgate.policy.lifecycle import ArrivalState

# How long after a tool took a file an append to its name is its next piece, most likely, and no file of its own. A program that
# sends a file in pieces sends them one after the other; one that makes each file by an append does so every few hours or days.
TAIL_TIME = timedelta(hours=1)
_AT_A_TOOL = frozenset(
    {ArrivalState.WAITING, ArrivalState.QUEUED, ArrivalState.CLAIMED}
)  # where the file is not there to be seen
_TAKEN_BY_A_TOOL = frozenset({ArrivalState.DONE, ArrivalState.QUARANTINED, ArrivalState.TAKEN})


def is_tail(last: ArrivalState, changed_ago: timedelta) -> bool:
    """Return whether what is appended to a name that has no file now is a piece without its beginning. ``last`` is how the
    sender's last file of the name stands, ``changed_ago`` since when. If the clock was set back, it counts as a short time
    ago.
    """
    return last in _AT_A_TOOL or (last in _TAKEN_BY_A_TOOL and changed_ago < TAIL_TIME)


class AppendPlacement:
    """The places of the writes of one handle. ``existing_bytes`` were in the file when it was opened."""

    __slots__ = ("_begun", "_counts_from_zero", "_existing_bytes")

    def __init__(self, existing_bytes: int) -> None:
        self._existing_bytes = existing_bytes
        self._begun = False
        self._counts_from_zero = False

    @property
    def counts_from_zero(self) -> bool:
        """True if the first write said that the client leaves the place to the server."""
        return self._counts_from_zero

    def place(self, offset: int, size: int) -> int:
        """Return where the write at ``offset`` goes in the file, which has ``size`` bytes now."""
        if not self._begun:
            self._begun = True
            self._counts_from_zero = offset == 0
            return self._existing_bytes if self._counts_from_zero else offset
        if not self._counts_from_zero:
            return offset
        return size if offset == 0 else self._existing_bytes + offset

    def truncated(self, size: int) -> None:
        """Note that the file was cut to ``size`` bytes: what is counted from 0 goes behind those."""
        self._existing_bytes = min(self._existing_bytes, size)
