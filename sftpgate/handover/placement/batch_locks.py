"""The batch locks of a home: whose they are, where they lie, and whose files they hold.

A lock that a sender sent holds this sender's files, and nobody else's; one that the ledger does not know was put there by a
program of this machine or by an administrator, and holds those of everybody. So the senders of a home each have a lock of
their own under the same name: the first lies in the drop under it, a further one under its arrival's id in the area
``locks``, beside a note, and its sender sees it under its name all the same (docs/decisions).

Looks only; blocks. A look from outside of a change can be a moment behind one that is being carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sftpgate.errors import UnknownArrival
from sftpgate.handover.changes import Change
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival, ArrivalId
from sftpgate.ledger.database.connection import Connection
from sftpgate.policy.lifecycle import LIVE_STATES, Area
from sftpgate.policy.locations import location
from sftpgate.policy.names import NameRules, join
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLock:
    """A batch lock: its path as people see it, its sender (LOCAL_OWNER: none), where it lies, and since when (seconds since the
    epoch, by the disk: a client cannot set that).
    """

    path: str
    owner: str
    disk_path: DiskPath
    changed: float

    @property
    def name(self) -> str:
        """Its name as people wrote it."""
        return self.path.rpartition("/")[2]

    def holds(self, owner: str) -> bool:
        """Return whether this lock speaks of files of ``owner``."""
        return self.owner in (LOCAL_OWNER, owner)


class BatchLocks:
    """Finds batch locks; in whatever letter case their names are."""

    def __init__(self, layout: Layout, disk: Disk, names: NameRules) -> None:
        self._layout = layout
        self._disk = disk
        self._names = names

    def as_recorded(self, connection: Connection, home: str) -> list[BatchLock]:
        """Return the locks at the top of ``home``, for those who look from outside of a change."""
        return self._found(
            home,
            lambda path: arrivals.line_at(connection, [path]),
            lambda ids: arrivals.find(connection, ids=ids),
        )

    def seen_by(self, change: Change, home: str) -> list[BatchLock]:
        """Return the same, with what the change knows."""
        return self._found(home, change.ever_at, lambda ids: [row for key in ids for row in _known(change, key)])

    def _found(
        self, home: str, at: Callable[[str], Sequence[Arrival]], by_id: Callable[[Sequence[ArrivalId]], Sequence[Arrival]]
    ) -> list[BatchLock]:
        directory, names = self._layout.disk_path(location(Area.DROP, home)), self._names
        there = self._disk.present(directory, names.batch_lock_names)
        found = []
        for path in [join(home, name) for name in there]:
            where = location(Area.DROP, path)
            owners = [row.owner for row in at(path) if where in (row.location, row.pending_from)]
            found.append((path, owners[-1] if owners else LOCAL_OWNER, self._layout.disk_path(where)))
        ids = [ArrivalId(name) for name in self._disk.names(self._layout.disk_path(location(Area.LOCKS, ""))) if "." not in name]
        found += [
            (row.path, row.owner, self._layout.disk_path(location(Area.LOCKS, row.id)))
            for row in (by_id(ids) if ids else ())
            if row.state in LIVE_STATES and names.is_batch_lock(row.path, home)
        ]
        return [
            BatchLock(path=path, owner=owner, disk_path=disk_path, changed=status.st_ctime)
            for path, owner, disk_path in found
            if (status := self._disk.lstat(disk_path)) is not None
        ]


class BatchHolds:
    """Says which files batch locks hold. A lock older than ``ttl`` is stale, and holds nothing."""

    def __init__(self, resources: Resources, names: NameRules, ttl: timedelta) -> None:
        self._resources = resources
        self._locks = BatchLocks(resources.layout, resources.disk, names)
        self._ttl = ttl

    def locks_of(self, home: str) -> list[BatchLock]:
        """Return the batch locks at the top of ``home``, stale ones too. A directory of that name counts: somebody means a
        lock.
        """
        with self._resources.ledger.reading() as connection:
            return self._locks.as_recorded(connection, home)

    def lock_of(self, change: Change, item: Arrival) -> str | None:
        """Return the name of the lock that holds a file, by what the change knows; None if none does. Looked at once in a
        change: nobody can say whether a lock that appears during it came before or after it.
        """
        locks = change.batch_locks.get(item.home)
        if locks is None:
            locks = change.batch_locks[item.home] = self._locks.seen_by(change, item.home)
        lock = self.holding(locks, item.owner)
        return None if lock is None else lock.name

    def holding(self, locks: Iterable[BatchLock], owner: str) -> BatchLock | None:
        """Return the first of the locks of a home that holds files of ``owner``, or None."""
        return next((lock for lock in locks if lock.holds(owner) and not self.is_stale(lock)), None)

    def is_stale(self, lock: BatchLock) -> bool:
        """Return whether a lock is too old to be believed: its sender has died, or has forgotten it."""
        return self.age(lock) > self._ttl

    def age(self, lock: BatchLock) -> timedelta:
        """Return the time since the disk saw a batch lock change."""
        return timedelta(seconds=self._resources.time.age(lock.changed))


def is_own_lock(names: NameRules, item: Arrival) -> bool:
    """Return whether a sender's file is that sender's batch lock: of those each sender of a home may have one."""
    return item.owner != LOCAL_OWNER and names.is_batch_lock(item.path, item.home)


def _known(change: Change, arrival: ArrivalId) -> list[Arrival]:
    try:
        return [change.get(arrival)]
    except UnknownArrival:
        return []
