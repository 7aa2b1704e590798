"""The batch locks of a home: whose they are, where they lie, and whose files they hold.

A lock that a sender sent holds this sender's files, and nobody else's; one that the ledger does not know was put there by a
program of this machine or by an administrator, and holds those of everybody. So the senders of a home each have a lock of
their own under the same name: the first lies in the drop under it, a further one under its arrival's id in the area
``locks``, beside a note, and its sender sees it under its name all the same (docs/decisions).

Looks only; blocks. A look from outside of a change can be a moment behind one that is being carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sftpgate.errors import UnknownArrival
from sftpgate.intake.changes import Change
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival, ArrivalId
from sftpgate.ledger.database import Connection
from sftpgate.policy.lifecycle import LIVE_STATES, Area
from sftpgate.policy.locations import location
from sftpgate.policy.names import NameRules, join
from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout
from sftpgate.store.spots import Spot


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLock:
    """A batch lock: its path as people see it, its sender (LOCAL_OWNER: none), where it lies, and since when (seconds since the
    epoch, by the disk: a client cannot set that).
    """

    path: str
    owner: str
    spot: Spot
    changed: float

    @property
    def name(self) -> str:
        """Its name as people wrote it."""
        return self.path.rpartition("/")[2]

    def holds(self, owner: str) -> bool:
        """Whether this lock speaks of files of ``owner``."""
        return self.owner in (LOCAL_OWNER, owner)


class BatchLocks:
    """Finds batch locks; in whatever letter case their names are."""

    def __init__(self, layout: Layout, disk: Disk, names: NameRules) -> None:
        self._layout = layout
        self._disk = disk
        self._names = names

    def as_recorded(self, connection: Connection, home: str) -> list[BatchLock]:
        """The locks at the top of ``home``, for those who look from outside of a change."""
        return self._found(
            home,
            lambda path: arrivals.line_at(connection, [path]),
            lambda ids: arrivals.find(connection, ids=ids),
        )

    def seen_by(self, change: Change, home: str) -> list[BatchLock]:
        """The same, with what the change knows."""
        return self._found(home, change.ever_at, lambda ids: [row for key in ids for row in _known(change, key)])

    def _found(
        self, home: str, at: Callable[[str], Sequence[Arrival]], by_id: Callable[[Sequence[ArrivalId]], Sequence[Arrival]]
    ) -> list[BatchLock]:
        directory, names = self._layout.spot(location(Area.DROP, home)), self._names
        there = self._disk.present(directory, names.batch_lock_names)
        found = []
        for path in [join(home, name) for name in there]:
            where = location(Area.DROP, path)
            owners = [row.owner for row in at(path) if where in (row.location, row.pending_from)]
            found.append((path, owners[-1] if owners else LOCAL_OWNER, self._layout.spot(where)))
        ids = [ArrivalId(name) for name in self._disk.names(self._layout.spot(location(Area.LOCKS, ""))) if "." not in name]
        found += [
            (row.path, row.owner, self._layout.spot(location(Area.LOCKS, row.id)))
            for row in (by_id(ids) if ids else ())
            if row.state in LIVE_STATES and names.is_batch_lock(row.path, home)
        ]
        return [
            BatchLock(path=path, owner=owner, spot=spot, changed=status.st_ctime)
            for path, owner, spot in found
            if (status := self._disk.lstat(spot)) is not None
        ]


def is_own_lock(names: NameRules, item: Arrival) -> bool:
    """Whether a sender's file is that sender's batch lock: of those each sender of a home may have one."""
    return item.owner != LOCAL_OWNER and names.is_batch_lock(item.path, item.home)


def _known(change: Change, arrival: ArrivalId) -> list[Arrival]:
    try:
        return [change.get(arrival)]
    except UnknownArrival:
        return []
