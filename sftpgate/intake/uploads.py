"""Uploads: one handle opened for writing, from OPEN to its end, and the staging files that hold their bytes.

Each upload has a staging file of its own under an unguessable name, locked for as long as the upload lives; nobody else
sees it, and no two writers ever share one (promise P1). Writing goes to the page cache on the event loop; everything
else here is called in a thread.

An upload that does not end with a CLOSE stays in staging for its user to resume. So that this survives a kill of the
server, a *note* is written beside the staging file of an upload that is open for a while or has grown: whose it is,
which path, which machine boot, and how far its bytes can be trusted. A staging file without a note is garbage, unless
the ledger knows its id: then it is an arrival whose move was cut off (see ``moves``).

Left by a crash: staging files and notes. Removed by: the resumed upload's publication, the user's REMOVE, the sweeper
after ``partial_ttl``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from threading import Lock

from sftpgate.errors import NoSpace, NoSuchFile, QuotaExceeded, SftpgateError, TooLarge, UploadFailed, UploadIncomplete
from sftpgate.intake.digest import Digest
from sftpgate.intake.moves import Clock, new_id
from sftpgate.ledger.arrivals import ArrivalId
from sftpgate.policy.evidence import Coverage, Grade, WriteTrace, grade
from sftpgate.policy.lifecycle import UploadEvent, UploadState, upload_after
from sftpgate.store.disk import Disk, Spot, copy_bytes, translated, try_lock
from sftpgate.store.layout import Layout

# An upload gets its note when it has grown past this; smaller ones get it from the regular round
# (``UploadRegister.note_lingering``), so that small files, which are over at once, never pay for one.
NOTE_AT_BYTES = 1024 * 1024
SAMPLE_BYTES = 4096  # looked at on both ends and in the middle, to tell text from other content


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


@dataclass(slots=True)
class SessionTrace:
    """What the uploads of one SFTP session have in common: the longest write seen tells how long the client's writes can be."""

    longest_write_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """An interrupted upload (or one that another connection still has open), as its note and its file tell."""

    upload: str
    user: str
    path: str
    size: int
    mtime_ns: int
    noted_at: datetime


@dataclass(slots=True, eq=False)
class Upload:
    """One open handle for writing. ``path`` is relative to the drop."""

    id: ArrivalId
    sender: Sender
    path: str
    spot: Spot
    fd: int
    opened_at: datetime
    max_bytes: int
    trace: SessionTrace
    quota_bytes: int | None = None  # what its user may still have pending; None: not looked at
    appending: bool = False
    existing_bytes: int = 0
    declared_size: int | None = None
    state: UploadState = UploadState.OPEN
    failure: SftpgateError | None = None
    continues: ArrivalId | None = None  # the arrival that it works on a copy of, and replaces
    size_set: bool = False  # the declared size came by FSETSTAT, and not with OPEN
    cut_back: bool = False  # truncated below what it was resumed with: what an interrupted client does
    times_ns: tuple[int, int] | None = None
    size: int = 0
    noted: bool = False
    gap_noted: bool = False
    superseded: bool = False  # nobody needs what it leaves: it is not kept for resuming
    digest: Digest = field(default_factory=Digest)
    _coverage: Coverage = field(init=False)
    _writes: int = 0
    _longest_write: int = 0
    _short_writes: int = 0
    _last_write: int = 0

    def __post_init__(self) -> None:
        self._coverage = Coverage(self.existing_bytes)
        self.size = self.existing_bytes

    # -- while it is open --------------------------------------------------------------------------------------------

    def write(self, disk: Disk, offset: int, data: bytes | memoryview) -> None:
        """Take one WRITE. A failure is for good: nothing of this upload can be published any more."""
        if self.state is not UploadState.OPEN:
            raise self._failed()
        if self.appending:
            offset = self._append_offset(offset)
        length = len(data)
        end = offset + length
        try:
            self.require_size(end)
            disk.write(self.fd, offset, data)
        except SftpgateError as error:
            self._fail(error)
            raise
        self._coverage.add(offset, end)
        self.digest.written(offset, end)
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

    def require_size(self, size: int) -> None:
        """Raise TooLarge or QuotaExceeded where the upload may not have this size."""
        if size > self.max_bytes:
            raise TooLarge(self.max_bytes)
        if self.quota_bytes is not None and size > self.quota_bytes:
            raise QuotaExceeded(
                f"this account has room for {self.quota_bytes} bytes more until its files are processed (rule: max_pending_bytes)"
            )

    def _append_offset(self, offset: int) -> int:
        """Where a write of an upload opened with APPEND goes.

        A client that resumes and knows where it is (OpenSSH's ``reput``) sends true offsets with APPEND; trusting them
        means that bytes which a dead connection still delivered cannot shift the rest. A client that leaves the place
        to the server sends 0, and gets the end of the file (filexfer-02 §6.3).
        """
        return self.size if offset == 0 else offset

    def read(self, offset: int, length: int) -> bytes:
        """Bytes that were uploaded so far; empty at the end."""
        with translated("read"):
            return os.pread(self.fd, length, offset)

    def hash_behind(self) -> None:
        """Hash what was written in order so far."""
        self.digest.advance(self.fd)

    def close(self) -> None:
        """Give up the descriptor, and with it the lock of the staging file."""
        self.digest.end()
        os.close(self.fd)

    def truncate(self, disk: Disk, size: int) -> None:
        """Set the size, as FSETSTAT does. What grows is a gap until it is written."""
        if self.state is not UploadState.OPEN:
            raise self._failed()
        self.require_size(size)
        try:
            disk.truncate(self.fd, size)
        except SftpgateError as error:
            self._fail(error)
            raise
        self._coverage.truncate(size)
        if size < self.size:
            self.digest.truncated(size)
        if size < self.existing_bytes:
            self.cut_back = True
        # Only a size beyond what was written says something that the client knew before: OpenSSH sets the size to what
        # it has sent when it is interrupted (sftp-client.c), which proves nothing.
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

    # -- its end -----------------------------------------------------------------------------------------------------

    def require_complete(self) -> None:
        """Raise UploadFailed after a failed write, UploadIncomplete where there is a gap."""
        if self.state is not UploadState.OPEN:
            raise self._failed()
        if gap := self._coverage.first_gap(self.size):
            raise UploadIncomplete(*gap)

    def grade(self) -> Grade:
        """How sure it is that the closed upload is complete (docs/promises.md); reads a sample where that decides."""
        trace = WriteTrace(
            size=self.size,
            declared_size=self.declared_size,
            writes=self._writes,
            last_write_bytes=self._last_write,
            longest_write_bytes=max(self._longest_write, self.trace.longest_write_bytes),
            short_writes=self._short_writes,
        )
        if self.cut_back and (not self._writes or self.digest.in_order_bytes < self.size):
            return Grade.SUSPECT  # cut, and not written anew: scp cuts what it has overwritten from the start
        worst = grade(trace, is_text=True, ends_with_newline=False)
        if worst is not Grade.SUSPECT or self.declared_size is not None:
            return worst
        return grade(trace, is_text=self._looks_like_text(), ends_with_newline=self.read(self.size - 1, 1) == b"\n")

    def _looks_like_text(self) -> bool:
        places = {0, max(0, self.size // 2), max(0, self.size - SAMPLE_BYTES)}
        return not any(b"\0" in self.read(place, SAMPLE_BYTES) for place in places)

    @property
    def trusted_bytes(self) -> int:
        """How many bytes from the start were all written."""
        gap = self._coverage.first_gap(self.size)
        return gap[0] if gap else self.size

    @property
    def has_unnoted_gap(self) -> bool:
        """True where a gap came up after the note was written: a resumed upload must not trust the size then."""
        return self.noted and not self.gap_noted and self._coverage.range_count > 1

    def dropped(self) -> None:
        """The upload was removed by its user while it was open."""
        self._happen(UploadEvent.DROPPED)

    def published(self) -> None:
        """The staging file became an arrival."""
        self._happen(UploadEvent.CLOSED)

    def require(self, condition: Callable[[], None]) -> None:
        """Check a condition that raises where it does not hold: that ends the upload like a failed write."""
        try:
            condition()
        except SftpgateError as error:
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


class Staging:
    """The staging files of all users. All methods block but ``create``, which costs one creation in the page cache."""

    def __init__(self, layout: Layout, disk: Disk, *, clock: Clock, max_upload_bytes: int) -> None:
        self._layout = layout
        self._disk = disk
        self._clock = clock
        self._max_bytes = max_upload_bytes
        self._note_lock = Lock()  # the event loop and the regular round may both write one

    def create(self, sender: Sender, path: str, trace: SessionTrace, *, declared_size: int | None = None) -> Upload:
        """A new empty upload."""
        now = self._clock()
        upload = ArrivalId(new_id(now))
        spot = self._layout.staging(sender.user) / upload
        try:
            fd = self._disk.create(spot, 0o600)
        except NoSuchFile:
            self._disk.make_dirs(spot.parent, 0o700)
            fd = self._disk.create(spot, 0o600)
        try_lock(fd)
        return Upload(
            id=upload,
            sender=sender,
            path=path,
            spot=spot,
            fd=fd,
            opened_at=now,
            max_bytes=self._max_bytes,
            trace=trace,
            declared_size=declared_size,
        )

    def copy_of(
        self, source: Spot, sender: Sender, path: str, trace: SessionTrace, *, trusted_bytes: int | None = None
    ) -> Upload:
        """A new upload that starts with the content of ``source``: its own copy, so that no two writers share a file."""
        upload = self.create(sender, path, trace)
        try:
            fd = self._disk.open_read(source)
            try:
                with translated("copy for writing"):
                    copy_bytes(fd, upload.fd)
            finally:
                os.close(fd)
            size = upload.stat().st_size
            if trusted_bytes is not None and trusted_bytes < size:
                self._disk.truncate(upload.fd, trusted_bytes)
                size = trusted_bytes
        except BaseException:
            self.discard(upload)
            raise
        return self._continued(upload, size)

    def _continued(self, upload: Upload, size: int) -> Upload:
        upload.existing_bytes = size
        upload.__post_init__()
        return upload

    def resume(self, partial: Partial, sender: Sender, trace: SessionTrace) -> Upload:
        """Continue an interrupted upload. Where another connection still has it open, on a copy of what it had: two
        writers never mix.
        """
        directory = self._layout.staging(sender.user)
        old = directory / partial.upload
        fd = self._disk.open_write(old)
        if not try_lock(fd):
            os.close(fd)
            return self.copy_of(old, sender, partial.path, trace, trusted_bytes=partial.size)
        now = self._clock()
        upload = ArrivalId(new_id(now))
        resumed = Upload(
            id=upload,
            sender=sender,
            path=partial.path,
            spot=directory / upload,
            fd=fd,
            opened_at=now,
            max_bytes=self._max_bytes,
            trace=trace,
            existing_bytes=partial.size,
        )
        try:
            self.note(resumed)  # before the rename: a file without a note cannot be resumed
            self._disk.rename(old, resumed.spot)
            self._disk.truncate(fd, partial.size)
            self._disk.unlink(_note_of(old), missing_ok=True)
        except BaseException:
            resumed.close()
            raise
        return resumed

    def forget(self, upload: Upload) -> None:
        """Remove the note of an upload that became an arrival: it is not to be resumed."""
        with self._note_lock:
            if upload.noted:
                self._disk.unlink(_note_of(upload.spot), missing_ok=True)

    def note(self, upload: Upload, *, synced: bool = False) -> None:
        """Write the note from which the upload can be resumed after a kill of the server; ``synced``: its bytes are flushed."""
        content = {
            "path": upload.path,
            "home": upload.sender.home,
            "noted_at": self._clock().isoformat(),
            "boot": boot_id(),
            "synced_bytes": upload.trusted_bytes if synced else 0,
            "trusted_bytes": upload.trusted_bytes if synced or upload.trusted_bytes < upload.size else None,
        }
        with self._note_lock:
            if upload.state is UploadState.PUBLISHED:
                return
            self._disk.write_small(_note_of(upload.spot), json.dumps(content, ensure_ascii=False).encode())
        upload.noted = True
        upload.gap_noted = content["trusted_bytes"] is not None

    def interrupt(self, upload: Upload) -> None:
        """Keep what can be trusted of an upload that ended without a good CLOSE, for its user to resume. One that was
        handed over is left alone.
        """
        if upload.state is UploadState.PUBLISHED:
            return
        try:
            if upload.superseded or upload.state is UploadState.DISCARDED or not upload.trusted_bytes:
                self._remove(upload)
                return
            if upload.trusted_bytes < upload.size:
                self._disk.truncate(upload.fd, upload.trusted_bytes)
            self._disk.sync(upload.fd)
            self.note(upload, synced=True)
        finally:
            upload.close()

    def discard(self, upload: Upload) -> None:
        """Remove an upload and its bytes. One that was handed over is left alone."""
        if upload.state is UploadState.PUBLISHED:
            return
        try:
            self._remove(upload)
        finally:
            upload.close()

    def _remove(self, upload: Upload) -> None:
        self._disk.unlink(_note_of(upload.spot), missing_ok=True)
        self._disk.unlink(upload.spot, missing_ok=True)

    def partials(self, user: str) -> Iterator[Partial]:
        """The uploads of ``user`` that can be resumed, and noted ones that are open, newest last."""
        directory = self._layout.staging(user)
        for name in sorted(self._disk.names(directory)):
            if name.endswith(".json") and not name.startswith("."):
                partial = self._read(user, directory / name.removesuffix(".json"))
                if partial is not None:
                    yield partial

    def partial_at(self, user: str, path: str) -> Partial | None:
        """The newest upload of ``user`` to ``path`` that can be resumed."""
        found = [partial for partial in self.partials(user) if partial.path == path]
        return found[-1] if found else None

    def rename_partial(self, partial: Partial, path: str) -> None:
        """Give an interrupted upload another path."""
        spot = self._layout.staging(partial.user) / partial.upload
        note = json.loads(self._disk.read_small(_note_of(spot)))
        self._disk.write_small(_note_of(spot), json.dumps(note | {"path": path}, ensure_ascii=False).encode())

    def remove_partials(self, user: str, path: str, *, before: str | None = None) -> int:
        """Remove the interrupted uploads of a path, those with an id up to ``before`` where it is given; returns how many."""
        count = 0
        for partial in self.partials(user):
            if partial.path == path and (before is None or partial.upload <= before) and self.remove_idle(user, partial.upload):
                count += 1
        return count

    def remove_idle(self, user: str, upload: str) -> bool:
        """Remove one staging file and its note, unless a live upload has it."""
        spot = self._layout.staging(user) / upload
        try:
            fd = self._disk.open_read(spot)
        except SftpgateError:
            self._disk.unlink(_note_of(spot), missing_ok=True)
            return False
        try:
            if not try_lock(fd):
                return False
            self._disk.unlink(_note_of(spot), missing_ok=True)
            self._disk.unlink(spot, missing_ok=True)
            return True
        finally:
            os.close(fd)

    def users(self) -> list[str]:
        """The users that have a staging directory."""
        return self._disk.names(self._layout.staging(""))

    def lone_notes(self, user: str) -> list[str]:
        """The uploads that have a note and no file: what a crash leaves while an upload is resumed."""
        names = set(self._disk.names(self._layout.staging(user)))
        return [name for note in names if (name := note.removesuffix(".json")) != note and name not in names and name[0] != "."]

    def used(self, user: str) -> tuple[int, int]:
        """How many files ``user`` has in staging, open ones too, and how many bytes."""
        try:
            sizes = [status.st_size for _, status in self.idle_files(user)]
        except NoSuchFile:
            return 0, 0
        return len(sizes), sum(sizes)

    def idle_files(self, user: str) -> Iterator[tuple[str, os.stat_result]]:
        """The staging files of ``user``, by upload id, with what the disk says of them; open ones too."""
        directory = self._layout.staging(user)
        for entry in self._disk.entries(directory):
            if entry.is_file and not entry.name.endswith(".json") and not entry.name.startswith("."):
                yield entry.name, entry.status

    def _read(self, user: str, spot: Spot) -> Partial | None:
        status = self._disk.lstat(spot)
        if status is None:
            return None
        try:
            note = json.loads(self._disk.read_small(_note_of(spot)))
            size = _trusted_size(status.st_size, note)
            if not size:
                return None
            noted_at = datetime.fromisoformat(note["noted_at"])
            return Partial(
                upload=spot.name, user=user, path=note["path"], size=size, mtime_ns=status.st_mtime_ns, noted_at=noted_at
            )
        except (ValueError, KeyError, TypeError, NoSuchFile):
            return None


def _trusted_size(size: int, note: dict[str, object]) -> int:
    """How many bytes of a staging file can be resumed from.

    After a reboot only what was flushed: the page cache of the machine before may be lost while the size survived.
    Before one, all of it, unless the note says that there were gaps.
    """
    if note["boot"] != boot_id():
        return min(size, int(str(note["synced_bytes"])))
    trusted = note["trusted_bytes"]
    return size if trusted is None else min(size, int(str(trusted)))


@cache
def boot_id() -> str:
    """Which start of this machine we run in (Linux: proc(5))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _note_of(spot: Spot) -> Spot:
    return spot.parent / f"{spot.name}.json"
