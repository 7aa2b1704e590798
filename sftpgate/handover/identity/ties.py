"""Keeps store, drop and ledger together (promises P2, P4 and P8): what is not this gate's is never taken for what was lost.

At each start and before each command that changes something, the three are looked at before anything is made: ``require_fit``
refuses what does not belong together, and ``join`` gives an id to what has none yet. While a gate runs, ``Ties.require`` is asked
at the beginning of each change: where a store or drop has gone away or is another one, nothing is changed, and nothing is
recorded as gone; the gate goes on by itself when it is back. Costs two system calls.

A crash in ``join`` leaves the store with an id, or store and drop, and a ledger without: the next start takes the store's. The
ledger gets it last, because from then on a store without it is refused.

The *seal* is a number that store and ledger both have; every sweep after which the record has grown sets the next one: first the
store says "n or n+1", then the ledger says n+1, then the store. A crash in between leaves two that fit. So a store or a
ledger that a backup brought back alone is known, if it is older than the last sweep. Everything blocks.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from sftpgate.errors import IdentityError, SftpgateError, StoreAway
from sftpgate.ids import Clock, new_id
from sftpgate.ledger.audit import chain, event_log
from sftpgate.ledger.audit.actor import Actor
from sftpgate.ledger.audit.event_log import Event
from sftpgate.ledger.database import identity as records
from sftpgate.ledger.database.connection import Connection, Ledger
from sftpgate.ledger.database.identity import ExpectedFile
from sftpgate.logs import get_logger
from sftpgate.policy.identity import WHAT_TO_DO, Age, FoundIdentity, Mismatch, age, mismatch
from sftpgate.policy.locations import NAMED_BY_ID, area_of
from sftpgate.policy.managed import MANAGED_AREAS
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.identity import RESTORING, Mark, read_id, read_seal, write_id, write_seal
from sftpgate.store.layout import Layout
from sftpgate.store.locks import LocalLocks

log = get_logger("store")

_PAGE = 500
_KEPT = NAMED_BY_ID | MANAGED_AREAS


def look(layout: Layout, disk: Disk, ledger: Ledger, remembered: str | None = None) -> FoundIdentity:
    """Return what there is, without making anything; ``remembered`` beside the keys.

    Raises StorageError or LedgerError if that cannot be seen.
    """
    there = disk.is_dir(DiskPath(layout.store, "")), disk.is_dir(DiskPath(layout.drop, ""))
    seen = FoundIdentity(
        store=read_id(disk, layout.identity) if there[0] else None,
        drop=read_id(disk, layout.drop_identity) if there[1] else None,
        ledger=None,
        store_used=there[0] and disk.is_dir(layout.managed),
        ledger_used=False,
        remembered=remembered,
        is_restoring=any(disk.exists(each.parent / RESTORING) for each in (layout.identity, layout.drop_identity)),
    )
    if not ledger.is_made():
        return seen
    with ledger.reading() as connection:
        seen = replace(seen, ledger=records.identity(connection), ledger_used=records.has_arrivals(connection))
        if seen.ledger is not None or not seen.store_used:
            return seen
        return _with_files(seen, layout, disk, connection, ledger)


def _with_files(seen: FoundIdentity, layout: Layout, disk: Disk, connection: Connection, ledger: Ledger) -> FoundIdentity:
    """Return the same with what tells whether the store is the one of a ledger without an id."""
    expected = records.expected_files(connection)
    kept = [item for item in expected if item.location is not None and area_of(item.location) in _KEPT]
    taken = [item for item in expected if item.location is not None and area_of(item.location) not in _KEPT]
    top = disk.lstat(DiskPath(layout.store, ""))
    beside = top is not None and _device(ledger) == top.st_dev
    return replace(
        seen,
        kept_expected=len(kept),
        kept_found=sum(is_there(layout, disk, item) for item in kept),
        taken_expected=len(taken),
        taken_found=sum(is_there(layout, disk, item) for item in taken),
        is_beside=beside,
    )


def _device(ledger: Ledger) -> int | None:
    try:
        return ledger.file.stat().st_dev if ledger.file is not None else None
    except OSError:
        return None


def is_there(layout: Layout, disk: Disk, item: ExpectedFile) -> bool:
    """Return whether a file that could be that of ``item`` is where the ledger has it, or where its last move began."""
    for where in (item.location, item.pending_from):
        found = disk.lstat(layout.disk_path(where)) if where is not None else None
        if found is not None and (found.st_size == item.size or found.st_ino == item.inode):
            return True
    return False


def require_fit(layout: Layout, disk: Disk, ledger: Ledger, remembered: str | None = None) -> FoundIdentity:
    """Return what was seen, if a gate may start on it. Raises IdentityError, which says what does not fit and what to do."""
    seen = look(layout, disk, ledger, remembered)
    if found := mismatch(seen):
        raise IdentityError(problem(found, layout))
    return seen


def problem(found: Mismatch, layout: Layout) -> str:
    """Return one line that says what does not fit, where, and what to do, for the local admin."""
    return f"{described(found, layout)}; {WHAT_TO_DO}"


def described(found: Mismatch, layout: Layout) -> str:
    """Return the same without what to do."""
    places = f"drop {layout.drop}" if found in (Mismatch.DROP_MISSING, Mismatch.DROP_OTHER) else f"store {layout.store}"
    return f"{found} ({places})"


def join(layout: Layout, disk: Disk, ledger: Ledger, clock: Clock) -> str:
    """Return the id of the gate, given to what does not have it yet. The directories and tables are there. Raises
    IdentityError.
    """
    with LocalLocks(layout, disk).names():  # several processes may come to it at a time: the first one chooses
        seen = require_fit(layout, disk, ledger)
        value = seen.identity or new_id(clock())
        _give(layout, disk, ledger, seen, value)
    return value


def _give(layout: Layout, disk: Disk, ledger: Ledger, seen: FoundIdentity, value: str) -> None:
    if seen.store != value:
        write_id(disk, layout.identity, value)
    if seen.drop != value:
        disk.make_dirs(layout.drop_identity.parent, 0o700)
        write_id(disk, layout.drop_identity, value)
    if seen.ledger != value:
        with ledger.transaction() as connection:
            other = records.identity(connection)
            if other not in (None, seen.ledger):  # another gate on this ledger was quicker
                raise IdentityError(problem(Mismatch.STORE_OTHER, layout))
            records.set_identity(connection, value)


def adopt(layout: Layout, disk: Disk, ledger: Ledger, clock: Clock, actor: Actor) -> str:
    """Make one gate of store, drop and ledger, whatever they were; returns their new id. For an admin who knows.

    A new one: whoever else uses one of the three does not fit any more, and is refused.
    """
    with LocalLocks(layout, disk).names():
        seen, value = look(layout, disk, ledger), new_id(clock())
        _give(layout, disk, ledger, seen, value)
        event = Event(
            at=clock(),
            event="store.adopted",
            actor=actor,
            details={"gate": value, "store_was": seen.store, "drop_was": seen.drop, "ledger_was": seen.ledger},
        )
        with ledger.transaction() as connection:
            event_log.record(connection, [event])
    log.warning("store.adopted", gate=value)
    return value


def count_missing(layout: Layout, disk: Disk, ledger: Ledger) -> tuple[int, int]:
    """Return how many files of arrivals that are not at their end the ledger expects, and how many of them are not there."""
    if not ledger.is_made():
        return 0, 0
    expected = missing = last = 0
    while True:
        with ledger.reading() as connection:
            rows = records.live_files_after(connection, last, _PAGE)
        if not rows:
            return expected, missing
        last = rows[-1].seq
        files = [row for row in rows if row.location is not None]
        expected += len(files)
        missing += sum(not is_there(layout, disk, row) for row in files)


class Ties:
    """Whether store and drop are still there. One per process; any thread."""

    def __init__(self, layout: Layout, disk: Disk, identity: str) -> None:
        self.identity = identity
        self._marks = (Mark(disk, layout.identity), Mark(disk, layout.drop_identity))
        self._layout = layout
        self._disk = disk
        self._is_away = False

    def require(self) -> None:
        """Raise StoreAway if store or drop is gone, or another one. Says once in the log that it is, and that it is back."""
        away = [mark for mark in self._marks if not mark.has(self.identity)]
        if not away:
            if self._is_away:
                self._is_away = False
                self._disk.forget_directories()
                log.warning("store.back", gate=self.identity)
            return
        if not self._is_away:
            self._is_away = True
            self._disk.forget_directories()
            places = ", ".join(str(mark.disk_path.root) for mark in away)
            log.error(
                "store.away",
                gate=self.identity,
                reason=f"{places}: not there, or another gate's; nothing is taken, changed or recorded as gone until it is back",
            )
        raise StoreAway()

    def seal(self, ledger: Ledger) -> None:
        """Set the next seal, if the record has grown since the last one. Raises StorageError or LedgerError."""
        self.require()
        with ledger.reading() as connection:
            head, (number, sealed) = chain.ends(connection).head_seq, records.seal(connection)
        if head == sealed:
            return
        write_seal(self._disk, self._layout.seal, number, number + 1)
        with ledger.transaction() as connection:
            records.set_seal(connection, number + 1, head)
        write_seal(self._disk, self._layout.seal, number + 1)


def compare_age(layout: Layout, disk: Disk, ledger: Ledger) -> Age:
    """Return whether the store or the ledger is older than the other one."""
    with ledger.reading() as connection:
        number, _ = records.seal(connection)
    return age(number, read_seal(disk, layout.seal))


def reseal(layout: Layout, disk: Disk, ledger: Ledger) -> None:
    """Let store and ledger agree again, whichever was older."""
    with ledger.reading() as connection:
        head, (number, _) = chain.ends(connection).head_seq, records.seal(connection)
    newest = max([number, *read_seal(disk, layout.seal)]) + 1
    with ledger.transaction() as connection:
        records.set_seal(connection, newest, head)
    write_seal(disk, layout.seal, newest)


def problem_of(layout: Layout, disk: Disk, ledger: Ledger, remembered: str | None = None) -> str | None:
    """Return what does not fit together now, for those who only look; None if all is well, or if it cannot be told."""
    with contextlib.suppress(SftpgateError):
        if found := mismatch(look(layout, disk, ledger, remembered)):
            return described(found, layout)
    return None
