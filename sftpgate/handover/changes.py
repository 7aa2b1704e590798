"""A change: one unit of work on arrivals, from its first look to its transaction.

It gives out rows that are settled and agree with the disk, collects what shall become of them and what is to be said of
it on the record, and writes all that into one transaction. Made by ``Journal.change``, which holds the store's lock, and
carries the moves out afterwards. Decides nothing; nothing here awaits; everything blocks. A crash before the
transaction is committed leaves nothing of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from sftpgate.errors import AlreadyExists, NameRefused, SftpgateError, StorageError
from sftpgate.handover.arrival_files import Files
from sftpgate.handover.local_arrivals import local_arrival
from sftpgate.handover.pending_moves import PendingMoves
from sftpgate.ids import new_id
from sftpgate.ledger import arrivals, volumes
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.actor import SYSTEM, Actor
from sftpgate.ledger.audit.event_log import Event
from sftpgate.ledger.database.connection import Connection
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import LIVE_STATES, TRANSITIONS, Area, ArrivalEvent, ArrivalState, after
from sftpgate.policy.locations import Location, area_of, location, path_in
from sftpgate.policy.stamps import archive_names
from sftpgate.store.content import Place

if TYPE_CHECKING:
    from sftpgate.handover.placement.batch_locks import BatchLock

log = get_logger("moves")


class Change:
    """One unit of work on arrivals; made by ``Journal.change``. Rows that it hands out are settled, and agree with the disk."""

    def __init__(
        self, files: Files, connection: Connection, now: datetime, pending_moves: PendingMoves, *, missing_is_lost: bool = False
    ) -> None:
        self._files = files
        self._missing_is_lost = missing_is_lost
        self.found_missing = False  # a file was not where it must be: what is recorded of that rests on the store being there
        self._pending_moves = pending_moves
        self.connection = connection
        self.now = now
        self.failures: dict[ArrivalId, SftpgateError] = {}
        self.touched: dict[Place, None] = {}
        self.already_settled: list[Arrival] = []
        self.completed: list[Arrival] = []  # those whose moves a crash had cut off
        self.found_made: dict[ArrivalId, int] = {}  # moves of others, with the inodes of the files
        self.unflushed: dict[Place, None] = {}  # the directories of these moves
        self.written: list[Arrival] = []
        self._rows: dict[ArrivalId, Arrival] = {}
        self._by_path: dict[str, list[ArrivalId]] = {}
        self._loaded: set[str] = set()
        self._whole: set[str] = set()
        self._fresh: dict[ArrivalId, None] = {}
        self._changed: dict[ArrivalId, None] = {}
        self._events: list[Event] = []
        self._archive_names: set[str] = set()
        self.occupied: set[Location | None] = set()  # by files that could not be moved away
        self.batch_locks: dict[str, list[BatchLock]] = {}  # by home, as they were when somebody first asked
        self.unverified: dict[ArrivalId, str] = {}  # paths of files whose checksum file appeared too late to be compared
        self._known_places: set[Location | None] = set()
        self._vacated: set[Location] = set()

    # -- looking -----------------------------------------------------------------------------------------------------

    def load(self, paths: Iterable[str]) -> None:
        """Fetch what decides about several paths at once (see ``line_at``)."""
        missing = [path for path in dict.fromkeys(paths) if path not in self._loaded]
        if not missing:
            return
        self._loaded.update(missing)
        for row in arrivals.line_at(self.connection, missing):
            self._adopt(row)

    def line_at(self, path: str) -> list[Arrival]:
        """Return the arrivals of ``path`` that are not at their end, in order of arrival; of a long queue at least the first
        and the last. Costs the same however long that is.
        """
        self.load([path])
        found = [self._rows[key] for key in self._by_path.get(path, ())]
        return sorted((item for item in found if item.path == path and item.state in LIVE_STATES), key=_by_arrival)

    def ever_at(self, path: str) -> list[Arrival]:
        """Return the arrivals that are at ``path``, or were when this change began, in no order."""
        self.load([path])
        return [self._rows[key] for key in self._by_path.get(path, ())]

    def live_at(self, path: str) -> list[Arrival]:
        """Return the same with all of the queue: for what happens to each of its files."""
        if path not in self._whole:
            self._whole.add(path)
            for row in arrivals.live_at(self.connection, [path]):
                self._adopt(row)
        return self.line_at(path)

    def taken_at(self, path: str) -> datetime | None:
        """Return when a plain program was last noticed to have taken a file of this path; None if it never was."""
        now = [item.changed_at for key in self._by_path.get(path, ()) if (item := self._rows[key]).state is ArrivalState.TAKEN]
        return max(now, default=None) or arrivals.last_taken_at(self.connection, path)

    def first_queued(self, path: str) -> Arrival | None:
        """Return the arrival of the queue of ``path`` whose turn it is, by all that was decided in this change; None: there
        is none.
        """
        last = 0
        while (row := arrivals.next_queued(self.connection, path, after_seq=last)) is not None:
            last = row.seq
            self._adopt(row)
            if (known := self._rows[row.id]).state is ArrivalState.QUEUED and known.path == path:
                break
        return next((item for item in self.line_at(path) if item.state is ArrivalState.QUEUED), None)

    def get(self, arrival: str) -> Arrival:
        """Return the arrival with this id, settled. Raises UnknownArrival."""
        if arrival not in self._rows:
            self._adopt(arrivals.get(self.connection, ArrivalId(arrival)))
        return self._rows[ArrivalId(arrival)]

    def adopt(self, rows: Iterable[Arrival]) -> list[Arrival]:
        """Return rows found by another query, settled and checked."""
        found = list(rows)
        self.load(row.path for row in found)
        return [self.get(row.id) for row in found]

    def settle_all(self) -> None:
        """Complete what an earlier change recorded and did not carry out, in the order in which it would have.

        Nobody else is in a change, so every row that is not settled is one that a crash left (or one whose holder did not
        come to clear it yet: its file is found in place).
        """
        for row in in_order_of_moves(arrivals.pending(self.connection)):
            try:
                refuse_occupied(row, self.occupied)
                directories: dict[Place, None] = {}
                found = self._files.settle(row, directories)
            except SftpgateError as error:
                if isinstance(error, (AlreadyExists, NameRefused)) and row.archived_as is not None:
                    self._archive_elsewhere(row)
                    continue
                # Something is in its way. It stays recorded, and must not keep the others from their moves.
                reason = (row.location and self._files.contents.obstacle(row.location)) or error.message
                if self._pending_moves.is_new_trouble(row.id, reason):
                    log.error("arrival.stuck", arrival=row.id, path=row.path, reason=reason)
                self.occupied.add(row.pending_from)
                self._keep(row)
                self._known_places |= {row.location, row.pending_from}
                continue
            self._pending_moves.moved(row.id)
            if found is not None:
                settled, moved_now = found
                if moved_now:
                    self.already_settled.append(settled)
                    self.touched.update(directories)
                else:  # by somebody who did not come to flush it, or to clear its row
                    self.found_made[settled.id] = settled.inode
                    self.unflushed.update(directories)
                self._keep(settled)
                self._known_places.add(settled.location)
                if moved_now:
                    self.completed.append(settled)
            elif row.state in LIVE_STATES:
                self._gone(replace(row, pending_from=None, location=None), _how_it_went(row))
            else:
                self.found_missing = True
                lost = replace(row, pending_from=None, location=None, archived_as=None)
                self.put(lost)
                self.note("arrival.file_lost", lost, actor=SYSTEM)

    def _archive_elsewhere(self, row: Arrival) -> None:
        """Give a file another name in the archives, because somebody gave another file its name. It gets it at the end of this
        change. What was to take its place waits for the next one.
        """
        self.occupied.add(row.pending_from)
        where = self.archive_location(row.path.rpartition("/")[2])
        moved = replace(row, location=where, archived_as=path_in(where))
        self.put(moved)
        self.note("arrival.archived_elsewhere", moved, actor=SYSTEM, archive=moved.archived_as)

    def _adopt(self, row: Arrival) -> None:
        """Take a row in, and compare it with the disk."""
        if row.id in self._rows:
            return
        if row.pending_from is not None and (inode := self._pending_moves.inode(row.id)) is not None:
            row = replace(row, pending_from=None, inode=inode)
        self._keep(row)
        if row.location is None or row.state not in LIVE_STATES:
            self._known_places.add(row.location)
        elif self._files.is_at(row, row.location):
            self._known_places.add(row.location)
            # Its sender may have set its time since: what becomes of it is recorded with the time that it has.
            found = self._files.contents.status(row.location)
            if found is not None and found.st_ino != row.inode:  # a backup brought it back: so it is known from now on
                self.put(replace(row, inode=found.st_ino, mtime_ns=found.st_mtime_ns))
            else:
                self._keep(replace(row, mtime_ns=found.st_mtime_ns) if found is not None else row)
        else:
            self._gone(replace(row, location=None), _GONE[row.state])

    def _gone(self, row: Arrival, event: ArrivalEvent) -> None:
        """Record that a file is not there, or put it back if nobody knows whether it was read."""
        self.found_missing = True
        if self._missing_is_lost:
            self.event(row, ArrivalEvent.LOST)
            self.note("arrival.not_in_backup", self._rows[row.id], actor=SYSTEM, was=row.state.value)
        elif event is ArrivalEvent.TAKEN and self._files.kept.has(row, self.now):
            self._put_back(row)
        else:
            self.event(row, event)

    def _put_back(self, row: Arrival) -> None:
        """Give a file that replaced another one, and was removed soon after, its name again."""
        where = location(Area.STORE, row.path)
        self._archive_unknown(where, row.path)
        back = self.event(replace(row, location=self._files.kept.where(row)), ArrivalEvent.PUBLISHED, location=where)
        self.note("arrival.put_back", back, actor=SYSTEM, because="removed after it took another file's place: which was read?")
        log.warning("arrival.put_back", arrival=row.id, path=row.path, user=row.owner)

    def _keep(self, row: Arrival) -> None:
        self._rows[row.id] = row
        paths = self._by_path.setdefault(row.path, [])
        if row.id not in paths:
            paths.append(row.id)

    # -- changing ----------------------------------------------------------------------------------------------------

    def add(self, item: Arrival) -> None:
        """Record a new arrival, whose file is at its ``pending_from``."""
        self.load([item.path])
        self._keep(item)
        self._fresh[item.id] = None
        self._known_places |= {item.location, item.pending_from}

    def event(
        self, item: Arrival, event: ArrivalEvent, *, actor: Actor = SYSTEM, because: str | None = None, **changes: object
    ) -> Arrival:
        """Let something happen to an arrival: a transition of the table, with further changes. Raises IllegalTransition.

        The file moves if ``changes`` has a ``location``. ``because`` is what somebody says about it, for the record.
        """
        state = after(item.state, event)
        if "location" in changes:
            if item.location is not None:
                self._require_unread(item.location)
                self._vacated.add(item.location)
            item = arrivals.moved(item, changes.pop("location"))  # type: ignore[arg-type]  # a Location or None, by the callers
        changed = replace(item, state=state, changed_at=self.now, **changes)  # type: ignore[arg-type]  # dataclasses.replace has no types for **
        self.put(changed)
        self.note(f"arrival.{event.replace(' ', '_')}", changed, actor=actor, because=because)
        return changed

    def _require_unread(self, where: Location) -> None:
        """Raise ConsumerReading if a stock consumer could be reading what lies at ``where``."""
        if self._files.consumer is not None and self._files.consumer.sweeps(where):
            self._files.consumer.require_absent()

    def put(self, item: Arrival) -> None:
        """Record a changed row."""
        self._known_places |= {item.location, item.pending_from}
        self._keep(item)
        if item.id not in self._fresh:
            self._changed.pop(item.id, None)
            self._changed[item.id] = None

    def note(self, event: str, item: Arrival, *, actor: Actor, **details: event_log.Detail) -> None:
        """Add an event to the record of an arrival."""
        facts: dict[str, event_log.Detail] = {
            "path": item.path,
            "state": item.state.value,
            "reason": item.hold_reason,
            "detail": item.hold_detail,
        }
        known: dict[str, event_log.Detail] = {name: value for name, value in (facts | details).items() if value is not None}
        self._events.append(Event(at=self.now, event=event, actor=actor, address=item.address, arrival=item.id, details=known))

    def archive_location(self, name: str) -> Location:
        """Return a place in the archives that nothing has, for a file called ``name``."""
        names = archive_names(name, self.now.astimezone())
        chosen = names.numbered(names.first_free(self._is_free_in_archives))
        self._archive_names.add(chosen)
        return location(Area.ARCHIVES, chosen)

    def _is_free_in_archives(self, name: str) -> bool:
        where = location(Area.ARCHIVES, name)
        is_chosen = name in self._archive_names or where in self._known_places  # for a move that could not be made yet, too
        return not is_chosen and not self._files.contents.exists(where)

    def archive(self, item: Arrival, event: ArrivalEvent, *, actor: Actor = SYSTEM, because: str | None = None) -> Arrival:
        """End an arrival and keep its file in the archives."""
        where = self.archive_location(item.path.rpartition("/")[2])
        return self.event(item, event, actor=actor, because=because, location=where, archived_as=path_in(where))

    def accounts_for(self, where: Location) -> bool:
        """Return whether what lies at ``where`` (in drop or store) is known: a live arrival's, or one's that this change
        moves.
        """
        self.load([path_in(where)])
        return where in self._known_places

    def vacates(self, where: Location) -> bool:
        """Return whether this change moves away what lies at ``where``."""
        return where in self._vacated

    def keep_unknown(self, where: Location, path: str) -> None:
        """Archive the file at ``where``, if there is one that no live arrival has: no content is ever overwritten unseen."""
        if not self.accounts_for(where):
            self._archive_unknown(where, path)

    def _archive_unknown(self, where: Location, path: str) -> None:
        found = self._files.contents.status(where)
        if found is None:
            return
        archived = self.archive_location(path.rpartition("/")[2])
        item = replace(
            local_arrival(path, found, sha256="", now=self.now, source="store"),
            state=ArrivalState.REPLACED,
            location=archived,
            pending_from=where,
            archived_as=path_in(archived),
        )
        self.add(item)
        self.note("arrival.replaced", item, actor=SYSTEM)

    def keep_original(self, item: Arrival, *, because: str) -> Arrival:
        """Archive the content of a live arrival that gets another one in this change, as a record of its own; return that."""
        where = self.archive_location(item.path.rpartition("/")[2])
        original = replace(
            item,
            id=ArrivalId(new_id(self.now)),
            seq=0,
            state=ArrivalState.REPLACED,
            hold_reason=None,
            hold_detail=None,
            location=where,
            pending_from=item.location,
            archived_as=path_in(where),
            source="original",
            changed_at=self.now,
        )
        self.add(original)
        self.note("arrival.replaced", original, actor=SYSTEM, because=because)
        return original

    def touches_unflushed(self) -> bool:
        """Return whether a row is changed whose last move a power cut may take back: it must be made durable first."""
        return any(self._pending_moves.is_unflushed(arrival) for arrival in self._changed)

    def write(self) -> None:
        """Put everything into the transaction. Called once, by ``Journal.change``."""
        fresh = [self._rows[key] for key in self._fresh]
        changed = [self._rows[key] for key in self._changed]
        arrivals.add(self.connection, fresh)
        volumes.add(self.connection, fresh)
        arrivals.save(self.connection, changed)
        event_log.record(self.connection, self._events)
        self.written = in_order_of_moves(changed + fresh)


# What it means that the file of a live arrival is not at its place: somebody on this machine removed or took it.
_GONE = {
    ArrivalState.IGNORED: ArrivalEvent.DISCARDED,
    ArrivalState.HELD: ArrivalEvent.DISCARDED,
    ArrivalState.WAITING: ArrivalEvent.TAKEN,
    ArrivalState.QUEUED: ArrivalEvent.LOST,
    ArrivalState.CLAIMED: ArrivalEvent.LOST,
    ArrivalState.QUARANTINED: ArrivalEvent.LOST,
}


def refuse_occupied(item: Arrival, occupied: Collection[Location | None]) -> None:
    """Refuse a name while the file that has it could not be moved away (P3)."""
    if item.location is not None and item.location in occupied:
        raise StorageError("the earlier file of this name could not be moved away")


def _how_it_went(row: Arrival) -> ArrivalEvent:
    """Return what it means that a file is neither where it was nor where it shall be: from the store a plain program takes files,
    also in the moment between our move and our note of it. Nobody but us moves it from the other places.
    """
    in_store = any(where is not None and area_of(where) is Area.STORE for where in (row.pending_from, row.location))
    return ArrivalEvent.TAKEN if in_store and (row.state, ArrivalEvent.TAKEN) in TRANSITIONS else ArrivalEvent.LOST


def in_order_of_moves(rows: Iterable[Arrival]) -> list[Arrival]:
    """Put the moves in order: a file that leaves a place goes before the file that takes it."""
    waiting = list(rows)
    by_origin = {row.pending_from: row for row in waiting if row.pending_from is not None}
    ordered: dict[ArrivalId, Arrival] = {}
    for row in waiting:
        chain = [row]
        while (place := chain[-1].location) is not None and (before := by_origin.get(place)) is not None and before not in chain:
            chain.append(before)
        ordered.update((item.id, item) for item in reversed(chain) if item.id not in ordered)
    return list(ordered.values())


def _by_arrival(item: Arrival) -> tuple[bool, int]:
    """Return what sorts in order of arrival; what the ledger has not numbered yet is the newest."""
    return item.seq == 0, item.seq
