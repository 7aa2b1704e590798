"""What a user sees in the drop: the union of open uploads, interrupted uploads, files in the drop, and unclaimed arrivals
(docs/promises.md, P5).

Computed from disk and ledger at each look, so there is nothing to expire. A file that was taken into the store stays
visible to its sender until a runner claims it. Nobody sees another user's files; files in the drop that the ledger does
not know belong to nobody, and everybody who can see their directory sees them, but for those with other names (hard links):
they may be files from elsewhere, put here by somebody who could not read them.

Read-only; ``path`` is relative to the drop. Everything blocks, so callers are in a thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from sftpgate.errors import LinkedFile, SftpgateError
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.database.connection import Ledger
from sftpgate.policy.lifecycle import UNCLAIMED_STATES, Area, UploadState
from sftpgate.policy.locations import area_of, location, path_in
from sftpgate.policy.names import is_managed, join, parent
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.layout import Layout
from sftpgate.uploads.notes import Partial
from sftpgate.uploads.staging import Staging
from sftpgate.uploads.upload import Upload

_LOOKS = 3  # at a file that is not where the ledger said a moment before: it was just moved
WINDOW = 1000  # names that an open listing keeps; some 150 bytes each
_WINDOWS = 32  # of a larger directory: each is a look at all of its names
PAGE = 100  # items of a listing that are made with one look into the ledger: what a reply has room for


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that a user sees. ``disk_path`` is where its bytes are; ``arrival``, ``partial`` and ``upload`` tell what it
    is, all None for a directory or a local file.
    """

    name: str
    status: os.stat_result
    disk_path: DiskPath
    is_dir: bool = False
    size: int = 0
    arrival: Arrival | None = None
    partial: Partial | None = None
    upload: Upload | None = None


@dataclass(frozen=True, slots=True)
class PathView:
    """What a user sees at a path, and the live arrivals of everybody there (of a long queue its ends); none where the user's
    own unfinished upload hides them.
    """

    item: Item | None
    rows: Sequence[Arrival] = ()


@dataclass(frozen=True, slots=True)
class _Window:
    """A part of a listing: its paths, sorted, and the interrupted uploads among them."""

    paths: Sequence[str]
    partials: Mapping[str, Partial]
    is_last: bool
    names_in_drop: int  # of the whole directory


class SenderView:
    """Looks a path or a directory up for a user."""

    def __init__(self, layout: Layout, disk: Disk, ledger: Ledger, staging: Staging) -> None:
        self._layout = layout
        self._disk = disk
        self._ledger = ledger
        self._staging = staging

    def lookup(self, user: str, path: str, uploads: Sequence[Upload] = ()) -> Item | None:
        """Return what ``user`` sees at ``path``, or None. ``uploads`` are the open uploads of the user, the newest last."""
        return self.look(user, path, uploads).item

    def look(self, user: str, path: str, uploads: Sequence[Upload] = ()) -> PathView:
        """Return the same, with what others have there. Raises StoreAway if nobody can tell."""
        self._staging.require_store()
        if item := _open_upload(path, uploads):
            return PathView(item)
        seen = PathView(None)
        for _ in range(_LOOKS):
            with self._ledger.reading() as connection:
                rows = arrivals.line_at(connection, [path], owner=user)
            seen = self._view_of(user, path, rows, self._staging.partial_at(user, path))
            if seen.item is not None or not _has_file(user, rows):
                break  # else its file was moved between the two looks
        return seen

    def finished(self, user: str, path: str) -> Item | None:
        """Return what ``user`` would see if it had no unfinished upload of the path."""
        with self._ledger.reading() as connection:
            rows = arrivals.line_at(connection, [path], owner=user)
        return self._view_of(user, path, rows, None).item

    def open_read(self, item: Item) -> int:
        """Open the bytes of an item that is no directory. Raises LinkedFile if a file with other names, and not
        the one that the ledger knows, is in its place by now.
        """
        fd = self._disk.open_read(item.disk_path)
        status = os.fstat(fd)
        known = item.arrival is not None and item.arrival.inode == status.st_ino
        if not known and self._disk.has_other_names(status):
            os.close(fd)
            raise LinkedFile()
        return fd

    def listing(self, user: str, directory: str, uploads: Sequence[Upload] = ()) -> Iterator[Item]:
        """Yield what ``user`` sees in ``directory``, sorted by name; nothing if it does not exist.

        It goes by windows of names behind the last one, and each item is made when it is asked for: a listing that is open keeps
        a part of the names of a large directory, however slowly a client reads it. What is there all the time is in it once, what
        comes or goes meanwhile may be. A directory of a million names is looked at some dozens of times, a usual one once.
        Raises StoreAway if nobody can tell: an empty listing would say that all files were taken.
        """
        self._staging.require_store()
        after, limit = "", WINDOW
        while True:
            window = self._window(user, directory, uploads, after, limit)
            yield from self._items(user, window.paths, window.partials, uploads)
            if window.is_last:
                return
            after, limit = window.paths[-1], max(WINDOW, window.names_in_drop // _WINDOWS)

    def _window(self, user: str, directory: str, uploads: Sequence[Upload], after: str, limit: int) -> _Window:
        """Return what comes next behind ``after``: ``limit`` names of the drop at most, and as many of arrivals elsewhere."""
        top = join(directory, "")
        disk_path = self._layout.disk_path(location(Area.DROP, directory))
        names, count = self._disk.names_after(disk_path, after.removeprefix(top), limit, is_showable)
        lying = [join(directory, name) for name in names]
        with self._ledger.reading() as connection:
            arrived = arrivals.paths_in(connection, directory, owner=user, after=after, limit=limit)
        last = min((found[-1] for found in (lying, arrived) if len(found) >= limit), default=None)
        partials = {
            partial.path: partial
            for partial in self._staging.partials(user)
            if partial.path > after and (last is None or partial.path <= last) and parent(partial.path) == directory
        }
        opened = {upload.path for upload in uploads if parent(upload.path) == directory}
        found = {path for path in {*lying, *arrived, *opened} if path > after and (last is None or path <= last)}
        return _Window(sorted(found | partials.keys()), partials, is_last=last is None, names_in_drop=count)

    def _items(
        self, user: str, paths: Sequence[str], partials: Mapping[str, Partial], uploads: Sequence[Upload]
    ) -> Iterator[Item]:
        for start in range(0, len(paths), PAGE):
            page = paths[start : start + PAGE]
            with self._ledger.reading() as connection:
                found = arrivals.line_at(connection, page, owner=user)
            rows = {path: list(same) for path, same in groupby(sorted(found, key=_path), _path)}
            for path in page:
                known = rows.get(path, ())
                item = _open_upload(path, uploads) or self._view_of(user, path, known, partials.get(path)).item
                if item is None and _has_file(user, known):
                    item = self.lookup(user, path, uploads)
                if item is not None:
                    yield item

    def _view_of(self, user: str, path: str, rows: Sequence[Arrival], partial: Partial | None) -> PathView:
        if partial is not None and not _is_outdated(partial, user, rows):
            return PathView(self._of_partial(partial))
        in_drop = self._disk.lstat(self._layout.disk_path(location(Area.DROP, path)))
        return PathView(self._choose(user, path, rows, in_drop), rows)

    def is_directory(self, path: str) -> bool:
        """Whether the drop has a directory at ``path``. Raises StoreAway if nobody can tell."""
        self._staging.require_store()
        return self._disk.is_dir(self._layout.disk_path(location(Area.DROP, path)))

    def _choose(self, user: str, path: str, rows: Sequence[Arrival], in_drop: os.stat_result | None) -> Item | None:
        """Return what is at a path, given the live arrivals of everybody there and what lies in the drop."""
        name = path.rpartition("/")[2]
        drop_disk_path = self._layout.disk_path(location(Area.DROP, path))
        if in_drop is not None and stat.S_ISDIR(in_drop.st_mode):
            return Item(name=name, status=in_drop, disk_path=drop_disk_path, is_dir=True)
        for row in reversed([row for row in rows if row.owner == user and row.state in UNCLAIMED_STATES]):
            if item := self._of_arrival(row, name):
                return item
        if in_drop is None or not stat.S_ISREG(in_drop.st_mode) or any(_lies_in_drop(row) for row in rows):
            return None
        if self._disk.has_other_names(in_drop):
            return None
        return Item(name=name, status=in_drop, disk_path=drop_disk_path, size=in_drop.st_size)

    def _of_arrival(self, row: Arrival, name: str) -> Item | None:
        """Return an arrival at the place that its record names, or where it still is while its move is under way."""
        for where in (row.location, row.pending_from):
            if where is not None:
                disk_path = self._layout.disk_path(where)
                status = self._disk.lstat(disk_path)
                if status is not None:
                    return Item(name=name, status=status, disk_path=disk_path, size=status.st_size, arrival=row)
        return None

    def _of_partial(self, partial: Partial) -> Item | None:
        disk_path = self._layout.staging(partial.user) / partial.upload
        status = self._disk.lstat(disk_path)
        if status is None:
            return None
        return Item(name=partial.path.rpartition("/")[2], status=status, disk_path=disk_path, size=partial.size, partial=partial)


def is_showable(name: str) -> bool:
    """Whether a name on disk can be shown to a client at all: ours and those that are not UTF-8 cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return not is_managed(name)


def _has_file(user: str, rows: Sequence[Arrival]) -> bool:
    """Whether one of the arrivals is one that the user has to see."""
    return any(row.owner == user and row.state in UNCLAIMED_STATES for row in rows)


def _is_outdated(partial: Partial, user: str, rows: Sequence[Arrival]) -> bool:
    """Whether an unfinished upload is of no use any more: a finished one of its path was opened later (ids are made from a
    sequence), or the file is gone that it changes a copy of (a tool has it: its lines must not run again, promise P4).
    """
    mine = [row for row in rows if row.owner == user and row.state in UNCLAIMED_STATES]
    if partial.continues is not None and all(row.id != partial.continues for row in mine):
        return True
    return any(partial.upload < row.id for row in mine)


def _path(row: Arrival) -> str:
    return row.path


def _open_upload(path: str, uploads: Sequence[Upload]) -> Item | None:
    """Return the newest of the open uploads of a path."""
    return next((item for upload in reversed(uploads) if upload.path == path and (item := _of_upload(upload))), None)


def _of_upload(upload: Upload) -> Item | None:
    """Return an open upload as an item; None for one that came to its end, or is older than a finished one of its path."""
    if upload.fate.is_superseded or upload.state not in (UploadState.OPEN, UploadState.FAILED):
        return None
    try:
        status = upload.stat()
    except SftpgateError:
        return None  # it came to its end just now
    return Item(name=upload.path.rpartition("/")[2], status=status, disk_path=upload.disk_path, size=upload.size, upload=upload)


def _lies_in_drop(row: Arrival) -> bool:
    return row.location is not None and area_of(row.location) is Area.DROP and path_in(row.location) == row.path
