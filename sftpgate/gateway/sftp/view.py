"""The tree that one user sees, in SFTP's terms: paths as the client sends them, attributes, names, and what may be done
where.

Translates between the virtual tree (docs/promises.md) and the hand-over: ``policy.access`` says in which zone a path lies,
``drop`` and ``uploads`` do the work below the drop, and the managed directories and the receipts are made of what the ledger says
became of this user's files. All methods block but ``normalise``; the session calls them in a thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from datetime import datetime

from asyncssh import SFTPAttrs, SFTPName, SFTPVFSAttrs

from sftpgate.drop.opening import OpenMode
from sftpgate.drop.receipt_files import ReceiptFile
from sftpgate.drop.sender_view import PAGE, Item
from sftpgate.errors import AlreadyExists, IsADirectory, LinkRefused, NoSuchFile, PathIsAFile
from sftpgate.gateway.sftp.longname import longname
from sftpgate.gateway.shared import Shared
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.listings import LISTINGS
from sftpgate.policy.access import RECEIPTS, Place, Zone, locate, require_writable
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import location
from sftpgate.policy.managed import RESERVED_NAMES
from sftpgate.policy.names import VirtualPath, join, means_directory, normalise, split
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.kernel.open_files import in_memory
from sftpgate.uploads.terms import Sender, SessionTrace
from sftpgate.uploads.upload import Upload

# Ids that mean nothing on this machine: clients of version 3 want numbers, and must not learn of local accounts.
_ID = 1000
_FILE_MODE = stat.S_IFREG | 0o640
_READ_ONLY_FILE_MODE = stat.S_IFREG | 0o440
_DIR_MODE = stat.S_IFDIR | 0o750
_READ_ONLY_DIR_MODE = stat.S_IFDIR | 0o550
_TYPE_FILE, _TYPE_DIRECTORY = 1, 2  # filexfer-04 §5.2
_BLOCK = 4096
_LAST_TIME = 2**32 - 1  # in the year 2106: what version 3 can say


class View:
    """The tree of one user in one SFTP session."""

    def __init__(self, shared: Shared, sender: Sender) -> None:
        self._shared = shared
        self._sender = sender
        self.trace = SessionTrace()

    # -- paths -------------------------------------------------------------------------------------------------------

    def normalise(self, raw: bytes, base: bytes = b"") -> VirtualPath:
        """Return the path that the client means; relative ones start in the drop."""
        start = normalise(base, self._shared.mount) if base else self._shared.mount
        return normalise(raw, start)

    def virtual_path(self, path: str) -> VirtualPath:
        """Return the path as this user sees it of what is at ``path`` of the drop."""
        home = self._sender.home
        return VirtualPath(f"{self._shared.mount}/{path.removeprefix(home).strip('/') if home else path}")

    def _place(self, raw: bytes) -> Place:
        """Return where a path lies. Raises NoSuchFile for an empty one, and PathIsAFile for that of a file with a slash at
        its end, as any server on a disk does.
        """
        place = self._located(raw)
        if means_directory(raw) and self._is_file(place):
            raise PathIsAFile("this is a file, and a path with a slash at its end is a directory's")
        return place

    def _located(self, raw: bytes) -> Place:
        if not raw:
            raise NoSuchFile("the path is empty")
        return locate(self.normalise(raw), self._shared.mount)

    def _is_file(self, place: Place) -> bool:
        if place.is_top:
            return False
        match place.zone:
            case Zone.DROP:
                item = self._shared.sender_view.lookup(self._sender.user, self._drop_path(place), self._uploads)
                return item is not None and not item.is_dir
            case Zone.MANAGED:
                self._managed_disk_path(place)
                return True
            case Zone.RECEIPTS:
                return not self._receipt(place).is_dir
            case _:
                return False

    def _drop_path(self, place: Place) -> str:
        return join(self._sender.home, place.inner) if place.inner else self._sender.home

    def _writable(self, raw: bytes) -> str:
        return join(self._sender.home, require_writable(self._place(raw), self._shared.mount))

    @property
    def _uploads(self) -> Sequence[Upload]:
        return self._shared.open_uploads.of_user(self._sender.user)

    # -- looking -----------------------------------------------------------------------------------------------------

    def attributes(self, raw: bytes) -> SFTPAttrs:
        """Return what STAT and LSTAT answer: there are no links, so they are the same."""
        place = self._place(raw)
        match place.zone:
            case Zone.ROOT:
                return self._directory(_READ_ONLY_DIR_MODE, None)
            case Zone.DROP if place.is_top:
                return self._directory(_DIR_MODE, self._shared.site.disk.lstat(self._drop_disk_path(self._sender.home)))
            case Zone.DROP:
                return self._of_item(self._item(place))
            case Zone.MANAGED if place.is_top:
                return self._directory(_READ_ONLY_DIR_MODE, None)
            case Zone.MANAGED:
                return self._of_file(self._managed_status(place), _READ_ONLY_FILE_MODE)
            case Zone.RECEIPTS if place.is_top:
                return self._directory(_READ_ONLY_DIR_MODE, None)
            case Zone.RECEIPTS:
                return self._of_receipt(self._receipt(place))
            case Zone.RESERVED | Zone.NOWHERE:
                raise NoSuchFile()

    def entries(self, raw: bytes) -> Iterator[SFTPName]:
        """Return the content of a directory, ``.`` and ``..`` first, made as it is consumed."""
        place = self._place(raw)
        match place.zone:
            case Zone.ROOT:
                return self._dotted(self._virtual(place))
            case Zone.DROP:
                return self._dotted(self._drop(place))
            case Zone.MANAGED:
                return self._dotted(self._managed(place))
            case Zone.RECEIPTS:
                return self._dotted(self._receipts(place))
            case Zone.RESERVED | Zone.NOWHERE:
                raise NoSuchFile()

    def _dotted(self, below: Iterator[SFTPName]) -> Iterator[SFTPName]:
        for name in (".", ".."):
            yield self._name(name, self._directory(_DIR_MODE, None))
        yield from below

    def _virtual(self, place: Place) -> Iterator[SFTPName]:
        depth = len(split(place.inner))
        names = [split(self._shared.mount)[depth]]
        if depth == 0:
            names = sorted({*names, *RESERVED_NAMES, RECEIPTS})
        return iter([self._name(name, self._directory(_READ_ONLY_DIR_MODE, None)) for name in names])

    def _drop(self, place: Place) -> Iterator[SFTPName]:
        path = self._drop_path(place)
        if place.is_top:
            self._shared.acts.make_home(path)  # somebody may have removed it on the disk
        elif not self._item(place).is_dir:
            raise PathIsAFile()
        hidden = place.is_top
        items = self._shared.sender_view.listing(self._sender.user, path, self._uploads)
        return (
            self._name(item.name, self._of_item(item))
            for item in items
            if not (hidden and locate(VirtualPath(f"{self._shared.mount}/{item.name}"), self._shared.mount).zone is Zone.RESERVED)
        )

    def _managed(self, place: Place) -> Iterator[SFTPName]:
        if not place.is_top:
            self._managed_status(place)
            raise PathIsAFile()
        return self._existing(_area(place))

    def _existing(self, area: Area) -> Iterator[SFTPName]:
        """Yield the files of this user in a managed directory. A page of names is read at a time: there may be a million."""
        names_of, after = LISTINGS[area].names_of, ""
        while True:
            with self._shared.site.ledger.reading() as connection:
                names = names_of(connection, self._sender.user, after=after, limit=PAGE)
            for name in names:
                found = self._shared.site.disk.lstat(self._shared.site.layout.disk_path(location(area, name)))
                if found is not None:
                    yield self._name(name, self._of_file(found, _READ_ONLY_FILE_MODE))
            if len(names) < PAGE:
                return
            after = names[-1]

    def _receipts(self, place: Place) -> Iterator[SFTPName]:
        if not place.is_top and not self._receipt(place).is_dir:
            raise PathIsAFile()
        found = self._shared.receipt_files.listing(self._sender.user, place.inner)
        return (self._name(each.name, self._of_receipt(each)) for each in found)

    def _receipt(self, place: Place) -> ReceiptFile:
        """Return what this user has there, a file or a directory. Raises NoSuchFile."""
        found = self._shared.receipt_files.lookup(self._sender.user, place.inner)
        if found is None:
            raise NoSuchFile()
        return found

    def _item(self, place: Place) -> Item:
        item = self._shared.sender_view.lookup(self._sender.user, self._drop_path(place), self._uploads)
        if item is None:
            raise NoSuchFile()
        return item

    def _is_there(self, place: Place) -> bool:
        return self._shared.sender_view.lookup(self._sender.user, self._drop_path(place), self._uploads) is not None

    def _managed_disk_path(self, place: Place) -> DiskPath:
        """Return a file of a managed directory, if it is this user's. Raises NoSuchFile."""
        area = _area(place)
        with self._shared.site.ledger.reading() as connection:
            owner = LISTINGS[area].owner_of(connection, place.inner)
        if owner != self._sender.user:
            raise NoSuchFile()
        return self._shared.site.layout.disk_path(location(area, place.inner))

    def _managed_status(self, place: Place) -> os.stat_result:
        found = self._shared.site.disk.lstat(self._managed_disk_path(place))
        if found is None:
            raise NoSuchFile()
        return found

    def _drop_disk_path(self, path: str) -> DiskPath:
        return self._shared.site.layout.disk_path(location(Area.DROP, path))

    # -- attributes --------------------------------------------------------------------------------------------------

    def of_upload(self, upload: Upload) -> SFTPAttrs:
        """Return the attributes of an open upload."""
        return self._of_file(upload.stat(), _FILE_MODE, size=upload.size, times_ns=upload.times_ns)

    def of_descriptor(self, fd: int) -> SFTPAttrs:
        """Return the attributes of a file that is open for reading."""
        return self._of_file(os.fstat(fd), _FILE_MODE)

    def _of_item(self, item: Item) -> SFTPAttrs:
        if item.is_dir:
            return self._directory(_DIR_MODE, item.status)
        times = item.upload.times_ns if item.upload is not None else None
        return self._of_file(item.status, _FILE_MODE, size=item.size, times_ns=times)

    def _of_file(
        self, status: os.stat_result, mode: int, *, size: int | None = None, times_ns: tuple[int, int] | None = None
    ) -> SFTPAttrs:
        atime_ns, mtime_ns = times_ns or (status.st_atime_ns, status.st_mtime_ns)
        return self._attributes(_TYPE_FILE, status.st_size if size is None else size, mode, atime_ns, mtime_ns)

    def _of_receipt(self, found: ReceiptFile) -> SFTPAttrs:
        if found.size is None or found.at is None:
            return self._directory(_READ_ONLY_DIR_MODE, None)
        at_ns = _nanoseconds(found.at)
        return self._attributes(_TYPE_FILE, found.size, _READ_ONLY_FILE_MODE, at_ns, at_ns)

    def _directory(self, mode: int, status: os.stat_result | None) -> SFTPAttrs:
        """Return a directory; the virtual ones have the drop's own times, so that listings do not change from look to look."""
        status = status or self._shared.site.layout.drop.stat()
        return self._attributes(_TYPE_DIRECTORY, _BLOCK, mode, status.st_atime_ns, status.st_mtime_ns)

    def _attributes(self, kind: int, size: int, mode: int, atime_ns: int, mtime_ns: int) -> SFTPAttrs:
        return SFTPAttrs(
            type=kind,
            size=size,
            uid=_ID,
            gid=_ID,
            owner=self._sender.user,
            group=self._sender.user,
            permissions=mode,
            atime=min(max(0, atime_ns // 10**9), _LAST_TIME),
            mtime=min(max(0, mtime_ns // 10**9), _LAST_TIME),
        )

    def _name(self, name: str, attrs: SFTPAttrs) -> SFTPName:
        return SFTPName(name.encode(), longname(name, attrs, self._sender.user), attrs)

    def filesystem(self, raw: bytes) -> SFTPVFSAttrs:
        """Return what `statvfs` answers: the room that this user has, which is the quota's or the disk's, whichever is less."""
        self.attributes(raw)
        left = self._shared.acts.limits.left(self._sender.user)
        return SFTPVFSAttrs(
            bsize=_BLOCK,
            frsize=_BLOCK,
            blocks=left.total_bytes // _BLOCK,
            bfree=left.free_bytes // _BLOCK,
            bavail=left.free_bytes // _BLOCK,
            files=left.total_files,
            ffree=left.free_files,
            favail=left.free_files,
            namemax=255,
        )

    # -- files -------------------------------------------------------------------------------------------------------

    def open_for_reading(self, raw: bytes, *, new: bool = False) -> int:
        """Return a descriptor of a file; it keeps one whole version, whatever happens to the name. ``new``: of one that is
        not there yet, which never succeeds: only a handle for writing makes a file.
        """
        place = self._place(raw)
        if new:
            self.attributes(raw)
            raise AlreadyExists()
        match place.zone:
            case Zone.DROP if not place.is_top:
                item = self._item(place)
                if item.is_dir:
                    raise IsADirectory()
                return self._shared.sender_view.open_read(item)
            case Zone.MANAGED if not place.is_top:
                return self._shared.site.disk.open_read(self._managed_disk_path(place))
            case Zone.RECEIPTS if not place.is_top and not self._receipt(place).is_dir:
                content = self._shared.receipt_files.content(self._sender.user, place.inner)
                if content is None:
                    raise NoSuchFile()
                return in_memory(content[0], _nanoseconds(content[1]))
            case Zone.RESERVED | Zone.NOWHERE:
                raise NoSuchFile()
            case _:
                raise IsADirectory()

    def open_for_writing(self, raw: bytes, mode: OpenMode) -> Upload:
        """Return a new upload."""
        self._located(raw)
        if mode.create and raw.endswith(b"/"):
            raise IsADirectory("a path with a slash at its end is a directory's: send the file under a name without one")
        return self._shared.acts.opening.open(self._sender, self._writable(raw), mode, self.trace, self._uploads)

    def remove(self, raw: bytes) -> None:
        """Do a REMOVE."""
        self._shared.acts.remove(self._sender, self._writable(raw), self._uploads)

    def rename(self, old: bytes, new: bytes, *, replacing: bool) -> Arrival | None:
        """Do a RENAME; ``replacing`` for posix-rename. Returns the arrival that got the name, None if it is anything else."""
        source, place = self._writable(old), self._located(new)
        target = join(self._sender.home, require_writable(place, self._shared.mount))
        if means_directory(new) and self._is_file(self._place(old)) and (replacing or not self._is_there(place)):
            raise PathIsAFile("the new path ends in a slash, as a directory's does, and this is a file")
        return self._shared.acts.rename(self._sender, source, target, replacing=replacing, uploads=self._uploads)

    def make_directory(self, raw: bytes) -> None:
        """Do a MKDIR; of what is there already, also of what cannot be written, it is "already exists", which clients expect."""
        place = self._located(raw) if raw.endswith(b"/") else self._place(raw)
        if place.is_top or place.zone is Zone.ROOT:
            raise AlreadyExists()
        path = join(self._sender.home, require_writable(place, self._shared.mount))
        self._shared.acts.make_directory(self._sender, path, self._uploads)

    def remove_directory(self, raw: bytes) -> None:
        """Do an RMDIR."""
        self._shared.acts.remove_directory(self._sender, self._writable(raw), self._uploads)

    def set_attributes(self, raw: bytes, attrs: SFTPAttrs) -> None:
        """Do a SETSTAT: times are set, size truncates, permissions and owner are accepted and have no effect."""
        place = self._place(raw)
        if place.zone is Zone.DROP and place.is_top:
            if attrs.size is not None:
                raise IsADirectory()
            return
        path = self._writable(raw)
        if attrs.size is not None:
            self._shared.acts.truncate(self._sender, path, attrs.size, self._uploads)
        item = self._item(place)
        now = item.upload.current_times_ns if item.upload is not None else (item.status.st_atime_ns, item.status.st_mtime_ns)
        times = times_of(attrs, now)
        if times is not None:
            self._shared.acts.set_times(self._sender, path, *times, self._uploads)

    def refuse_link(self) -> None:
        """Refuse SYMLINK, LINK and READLINK."""
        raise LinkRefused()


def _area(place: Place) -> Area:
    """Return the area of a place in a managed directory."""
    assert place.managed is not None
    return place.managed.area


def times_of(attrs: SFTPAttrs, current: tuple[int, int]) -> tuple[int, int] | None:
    """Return access and modification time in nanoseconds, or None if the request sets neither; one that it does not set stays."""
    if attrs.mtime is None and attrs.atime is None:
        return None
    atime_ns = current[0] if attrs.atime is None else min(int(attrs.atime), _LAST_TIME) * 10**9 + (attrs.atime_ns or 0)
    mtime_ns = current[1] if attrs.mtime is None else min(int(attrs.mtime), _LAST_TIME) * 10**9 + (attrs.mtime_ns or 0)
    return atime_ns, mtime_ns


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp()) * 10**9  # in seconds, as version 3 has them
