"""Where the file of an arrival is, and the move of one file to where its record says (promise P3).

A row of the ledger that has ``pending_from`` is a move that may or may not have been made. *Settling* it makes it, if the
file still is where it was. A file is known by its place if the place is named by the arrival's id, otherwise by its
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

from sftpgate.errors import FileExchanged, NoSuchFile, SftpgateError
from sftpgate.handover.placement.stock_consumer import Consumer
from sftpgate.handover.second_names import SecondNames
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import LOCAL_STAGING, NAMED_BY_ID, Location, area_of, location
from sftpgate.policy.managed import MANAGED_AREAS
from sftpgate.store.content import Contents, Place

_DIGESTS = 10_000  # files whose digests are remembered: after a restore until their rows say what they are now


class Files:
    """The files of arrivals. One instance per process; used under the store's lock if it moves."""

    def __init__(self, contents: Contents, kept: SecondNames, *, consumer: Consumer | None = None) -> None:
        self.contents = contents
        self.consumer = consumer
        self.kept = kept
        self._digests: dict[tuple[int, ...], str] = {}

    def move(self, item: Arrival, touched: dict[Place, None], *, replaced_next: bool = False) -> int:
        """Move the file of ``item`` from where it is to where the record says; returns its inode.

        ``touched``: the places of the moves before it, to which this one adds its own; what it replaces is safe once they are
        flushed. ``replaced_next``: another file takes the old name right after, so that it must not vanish in between.
        """
        source = item.pending_from
        assert source is not None
        inode: int | None = None
        if item.location is None:
            if not replaced_next:
                self.contents.remove(source)
        else:
            self.write_note(item)
            try:
                inode = self._moved(item, source, item.location, touched, replaced_next=replaced_next)
            except SftpgateError:
                self._remove_note(item.location)  # its record may be taken back
                raise
            touched[self.contents.place(item.location)] = None
        area = area_of(source)
        if area is not Area.STAGING:  # a staging file that comes back is nobody's, and expires
            if area in NAMED_BY_ID:
                self.contents.remove(_note(source))
            touched[self.contents.place(source)] = None
        return item.inode if inode is None else inode

    def _moved(
        self, item: Arrival, source: Location, target: Location, touched: Iterable[Place], *, replaced_next: bool
    ) -> int | None:
        if area_of(target) in MANAGED_AREAS:  # nothing is ever replaced there
            seen = self._seen(item, source)
            return self.contents.move_beside(source, target, key=item.id, seen=seen, keep_source=replaced_next)
        replacing = self.consumer is None or not self.consumer.sweeps(target)
        seen = self._seen(item, source)
        return self.contents.move(source, target, key=item.id, seen=seen, before=touched, replacing=replacing)

    def _seen(self, item: Arrival, source: Location) -> int | None:
        """Return the inode of a file that is about to be moved out of the drop, if other programs can put a link in its
        place at any moment; None if nobody can. Raises FileExchanged if it is not the file that the record means, and
        NoSuchFile if nothing is there: what comes there in the next moment is not ours.
        """
        if area_of(source) is not Area.DROP:
            return None
        found = self.contents.status(source)
        if found is None:
            raise NoSuchFile()
        if not stat.S_ISREG(found.st_mode) or (found.st_ino != item.inode and not self.is_at(item, source)):
            raise FileExchanged()
        return found.st_ino

    def write_note(self, item: Arrival) -> None:
        """Beside a file named by its id lies what is needed to know it again without the ledger."""
        if item.location is not None and area_of(item.location) in NAMED_BY_ID:
            note = {
                "path": item.path,
                "owner": item.owner,
                "state": item.state,
                "hold_reason": item.hold_reason,
                "hold_detail": item.hold_detail,
                "received_at": item.received_at.isoformat(),
            }
            self.contents.put(_note(item.location), json.dumps(note, ensure_ascii=False).encode())

    def _remove_note(self, where: Location) -> None:
        if area_of(where) in NAMED_BY_ID:
            with contextlib.suppress(SftpgateError):
                self.contents.remove(_note(where))

    # -- settling ----------------------------------------------------------------------------------------------------

    def settle(self, item: Arrival, touched: dict[Place, None]) -> tuple[Arrival, bool] | None:
        """Return ``item`` with its last move made, and whether it had to be made now; None if its file is nowhere."""
        assert item.pending_from is not None
        origin = self._where_it_is(item)
        if origin == item.location:  # both None: it was to be removed, and is
            if area_of(item.pending_from) in NAMED_BY_ID:
                self.contents.remove(_note(item.pending_from))
            # Whoever moved it may have died before it flushed. A directory that was removed since has nothing to flush.
            places = [where for where in (item.location, item.pending_from) if where and area_of(where) is not Area.STAGING]
            to_flush = [self.contents.place(where) for where in places]
            touched.update((place, None) for place in to_flush if self.contents.has_place(place))
            return replace(item, inode=self._inode_at(item), pending_from=None), False
        if origin is None:
            return None
        return replace(item, inode=self.move(replace(item, pending_from=origin), touched), pending_from=None), True

    def _where_it_is(self, item: Arrival) -> Location | None:
        """Return the place of a file whose last move may or may not have been made; None if it is nowhere.

        Its inode decides before its size and time do: two exports of one second can be alike in those.
        """
        places = [where for where in (item.pending_from, item.location) if where is not None]
        for is_there in (self.is_surely_at, self.is_at):
            for where in places:
                if is_there(item, where):
                    return where
        return self._search(item)

    def is_at(self, item: Arrival, where: Location) -> bool:
        """Return whether the file of ``item`` is at ``where``, by its inode, by its size and time, or by its content: a
        backup may have kept no inode and no time, or whole seconds of it. Reads a file once for as long as it stays as it
        is.
        """
        if self.is_surely_at(item, where):
            return True
        found = self._file_at(where)
        if found is None or (area_of(where) is Area.DROP and self.contents.has_other_names(found)):
            return False  # a file from elsewhere can be linked into the drop, and look alike
        if found.st_size != item.size:
            return False
        if arrivals.storable_time(found.st_mtime_ns) == arrivals.storable_time(item.mtime_ns):
            return True
        return bool(item.sha256) and self._content_at(where, found) == item.sha256

    def _content_at(self, where: Location, found: os.stat_result) -> str:
        """Return the SHA-256 of the file at ``where``; empty if it cannot be read."""
        key = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        known = self._digests.get(key)
        if known is None:
            try:
                known = self.contents.sha256(where)
            except SftpgateError:
                return ""
            if len(self._digests) >= _DIGESTS:
                self._digests.clear()
            self._digests[key] = known
        return known

    def is_surely_at(self, item: Arrival, where: Location) -> bool:
        """Return the same by what cannot mislead: a place of its own, or its inode."""
        found = self._file_at(where)
        return found is not None and (area_of(where) in NAMED_BY_ID or found.st_ino == item.inode)

    def _file_at(self, where: Location) -> os.stat_result | None:
        """Return what the disk says of the regular file at ``where``; None for anything else, a link too."""
        found = self.contents.status(where)
        return found if found is not None and stat.S_ISREG(found.st_mode) else None

    def _inode_at(self, item: Arrival) -> int:
        """Return the inode of the file of ``item`` where it is now: a move to another filesystem was a copy."""
        found = self.contents.status(item.location) if item.location is not None else None
        return found.st_ino if found is not None else item.inode

    def _search(self, item: Arrival) -> Location | None:
        """Return where a file is that is not where its last move put or found it: an earlier move of it did not survive a power
        cut.
        """
        for area in (Area.STAGING, Area.HELD, Area.QUEUE, Area.CLAIMS, Area.QUARANTINE, Area.LOCKS):
            where = location(area, f"{item.owner or LOCAL_STAGING}/{item.id}" if area is Area.STAGING else item.id)
            if self.contents.exists(where):
                return where
        return None


def _note(where: Location) -> Location:
    return Location(f"{where}.json")
