"""Where the file of an arrival is, and the move of one file to where its record says (promise P3).

A row of the ledger that has ``pending_from`` is a move that may or may not have been made. *Settling* it makes it, if the
file still is where it was. A file is known by its place where the place is named by the arrival's id, otherwise by its
inode (after a restore from a backup: by its size and time).

Nothing here decides what should happen, and nothing is flushed but copies between filesystems: the caller flushes the
directories. A crash in a move leaves the file at its old place, at its new one, or (in the archives) under both names,
and settling the row again knows which. Everything blocks.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from secrets import token_hex

from sftpgate.errors import AlreadyExists, CrossDevice, FileExchanged, NoSuchFile, SftpgateError
from sftpgate.intake.consumer import Consumer
from sftpgate.intake.digest import sha256_of
from sftpgate.intake.kept import Kept
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import LOCAL_STAGING, NAMED_BY_ID, NEVER_REPLACED, Location, area_of, location
from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout
from sftpgate.store.spots import FileModes, Spot

log = get_logger("moves")

_CONTENTS = 10_000  # files whose digests are remembered: after a restore until their rows say what they are now


class Files:
    """The files of arrivals. One instance per process; used under the store's lock where it moves."""

    def __init__(
        self, layout: Layout, disk: Disk, modes: FileModes, *, kept: Kept | None = None, consumer: Consumer | None = None
    ) -> None:
        self.layout = layout
        self.disk = disk
        self.modes = modes
        self.consumer = consumer
        self.kept = kept or Kept(layout, disk, timedelta(0))
        self._contents: dict[tuple[int, ...], str] = {}

    def move(self, item: Arrival, touched: dict[Spot, None], *, replaced_next: bool = False) -> int:
        """Move the file of ``item`` from where it is to where the record says; returns its inode.

        ``replaced_next``: another file takes the old name right after, so that it must not vanish in between.
        """
        assert item.pending_from is not None
        source = self.layout.spot(item.pending_from)
        inode = item.inode
        if item.location is None:
            if not replaced_next:
                self.disk.unlink(source, missing_ok=True)
        else:
            target = self.layout.spot(item.location)
            self.write_note(item)
            try:
                if area_of(item.location) in NEVER_REPLACED:
                    inode = self._move_beside(item, source, target, keep_source=replaced_next)
                else:
                    inode = self._move_over(item, source, target, touched)
            except SftpgateError:
                self._remove_note(item.location)  # its record may be taken back
                raise
            touched[target.parent] = None
        area = area_of(item.pending_from)
        if area is not Area.STAGING:  # a staging file that comes back is nobody's, and expires
            if area in NAMED_BY_ID:
                self.disk.unlink(_note(source), missing_ok=True)
            touched[source.parent] = None
        return inode

    def _move_over(self, item: Arrival, source: Spot, target: Spot, touched: Iterable[Spot]) -> int:
        """Move, replacing what has the name. Where this has to flush on the way, what it replaces must be safe in the
        archives first: ``touched`` are the directories of the moves before it.
        """
        replacing = self.consumer is None or not self.consumer.sweeps(item.location)
        seen = self._seen(item, source)
        if item.location is not None and area_of(item.location) is Area.STORE:
            self.disk.inherit_acl(source, target.parent, self.modes.file_mode)
        try:
            self.disk.rename(source, target, replacing=replacing)
        except NoSuchFile:
            self.disk.sync_dirs(touched)
            self.disk.make_dirs(target.parent, self.modes.dir_mode, self.modes.gid)
            self.disk.rename(source, target, replacing=replacing)
        except CrossDevice:
            self.disk.sync_dirs(touched)
            return self._copy_over(item, source, target, replacing, seen)
        if self._is_exchanged(target, seen):
            self._put_back(item, target, source)
            raise FileExchanged()
        return item.inode

    def _put_back(self, item: Arrival, target: Spot, source: Spot) -> None:
        """Take away what nobody meant to be in the store. Where yet another thing has its name in the drop, it lies beside that,
        under a name that nobody is shown; where its directory is gone too, under such a name in the store. Where nothing works,
        it is gone, or the disk is broken.
        """
        aside = f".sftpgate-exchanged-{token_hex(8)}"
        for place in (source, source.parent / aside, target.parent / aside):
            with contextlib.suppress(SftpgateError):
                self.disk.rename(target, place, replacing=False)
                if place != source:
                    log.warning("file.exchanged", path=item.path, reason=f"what stood in its place was put aside: {place.local}")
                return

    def _seen(self, item: Arrival, source: Spot) -> int | None:
        """The inode of a file that is about to be moved out of the drop, where other programs can put a link in its place at any
        moment; None where nobody can. Raises FileExchanged where it is not the file that the record means, and NoSuchFile where
        nothing is there: what comes there in the next moment is not ours.
        """
        assert item.pending_from is not None
        if area_of(item.pending_from) is not Area.DROP:
            return None
        found = self.disk.lstat(source)
        if found is None:
            raise NoSuchFile()
        if not stat.S_ISREG(found.st_mode) or (found.st_ino != item.inode and not self.is_at(item, item.pending_from)):
            raise FileExchanged()
        return found.st_ino

    def _is_exchanged(self, target: Spot, seen: int | None) -> bool:
        """Whether what has come to ``target`` is another file than the one that was seen before."""
        found = self.disk.lstat(target)
        return seen is not None and found is not None and found.st_ino != seen

    def _copy_over(self, item: Arrival, source: Spot, target: Spot, replacing: bool, seen: int | None) -> int:
        """The same from another filesystem: a durable copy takes the name, then the source goes."""
        self.disk.make_dirs(target.parent, self.modes.dir_mode, self.modes.gid)
        fresh = _copy_for(item, target)
        self.disk.unlink(fresh, missing_ok=True)
        self.disk.copy(source, fresh, self.modes.file_mode, self.modes.gid, inode=seen)
        self.disk.rename(fresh, target, replacing=replacing)
        self.disk.sync_dirs([target.parent])
        self.disk.unlink(source)
        found = self.disk.lstat(target)
        return found.st_ino if found else 0

    def _move_beside(self, item: Arrival, source: Spot, target: Spot, *, keep_source: bool) -> int:
        """Move without ever replacing; returns the inode. A crash between link and unlink leaves two names of one file (or
        a file and its whole copy), which settling recognises: the name was chosen for this arrival, and nobody else has it.
        """
        seen = self._seen(item, source)
        try:
            self.disk.link(source, target)
            if self._is_exchanged(target, seen):
                self.disk.unlink(target)
                raise FileExchanged()
        except AlreadyExists:
            if not self._is_copy(source, target):
                raise
            self.disk.unlink(_copy_for(item, target), missing_ok=True)
        except CrossDevice:
            self._copy_beside(item, source, target, seen)
        if not keep_source:
            self.disk.unlink(source)
        found = self.disk.lstat(target)
        return found.st_ino if found else item.inode

    def _copy_beside(self, item: Arrival, source: Spot, target: Spot, seen: int | None) -> None:
        """The same from another filesystem. The name is given to a whole and durable copy only."""
        fresh = _copy_for(item, target)
        self.disk.unlink(fresh, missing_ok=True)
        self.disk.copy(source, fresh, self.modes.file_mode, self.modes.gid, inode=seen)
        self.disk.link(fresh, target)
        self.disk.unlink(fresh)
        self.disk.sync_dirs([target.parent])

    def _is_copy(self, source: Spot, target: Spot) -> bool:
        """Whether two names are of one file, or of a file and its copy on another filesystem."""
        one, other = self.disk.lstat(source), self.disk.lstat(target)
        if one is None or other is None or one.st_size != other.st_size:
            return False
        same = (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
        return same or self._sha256_of(source) == self._sha256_of(target)

    def _sha256_of(self, spot: Spot) -> str:
        fd = self.disk.open_read(spot)
        try:
            return sha256_of(fd)
        finally:
            os.close(fd)

    def write_note(self, item: Arrival) -> None:
        """Beside a file named by its id lies what is needed to know it again without the ledger."""
        if item.location is not None and area_of(item.location) in NAMED_BY_ID:
            note = {
                "path": item.path,
                "owner": item.owner,
                "state": item.state,
                "hold_reason": item.hold_reason,
                "received_at": item.received_at.isoformat(),
            }
            self.disk.write_small(_note(self.layout.spot(item.location)), json.dumps(note, ensure_ascii=False).encode())

    def _remove_note(self, where: Location) -> None:
        if area_of(where) in NAMED_BY_ID:
            with contextlib.suppress(SftpgateError):
                self.disk.unlink(_note(self.layout.spot(where)), missing_ok=True)

    def obstacle(self, where: Location | None) -> str | None:
        """Why nothing can get the name ``where`` however often it is tried, for an administrator; None where nothing is in the
        way. Files that could be replaced are not.
        """
        if where is None:
            return None
        spot = self.layout.spot(where)
        if self.disk.is_dir(spot):
            return f"a directory has its name: move {spot.local} away"
        parts = spot.path.split("/")
        for depth in range(1, len(parts)):
            above = Spot(spot.root, "/".join(parts[:depth]))
            found = self.disk.lstat(above)
            if found is not None and not stat.S_ISDIR(found.st_mode):
                return f"no directory has the name of its directory: move {above.local} away"
        return None

    # -- settling ----------------------------------------------------------------------------------------------------

    def settle(self, item: Arrival, touched: dict[Spot, None]) -> tuple[Arrival, bool] | None:
        """``item`` with its last move made, and whether it had to be made now; None where its file is nowhere."""
        assert item.pending_from is not None
        origin = self._where_it_is(item)
        if origin == item.location:  # both None: it was to be removed, and is
            if area_of(item.pending_from) in NAMED_BY_ID:
                self.disk.unlink(_note(self.layout.spot(item.pending_from)), missing_ok=True)
            # Whoever moved it may have died before it flushed. A directory that was removed since has nothing to flush.
            places = [where for where in (item.location, item.pending_from) if where and area_of(where) is not Area.STAGING]
            directories = [self.layout.spot(where).parent for where in places]
            touched.update((directory, None) for directory in directories if self.disk.is_dir(directory))
            return replace(item, inode=self._inode_at(item), pending_from=None), False
        if origin is None:
            return None
        return replace(item, inode=self.move(replace(item, pending_from=origin), touched), pending_from=None), True

    def _where_it_is(self, item: Arrival) -> Location | None:
        """The place of a file whose last move may or may not have been made; None where it is nowhere.

        Its inode decides before its size and time do: two exports of one second can be alike in those.
        """
        places = [where for where in (item.pending_from, item.location) if where is not None]
        for is_there in (self.is_surely_at, self.is_at):
            for where in places:
                if is_there(item, where):
                    return where
        return self._search(item)

    def is_at(self, item: Arrival, where: Location) -> bool:
        """Whether the file of ``item`` is at ``where``, by its inode, by its size and time, or by its content: a backup may have
        kept no inode and no time, or whole seconds of it. Reads a file once for as long as it stays as it is.
        """
        if self.is_surely_at(item, where):
            return True
        found = self._file_at(where)
        if found is None or (area_of(where) is Area.DROP and self.disk.has_other_names(found)):
            return False  # a file from elsewhere can be linked into the drop, and look alike
        if found.st_size != item.size:
            return False
        if arrivals.storable_time(found.st_mtime_ns) == arrivals.storable_time(item.mtime_ns):
            return True
        return bool(item.sha256) and self._content_at(where, found) == item.sha256

    def _content_at(self, where: Location, found: os.stat_result) -> str:
        """The SHA-256 of the file at ``where``; empty where it cannot be read."""
        key = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        known = self._contents.get(key)
        if known is None:
            try:
                known = self._sha256_of(self.layout.spot(where))
            except SftpgateError:
                return ""
            if len(self._contents) >= _CONTENTS:
                self._contents.clear()
            self._contents[key] = known
        return known

    def is_surely_at(self, item: Arrival, where: Location) -> bool:
        """The same by what cannot mislead: a place of its own, or its inode."""
        found = self._file_at(where)
        return found is not None and (area_of(where) in NAMED_BY_ID or found.st_ino == item.inode)

    def _file_at(self, where: Location) -> os.stat_result | None:
        """What the disk says of the regular file at ``where``; None for anything else, a link too."""
        found = self.disk.lstat(self.layout.spot(where))
        return found if found is not None and stat.S_ISREG(found.st_mode) else None

    def _inode_at(self, item: Arrival) -> int:
        """The inode of the file of ``item`` where it is now: a move to another filesystem was a copy."""
        found = self.disk.lstat(self.layout.spot(item.location)) if item.location is not None else None
        return found.st_ino if found is not None else item.inode

    def _search(self, item: Arrival) -> Location | None:
        """Where a file is that is not where its last move put or found it: an earlier move of it did not survive a power cut."""
        for area in (Area.STAGING, Area.HELD, Area.QUEUE, Area.CLAIMS, Area.QUARANTINE, Area.LOCKS):
            where = location(area, f"{item.owner or LOCAL_STAGING}/{item.id}" if area is Area.STAGING else item.id)
            if self.disk.exists(self.layout.spot(where)):
                return where
        return None


def _copy_for(item: Arrival, target: Spot) -> Spot:
    """Where a copy is made that gets the name ``target`` when it is whole."""
    return target.parent / f".sftpgate-{item.id}"


def _note(spot: Spot) -> Spot:
    return spot.parent / f"{spot.name}.json"
