"""Staging: the files that hold the bytes of uploads until they are complete, and the notes from which they are resumed.

Each upload has a staging file of its own under an unguessable name, locked for as long as the upload lives; nobody else
sees it, and no two writers ever share one (promise P1).

An upload that does not end with a CLOSE stays in staging for its user to resume. So that this survives a kill of the
server, a *note* is written beside the staging file of an upload that is open for a while or has grown: whose it is,
which path, which machine boot, and how far its bytes can be trusted. A staging file without a note is garbage, unless
the ledger knows its id: then it is an arrival whose move was cut off (see ``handover.journal``).

**Which of two uploads is the later one** is said by their ids, which begin with the number of a sequence (``store.sequence``): it
grows with each OPEN, in all processes, and whatever the clock does.

Left by a crash: staging files and notes; two notes of one upload if it was being renamed, of which the later holds.
Removed by: the resumed upload's publication, the user's REMOVE, the sweeper after ``partial_ttl``. All methods block
but ``create``, which costs one creation in the page cache.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from threading import Lock

from sftpgate.errors import NoSuchFile, SftpgateError, SharedUpload
from sftpgate.ids import Clock, number_of, numbered_id
from sftpgate.ledger.arrivals import ArrivalId
from sftpgate.policy.lifecycle import UploadState
from sftpgate.policy.sharing import Handle, Share, is_in_the_way
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath, FileModes, translated
from sftpgate.store.kernel.open_files import copy_bytes, try_lock
from sftpgate.store.layout import Layout
from sftpgate.store.shared.sequence import NumberSequence
from sftpgate.uploads.flushes import Names
from sftpgate.uploads.notes import NOTE_SUFFIX, NoteFiles, Notes, Partial, boot_id, note_name
from sftpgate.uploads.terms import Origin, Sender, SessionTrace, UploadBounds, UploadIdentity
from sftpgate.uploads.upload import Upload

_OUTRUN_SUFFIX = ".outrun.json"  # beside an open upload: another handle went on with it, and has finished
_UNNOTED = 256  # handles that ended without a note are remembered: their disk is broken, and that does not last

_NEW, _FREE = Origin(), UploadBounds()  # an upload of its own, with no limit but the server's


class Staging:
    """The staging files of all users."""

    def __init__(
        self,
        layout: Layout,
        disk: Disk,
        *,
        clock: Clock,
        max_upload_bytes: int,
        modes: FileModes,
        newest_arrival: Callable[[], str] = str,
        require_store: Callable[[], None] = lambda: None,
    ) -> None:
        self.require_store = require_store  # raises StoreAway where store or drop is not there, or another gate's
        self._layout = layout
        self._disk = disk
        self._clock = clock
        self._max_bytes = max_upload_bytes
        self._modes = modes
        self._names: dict[str, Names] = {}
        self._newest_arrival = newest_arrival
        self._notes = NoteFiles(layout, disk)
        self._sequence = NumberSequence(disk, layout.sequence, self._last_number)
        self._unnoted: deque[tuple[str, str, Handle]] = deque(maxlen=_UNNOTED)
        self._note_lock = Lock()  # the event loop and the regular round may both write one

    # -- beginning ---------------------------------------------------------------------------------------------------

    def create(
        self, sender: Sender, path: str, trace: SessionTrace, origin: Origin = _NEW, bounds: UploadBounds = _FREE
    ) -> Upload:
        """Begin a new empty upload."""
        disk_path, fd = self._new_file(sender.user)
        return self._upload(disk_path, fd, sender, path, trace, origin, bounds)

    def copy_of(
        self,
        source: int,
        sender: Sender,
        path: str,
        trace: SessionTrace,
        origin: Origin = _NEW,
        bounds: UploadBounds = _FREE,
        *,
        trusted_bytes: int | None = None,
    ) -> Upload:
        """Begin a new upload that starts with what is in the open file ``source``: its own copy, so that no two writers share
        one. One without a byte goes on with nobody.
        """
        disk_path, fd = self._new_file(sender.user)
        try:
            with translated("copy for writing"):
                copy_bytes(source, fd)
                size = os.fstat(fd).st_size
            if trusted_bytes is not None and trusted_bytes < size:
                self._disk.truncate(fd, trusted_bytes)
                size = trusted_bytes
        except BaseException:
            os.close(fd)
            self._disk.unlink(disk_path, missing_ok=True)
            raise
        begun = replace(origin, existing_bytes=size, goes_on_with=origin.goes_on_with if size else None)
        return self._upload(disk_path, fd, sender, path, trace, begun, bounds)

    def resume(
        self, partial: Partial, sender: Sender, trace: SessionTrace, origin: Origin = _NEW, bounds: UploadBounds = _FREE
    ) -> Upload:
        """Continue an interrupted upload. If another connection still has it open, on a copy of what it had: two
        writers never mix.
        """
        old = self._disk_path(partial)
        fd = self._disk.open_write(old)
        if not try_lock(fd):
            try:
                gone_on = replace(origin, goes_on_with=ArrivalId(partial.upload))
                return self.copy_of(fd, sender, partial.path, trace, gone_on, bounds, trusted_bytes=partial.size)
            finally:
                os.close(fd)
        disk_path = old.parent / self._new_id()
        earlier = partial.handle.goes_on_with
        begun = replace(
            origin,
            existing_bytes=partial.size,
            continues=partial.continues,
            is_longer=partial.continues is not None,
            goes_on_with=ArrivalId(earlier) if earlier and self._is_locked(old.parent / earlier) else None,
        )
        resumed = self._upload(disk_path, fd, sender, partial.path, trace, begun, bounds)
        try:
            self._set_mode(fd)
            self.note(resumed, alone=True)  # before the rename: a file without a note cannot be resumed
            self._disk.rename(old, resumed.disk_path)
            resumed.got_name(self._names_of(sender.user).added())
            self._disk.truncate(fd, partial.size)
            self._unlink(old.parent, partial.notes)
        except BaseException:
            resumed.close()
            raise
        return resumed

    def _new_id(self) -> str:
        return numbered_id(self._sequence.next(int(self._clock().timestamp() * 1000)))

    def _last_number(self) -> int:
        """Return the largest number that an upload or an arrival has."""
        uploads = (name for user in self.users() for name in self._disk.names(self._layout.staging(user)))
        return max((number_of(name.partition(".")[0]) for name in (*uploads, self._newest_arrival())), default=0)

    def close(self) -> None:
        """Let go of the sequence's file."""
        self._sequence.close()

    def _new_file(self, user: str) -> tuple[DiskPath, int]:
        self.require_store()
        disk_path = self._layout.staging(user) / self._new_id()
        try:
            fd = self._disk.create(disk_path, 0o600)
        except NoSuchFile:
            self._disk.make_dirs(disk_path.parent, 0o700)
            fd = self._disk.create(disk_path, 0o600)
        try:
            try_lock(fd)
            self._set_mode(fd)
        except BaseException:
            os.close(fd)
            self._disk.unlink(disk_path, missing_ok=True)
            raise
        return disk_path, fd

    def _set_mode(self, fd: int) -> None:
        """Set what runners need, at the beginning: a flush of the content ahead of the CLOSE is then a flush of all."""
        self._disk.set_mode(fd, self._modes.file_mode, self._modes.gid)

    def _upload(
        self,
        disk_path: DiskPath,
        fd: int,
        sender: Sender,
        path: str,
        trace: SessionTrace,
        origin: Origin,
        bounds: UploadBounds,
    ) -> Upload:
        identity = UploadIdentity(
            id=ArrivalId(disk_path.name), sender=sender, disk_path=disk_path, opened_at=self._clock(), trace=trace
        )
        if bounds.max_bytes is None:
            bounds = replace(bounds, max_bytes=self._max_bytes)
        return Upload(identity, origin, bounds, path=path, fd=fd, name_number=self._names_of(sender.user).added())

    def keep_names(self, uploads: Iterable[Upload]) -> None:
        """Make the names last under which the files of these uploads lie. Raises StorageError."""
        for upload in uploads:
            self._names_of(upload.sender.user).keep(upload.name_number)

    def _names_of(self, user: str) -> Names:
        found = self._names.get(user)
        return found if found is not None else self._names.setdefault(user, Names(self._disk, self._layout.staging(user)))

    # -- notes -------------------------------------------------------------------------------------------------------

    def note(self, upload: Upload, *, synced: bool = False, alone: bool = False) -> None:
        """Write the note from which the upload can be resumed after a kill of the server; ``synced``: its bytes are flushed;
        ``alone``: nobody else can have its file open, so that all of that is in it.
        """
        origin, progress = upload.origin, upload.progress
        if origin.continues_local is not None:
            return  # it is worth nothing without the local file as it was, which nobody keeps
        trusted, share = progress.trusted_bytes, Share.WHOLE if alone else progress.share
        content = {
            "path": upload.path,
            "home": upload.sender.home,
            "noted_at": self._clock().isoformat(),
            "number": upload.note.next_number(),
            "continues": None if progress.changes_existing else origin.continues,
            "share": share,
            "truncated": alone or origin.is_truncated,
            "goes_on_with": origin.goes_on_with,
            "ended": self._new_id() if synced else "",
            "boot": boot_id(),
            "synced_bytes": trusted if synced else 0,
            "trusted_bytes": trusted if synced or trusted < upload.size else None,
        }
        with self._note_lock:
            if upload.state is UploadState.PUBLISHED:
                return
            name = note_name(upload.id, upload.path)
            self._notes.write(upload.disk_path.parent / name, content)
            if upload.note.name not in ("", name):
                self._disk.unlink(upload.disk_path.parent / upload.note.name, missing_ok=True)
            upload.note.named(name)
        upload.note.says(share, has_gap=content["trusted_bytes"] is not None)

    def forget(self, upload: Upload) -> None:
        """Remove the note of an upload that became an arrival: it is not to be resumed."""
        with self._note_lock:
            if upload.is_noted:
                self._disk.unlink(upload.disk_path.parent / upload.note.name, missing_ok=True)

    def rename_partial(self, partial: Partial, path: str) -> None:
        """Give an interrupted upload another path."""
        directory = self._disk_path(partial).parent
        name = note_name(partial.upload, path)
        note = json.loads(self._disk.read_small(directory / partial.notes[-1]))
        later = {"path": path, "noted_at": self._clock().isoformat(), "number": note.get("number", 0) + 1}
        self._notes.write(directory / name, note | later)
        self._unlink(directory, [other for other in partial.notes if other != name])

    # -- ends --------------------------------------------------------------------------------------------------------

    def interrupt(self, upload: Upload) -> None:
        """Keep what can be trusted of an upload that ended without a good CLOSE, for its user to resume. One that was
        handed over is left alone.
        """
        if upload.state is UploadState.PUBLISHED:
            return
        upload.end_begins()
        try:
            if not _is_worth_keeping(upload):
                self._remove(upload)
                return
            upload.flush(self._disk)
            if upload.progress.trusted_bytes < upload.size:
                self._disk.truncate(upload.fd, upload.progress.trusted_bytes)
                self._disk.sync(upload.fd)
            self.note(upload, synced=True)
        except SftpgateError:
            self._remember(upload)
            raise
        finally:
            upload.close()

    def _remember(self, upload: Upload) -> None:
        """Know of a handle that ended while the disk refused its note: those that were open with it must not take its place."""
        with contextlib.suppress(SftpgateError):
            handle = replace(_handle_of(upload), ended=self._new_id())
            self._unnoted.append((upload.sender.user, upload.path, handle))

    def discard(self, upload: Upload) -> None:
        """Remove an upload and its bytes. One that was handed over is left alone."""
        if upload.state is UploadState.PUBLISHED:
            return
        upload.end_begins()
        try:
            self._remove(upload)
        finally:
            upload.close()

    def _remove(self, upload: Upload) -> None:
        self.forget(upload)
        if upload.fate.is_outrun:
            self._disk.unlink(upload.disk_path.parent / f"{upload.id}{_OUTRUN_SUFFIX}", missing_ok=True)
        self._disk.unlink(upload.disk_path, missing_ok=True)

    def remove_partials(self, user: str, path: str, *, before: str | None = None, notes: Notes | None = None) -> int:
        """Remove the interrupted uploads of a path, those with an id up to ``before`` if it is given; returns how many.
        ``notes`` are those of the user, if the caller has just looked.
        """
        return sum(
            self.remove_idle(user, partial.upload, partial.notes)
            for partial in self._notes.at(user, path, notes)
            if before is None or partial.upload <= before
        )

    def require_sole(self, upload: Upload, notes: Notes) -> None:
        """Raise SharedUpload if another handle has a part of the file that ``upload`` is about to become, or went on with it
        and has finished. ``notes`` are those of its user.
        """
        if f"{upload.id}{_OUTRUN_SUFFIX}" in notes.get(upload.id, ()):
            upload.fate.outrun()
            raise SharedUpload()
        mine = _handle_of(upload)
        for partial in self._notes.at(upload.sender.user, upload.path, notes):
            handle = partial.handle
            if handle.id != mine.id and not handle.ended and not self.is_open(partial):
                handle = replace(handle, ended=handle.id)  # its process died
            if is_in_the_way(mine, handle):
                raise SharedUpload()
        where = (upload.sender.user, upload.path)
        if any(where == (user, path) and is_in_the_way(mine, handle) for user, path, handle in list(self._unnoted)):
            raise SharedUpload()

    def outrun(self, upload: Upload, notes: Notes) -> None:
        """Mark the open uploads that ``upload``, which is about to be published, went on with: each has a beginning of it, and
        must not take its place when it is closed. ``notes`` are those of its user.
        """
        directory, behind = (
            upload.disk_path.parent,
            upload.origin.goes_on_with if upload.progress.share is Share.GOES_ON else None,
        )
        while behind:
            if self._is_locked(directory / behind):
                self._notes.write(directory / f"{behind}{_OUTRUN_SUFFIX}", {})
            partial = self._notes.read(upload.sender.user, behind, notes.get(behind, ()))
            earlier = partial.handle.goes_on_with if partial is not None else ""
            behind = ArrivalId(earlier) if earlier < behind else None

    def has_others(self, upload: Upload) -> bool:
        """Whether the user of an upload has another one open, or interrupted."""
        found = self._disk.names(upload.disk_path.parent)
        return any(name != upload.id and not name.startswith(".") and not name.endswith(NOTE_SUFFIX) for name in found)

    def remove_idle(self, user: str, upload: str, notes: Sequence[str]) -> bool:
        """Remove one staging file and its notes, unless a live upload has it."""
        disk_path = self._layout.staging(user) / upload
        try:
            fd = self._disk.open_read(disk_path)
        except SftpgateError:
            self._unlink(disk_path.parent, notes)
            return False
        try:
            if not try_lock(fd):
                return False
            self._unlink(disk_path.parent, notes)
            self._disk.unlink(disk_path, missing_ok=True)
            return True
        finally:
            os.close(fd)

    def _unlink(self, directory: DiskPath, names: Sequence[str]) -> None:
        for name in names:
            self._disk.unlink(directory / name, missing_ok=True)

    # -- looking -----------------------------------------------------------------------------------------------------

    def partials(self, user: str) -> Iterator[Partial]:
        """Yield the uploads of ``user`` that can be resumed, and noted ones that are open, newest last."""
        return self._notes.partials(user)

    def partial_at(self, user: str, path: str) -> Partial | None:
        """Return the newest upload of ``user`` to ``path`` that can be resumed."""
        return self._notes.partial_at(user, path)

    def notes(self, user: str) -> Notes:
        """Return the names of all notes of ``user``, by upload."""
        return self._notes.of(user)

    def is_open(self, partial: Partial) -> bool:
        """Whether a live session has the upload open: one of another process, if this one does not know it."""
        return self._is_locked(self._disk_path(partial))

    def _is_locked(self, disk_path: DiskPath) -> bool:
        try:
            fd = self._disk.open_read(disk_path)
        except NoSuchFile:
            return False
        try:
            return not try_lock(fd)
        finally:
            os.close(fd)

    def users(self) -> list[str]:
        """Return the users that have a staging directory."""
        return self._disk.names(self._layout.staging(""))

    def used(self, user: str) -> tuple[int, int]:
        """How many files ``user`` has in staging, open ones too, and how many bytes."""
        try:
            sizes = [status.st_size for _, status in self.idle_files(user)]
        except NoSuchFile:
            return 0, 0
        return len(sizes), sum(sizes)

    def idle_files(self, user: str) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the staging files of ``user``, by upload id, with what the disk says of them; open ones too."""
        directory = self._layout.staging(user)
        for entry in self._disk.entries(directory):
            if entry.is_file and not entry.name.endswith(NOTE_SUFFIX) and not entry.name.startswith("."):
                yield entry.name, entry.status

    def _disk_path(self, partial: Partial) -> DiskPath:
        return self._layout.staging(partial.user) / partial.upload


def _is_worth_keeping(upload: Upload) -> bool:
    """Whether an upload that ended without a good CLOSE can be of use to its user."""
    if upload.fate.is_superseded or upload.state is UploadState.DISCARDED or upload.origin.continues_local is not None:
        return False
    return (
        bool(upload.progress.trusted_bytes) or upload.progress.is_part
    )  # whose note keeps other parts from being taken for the whole


def _handle_of(upload: Upload) -> Handle:
    """Return what an open upload is to others of its path."""
    return Handle(id=upload.id, share=upload.progress.share, truncated=upload.origin.is_truncated)
