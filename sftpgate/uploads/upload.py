"""Uploads: one handle opened for writing, from OPEN to its end.

An upload joins what is settled about it (``terms``), how far it is (``progress``) and what becomes of it (``fate``), and does to
its staging file what changes them; nobody else sets anything of the three. Whether it is complete is judged in ``completeness``
(promise P1). Its bytes are in a staging file of its own (see ``staging``).

Whatever changes it (writes, sizes, times, its path, its end) holds its lock: its own session's requests on the event loop, and in
threads what other sessions of its user ask of its path. None of them waits for the disk but for a change of its size. Writing and
hashing are done on the event loop; ``write_behind`` and ``flush`` may wait for the disk and are called in a thread. A crash
leaves the staging file, and the note of it if there is one.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from sftpgate.errors import SftpgateError, UploadIncomplete
from sftpgate.ledger.arrivals import ArrivalId
from sftpgate.policy.lifecycle import UploadState
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath, translated
from sftpgate.uploads.fate import UploadFate
from sftpgate.uploads.flushes import ContentFlush
from sftpgate.uploads.progress import NoteRecord, UploadProgress
from sftpgate.uploads.terms import Origin, Sender, UploadBounds, UploadIdentity
from sftpgate.uploads.write_behind import WriteBehind


class Upload:
    """One open handle for writing. ``path`` is relative to the drop; ``fd`` is the descriptor of its staging file, which it owns,
    and ``name_number`` that of its name there (see ``flushes.Names``).
    """

    __slots__ = (
        "_behind",
        "_bounds",
        "_fd",
        "_flush",
        "_name_number",
        "_path",
        "_times_ns",
        "fate",
        "identity",
        "note",
        "origin",
        "progress",
    )

    def __init__(
        self, identity: UploadIdentity, origin: Origin, bounds: UploadBounds, *, path: str, fd: int, name_number: int
    ) -> None:
        self.identity = identity
        self.origin = origin
        self.progress = UploadProgress(origin, identity.trace)
        self.fate = UploadFate()
        self.note = NoteRecord()
        self._bounds = bounds
        self._path = path
        self._fd = fd
        self._name_number = name_number
        self._times_ns: tuple[int, int] | None = None
        self._behind = WriteBehind()
        self._flush = ContentFlush()

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def id(self) -> ArrivalId:
        """Its id, which the arrival has that it becomes."""
        return self.identity.id

    @property
    def sender(self) -> Sender:
        """Who uploads."""
        return self.identity.sender

    @property
    def disk_path(self) -> DiskPath:
        """Its staging file."""
        return self.identity.disk_path

    @property
    def path(self) -> str:
        """Where it goes, relative to the drop."""
        return self._path

    @property
    def fd(self) -> int:
        """The descriptor of its staging file; -1 from ``close`` on."""
        return self._fd

    @property
    def size(self) -> int:
        """Bytes, gaps too."""
        return self.progress.size

    @property
    def state(self) -> UploadState:
        """Where it stands."""
        return self.fate.state

    @property
    def bounds(self) -> UploadBounds:
        """What it may come to."""
        return self._bounds

    @property
    def name_number(self) -> int:
        """The number of its name in staging."""
        return self._name_number

    @property
    def times_ns(self) -> tuple[int, int] | None:
        """The access and modification time that its client set; None if it set none."""
        return self._times_ns

    @property
    def current_times_ns(self) -> tuple[int, int]:
        """Access and modification time that it will have as things stand."""
        status = self.stat()
        return self._times_ns or (status.st_atime_ns, status.st_mtime_ns)

    def stat(self) -> os.stat_result:
        """Return what the disk says of the staging file."""
        with translated("look at an upload"):
            return os.fstat(self._fd)

    # -- while it is open --------------------------------------------------------------------------------------------

    def write(self, disk: Disk, offset: int, *pieces: bytes | memoryview) -> None:
        """Take one WRITE, in pieces as they came. A failure is for good: nothing of this upload can be published any more."""
        with self.fate.lock:
            self.fate.require_open()
            length = sum(map(len, pieces))
            try:
                offset = self.progress.place(offset, pieces, length, self.read)
                self.require_size(offset + length)
                disk.write(self._fd, offset, *pieces)
                self.progress.covered(offset, length)
            except SftpgateError as error:
                self.fate.fail(error)
                raise
            self._flush.changed()
            self._bounds.charge(offset + length - self.size)
            self.progress.written(offset, pieces, length)
            self._behind.written(offset + length)

    def truncate(self, disk: Disk, size: int) -> None:
        """Set the size, as FSETSTAT does. What grows is a gap until it is written. Raises Refused during its CLOSE."""
        with self.fate.lock:
            self.fate.require_changeable()
            self.fate.require_open()
            self.require_size(size)
            try:
                disk.truncate(self._fd, size)
            except SftpgateError as error:
                self.fate.fail(error)
                raise
            self._flush.changed()
            self._bounds.charge(size - self.size)
            self.progress.truncated(size)

    def cut(self, disk: Disk, size: int) -> None:
        """Give the copy of a finished file the size that was asked for."""
        self.truncate(disk, size)
        self.progress.cut_on_purpose()

    def require_size(self, size: int) -> None:
        """Raise TooLarge or QuotaExceeded if the upload may not have this size."""
        self._bounds.require(size, size - self.size)

    def bound(self, bounds: UploadBounds) -> None:
        """Let it come to this from now on."""
        self._bounds = bounds

    def require(self, condition: Callable[[], None]) -> None:
        """Check a condition that raises if it does not hold: that ends the upload like a failed write."""
        try:
            condition()
        except SftpgateError as error:
            with self.fate.lock:
                self.fate.fail(error)
            raise

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes that were uploaded so far; empty at the end."""
        with translated("read"):
            return os.pread(self._fd, length, offset)

    def set_times(self, times_ns: tuple[int, int]) -> None:
        """Give it these times, which it has when it is published. Raises Refused during its CLOSE."""
        with self.fate.lock:
            self.fate.require_changeable()
            self._times_ns = times_ns

    def renamed(self, path: str) -> None:
        """Give it another path. Raises Refused during its CLOSE, which publishes it under this one."""
        with self.fate.lock:
            self.fate.require_changeable()
            self._path = path

    def got_name(self, name_number: int) -> None:
        """Take in that its staging file has got its name, with this number."""
        self._name_number = name_number

    # -- its way to the disk -----------------------------------------------------------------------------------------

    @property
    def is_behind(self) -> bool:
        """True if ``write_behind`` has something to do."""
        return self._behind.is_behind

    def write_behind(self, disk: Disk) -> None:
        """Let the disk begin with what was written so far: CLOSE waits for less then."""
        self._behind.advance(disk, self._fd)

    @property
    def seems_whole(self) -> bool:
        """True after the first write that is not a full one: the CLOSE is likely near, and its flush can begin."""
        return self.is_unflushed and self.progress.ends_short

    @property
    def is_unflushed(self) -> bool:
        """True while nobody has begun to flush it."""
        return not self._flush.begun

    def begin_flush(self) -> None:
        """Note that a flush is on its way."""
        self._flush.begun = True

    def flush(self, disk: Disk) -> None:
        """Make the content durable; quick if it is already. Raises StorageError, now and at each later call."""
        self._flush.make(lambda: disk.sync(self._fd))

    # -- its note ----------------------------------------------------------------------------------------------------

    @property
    def is_noted(self) -> bool:
        """True if a note says how it can be resumed after a kill of the server."""
        return bool(self.note.name)

    @property
    def has_unnoted_share(self) -> bool:
        """True if other processes must learn from its note what it has of its file."""
        must_tell = not self.origin.is_truncated and (self.progress.is_part or self.is_noted)
        return must_tell and self.progress.share is not self.note.share

    @property
    def has_unnoted_gap(self) -> bool:
        """True if a gap came up after the note was written: a resumed upload must not trust the size then."""
        return self.is_noted and not self.note.has_gap and self.progress.is_scattered

    # -- its end -----------------------------------------------------------------------------------------------------

    def require_complete(self) -> None:
        """Raise UploadFailed after a failed write, UploadIncomplete if there is a gap."""
        self.fate.require_sound()
        if gap := self.progress.gap:
            raise UploadIncomplete(*gap)

    def close_begins(self) -> None:
        """Let nobody change its content or path from here on. Raises UploadFailed or UploadIncomplete."""
        with self.fate.lock:
            self.require_complete()
            self.fate.closing()

    def end_begins(self) -> None:
        """Let nobody change it from here on: it is about to be interrupted or discarded. Any number of times."""
        with self.fate.lock:
            self.fate.closing()

    def close(self) -> None:
        """Give up the descriptor, and with it the lock of the staging file."""
        self._behind.end()
        self._flush.end()
        with self.fate.lock:
            self.fate.closing()
            fd, self._fd = self._fd, -1  # nobody who still knows it uses the number, which may be another file's by then
            os.close(fd)
