"""When the ledger is gone or damaged: keep what is left of it, and make a new one from the disk.

The files are the truth: where a file lies says what it is, and files named by an id have a note beside them. What only
the ledger knew is lost: who sent what lies in the store, when, and with which key. Rebuilt arrivals have the source
``rebuilt`` and no owner, unless their note names one.

Runs before anybody is let in, in one process. A crash in it leaves a ledger that is not marked as rebuilt; the next
start rebuilds again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from sftpgate.errors import LedgerError, SftpgateError
from sftpgate.handover.changes import Change
from sftpgate.handover.journal import Journal
from sftpgate.handover.resources import Resources
from sftpgate.ids import new_id
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival, ArrivalId
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.ledger.audit.event_log import Event
from sftpgate.ledger.database.connection import Ledger, get_fact, set_fact
from sftpgate.ledger.database.engines import is_open_elsewhere
from sftpgate.logs import get_logger
from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import Area, ArrivalState, HoldReason
from sftpgate.policy.locations import Location, location
from sftpgate.policy.managed import RESERVED_NAMES
from sftpgate.policy.names import NameRules, is_managed, is_storable, join
from sftpgate.store.digest import sha256_of
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.kernel.open_files import has_writer

log = get_logger("recovery")

COMPLETE = "complete"  # the fact that says that the ledger knows all that is on disk
_BATCH = 500
_STATE_OF = {
    Area.HELD: ArrivalState.HELD,
    Area.QUEUE: ArrivalState.QUEUED,
    Area.CLAIMS: ArrivalState.CLAIMED,
    Area.QUARANTINE: ArrivalState.QUARANTINED,
    Area.LOCKS: ArrivalState.IGNORED,
}


@dataclass(frozen=True, slots=True)
class FoundArrival:
    """A file that must have been an arrival: where it lies, its path if that says it, and its state."""

    where: Location
    path: str
    state: ArrivalState


def set_damaged_aside(ledger: Ledger, disk: Disk, now: datetime) -> Path | None:
    """Give the ledger's file another name if it is damaged; return that, or None if all is well.

    Raises LedgerError if that cannot be told (a full disk damages nothing), or if another process has it open: what
    that records would go into the file that was set aside.
    """
    file = ledger.file
    if file is None or not file.exists():
        return None
    try:
        problem = ledger.damage()
    finally:
        ledger.close()
    if problem is None:
        return None
    if is_open_elsewhere(file):
        raise LedgerError(
            f"the ledger is damaged ({problem}), and another process uses it: stop the server and all runners first"
        )
    aside = file.with_name(f"{file.name}.damaged-{now:%Y%m%dT%H%M%S}")
    for suffix in ("", "-wal", "-shm"):
        disk_path = DiskPath(file.parent, file.name + suffix)
        if disk.exists(disk_path):
            disk.rename(disk_path, DiskPath(file.parent, aside.name + suffix))
    disk.sync_dirs([DiskPath(file.parent, "")])
    log.error("ledger.damaged", reason=problem, kept_as=str(aside))
    return aside


def rebuild_if_new(resources: Resources, journal: Journal, names: NameRules) -> int:
    """Record what lies there if the ledger is new and the disk is not; return how many arrivals were found.

    Of what lies in the store, what could be meant for a runner: eligible names, and no file that somebody has open for writing.
    What an earlier attempt recorded before it was cut off is forgotten first. Others who come meanwhile wait.
    """
    if _is_complete(resources):
        return 0
    with journal.locks.sweep():
        if _is_complete(resources):
            return 0
        with resources.ledger.transaction() as connection:
            arrivals.forget_all(connection)
        found = 0
        files = all_files(resources, names)
        while batch := list(islice(files, _BATCH)):
            with journal.change() as change:
                for item in batch:
                    try:
                        found += record_found(resources, change, item)
                    except (SftpgateError, ValueError, KeyError) as error:
                        log.error("recovery.unreadable", location=item.where, reason=str(error))
        with resources.ledger.transaction() as connection:
            set_fact(connection, COMPLETE, "yes")
            if found:
                event_log.record(connection, [_rebuilt(resources.clock(), found)])
    if found:
        log.warning(
            "ledger.rebuilt",
            arrivals=found,
            reason="who sent what lies in store and archives is lost: senders no longer see these files and their reports",
        )
    return found


def _rebuilt(at: datetime, found: int) -> Event:
    """Return the event that says that this chain is a new one, and that the earlier one is lost."""
    reason = "the ledger was lost or damaged: made anew from the disk, with a new chain of records"
    return Event(at=at, event="ledger.rebuilt", actor=SYSTEM, details={"arrivals": found, "reason": reason})


def _is_complete(resources: Resources) -> bool:
    with resources.ledger.reading() as connection:
        return get_fact(connection, COMPLETE) is not None


def all_files(resources: Resources, names: NameRules) -> Iterator[FoundArrival]:
    """Yield every file that must have been an arrival."""
    for area, state in _STATE_OF.items():
        for name in sorted(resources.disk.names(resources.layout.disk_path(location(area, "")))):
            if len(name) == len(new_id(datetime.now(UTC))) and not name.startswith("."):
                yield FoundArrival(location(area, name), "", state)
    for name in sorted(resources.disk.names(resources.layout.disk_path(location(Area.ARCHIVES, "")))):
        if is_storable(name):
            yield FoundArrival(location(Area.ARCHIVES, name), name, ArrivalState.DONE)
    for path in _store_files(resources, ""):
        if is_storable(path) and names.eligible(path):
            yield FoundArrival(location(Area.STORE, path), path, ArrivalState.WAITING)


def _store_files(resources: Resources, directory: str) -> Iterator[str]:
    below = []
    try:
        for entry in resources.disk.entries(resources.layout.disk_path(location(Area.STORE, directory))):
            path = join(directory, entry.name)
            if is_managed(entry.name) or path in RESERVED_NAMES:
                continue
            if entry.is_file:
                yield path
            elif entry.is_dir:
                below.append(path)
    except SftpgateError as error:
        log.error("recovery.unreadable", location=directory, reason=error.message)
    for path in below:
        yield from _store_files(resources, path)


def record_found(resources: Resources, change: Change, found: FoundArrival) -> bool:
    """Make an arrival of a file that the ledger does not know; False if a local program still writes it.

    Raises SftpgateError, ValueError or KeyError if the file or its note cannot be read.
    """
    where, path, state = found.where, found.path, found.state
    disk_path = resources.layout.disk_path(where)
    note = json.loads(resources.disk.read_small(disk_path.parent / f"{disk_path.name}.json")) if not path else {"path": path}
    archived = state is ArrivalState.DONE
    path = _original_name(path) if archived else note["path"]
    fd = resources.disk.open_read(disk_path)
    try:
        if state is ArrivalState.WAITING and has_writer(fd):
            return False  # a local program writes it: a runner finds it when that has ended
        sha256, status = sha256_of(fd), os.fstat(fd)
    finally:
        os.close(fd)
    received = (
        datetime.fromisoformat(note["received_at"]) if "received_at" in note else datetime.fromtimestamp(status.st_mtime, UTC)
    )
    item = Arrival(
        id=ArrivalId(new_id(change.now) if "received_at" not in note else disk_path.name),
        owner=note.get("owner", LOCAL_OWNER),
        path=path,
        state=state,
        hold_reason=HoldReason(note["hold_reason"]) if note.get("hold_reason") else None,
        hold_detail=note.get("hold_detail"),
        size=status.st_size,
        sha256=sha256,
        grade=Grade.SUSPECT if note.get("hold_reason") == HoldReason.INCOMPLETE else Grade.PLAUSIBLE,
        location=where,
        inode=status.st_ino,
        mtime_ns=status.st_mtime_ns,
        received_at=received,
        changed_at=change.now,
        source="rebuilt",
        archived_as=disk_path.name if archived else None,
    )
    change.add(item)
    change.note("arrival.rebuilt", item, actor=SYSTEM)
    return True


def _original_name(archived: str) -> str:
    """Return the name without the stamp that the archive gave it."""
    return archived.partition("_")[2] or archived
