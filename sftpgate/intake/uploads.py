"""Uploads: one handle opened for writing, from OPEN to its end.

An upload knows which of its bytes were written, whether a write failed, and how they came; whether it is complete is judged from
that in ``judging`` (promise P1). Its bytes are in a staging file of its own (see ``staging``). Writing and hashing are done on
the event loop; ``write_behind`` may wait for the disk and is called in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from sftpgate.errors import (
    AppendRefused,
    NoSpace,
    QuotaExceeded,
    Refused,
    SftpgateError,
    TooLarge,
    UploadFailed,
    UploadIncomplete,
)
from sftpgate.intake.behind import WriteBehind
from sftpgate.intake.digest import Digest
from sftpgate.intake.flushes import ContentFlush
from sftpgate.ledger import actor
from sftpgate.ledger.actor import Actor
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.policy.appending import AppendPlacement
from sftpgate.policy.coverage import Coverage
from sftpgate.policy.evidence import WriteTrace
from sftpgate.policy.lifecycle import UploadEvent, UploadState, upload_after
from sftpgate.policy.quotas import Budget
from sftpgate.policy.sharing import Share
from sftpgate.store.disk import Disk
from sftpgate.store.spots import Spot, translated

FULL_WRITE_BYTES = 32 * 1024  # the least that clients in use send as long as there is more (OpenSSH's for old servers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who uploads, as the record has it (P8). ``home`` is the directory of the drop that the user sees as its top; empty
    for all of it.
    """

    user: str
    home: str
    address: str
    login: str
    client: str
    session: str

    @property
    def actor(self) -> Actor:
        """Who acts, for the record."""
        return actor.sender(self.user)


@dataclass(slots=True)
class SessionTrace:
    """What the uploads of one SFTP session have in common: the longest write seen tells how long the client's writes can be, and
    whether it asked how long they may be tells OpenSSH's own programs from others.
    """

    longest_write_bytes: int = 0
    asked_limits: bool = False


@dataclass(slots=True, eq=False)
class Upload:
    """One open handle for writing. ``path`` is relative to the drop.

    Whatever changes it (writes, sizes, times, its path, its end) holds its lock: its own session's requests on the event loop,
    and in threads what other sessions of its user ask of its path. None of them waits for the disk but for a change of its size.
    """

    id: ArrivalId
    sender: Sender
    path: str
    spot: Spot
    fd: int
    opened_at: datetime
    max_bytes: int
    trace: SessionTrace
    budget: Budget | None = None  # of its user; None: nobody asked for it, as for what is no upload of a client
    replaced_bytes: int = 0  # of the arrival that it will replace
    max_archived_bytes: int | None = None  # of earlier versions that changes in place put into the archives; None: any number
    append: AppendPlacement | None = None  # of a handle that was opened with APPEND
    goes_on_with: ArrivalId | None = None  # the open upload whose bytes it had when it was opened
    is_outrun: bool = False  # another handle went on with it, and has finished
    is_truncated: bool = True  # nothing of what was there is in it
    is_part: bool = False  # it has written in the middle, or behind a gap, of a file that it did not begin
    noted_share: Share | None = None
    existing_bytes: int = 0
    declared_size: int | None = None
    state: UploadState = UploadState.OPEN
    failure: SftpgateError | None = None
    continues: ArrivalId | None = None  # the arrival that it works on a copy of, and replaces
    continues_local: Arrival | None = None  # the same of a local file in the drop, as a draft
    size_set: bool = False  # the declared size came by FSETSTAT, and not with OPEN
    cut_back: bool = False  # truncated below what it was resumed with: what an interrupted client does
    why: str = ""  # its grade is what it is
    times_ns: tuple[int, int] | None = None
    size: int = 0
    notes_written: int = 0
    note_name: str = ""  # in its staging directory; empty while it has no note
    gap_noted: bool = False
    closed_at: float | None = None  # when its CLOSE came, in the event loop's time
    superseded: bool = False  # nobody needs what it leaves: it is not kept for resuming
    name_number: int = 0  # of its name in staging (see ``flushes.Names``)
    digest: Digest = field(default_factory=Digest)
    behind: WriteBehind = field(default_factory=WriteBehind)
    is_touched: bool = False  # something was written, or its size was changed
    changes_existing: bool = False  # so were bytes that were there when it was opened
    is_closing: bool = False  # its end is under way: it stays what it is
    is_admitted: bool = False  # the ledger is about to say that it is an arrival
    _lock: Lock = field(default_factory=Lock)  # between its CLOSE and what other sessions of its user ask of its path
    _flush: ContentFlush = field(default_factory=ContentFlush)
    _coverage: Coverage = field(init=False)
    _writes: int = 0
    _longest_write: int = 0
    _short_writes: int = 0
    _last_write: int = 0
    _stated_after: int = -1  # how many writes had come when the client set the size to what they had brought

    def __post_init__(self) -> None:
        self._coverage = Coverage(self.existing_bytes)
        self.size = self.existing_bytes

    # -- while it is open --------------------------------------------------------------------------------------------

    def write(self, disk: Disk, offset: int, *pieces: bytes | memoryview) -> None:
        """Take one WRITE, in pieces as they came. A failure is for good: nothing of this upload can be published any more."""
        with self._lock:
            self._write(disk, offset, pieces)

    def _write(self, disk: Disk, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        self._require_open()
        length = sum(map(len, pieces))
        try:
            if self.append is not None and length:
                offset = self._append_offset(self.append, offset, pieces)
            end = offset + length
            self.require_size(end)
            disk.write(self.fd, offset, *pieces)
            if not self.is_truncated and length and not self._is_next(offset):
                self.is_part = True
            self._coverage.add(offset, end)
        except SftpgateError as error:
            self._fail(error)
            raise
        self._flush.changed()
        self._charge(end)
        self.is_touched = self.is_touched or bool(length)
        self.changes_existing = self.changes_existing or (offset < self.existing_bytes and self.append is None)
        self.digest.written(offset, pieces)
        self.behind.written(end)
        self.size = max(self.size, end)
        if self.size_set and self.declared_size is not None and self.size > self.declared_size:
            self.declared_size, self.size_set = None, False
        self._writes += 1
        if end == self.size:
            self._last_write = length
        if length > self._longest_write:
            self._short_writes = self._writes - 1
            self._longest_write = length
            self.trace.longest_write_bytes = max(self.trace.longest_write_bytes, length)
        elif length < self._longest_write:
            self._short_writes += 1

    def _is_next(self, offset: int) -> bool:
        """Whether a write at ``offset`` goes on from the end, or from what was written from the beginning on."""
        return offset == self.size or (offset < self.size and (self.append is not None or offset == self.digest.in_order_bytes))

    def _require_open(self) -> None:
        if self.state is not UploadState.OPEN or self.is_closing:
            raise self._failed()

    def require_size(self, size: int) -> None:
        """Raise TooLarge or QuotaExceeded where the upload may not have this size."""
        if size > self.max_bytes:
            raise TooLarge(self.max_bytes)
        if self.budget is not None and size > self.size:
            self.budget.require(size - self.size, self.replaced_bytes)

    def _charge(self, size: int) -> None:
        if self.budget is not None and size > self.size:
            self.budget.charge(size - self.size)

    def _append_offset(self, append: AppendPlacement, offset: int, pieces: Sequence[bytes | memoryview]) -> int:
        """Where a write of an upload opened with APPEND goes. Raises AppendRefused where it would change what is there."""
        place = append.place(offset, self.size)
        if self.goes_on_with is not None and append.counts_from_zero:
            raise AppendRefused(
                "another session of this account is still uploading this file: append to it when that has ended "
                "(rule: an append goes to the end of a finished file)"
            )
        if place < self.size:
            content = b"".join(pieces)
            for start, end in self._coverage.within(place, place + len(content)):
                if self.read(start, end - start) != content[start - place : end - place]:
                    raise AppendRefused()
        return place

    def continue_at_end(self) -> None:
        """It was opened with APPEND."""
        self.append = AppendPlacement(self.existing_bytes)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes that were uploaded so far; empty at the end."""
        with translated("read"):
            return os.pread(self.fd, length, offset)

    def write_behind(self, disk: Disk) -> None:
        """Let the disk begin with what was written so far: CLOSE waits for less then."""
        self.behind.advance(disk, self.fd)

    @property
    def seems_whole(self) -> bool:
        """True after the first write that is not a full one: the CLOSE is likely near, and its flush can begin."""
        return self.is_unflushed and self._last_write < FULL_WRITE_BYTES

    @property
    def is_unflushed(self) -> bool:
        """True while nobody has begun to flush it."""
        return not self._flush.begun

    def begin_flush(self) -> None:
        """Note that a flush is on its way."""
        self._flush.begun = True

    def flush(self, disk: Disk) -> None:
        """Make the content durable; quick where it is already. Raises StorageError, now and at each later call."""
        self._flush.make(lambda: disk.sync(self.fd))

    def close(self) -> None:
        """Give up the descriptor, and with it the lock of the staging file."""
        self.behind.end()
        self._flush.end()
        with self._lock:
            self.is_closing = True
            fd, self.fd = self.fd, -1  # nobody who still knows it uses the number, which may be another file's by then
            os.close(fd)

    def truncate(self, disk: Disk, size: int) -> None:
        """Set the size, as FSETSTAT does. What grows is a gap until it is written. Raises Refused during its CLOSE."""
        with self._lock:
            self._refuse_closing()
            self._truncate(disk, size)

    def _truncate(self, disk: Disk, size: int) -> None:
        self._require_open()
        self.require_size(size)
        try:
            disk.truncate(self.fd, size)
        except SftpgateError as error:
            self._fail(error)
            raise
        self._flush.changed()
        self._charge(size)
        self.is_touched = self.is_touched or size != self.size
        self.changes_existing = self.changes_existing or size < self.existing_bytes
        self._coverage.truncate(size)
        if self.append is not None:
            self.append.truncated(size)
        if size < self.size:
            self.digest.truncated(size)
        if size < self.existing_bytes:
            self.cut_back = True
        # Only a size beyond what was written says something that the client knew before: newer releases of OpenSSH's sftp set the
        # size to what they have sent when a resumed upload is interrupted (sftp-client.c, sftp_upload). Others state it when
        # they are done: see ``policy.evidence``.
        if size == self.digest.in_order_bytes:
            self._stated_after = self._writes
        if size > self.size:
            self.declared_size, self.size_set = size, True
        elif self.size_set:
            self.declared_size, self.size_set = None, False
        self.size = size

    def stat(self) -> os.stat_result:
        """What the disk says of the staging file."""
        with translated("look at an upload"):
            return os.fstat(self.fd)

    @property
    def current_times_ns(self) -> tuple[int, int]:
        """Access and modification time that it will have as things stand."""
        status = self.stat()
        return self.times_ns or (status.st_atime_ns, status.st_mtime_ns)

    def set_times(self, times_ns: tuple[int, int]) -> None:
        """It gets these times when it is published. Raises Refused during its CLOSE."""
        with self._lock:
            self._refuse_closing()
            self.times_ns = times_ns

    def renamed(self, path: str) -> None:
        """It gets another path. Raises Refused during its CLOSE, which publishes it under this one."""
        with self._lock:
            self._refuse_closing()
            self.path = path

    def _refuse_closing(self) -> None:
        if self.is_closing:
            raise Refused("the upload of this file is being finished at this moment: try again (rule: a closed file is whole)")

    # -- its end -----------------------------------------------------------------------------------------------------

    def close_begins(self) -> None:
        """From here on nobody changes its content or path. Raises UploadFailed or UploadIncomplete."""
        with self._lock:
            self.require_complete()
            self.is_closing = True

    def end_begins(self) -> None:
        """It is about to be interrupted or discarded: from here on nobody changes it. Any number of times."""
        with self._lock:
            self.is_closing = True

    def admitted(self) -> None:
        """The change under way makes it an arrival: who removes it from here on removes that. Raises UploadFailed where it was
        removed already.
        """
        with self._lock:
            if self.state is not UploadState.OPEN:
                raise self._failed()
            self.is_admitted = True

    @property
    def share(self) -> Share:
        """What it has of its file, for those who have the same path open."""
        if self.is_part:
            return Share.PART
        if self.is_truncated or (self.append is not None and self.goes_on_with is None):
            return Share.WHOLE
        if not self.is_touched:
            return Share.SILENT
        return Share.GOES_ON if self.goes_on_with is not None and not self.is_written_anew else Share.WHOLE

    @property
    def has_unnoted_share(self) -> bool:
        """True where other processes must learn from its note what it has of its file."""
        return not self.is_truncated and (self.is_part or self.noted) and self.share is not self.noted_share

    @property
    def is_edit(self) -> bool:
        """True where it began as a copy of a finished file."""
        return self.continues is not None or self.continues_local is not None

    @property
    def extends(self) -> bool:
        """True where it has all of the finished file that it is a copy of, and more behind it."""
        return self.continues is not None and not self.changes_existing and self.size > self.existing_bytes

    @property
    def is_written_anew(self) -> bool:
        """True where it has nothing of what was there when it was opened: every byte was written, in order."""
        return self.digest.in_order_bytes >= self.size

    def require_complete(self) -> None:
        """Raise UploadFailed after a failed write, UploadIncomplete where there is a gap."""
        if self.state is not UploadState.OPEN:
            raise self._failed()
        if gap := self._coverage.first_gap(self.size):
            raise UploadIncomplete(*gap)

    @property
    def write_trace(self) -> WriteTrace:
        """How its bytes came in, as the rules of evidence have it."""
        return WriteTrace(
            size=self.size,
            declared_size=self.declared_size,
            writes=self._writes,
            last_write_bytes=self._last_write,
            longest_write_bytes=max(self._longest_write, self.trace.longest_write_bytes),
            short_writes=self._short_writes,
            existing_bytes=self.existing_bytes if self.continues is None and self.continues_local is None else 0,
            stated=self._stated_after == self._writes > 0 and self.is_written_anew,
            # cut, and not written anew: scp cuts what it has overwritten from the start
            cut_back=self.cut_back and not (self._writes and self.is_written_anew),
        )

    @property
    def is_all_new(self) -> bool:
        """True where each byte was sent in this upload: it began empty, or was written anew from the start."""
        return not self.existing_bytes or self.is_written_anew

    @property
    def trusted_bytes(self) -> int:
        """How many bytes from the start are of one file: up to the first gap, and where it changes what was there when it was
        opened, those that it has written anew.
        """
        gap = self._coverage.first_gap(self.size)
        whole = gap[0] if gap else self.size
        return min(whole, self.digest.in_order_bytes) if self.changes_existing else whole

    @property
    def has_unnoted_gap(self) -> bool:
        """True where a gap came up after the note was written: a resumed upload must not trust the size then."""
        return self.noted and not self.gap_noted and self._coverage.range_count > 1

    @property
    def noted(self) -> bool:
        """True where a note says how it can be resumed after a kill of the server."""
        return bool(self.note_name)

    def dropped(self) -> None:
        """The upload was removed by its user while it was open. One that is becoming an arrival is removed as that."""
        with self._lock:
            if not self.is_admitted:
                self._happen(UploadEvent.DROPPED)

    def kept(self) -> None:
        """It left the finished file that it is a copy of as it was."""
        self._happen(UploadEvent.DROPPED)

    def published(self) -> None:
        """The staging file became an arrival."""
        self._happen(UploadEvent.CLOSED)

    def require(self, condition: Callable[[], None]) -> None:
        """Check a condition that raises where it does not hold: that ends the upload like a failed write."""
        try:
            condition()
        except SftpgateError as error:
            with self._lock:
                self._fail(error)
            raise

    def _fail(self, error: SftpgateError) -> None:
        """A failure is for good. Where there was no room, what was written is not kept: it would keep others from the disk."""
        self.failure = self.failure or error
        self._happen(UploadEvent.WRITE_FAILED)
        self.superseded = self.superseded or isinstance(error, (NoSpace, TooLarge, QuotaExceeded))

    def _failed(self) -> UploadFailed:
        return (
            UploadFailed() if self.failure is None or self.failure.local else UploadFailed(f"{UploadFailed()} ({self.failure})")
        )

    def _happen(self, event: UploadEvent) -> None:
        self.state = upload_after(self.state, event)
