"""Staging: the files that hold the bytes of uploads until they are complete, and the notes from which they are resumed.

Each upload has a staging file of its own under an unguessable name, locked for as long as the upload lives; nobody else
sees it, and no two writers ever share one (promise P1).

An upload that does not end with a CLOSE stays in staging for its user to resume. So that this survives a kill of the
server, a *note* is written beside the staging file of an upload that is open for a while or has grown: whose it is,
which path, which machine boot, and how far its bytes can be trusted. A staging file without a note is garbage, unless
the ledger knows its id: then it is an arrival whose move was cut off (see ``moves``).

**Which of two uploads is the later one** is said by their ids, which begin with the number of a sequence (``store.sequence``): it
grows with each OPEN, in all processes, and whatever the clock does.

A note is called ``<upload>.<hash of its path>.json``, so that a look at one path opens the notes of that path alone,
however many others the user has. Those of earlier versions are called ``<upload>.json``.

Left by a crash: staging files and notes; two notes of one upload where it was being renamed, of which the later holds.
Removed by: the resumed upload's publication, the user's REMOVE, the sweeper after ``partial_ttl``. All methods block
but ``create``, which costs one creation in the page cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from sftpgate.errors import NoSuchFile, SftpgateError, SharedUpload
from sftpgate.intake.flushes import Names
from sftpgate.intake.ids import Clock, number_of, numbered_id
from sftpgate.intake.uploads import Sender, SessionTrace, Upload
from sftpgate.ledger.arrivals import ArrivalId
from sftpgate.policy.lifecycle import UploadState
from sftpgate.policy.sharing import Handle, Share, is_in_the_way
from sftpgate.store.descriptors import copy_bytes, try_lock
from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout
from sftpgate.store.sequence import NumberSequence
from sftpgate.store.spots import FileModes, Spot, translated

_NOTE_SUFFIX = ".json"
_OUTRUN_SUFFIX = ".outrun.json"  # beside an open upload: another handle went on with it, and has finished
_UNNOTED = 256  # handles that ended without a note are remembered: their disk is broken, and that does not last
_HASH_DIGITS = 16  # 64 bits: two paths of one user that share them cost a look more, and nothing else

Notes = Mapping[str, Sequence[str]]  # the names of notes, by upload


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """An interrupted upload (or one that another connection still has open), as its note and its file tell.

    ``notes`` are the names of its notes: one, or two after a crash. ``continues`` is the finished file that it changes, where it
    is no new one: it is worth nothing without that.
    """

    upload: str
    user: str
    path: str
    size: int
    mtime_ns: int
    noted_at: datetime
    notes: Sequence[str]
    continues: ArrivalId | None = None
    handle: Handle


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
        self._sequence = NumberSequence(disk, layout.sequence, self._last_number)
        self._unnoted: deque[tuple[str, str, Handle]] = deque(maxlen=_UNNOTED)
        self._note_lock = Lock()  # the event loop and the regular round may both write one

    # -- beginning ---------------------------------------------------------------------------------------------------

    def create(self, sender: Sender, path: str, trace: SessionTrace, *, declared_size: int | None = None) -> Upload:
        """A new empty upload."""
        spot, fd = self._new_file(sender.user)
        return self._upload(spot, fd, sender, path, trace, declared_size=declared_size)

    def copy_of(self, source: int, sender: Sender, path: str, trace: SessionTrace, *, trusted_bytes: int | None = None) -> Upload:
        """A new upload that starts with what is in the open file ``source``: its own copy, so that no two writers share one."""
        spot, fd = self._new_file(sender.user)
        try:
            with translated("copy for writing"):
                copy_bytes(source, fd)
                size = os.fstat(fd).st_size
            if trusted_bytes is not None and trusted_bytes < size:
                self._disk.truncate(fd, trusted_bytes)
                size = trusted_bytes
        except BaseException:
            os.close(fd)
            self._disk.unlink(spot, missing_ok=True)
            raise
        return self._upload(spot, fd, sender, path, trace, existing_bytes=size)

    def resume(self, partial: Partial, sender: Sender, trace: SessionTrace) -> Upload:
        """Continue an interrupted upload. Where another connection still has it open, on a copy of what it had: two
        writers never mix.
        """
        old = self._spot(partial)
        fd = self._disk.open_write(old)
        if not try_lock(fd):
            try:
                copy = self.copy_of(fd, sender, partial.path, trace, trusted_bytes=partial.size)
                copy.goes_on_with = ArrivalId(partial.upload)
                return copy
            finally:
                os.close(fd)
        spot = old.parent / self._new_id()
        resumed = self._upload(spot, fd, sender, partial.path, trace, existing_bytes=partial.size)
        resumed.continues = partial.continues
        if partial.handle.goes_on_with and self._is_locked(old.parent / partial.handle.goes_on_with):
            resumed.goes_on_with = ArrivalId(partial.handle.goes_on_with)
        resumed.is_touched = partial.continues is not None  # it is longer than that
        try:
            self._set_mode(fd)
            self.note(resumed)  # before the rename: a file without a note cannot be resumed
            self._disk.rename(old, resumed.spot)
            resumed.name_number = self._names_of(sender.user).added()
            self._disk.truncate(fd, partial.size)
            self._unlink(old.parent, partial.notes)
        except BaseException:
            resumed.close()
            raise
        return resumed

    def _new_id(self) -> str:
        return numbered_id(self._sequence.next(int(self._clock().timestamp() * 1000)))

    def _last_number(self) -> int:
        """The largest number that an upload or an arrival has."""
        uploads = (name for user in self.users() for name in self._disk.names(self._layout.staging(user)))
        return max((number_of(name.partition(".")[0]) for name in (*uploads, self._newest_arrival())), default=0)

    def close(self) -> None:
        """Let go of the sequence's file."""
        self._sequence.close()

    def _new_file(self, user: str) -> tuple[Spot, int]:
        self.require_store()
        spot = self._layout.staging(user) / self._new_id()
        try:
            fd = self._disk.create(spot, 0o600)
        except NoSuchFile:
            self._disk.make_dirs(spot.parent, 0o700)
            fd = self._disk.create(spot, 0o600)
        try:
            try_lock(fd)
            self._set_mode(fd)
        except BaseException:
            os.close(fd)
            self._disk.unlink(spot, missing_ok=True)
            raise
        return spot, fd

    def _set_mode(self, fd: int) -> None:
        """What runners need, set at the beginning: a flush of the content ahead of the CLOSE is then a flush of all."""
        self._disk.set_mode(fd, self._modes.file_mode, self._modes.gid)

    def _upload(
        self,
        spot: Spot,
        fd: int,
        sender: Sender,
        path: str,
        trace: SessionTrace,
        *,
        existing_bytes: int = 0,
        declared_size: int | None = None,
    ) -> Upload:
        return Upload(
            id=ArrivalId(spot.name),
            sender=sender,
            path=path,
            spot=spot,
            fd=fd,
            opened_at=self._clock(),
            max_bytes=self._max_bytes,
            trace=trace,
            existing_bytes=existing_bytes,
            declared_size=declared_size,
            name_number=self._names_of(sender.user).added(),
        )

    def keep_names(self, uploads: Iterable[Upload]) -> None:
        """Make the names last under which the files of these uploads lie. Raises StorageError."""
        for upload in uploads:
            self._names_of(upload.sender.user).keep(upload.name_number)

    def _names_of(self, user: str) -> Names:
        found = self._names.get(user)
        return found if found is not None else self._names.setdefault(user, Names(self._disk, self._layout.staging(user)))

    # -- notes -------------------------------------------------------------------------------------------------------

    def note(self, upload: Upload, *, synced: bool = False) -> None:
        """Write the note from which the upload can be resumed after a kill of the server; ``synced``: its bytes are flushed."""
        if upload.continues_local is not None:
            return  # it is worth nothing without the local file as it was, which nobody keeps
        upload.notes_written += 1
        content = {
            "path": upload.path,
            "home": upload.sender.home,
            "noted_at": self._clock().isoformat(),
            "number": upload.notes_written,
            "continues": None if upload.changes_existing else upload.continues,
            "share": upload.share,
            "truncated": upload.is_truncated,
            "goes_on_with": upload.goes_on_with,
            "ended": self._new_id() if synced else "",
            "boot": boot_id(),
            "synced_bytes": upload.trusted_bytes if synced else 0,
            "trusted_bytes": upload.trusted_bytes if synced or upload.trusted_bytes < upload.size else None,
        }
        with self._note_lock:
            if upload.state is UploadState.PUBLISHED:
                return
            name = _note_name(upload.id, upload.path)
            self._write_note(upload.spot.parent / name, content)
            if upload.note_name not in ("", name):
                self._disk.unlink(upload.spot.parent / upload.note_name, missing_ok=True)
            upload.note_name = name
        upload.noted_share = upload.share
        upload.gap_noted = content["trusted_bytes"] is not None

    def forget(self, upload: Upload) -> None:
        """Remove the note of an upload that became an arrival: it is not to be resumed."""
        with self._note_lock:
            if upload.noted:
                self._disk.unlink(upload.spot.parent / upload.note_name, missing_ok=True)

    def rename_partial(self, partial: Partial, path: str) -> None:
        """Give an interrupted upload another path."""
        directory = self._spot(partial).parent
        name = _note_name(partial.upload, path)
        note = json.loads(self._disk.read_small(directory / partial.notes[-1]))
        later = {"path": path, "noted_at": self._clock().isoformat(), "number": note.get("number", 0) + 1}
        self._write_note(directory / name, note | later)
        self._unlink(directory, [other for other in partial.notes if other != name])

    def _write_note(self, spot: Spot, content: Mapping[str, object]) -> None:
        self._disk.write_small(spot, json.dumps(content, ensure_ascii=False).encode())

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
            if upload.trusted_bytes < upload.size:
                self._disk.truncate(upload.fd, upload.trusted_bytes)
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
            handle = Handle(id=upload.id, share=upload.share, truncated=upload.is_truncated, ended=self._new_id())
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
        if upload.is_outrun:
            self._disk.unlink(upload.spot.parent / f"{upload.id}{_OUTRUN_SUFFIX}", missing_ok=True)
        self._disk.unlink(upload.spot, missing_ok=True)

    def remove_partials(self, user: str, path: str, *, before: str | None = None, notes: Notes | None = None) -> int:
        """Remove the interrupted uploads of a path, those with an id up to ``before`` where it is given; returns how many.
        ``notes`` are those of the user, where the caller has just looked.
        """
        return sum(
            self.remove_idle(user, partial.upload, partial.notes)
            for partial in self._at(user, path, notes)
            if before is None or partial.upload <= before
        )

    def require_sole(self, upload: Upload, notes: Notes) -> None:
        """Raise SharedUpload where another handle has a part of the file that ``upload`` is about to become, or went on with it
        and has finished. ``notes`` are those of its user.
        """
        if f"{upload.id}{_OUTRUN_SUFFIX}" in notes.get(upload.id, ()):
            upload.is_outrun = upload.superseded = True
            raise SharedUpload()
        mine = Handle(id=upload.id, share=upload.share, truncated=upload.is_truncated)
        for partial in self._at(upload.sender.user, upload.path, notes):
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
        directory, behind = upload.spot.parent, upload.goes_on_with if upload.share is Share.GOES_ON else None
        while behind:
            if self._is_locked(directory / behind):
                self._write_note(directory / f"{behind}{_OUTRUN_SUFFIX}", {})
            partial = self._read(upload.sender.user, behind, notes.get(behind, ()))
            earlier = partial.handle.goes_on_with if partial is not None else ""
            behind = ArrivalId(earlier) if earlier < behind else None

    def has_others(self, upload: Upload) -> bool:
        """Whether the user of an upload has another one open, or interrupted."""
        found = self._disk.names(upload.spot.parent)
        return any(name != upload.id and not name.startswith(".") and not name.endswith(_NOTE_SUFFIX) for name in found)

    def remove_idle(self, user: str, upload: str, notes: Sequence[str]) -> bool:
        """Remove one staging file and its notes, unless a live upload has it."""
        spot = self._layout.staging(user) / upload
        try:
            fd = self._disk.open_read(spot)
        except SftpgateError:
            self._unlink(spot.parent, notes)
            return False
        try:
            if not try_lock(fd):
                return False
            self._unlink(spot.parent, notes)
            self._disk.unlink(spot, missing_ok=True)
            return True
        finally:
            os.close(fd)

    def _unlink(self, directory: Spot, names: Sequence[str]) -> None:
        for name in names:
            self._disk.unlink(directory / name, missing_ok=True)

    # -- looking -----------------------------------------------------------------------------------------------------

    def partials(self, user: str) -> Iterator[Partial]:
        """The uploads of ``user`` that can be resumed, and noted ones that are open, newest last."""
        for upload, notes in sorted(self.notes(user).items()):
            if (partial := self._read(user, upload, notes)) and partial.size:
                yield partial

    def partial_at(self, user: str, path: str) -> Partial | None:
        """The newest upload of ``user`` to ``path`` that can be resumed."""
        return next((partial for partial in self._at(user, path) if partial.size), None)

    def _at(self, user: str, path: str, notes: Notes | None = None) -> Iterator[Partial]:
        """The uploads to a path that have a note, newest first."""
        found = self.notes(user) if notes is None else notes
        wanted = path_hash(path)
        for upload in sorted(found, reverse=True):
            if any(_hash_in(note) in ("", wanted) for note in found[upload]):
                partial = self._read(user, upload, found[upload])
                if partial is not None and partial.path == path:
                    yield partial

    def notes(self, user: str) -> Notes:
        """The names of all notes of ``user``, by upload."""
        found: dict[str, list[str]] = {}
        for name in self._disk.names(self._layout.staging(user)):
            if name.endswith(_NOTE_SUFFIX) and not name.startswith("."):
                found.setdefault(name.partition(".")[0], []).append(name)
        return found

    def is_open(self, partial: Partial) -> bool:
        """Whether a live session has the upload open: one of another process, where this one does not know it."""
        return self._is_locked(self._spot(partial))

    def _is_locked(self, spot: Spot) -> bool:
        try:
            fd = self._disk.open_read(spot)
        except NoSuchFile:
            return False
        try:
            return not try_lock(fd)
        finally:
            os.close(fd)

    def users(self) -> list[str]:
        """The users that have a staging directory."""
        return self._disk.names(self._layout.staging(""))

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
            if entry.is_file and not entry.name.endswith(_NOTE_SUFFIX) and not entry.name.startswith("."):
                yield entry.name, entry.status

    def _read(self, user: str, upload: str, notes: Sequence[str]) -> Partial | None:
        """What the latest good note of an upload says; None where there is none, or its file is gone. ``size`` is 0 where nothing
        can be resumed.
        """
        directory = self._layout.staging(user)
        status = self._disk.lstat(directory / upload)
        if status is None:
            return None
        found: list[tuple[int, datetime, str, Partial]] = []
        for name in notes:
            try:
                note = json.loads(self._disk.read_small(directory / name))
                partial = _partial_of(note, user, upload, status)
                names = (*(other for other in notes if other != name), name)
                found.append((int(note.get("number", 0)), partial.noted_at, name, replace(partial, notes=names)))
            except (AttributeError, ValueError, KeyError, TypeError, NoSuchFile):
                continue
        return max(found, key=lambda each: each[:3])[-1] if found else None

    def _spot(self, partial: Partial) -> Spot:
        return self._layout.staging(partial.user) / partial.upload


def _partial_of(note: Mapping[str, Any], user: str, upload: str, status: os.stat_result) -> Partial:
    """What a note says. Raises what one that is none of ours makes Python raise."""
    return Partial(
        upload=upload,
        user=user,
        path=note["path"],
        size=_trusted_size(status.st_size, note),
        mtime_ns=status.st_mtime_ns,
        noted_at=datetime.fromisoformat(note["noted_at"]),
        notes=(),
        continues=note.get("continues"),
        handle=Handle(
            id=upload,
            share=Share(note.get("share", Share.WHOLE)),
            truncated=note.get("truncated", True),
            goes_on_with=note.get("goes_on_with") or "",
            ended=note.get("ended", ""),
        ),
    )


def _is_worth_keeping(upload: Upload) -> bool:
    """Whether an upload that ended without a good CLOSE can be of use to its user."""
    if upload.superseded or upload.state is UploadState.DISCARDED or upload.continues_local is not None:
        return False
    return bool(upload.trusted_bytes) or upload.is_part  # whose note keeps other parts from being taken for the whole


def path_hash(path: str) -> str:
    """What stands for a path in the name of a note."""
    return hashlib.blake2b(path.encode(), digest_size=_HASH_DIGITS // 2).hexdigest()


def _note_name(upload: str, path: str) -> str:
    return f"{upload}.{path_hash(path)}{_NOTE_SUFFIX}"


def _hash_in(name: str) -> str:
    """The hash in the name of a note; empty for a note of an earlier version."""
    return name.removesuffix(_NOTE_SUFFIX).partition(".")[2]


def _trusted_size(size: int, note: Mapping[str, object]) -> int:
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
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
