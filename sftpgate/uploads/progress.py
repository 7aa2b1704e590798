"""How far an upload is: which of its bytes were written, and how they came.

``upload`` alone changes the progress, on the event loop, and holds the upload's lock for that. Nothing here does I/O: bytes that
must be compared are read by the caller. A crash loses it; the note of the upload says what is left (see ``staging``), and a
``NoteRecord`` how far that note is behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sftpgate.errors import AppendRefused
from sftpgate.policy.appending import AppendPlacement
from sftpgate.policy.coverage import Coverage
from sftpgate.policy.evidence import WriteTrace
from sftpgate.policy.sharing import Share
from sftpgate.store.digest import Digest
from sftpgate.uploads.terms import Origin, SessionTrace

FULL_WRITE_BYTES = 32 * 1024  # the least that clients in use send as long as there is more (OpenSSH's for old servers)

Pieces = Sequence[bytes | memoryview]


class UploadProgress:
    """The bytes of one upload. What others read of it are properties: nobody else sets them."""

    __slots__ = (
        "_append",
        "_changes_existing",
        "_coverage",
        "_cut_back",
        "_declared_size",
        "_digest",
        "_is_part",
        "_is_touched",
        "_last_write",
        "_longest_write",
        "_origin",
        "_short_writes",
        "_size",
        "_size_set",
        "_stated_after",
        "_trace",
        "_writes",
    )

    def __init__(self, origin: Origin, trace: SessionTrace) -> None:
        self._origin = origin
        self._trace = trace
        self._size = origin.existing_bytes
        self._coverage = Coverage(origin.existing_bytes)
        self._digest = Digest()
        self._append = AppendPlacement(origin.existing_bytes) if origin.is_append else None
        self._declared_size = origin.declared_size
        self._size_set = False  # the declared size came by FSETSTAT, and not with OPEN
        self._cut_back = False  # truncated below what it was resumed with: what an interrupted client does
        self._is_touched = origin.is_longer
        self._changes_existing = False
        self._is_part = False
        self._writes = 0
        self._longest_write = 0
        self._short_writes = 0
        self._last_write = 0
        self._stated_after = -1  # how many writes had come when the client set the size to what they had brought

    # -- what came ---------------------------------------------------------------------------------------------------

    def place(self, offset: int, pieces: Pieces, length: int, read: Callable[[int, int], bytes]) -> int:
        """Return where a write goes: at its offset, or where an upload opened with APPEND has it. ``read`` gives bytes that are
        there. Raises AppendRefused if it would change those.
        """
        if self._append is None or not length:
            return offset
        place = self._append.place(offset, self._size)
        if self._origin.goes_on_with is not None and self._append.counts_from_zero:
            raise AppendRefused(
                "another session of this account is still uploading this file: append to it when that has ended "
                "(rule: an append goes to the end of a finished file)"
            )
        if place < self._size:
            content = b"".join(pieces)
            for start, end in self._coverage.within(place, place + len(content)):
                if read(start, end - start) != content[start - place : end - place]:
                    raise AppendRefused()
        return place

    def covered(self, offset: int, length: int) -> None:
        """Take in that the disk has these bytes. Raises TooScattered, and takes in nothing then but where they are."""
        if not self._origin.is_truncated and length and not self._is_next(offset):
            self._is_part = True
        self._coverage.add(offset, offset + length)

    def written(self, offset: int, pieces: Pieces, length: int) -> None:
        """Take in how these bytes came, which are covered."""
        end = offset + length
        self._is_touched = self._is_touched or bool(length)
        existing_bytes = self._origin.existing_bytes
        self._changes_existing = self._changes_existing or (offset < existing_bytes and self._append is None)
        self._digest.written(offset, pieces)
        self._size = max(self._size, end)
        if self._size_set and self._declared_size is not None and self._size > self._declared_size:
            self._declared_size, self._size_set = None, False
        self._writes += 1
        if end == self._size:
            self._last_write = length
        if length > self._longest_write:
            self._short_writes = self._writes - 1
            self._longest_write = length
            self._trace.longest_write_bytes = max(self._trace.longest_write_bytes, length)
        elif length < self._longest_write:
            self._short_writes += 1

    def truncated(self, size: int) -> None:
        """Take in that the disk has given the file this size. What has grown is a gap until it is written."""
        self._is_touched = self._is_touched or size != self._size
        self._changes_existing = self._changes_existing or size < self._origin.existing_bytes
        self._coverage.truncate(size)
        if self._append is not None:
            self._append.truncated(size)
        if size < self._size:
            self._digest.truncated(size)
        if size < self._origin.existing_bytes:
            self._cut_back = True
        # Only a size beyond what was written says something that the client knew before: newer releases of OpenSSH's sftp set the
        # size to what they have sent when a resumed upload is interrupted (sftp-client.c, sftp_upload). Others state it when
        # they are done: see ``policy.evidence``.
        if size == self._digest.in_order_bytes:
            self._stated_after = self._writes
        if size > self._size:
            self._declared_size, self._size_set = size, True
        elif self._size_set:
            self._declared_size, self._size_set = None, False
        self._size = size

    def cut_on_purpose(self) -> None:
        """Take in that its size was asked for on a finished file: that is what it shall have, and no upload was broken off."""
        self._declared_size, self._cut_back = self._size, False

    def _is_next(self, offset: int) -> bool:
        """Whether a write at ``offset`` goes on from the end, or from what was written from the beginning on."""
        return offset == self._size or (
            offset < self._size and (self._append is not None or offset == self._digest.in_order_bytes)
        )

    # -- what it is by that ------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes, gaps too."""
        return self._size

    @property
    def is_touched(self) -> bool:
        """True if something was written, or its size was changed."""
        return self._is_touched

    @property
    def is_part(self) -> bool:
        """True if it has written in the middle, or behind a gap, of a file that it did not begin."""
        return self._is_part

    @property
    def changes_existing(self) -> bool:
        """True if bytes were changed that were there when it was opened."""
        return self._changes_existing

    @property
    def ends_short(self) -> bool:
        """True if the write at its end is not a full one: the CLOSE is likely near."""
        return self._last_write < FULL_WRITE_BYTES

    @property
    def gap(self) -> tuple[int, int] | None:
        """The first range that no write covered, or None."""
        return self._coverage.first_gap(self._size)

    @property
    def is_scattered(self) -> bool:
        """True if it is in several pieces."""
        return self._coverage.range_count > 1

    @property
    def is_written_anew(self) -> bool:
        """True if it has nothing of what was there when it was opened: every byte was written, in order."""
        return self._digest.in_order_bytes >= self._size

    @property
    def is_all_new(self) -> bool:
        """True if each byte was sent in this upload: it began empty, or was written anew from the start."""
        return not self._origin.existing_bytes or self.is_written_anew

    @property
    def extends(self) -> bool:
        """True if it has all of the finished file that it is a copy of, and more behind it."""
        return self._origin.continues is not None and not self._changes_existing and self._size > self._origin.existing_bytes

    @property
    def trusted_bytes(self) -> int:
        """How many bytes from the start are of one file: up to the first gap, and if it changes what was there when it was
        opened, those that it has written anew.
        """
        gap = self.gap
        whole = gap[0] if gap else self._size
        return min(whole, self._digest.in_order_bytes) if self._changes_existing else whole

    @property
    def share(self) -> Share:
        """What it has of its file, for those who have the same path open."""
        if self._is_part:
            return Share.PART
        if self._origin.is_truncated or (self._append is not None and self._origin.goes_on_with is None):
            return Share.WHOLE
        if not self._is_touched:
            return Share.SILENT
        return Share.GOES_ON if self._origin.goes_on_with is not None and not self.is_written_anew else Share.WHOLE

    @property
    def write_trace(self) -> WriteTrace:
        """How its bytes came in, as the rules of evidence have it."""
        return WriteTrace(
            size=self._size,
            declared_size=self._declared_size,
            writes=self._writes,
            last_write_bytes=self._last_write,
            longest_write_bytes=max(self._longest_write, self._trace.longest_write_bytes),
            short_writes=self._short_writes,
            existing_bytes=0 if self._origin.is_edit else self._origin.existing_bytes,
            stated=self._stated_after == self._writes > 0 and self.is_written_anew,
            # cut, and not written anew: scp cuts what it has overwritten from the start
            cut_back=self._cut_back and not (self._writes and self.is_written_anew),
        )

    def finish(self, fd: int) -> str:
        """Return the SHA-256 of all of it; reads from ``fd`` what did not come in order. Blocks then."""
        return self._digest.finish(fd, self._size)


class NoteRecord:
    """What the note of one upload says, as it was written last: how far others know it. ``staging`` writes notes, under a lock of
    its own.
    """

    __slots__ = ("_has_gap", "_name", "_share", "_written")

    def __init__(self) -> None:
        self._written = 0
        self._name = ""
        self._share: Share | None = None
        self._has_gap = False

    @property
    def name(self) -> str:
        """Its name in the staging directory; empty while there is none."""
        return self._name

    @property
    def share(self) -> Share | None:
        """What it says of the share that the upload has of its file; None if it says nothing."""
        return self._share

    @property
    def has_gap(self) -> bool:
        """True if it says that not all bytes can be trusted."""
        return self._has_gap

    def next_number(self) -> int:
        """Return the number of the next note: of two that a crash leaves, the higher one holds."""
        self._written += 1
        return self._written

    def named(self, name: str) -> None:
        """Take in that it lies under this name now."""
        self._name = name

    def says(self, share: Share, *, has_gap: bool) -> None:
        """Take in what it says now."""
        self._share, self._has_gap = share, has_gap
