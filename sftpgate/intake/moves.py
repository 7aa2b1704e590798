"""Changes of names in the store: ledger first, then disk, so that a crash leaves a record of what to complete.

A :class:`Change` is one unit of work. It holds the store's lock (an ``flock``, which the kernel releases when its
holder dies) from its first look to its last move, so that publishers, senders, sweepers and runners of all processes
take turns:

1. arrivals are loaded, settled (see ``settling``) and decided upon;
2. one ledger transaction records their new states, where each file shall be (``location``) and where it is
(``pending_from``);
3. the files are moved, and the directories flushed;
4. ``pending_from`` is cleared, by the next transaction that comes along: nothing depends on it being prompt.

A crash before the commit of 2 leaves nothing of the change. A crash after it leaves rows with ``pending_from``, which
the next change settles. So every change starts from a disk that agrees with the ledger.

Where all that a change moves is new files out of staging, step 3 does not wait for the directories: the ledger is
durable and says where the files belong, so a power cut takes back at most a move, and settling makes it again. These
flushes are made by ``flush_names``, for many changes at once, and before any change that touches such a row again.

Who had the lock before? Each ``Moves`` leaves its own mark in the lock's file. Who finds its own mark there knows that
nobody changed anything since, and does not ask the ledger what is not settled: it remembers (see ``Turns``).

Nothing here decides what should happen; nothing here awaits; everything blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from datetime import timedelta

from sftpgate.errors import NoSuchFile, SftpgateError, StoreAway
from sftpgate.intake.changes import Change, refuse_occupied
from sftpgate.intake.consumer import Consumer
from sftpgate.intake.identity import Ties
from sftpgate.intake.ids import Clock, Uptime, steady
from sftpgate.intake.kept import Kept
from sftpgate.intake.settling import Files
from sftpgate.intake.timekeeping import Timekeeper
from sftpgate.intake.turns import Turns
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.database import Ledger
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import Location, area_of
from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout
from sftpgate.store.spots import FileModes, Spot

log = get_logger("moves")

# Files that one change takes where there are many: some 30 ms, in which others wait for the store's lock. Fewer would share their
# flushes with too few others.
SLICE = 50


class Moves:
    """The door through which names in the store change. One instance per process; any thread may open a change."""

    def __init__(
        self,
        layout: Layout,
        disk: Disk,
        ledger: Ledger,
        *,
        clock: Clock,
        uptime: Uptime | None = None,
        time: Timekeeper | None = None,
        modes: FileModes,
        durable: bool = True,
        consumer: Consumer | None = None,
        ties: Ties | None = None,
        reader_time: timedelta | None = None,
    ) -> None:
        self.layout = layout
        self.disk = disk
        self.ledger = ledger
        self.clock = clock
        self.uptime = uptime or steady(clock)
        self.time = time or Timekeeper(ledger, clock, self.uptime)
        self.modes = modes
        self.kept = Kept(layout, disk, reader_time or timedelta(0))
        self.files = Files(layout, disk, modes, kept=self.kept, consumer=consumer)
        self.consumer = consumer
        self.durable = durable
        self.ties = ties
        self.missing_is_lost = False  # a store that a backup brought back: nobody took what is not in it
        self._turns = Turns()

    @contextlib.contextmanager
    def change(self) -> Iterator[Change]:
        """A unit of work: committed and carried out at the end of the block, undone where the block raises.

        A file that could not be moved is in ``Change.failures`` afterwards; its record stands, and the next sweep tries again.
        Raises StoreAway where store or drop is not there, or another gate's.
        """
        self.require_store()  # before our mark is left in a store that is not ours
        with self.disk.in_turn(self.layout.lock, self._turns.mark) as ours:
            is_whole, durable = self._turns.begin(ours=ours)
            written = False
            try:
                with self.ledger.transaction() as connection:
                    arrivals.settled(connection, durable)
                    change = Change(self.files, connection, self.clock(), self._turns, missing_is_lost=self.missing_is_lost)
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
                    self._turns.undo(is_whole=is_whole, durable=durable)
                raise
            self._carry_out(change)
            if not change.failures and not change.occupied:
                self._turns.end()

    def require_store(self) -> None:
        """Raise StoreAway where store or drop is not there, or another gate's. Costs two looks."""
        if self.ties is not None:
            self.ties.require()

    def open_to_readers(self, fd: int) -> None:
        """Give a new file the mode of files in the store, and the store's group, if we are in that; whoever made the file."""
        group = self.disk.group_of(Spot(self.layout.store, "")) if self.modes.gid is None else self.modes.gid
        self.disk.set_mode_if_we_may(fd, self.modes.file_mode, group)

    def flush(self) -> None:
        """Make all names durable and clear what is known to be so, so that a later start has nothing to look at."""
        self.flush_names()
        if self._turns.has_durable:
            with contextlib.suppress(StoreAway), self.change():
                pass

    def flush_names(self) -> bool:
        """Make the moves durable that no change waited for; False where the disk refuses. They stay recorded then, and the
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
        """True where ``flush_names`` has something to do."""
        return self._turns.has_unflushed

    def is_at(self, item: Arrival, where: Location) -> bool:
        """Whether the file of ``item`` is at ``where``, by its inode or by its size and time."""
        return self.files.is_at(item, where)

    def _clear_found(self, change: Change) -> None:
        """Make durable what others have moved, and clear their rows: they lose what they know of them by our turn. Where two
        processes take turns, neither would ever come to it, and each change would look at all that were ever moved.
        """
        try:
            self._sync_existing(change.unflushed)
        except SftpgateError:
            self._turns.made(change.found_made, change.unflushed)
        else:
            arrivals.settled(change.connection, change.found_made)

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
        if self.durable and _can_wait(change, moving):
            self._turns.made(inodes, touched)
            return
        try:
            if self.durable:
                self.disk.sync_dirs(touched)
        except SftpgateError as error:
            change.failures = dict.fromkeys(inodes, error) | change.failures
        else:
            self._turns.durable(inodes)

    def _flush_names(self) -> None:
        unflushed = self._turns.to_flush()
        self._sync_existing(unflushed.directories)
        self._turns.flushed(unflushed)

    def _sync_existing(self, directories: Iterable[Spot]) -> None:
        for directory in directories if self.durable else ():
            with contextlib.suppress(NoSuchFile):  # it was removed, and what had left it is flushed where it came to
                self.disk.sync_dirs([directory])


def _can_wait(change: Change, moving: list[Arrival]) -> bool:
    """Whether a power cut may take the moves back: each is one rename, of a file that has nowhere else been since."""
    return not change.completed and all(
        item.location is not None and item.pending_from is not None and area_of(item.pending_from) is Area.STAGING
        for item in moving
    )
