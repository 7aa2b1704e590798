"""Changes of names in the store: ledger first, then disk, so that a crash leaves a record of what to complete.

A :class:`Change` is one unit of work. It holds the store's lock (an ``flock``, which the kernel releases when its
holder dies) from its first look to the last flush, so that publishers, senders, sweepers and runners of all processes
take turns:

1. arrivals are loaded, settled (see below) and decided upon;
2. one ledger transaction records their new states, where each file shall be (``location``) and where it is
(``pending_from``);
3. the files are moved, and the directories flushed;
4. ``pending_from`` is cleared, by the next transaction that comes along: nothing depends on it being prompt.

A crash before the commit of 2 leaves nothing of the change. A crash after it leaves rows with ``pending_from``;
*settling* such a row moves the file if it still is where it was, and is done by whoever touches the row next, and by
recovery. So every change starts from a disk that agrees with the ledger.

A file is known by its place where the place is named by the arrival's id, otherwise by its inode (after a restore from
a backup: by its size and time). Nothing here decides what should happen; nothing here awaits; everything blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from threading import Lock

from sftpgate.errors import SftpgateError
from sftpgate.intake.changes import Change, refuse_occupied
from sftpgate.intake.consumer import Consumer
from sftpgate.intake.ids import Clock
from sftpgate.intake.settling import Files
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.database import Ledger
from sftpgate.policy.locations import Location
from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout
from sftpgate.store.spots import FileModes, Spot


class Moves:
    """The door through which names in the store change. One instance per process; any thread may open a change."""

    def __init__(
        self,
        layout: Layout,
        disk: Disk,
        ledger: Ledger,
        *,
        clock: Clock,
        modes: FileModes,
        durable: bool = True,
        consumer: Consumer | None = None,
    ) -> None:
        self.layout = layout
        self.disk = disk
        self.ledger = ledger
        self.clock = clock
        self.modes = modes
        self.files = Files(layout, disk, modes, consumer)
        self.consumer = consumer
        self.durable = durable
        self._settled: dict[ArrivalId, int] = {}
        self._settled_lock = Lock()

    @contextlib.contextmanager
    def change(self) -> Iterator[Change]:
        """A unit of work: committed and carried out at the end of the block, undone where the block raises.

        A file that could not be moved is in ``Change.failures`` afterwards; its record stands, and the next sweep tries again.
        """
        with self.disk.locked(self.layout.lock):
            done = self._take_settled()
            try:
                with self.ledger.transaction() as connection:
                    arrivals.settled(connection, done)
                    change = Change(self.files, connection, self.clock())
                    change.settle_all()
                    yield change
                    change.write()
            except BaseException:
                self._remember_settled(done)
                raise
            self._carry_out(change)

    def flush(self) -> None:
        """Clear what is known to be durable, so that a later start has nothing to look at."""
        if self._settled:
            with self.change():
                pass

    # -- carrying out ------------------------------------------------------------------------------------------------

    def _carry_out(self, change: Change) -> None:
        moving = [item for item in change.written if item.pending_from is not None]
        targets = {item.location for item in moving}
        touched: dict[Spot, None] = dict.fromkeys(change.touched)
        inodes: dict[ArrivalId, int] = {item.id: item.inode for item in change.already_settled}
        occupied: set[Location | None] = change.occupied
        for item in moving:
            try:
                refuse_occupied(item, occupied)
                inodes[item.id] = self.files.move(item, touched, replaced_next=item.pending_from in targets)
            except SftpgateError as error:
                change.failures[item.id] = error
                inodes.pop(item.id, None)
                occupied.add(item.pending_from)
        try:
            if self.durable:
                self.disk.sync_dirs(touched)
        except SftpgateError as error:
            change.failures = dict.fromkeys(inodes, error) | change.failures
        else:
            self._remember_settled(inodes)

    def is_at(self, item: Arrival, where: Location) -> bool:
        """Whether the file of ``item`` is at ``where``, by its inode or by its size and time."""
        return self.files.is_at(item, where)

    def _take_settled(self) -> dict[ArrivalId, int]:
        with self._settled_lock:
            done, self._settled = self._settled, {}
            return done

    def _remember_settled(self, inodes: dict[ArrivalId, int]) -> None:
        with self._settled_lock:
            self._settled = inodes | self._settled
