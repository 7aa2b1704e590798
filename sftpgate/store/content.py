"""The bytes of arrivals, by location: what can be done with them, and what holds after a crash.

``Contents`` is the contract, stated once; ``tests/unit/store/test_content.py`` holds each implementation to it. Who may change
something is said by ``store.locks``; looking needs no lock. Everything blocks.

``LocalContents`` keeps it with names on local filesystems: drop and store may be two. It puts ``Disk``'s acts in order, and makes
none of its own. Its crashes leave, beside what the contract says, a copy that nobody refers to
(``.sftpgate-<key>`` beside the target): the same move removes it when it is made again.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from secrets import token_hex
from typing import Protocol

from sftpgate.errors import AlreadyExists, CrossDevice, FileExchanged, NoSuchFile, SftpgateError
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import Location, area_of, path_in
from sftpgate.store.digest import sha256_of
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath, FileModes
from sftpgate.store.layout import Layout

log = get_logger("moves")

Place = DiskPath  # what has to be flushed for the names in it to be durable


class Contents(Protocol):
    """The bytes of arrivals. One instance per process; any thread.

    Whole: what is at a location came there by one act. Nobody ever sees half of it, whatever dies.

    Atomic: after a crash in ``move`` the file is at its source or at its target. In ``move_beside``, or between filesystems, it
    can be at both, as one file or as a whole copy. The same call, made again, ends it.

    Durable: names survive a power cut once ``flush`` has returned for their places. A power cut before can take a move back; it
    never takes content that was durable. What a move replaces is gone when the move is durable, so the caller has flushed where
    that is kept: ``before`` are those places, for an implementation that cannot take a move back.
    """

    def status(self, where: Location) -> os.stat_result | None:
        """Return what is at ``where``, of whatever kind and without following links; None if nothing is."""

    def exists(self, where: Location) -> bool:
        """Return whether anything is at ``where``."""

    def has_other_names(self, found: os.stat_result) -> bool:
        """Return whether what ``status`` found has names besides the one that it was found under."""

    def open(self, where: Location) -> int:
        """Return a descriptor of the regular file at ``where``, for reading. Raises NoSuchFile or IsADirectory."""

    def sha256(self, where: Location) -> str:
        """Return the SHA-256 of the file at ``where``. Raises what ``open`` raises."""

    def put(self, where: Location, content: bytes) -> None:
        """Put small content in place, whole; it replaces what is there. Not durable by itself."""

    def move(
        self, source: Location, target: Location, *, key: str, seen: int | None, before: Iterable[Place], replacing: bool = True
    ) -> int | None:
        """Move a file, and replace what is at ``target``; directories on the way are made. Return its new inode number if it is
        another file now (a copy), else None.

        ``key`` names the move: whoever makes it again gives the same one. ``seen``: the inode number of the file that is meant,
        if others can exchange it; raises FileExchanged, and puts back what came in its place. Without ``replacing`` it raises
        AlreadyExists if anything is at ``target``.
        """

    def move_beside(
        self, source: Location, target: Location, *, key: str, seen: int | None, keep_source: bool = False
    ) -> int | None:
        """Move a file to a location that nothing has, and never replace: raises AlreadyExists if another file is there. Return
        its inode number there; None if it was taken away already. ``keep_source``: the file stays at ``source`` too, until
        another one is moved over it.
        """

    def remove(self, where: Location) -> None:
        """Remove what is at ``where``; nothing happens if nothing is."""

    def obstacle(self, where: Location) -> str | None:
        """Return why nothing can come to ``where`` however often it is tried, in words for an administrator; None if nothing is
        in the way. Files that could be replaced are not.
        """

    def place(self, where: Location) -> Place:
        """Return the place whose flush makes the name ``where`` durable."""

    def has_place(self, place: Place) -> bool:
        """Return whether a place is there: one that was removed has nothing to flush."""

    def flush(self, places: Iterable[Place]) -> None:
        """Make all names in these places durable, and what was removed there gone. Raises NoSuchFile if one is not there."""


class LocalContents:
    """The contents of one gate on local filesystems."""

    def __init__(self, layout: Layout, disk: Disk, modes: FileModes) -> None:
        self._layout = layout
        self._disk = disk
        self._modes = modes

    def status(self, where: Location) -> os.stat_result | None:
        """See ``Contents``."""
        return self._disk.lstat(self._layout.disk_path(where))

    def exists(self, where: Location) -> bool:
        """See ``Contents``."""
        return self._disk.exists(self._layout.disk_path(where))

    def has_other_names(self, found: os.stat_result) -> bool:
        """See ``Contents``."""
        return self._disk.has_other_names(found)

    def open(self, where: Location) -> int:
        """See ``Contents``."""
        return self._disk.open_read(self._layout.disk_path(where))

    def sha256(self, where: Location) -> str:
        """See ``Contents``."""
        return self._sha256(self._layout.disk_path(where))

    def put(self, where: Location, content: bytes) -> None:
        """See ``Contents``."""
        self._disk.write_small(self._layout.disk_path(where), content)

    def remove(self, where: Location) -> None:
        """See ``Contents``."""
        self._disk.unlink(self._layout.disk_path(where), missing_ok=True)

    def place(self, where: Location) -> Place:
        """See ``Contents``."""
        return self._layout.directory(where)

    def has_place(self, place: Place) -> bool:
        """See ``Contents``."""
        return self._disk.is_dir(place)

    def flush(self, places: Iterable[Place]) -> None:
        """See ``Contents``."""
        self._disk.sync_dirs(places)

    def obstacle(self, where: Location) -> str | None:
        """See ``Contents``."""
        disk_path = self._layout.disk_path(where)
        if self._disk.is_dir(disk_path):
            return f"a directory has its name: move {disk_path.local} away"
        parts = disk_path.path.split("/")
        for depth in range(1, len(parts)):
            above = DiskPath(disk_path.root, "/".join(parts[:depth]))
            found = self._disk.lstat(above)
            if found is not None and not stat.S_ISDIR(found.st_mode):
                return f"no directory has the name of its directory: move {above.local} away"
        return None

    # -- moves -------------------------------------------------------------------------------------------------------

    def move(
        self, source: Location, target: Location, *, key: str, seen: int | None, before: Iterable[Place], replacing: bool = True
    ) -> int | None:
        """See ``Contents``."""
        old, new = self._layout.disk_path(source), self._layout.disk_path(target)
        if area_of(target) is Area.STORE:
            self._disk.inherit_acl(old, new.parent, self._modes.file_mode)
        try:
            self._disk.rename(old, new, replacing=replacing)
        except NoSuchFile:
            self._disk.sync_dirs(before)
            self._disk.make_dirs(new.parent, self._modes.dir_mode, self._modes.gid)
            self._disk.rename(old, new, replacing=replacing)
        except CrossDevice:
            self._disk.sync_dirs(before)
            return self._copy_over(old, new, key, seen, replacing)
        if self._is_exchanged(new, seen):
            self._put_back(new, old, path_in(source))
            raise FileExchanged()
        return None

    def _put_back(self, target: DiskPath, source: DiskPath, path: str) -> None:
        """Take away what nobody meant to be in the store. If yet another thing has its name in the drop, it lies beside that,
        under a name that nobody is shown; if its directory is gone too, under such a name in the store. If nothing works,
        it is gone, or the disk is broken.
        """
        aside = f".sftpgate-exchanged-{token_hex(8)}"
        for place in (source, source.parent / aside, target.parent / aside):
            with contextlib.suppress(SftpgateError):
                self._disk.rename(target, place, replacing=False)
                if place != source:
                    log.warning("file.exchanged", path=path, reason=f"what stood in its place was put aside: {place.local}")
                return

    def _is_exchanged(self, target: DiskPath, seen: int | None) -> bool:
        """Return whether what has come to ``target`` is another file than the one that was seen before."""
        found = self._disk.lstat(target)
        return seen is not None and found is not None and found.st_ino != seen

    def _copy_over(self, source: DiskPath, target: DiskPath, key: str, seen: int | None, replacing: bool) -> int:
        """Move from another filesystem: a durable copy takes the name, then the source goes."""
        self._disk.make_dirs(target.parent, self._modes.dir_mode, self._modes.gid)
        fresh = _copy_for(key, target)
        self._disk.unlink(fresh, missing_ok=True)
        self._disk.copy(source, fresh, self._modes.file_mode, self._modes.gid, inode=seen)
        self._disk.rename(fresh, target, replacing=replacing)
        self._disk.sync_dirs([target.parent])
        self._disk.unlink(source)
        found = self._disk.lstat(target)
        return found.st_ino if found else 0

    def move_beside(
        self, source: Location, target: Location, *, key: str, seen: int | None, keep_source: bool = False
    ) -> int | None:
        """See ``Contents``. A second name is made, then the first one is removed."""
        old, new = self._layout.disk_path(source), self._layout.disk_path(target)
        try:
            self._disk.link(old, new)
            if self._is_exchanged(new, seen):
                self._disk.unlink(new)
                raise FileExchanged()
        except AlreadyExists:
            if not self._is_copy(old, new):
                raise
            self._disk.unlink(_copy_for(key, new), missing_ok=True)
        except CrossDevice:
            self._copy_beside(old, new, key, seen)
        if not keep_source:
            self._disk.unlink(old)
        found = self._disk.lstat(new)
        return found.st_ino if found else None

    def _copy_beside(self, source: DiskPath, target: DiskPath, key: str, seen: int | None) -> None:
        """Do the same from another filesystem. The name is given to a whole and durable copy only."""
        fresh = _copy_for(key, target)
        self._disk.unlink(fresh, missing_ok=True)
        self._disk.copy(source, fresh, self._modes.file_mode, self._modes.gid, inode=seen)
        self._disk.link(fresh, target)
        self._disk.unlink(fresh)
        self._disk.sync_dirs([target.parent])

    def _is_copy(self, source: DiskPath, target: DiskPath) -> bool:
        """Return whether two names are of one file, or of a file and its copy on another filesystem."""
        one, other = self._disk.lstat(source), self._disk.lstat(target)
        if one is None or other is None or one.st_size != other.st_size:
            return False
        same = (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
        return same or self._sha256(source) == self._sha256(target)

    def _sha256(self, disk_path: DiskPath) -> str:
        fd = self._disk.open_read(disk_path)
        try:
            return sha256_of(fd)
        finally:
            os.close(fd)


def _copy_for(key: str, target: DiskPath) -> DiskPath:
    """Return where a copy is made that gets the name ``target`` when it is whole."""
    return target.parent / f".sftpgate-{key}"
