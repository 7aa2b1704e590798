"""What a start does if the store or the ledger was brought back from a backup alone, or a store was adopted (P3, P4, P8).

The files are the truth. What the ledger does not know is recorded: a file that has another name now than in an older ledger is
known by its inode, one named by an id by that; any other one has no sender. What the ledger knows and the disk does not have
becomes ``lost``: nobody says that a program took it. What had ended, and is in the store again, is left alone, as any file that
a backup brings back (``local_files``, ``runners/candidates``); under an id, the log names it, and so does ``sftpgate verify``.

Runs at a start, before anybody is let in, by one process at a time. A crash in it leaves seals that still differ: the next start
does the rest. Everything blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from sftpgate.errors import SftpgateError
from sftpgate.handover.changes import Change
from sftpgate.handover.identity.ties import compare_age, reseal
from sftpgate.handover.journal import Journal
from sftpgate.handover.local_files import left_alone_because
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.ledger.audit.event_log import Event
from sftpgate.logs import get_logger
from sftpgate.policy.identity import Age
from sftpgate.policy.lifecycle import LIVE_STATES, Area, ArrivalState
from sftpgate.policy.locations import NAMED_BY_ID, area_of, path_in
from sftpgate.policy.names import NameRules
from sftpgate.upkeep.recovery import FoundArrival, all_files, record_found

log = get_logger("recovery")

_BATCH = 500
_Missing = dict[int, Arrival]  # live arrivals whose files are not in their places, by inode


def after_restore(resources: Resources, journal: Journal, names: NameRules, *, is_adopted: bool = False) -> Age:
    """Let ledger and disk agree if one of them is older than the other one. Return which; usually neither is."""
    if compare_age(resources.layout, resources.disk, resources.ledger) is Age.SAME and not is_adopted:
        return Age.SAME
    with journal.locks.sweep():  # who sets a new seal holds it
        found = compare_age(resources.layout, resources.disk, resources.ledger)
        if found is Age.SAME and not is_adopted:
            return found
        known = _record_unknown(resources, journal, names)
        lost = _record_missing(resources, journal)
        details: dict[str, event_log.Detail] = {
            "reason": "the store was adopted" if is_adopted else found.value,
            "found": known,
            "lost": lost,
        }
        with resources.ledger.transaction() as connection:
            event_log.record(connection, [Event(at=resources.clock(), event="store.restored", actor=SYSTEM, details=details)])
        reseal(resources.layout, resources.disk, resources.ledger)
    log.warning("store.restored", **details)
    return found


# -- what the ledger does not know -----------------------------------------------------------------------------------


def _record_unknown(resources: Resources, journal: Journal, names: NameRules) -> int:
    missing = {row.inode: row for row in _missing(resources, journal)}
    files, found = all_files(resources, names), 0
    while batch := list(islice(files, _BATCH)):
        with journal.change() as change:
            for item in batch:
                try:
                    found += _record(resources, journal, change, item, missing)
                except (SftpgateError, ValueError, KeyError) as error:
                    log.error("recovery.unreadable", location=item.where, reason=str(error))
    return found


def _record(resources: Resources, journal: Journal, change: Change, found: FoundArrival, missing: _Missing) -> bool:
    """Record one file, if the ledger does not know it; return whether it did not."""
    row = _row_of(resources, journal, change, found)
    if row is not None and row.location == found.where:
        return False
    if row is not None and row.state not in LIVE_STATES:
        log.warning("recovery.old_copy", arrival=row.id, path=row.path, state=row.state, location=found.where)
        return False
    status = resources.disk.lstat(resources.layout.disk_path(found.where))
    if row is None and status is not None and (moved := missing.get(status.st_ino)) and moved.size == status.st_size:
        row = moved
    if row is None or status is None:
        return not _has_ended(resources, change, found, status) and record_found(resources, change, found)
    archived = found.state is ArrivalState.DONE
    known = replace(
        row,
        state=found.state,
        path=found.path if area_of(found.where) is Area.STORE else row.path,
        location=found.where,
        pending_from=None,
        inode=status.st_ino,
        mtime_ns=status.st_mtime_ns,
        changed_at=change.now,
        archived_as=path_in(found.where) if archived else None,
    )
    missing.pop(row.inode, None)
    change.put(known)
    change.note("arrival.found", known, actor=SYSTEM, was=row.state.value)
    return True


def _has_ended(resources: Resources, change: Change, found: FoundArrival, status: os.stat_result | None) -> bool:
    """Return whether this very file came to its end before, and a backup brought it back: it must not run again (promise P4)."""
    if status is None or area_of(found.where) is not Area.STORE:
        return False
    alike = arrivals.ended_alike(change.connection, found.path, status.st_size, status.st_mtime_ns)
    return left_alone_because(resources, found.where, alike, has_tool=True) is not None


def _row_of(resources: Resources, journal: Journal, change: Change, found: FoundArrival) -> Arrival | None:
    """Return the arrival that the ledger has for a file by its place, if any: by its id, its name in the archives, or where it
    waits.
    """
    area = area_of(found.where)
    if area in NAMED_BY_ID:
        return next(iter(arrivals.find(change.connection, ids=[ArrivalId(path_in(found.where))])), None)
    if area is Area.ARCHIVES:
        return next(iter(arrivals.find(change.connection, archived_as=path_in(found.where))), None)
    rows = arrivals.live_at(change.connection, [path_in(found.where)])
    return next((row for row in rows if row.location == found.where and journal.is_at(row, found.where)), None)


# -- what the disk does not have -------------------------------------------------------------------------------------


def _missing(resources: Resources, journal: Journal) -> Iterator[Arrival]:
    last = 0
    while True:
        with resources.ledger.reading() as connection:
            rows = arrivals.live_after(connection, last, _BATCH)
        if not rows:
            return
        last = rows[-1].seq
        for row in rows:
            if row.pending_from is None and row.location is not None and not journal.is_at(row, row.location):
                yield row


def _record_missing(resources: Resources, journal: Journal) -> int:
    journal.missing_is_lost = True
    lost = 0
    try:
        rows = _missing(resources, journal)
        while batch := list(islice(rows, _BATCH)):
            with journal.change() as change:
                lost += sum(change.get(row.id).state is ArrivalState.LOST for row in batch)
    finally:
        journal.missing_is_lost = False
    return lost
