"""Second names of files that took the place of others in the store, for plain programs that read and then unlink (promise P3).

A program that knows nothing of claims opens ``x.csv``, reads it for a minute, and unlinks the name. If a newer upload was renamed
into place meanwhile, it is that one which it unlinks, and nobody has read it. So a file that replaces another in the store has a
second name in ``kept/`` for a while (``reader_time``). If it vanishes from the store within that time, nobody knows which of the
two was read: it is put back, once, and the record says so. A program that had read it after all reads it twice; nothing is lost.
With ``arrivals = "queue"`` no file is ever replaced, and none of this is needed.

A second name is made before the change that replaces commits: a crash leaves one that no waiting arrival needs, and the sweeper
removes it. It is not flushed: after a power cut the protection may be gone, never the file. Everything blocks.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta

from sftpgate.errors import SftpgateError
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.database.connection import Ledger
from sftpgate.policy.lifecycle import Area, ArrivalState
from sftpgate.policy.locations import Location, area_of, location
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.layout import Layout

_AT_ONCE = 500  # names that are looked up in one query


class SecondNames:
    """The second names of one store. ``reader_time`` is how long a plain program may take from its open to its unlink."""

    def __init__(self, layout: Layout, disk: Disk, reader_time: timedelta) -> None:
        self._layout = layout
        self._disk = disk
        self._reader_time = reader_time

    def keep(self, item: Arrival) -> None:
        """Give the file of ``item``, which is about to replace another one, a second name. Does nothing on a full disk.

        What comes from the drop has none: a local program can take it away before it is in the store, and what it took back must
        not come there by its second name.
        """
        source = item.pending_from or item.location
        if source is None or not self._reader_time or area_of(source) is Area.DROP:
            return
        with contextlib.suppress(SftpgateError):
            self._disk.link(self._layout.disk_path(source), self._disk_path(item))

    def has(self, item: Arrival, now: datetime) -> bool:
        """Return whether a waiting file that is gone from the store has to be put back."""
        return self._is_due(item, now) and self._disk.exists(self._disk_path(item))

    def where(self, item: Arrival) -> Location:
        """Return the place of the second name."""
        return location(Area.KEPT, item.id)

    def clear(self, ledger: Ledger, now: datetime) -> int:
        """Remove the second names that nobody needs any more; returns how many. For the sweeper."""
        names = self._disk.names(self._layout.disk_path(location(Area.KEPT, "")))
        removed = 0
        for begin in range(0, len(names), _AT_ONCE):
            some = names[begin : begin + _AT_ONCE]
            with ledger.reading() as connection:
                rows = arrivals.find(connection, ids=some, states=[ArrivalState.WAITING])
            needed = {row.id for row in rows if row.pending_from == self.where(row) or self._is_due(row, now)}
            for name in some:
                if name not in needed:
                    self._disk.unlink(self._layout.disk_path(location(Area.KEPT, name)), missing_ok=True)
                    removed += 1
        return removed

    def _is_due(self, item: Arrival, now: datetime) -> bool:
        # A clock that was set by more than the time since then ends it.
        return item.state is ArrivalState.WAITING and abs(now - item.changed_at) < self._reader_time

    def _disk_path(self, item: Arrival) -> DiskPath:
        return self._layout.disk_path(self.where(item))
