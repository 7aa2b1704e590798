"""Changes of names in the store: ledger first, then disk, so that a crash leaves a record of what to complete.

A :class:`Change` is one unit of work. It holds the store's lock (an ``flock``, which the kernel releases when its
holder dies) from its first look to its last move, so that publishers, senders, sweepers and runners of all processes
take turns:

1. arrivals are loaded, settled (see ``arrival_files``) and decided upon;
2. one ledger transaction records their new states, where each file shall be (``location``) and where it is
(``pending_from``);
3. the files are moved, and the directories flushed;
4. ``pending_from`` is cleared, by the next transaction that comes along: nothing depends on it being prompt.

A crash before the commit of 2 leaves nothing of the change. A crash after it leaves rows with ``pending_from``, which
the next change settles. So every change starts from a disk that agrees with the ledger.

If all that a change moves is new files out of staging, step 3 does not wait for the directories: the ledger is
durable and says where the files belong, so a power cut takes back at most a move, and settling makes it again. These
flushes are made by ``flush_names``, for many changes at once, and before any change that touches such a row again.

Who had the lock before? Each ``Journal`` leaves its own mark in the lock's file. Who finds its own mark there knows that
nobody changed anything since, and does not ask the ledger what is not settled: it remembers (see ``PendingMoves``).

Nothing here decides what should happen; nothing here awaits; everything blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from datetime import timedelta

from sftpgate.errors import NoSuchFile, SftpgateError, StoreAway
from sftpgate.handover.arrival_files import Files
from sftpgate.handover.changes import Change, refuse_occupied
from sftpgate.handover.identity.ties import Ties
from sftpgate.handover.pending_moves import PendingMoves
from sftpgate.handover.placement.stock_consumer import Consumer
from sftpgate.handover.resources import Resources
from sftpgate.handover.second_names import SecondNames
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import Location, area_of
from sftpgate.store.content import Contents, LocalContents, Place
from sftpgate.store.locks import LocalLocks, Locks

log = get_logger("moves")

# Files that one change takes if there are many: some 30 ms, in which others wait for the store's lock. Fewer would share their
# flushes with too few others.
SLICE = 50


class Journal:
    """All changes of names in the store go through here. One instance per process; any thread may open a change."""

    def __init__(
        self,
        resources: Resources,
        *,
        consumer: Consumer | None = None,
        ties: Ties | None = None,
        reader_time: timedelta | None = None,
    ) -> None:
        self._resources = resources
        layout, disk = resources.layout, resources.disk
        self.kept = SecondNames(layout, disk, reader_time or timedelta(0))
        self.locks: Locks = LocalLocks(layout, disk)
        self.contents: Contents = LocalContents(layout, disk, resources.modes)
        self.files = Files(self.contents, self.kept, consumer=consumer)
        self.consumer = consumer
        self.ties = ties
        self.missing_is_lost = False  # a store that a backup brought back: nobody took what is not in it
        self._pending_moves = PendingMoves()

    @contextlib.contextmanager
    def change(self) -> Iterator[Change]:
        """Yield a unit of work: committed and carried out at the end of the block, undone if the block raises.

        A file that could not be moved is in ``Change.failures`` afterwards; its record stands, and the next sweep tries again.
        Raises StoreAway if store or drop is not there, or another gate's.
        """
        with self._resources.disk.holding_roots():  # whose store it is is asked of the one that the files are moved in
            self.require_store()  # before our mark is left in a store that is not ours
            with self._change() as change:
                yield change

    @contextlib.contextmanager
    def _change(self) -> Iterator[Change]:
        with self.locks.names_in_turn(self._pending_moves.mark) as ours:
            is_whole, durable = self._pending_moves.begin(ours=ours)
            written = False
            try:
                with self._resources.ledger.transaction() as connection:
                    arrivals.settled(connection, durable)
                    change = Change(
                        self.files, connection, self._resources.clock(), self._pending_moves, missing_is_lost=self.missing_is_lost
                    )
                    if not is_whole:
                        change.settle_all()
                        self._clear_found(change)
                    yield change
                    if change.touches_unflushed():
                        self._flush_names()
                    if change.found_missing:
                        self.require_store()  # it may have gone away since
                    change.write()
                    written = True
            except BaseException:
                if not written:
                    self._pending_moves.undo(is_whole=is_whole, durable=durable)
                raise
            self._carry_out(change)
            if not change.failures and not change.occupied:
                self._pending_moves.end()

    def require_store(self) -> None:
        """Raise StoreAway if store or drop is not there, or another gate's. Costs two looks."""
        if self.ties is not None:
            self.ties.require()

    def flush(self) -> None:
        """Make all names durable and clear what is known to be so, so that a later start has nothing to look at."""
        self.flush_names()
        if self._pending_moves.has_durable:
            with contextlib.suppress(StoreAway), self.change():
                pass

    def flush_names(self) -> bool:
        """Make the moves durable that no change waited for; False if the disk refuses. They stay recorded then, and the
        next one tries again. Without the store's lock; any thread, several at a time.
        """
        try:
            self._flush_names()
        except SftpgateError as error:
            log.error("names.unflushed", reason=error.message)
            return False
        return True

    @property
    def has_unflushed_names(self) -> bool:
        """True if ``flush_names`` has something to do."""
        return self._pending_moves.has_unflushed

    def is_at(self, item: Arrival, where: Location) -> bool:
        """Return whether the file of ``item`` is at ``where``, by its inode or by its size and time."""
        return self.files.is_at(item, where)

    def _clear_found(self, change: Change) -> None:
        """Make durable what others have moved, and clear their rows: they lose what they know of them by our turn. If two
        processes take turns, neither would ever come to it, and each change would look at all that were ever moved.
        """
        try:
            self._sync_existing(change.unflushed)
        except SftpgateError:
            self._pending_moves.made(change.found_made, change.unflushed)
        else:
            arrivals.settled(change.connection, change.found_made)

    # -- carrying out ------------------------------------------------------------------------------------------------

    def _carry_out(self, change: Change) -> None:
        moving = [item for item in change.written if item.pending_from is not None]
        targets = {item.location for item in moving}
        touched: dict[Place, None] = dict.fromkeys(change.touched)
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
        if self._resources.durable and _can_wait(change, moving):
            self._pending_moves.made(inodes, touched)
            return
        try:
            if self._resources.durable:
                self.contents.flush(touched)
        except SftpgateError as error:
            change.failures = dict.fromkeys(inodes, error) | change.failures
        else:
            self._pending_moves.durable(inodes)

    def _flush_names(self) -> None:
        unflushed = self._pending_moves.to_flush()
        self._sync_existing(unflushed.directories)
        self._pending_moves.flushed(unflushed)

    def _sync_existing(self, directories: Iterable[Place]) -> None:
        for directory in directories if self._resources.durable else ():
            with contextlib.suppress(NoSuchFile):  # it was removed, and what had left it is flushed where it came to
                self.contents.flush([directory])


def _can_wait(change: Change, moving: list[Arrival]) -> bool:
    """Return whether a power cut may take the moves back: each is one rename, of a file that has nowhere else been since."""
    return not change.completed and all(
        item.location is not None and item.pending_from is not None and area_of(item.pending_from) is Area.STAGING
        for item in moving
    )
