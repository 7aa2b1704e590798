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
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from threading import Lock

from ulid import ULID

from sftpgate.errors import AlreadyExists, CrossDevice, NoSuchFile, SftpgateError, StorageError
from sftpgate.ledger import arrivals, audit
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival, ArrivalId
from sftpgate.ledger.audit import Event
from sftpgate.ledger.database import Connection, Ledger
from sftpgate.logs import get_logger
from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import LIVE_STATES, TRANSITIONS, Area, ArrivalEvent, ArrivalState, after
from sftpgate.policy.locations import LOCAL_STAGING, NAMED_BY_ID, NEVER_REPLACED, Location, area_of, location, path_in
from sftpgate.policy.stamps import archive_names
from sftpgate.store.disk import Disk, FileModes, Spot
from sftpgate.store.layout import Layout

log = get_logger("moves")

Clock = Callable[[], datetime]


def new_id(at: datetime) -> str:
    """A fresh ULID: sorts by time, cannot be guessed."""
    return str(ULID.from_datetime(at))


class Moves:
    """The door through which names in the store change. One instance per process; any thread may open a change."""

    def __init__(
        self, layout: Layout, disk: Disk, ledger: Ledger, *, clock: Clock, modes: FileModes, durable: bool = True
    ) -> None:
        self.layout = layout
        self.disk = disk
        self.ledger = ledger
        self.clock = clock
        self.modes = modes
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
                    change = Change(self, connection)
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
                _refuse_occupied(item, occupied)
                inodes[item.id] = self._move(item, touched, replaced_next=item.pending_from in targets)
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

    def _move(self, item: Arrival, touched: dict[Spot, None], *, replaced_next: bool = False) -> int:
        """Move the file of ``item`` from where it is to where the record says; returns its inode.

        ``replaced_next``: another file takes the old name right after, so that it must not vanish in between.
        """
        assert item.pending_from is not None
        source = self.layout.spot(item.pending_from)
        inode = item.inode
        if item.location is None:
            if not replaced_next:
                self.disk.unlink(source, missing_ok=True)
        else:
            target = self.layout.spot(item.location)
            self._write_note(item)
            if area_of(item.location) in NEVER_REPLACED:
                self._move_beside(source, target, keep_source=replaced_next)
            else:
                inode = self._move_over(item, source, target)
            touched[target.parent] = None
        area = area_of(item.pending_from)
        if area in NAMED_BY_ID:
            self.disk.unlink(_note(source), missing_ok=True)
        if area is not Area.STAGING:  # a staging file that comes back is nobody's, and expires
            touched[source.parent] = None
        return inode

    def _move_over(self, item: Arrival, source: Spot, target: Spot) -> int:
        try:
            self.disk.rename(source, target)
        except NoSuchFile:
            self.disk.make_dirs(target.parent, self.modes.dir_mode, self.modes.gid)
            self.disk.rename(source, target)
        except CrossDevice:
            return self._copy_over(item, source, target)
        return item.inode

    def _copy_over(self, item: Arrival, source: Spot, target: Spot) -> int:
        """The same from another filesystem: a durable copy takes the name, then the source goes."""
        self.disk.make_dirs(target.parent, self.modes.dir_mode, self.modes.gid)
        fresh = target.parent / f".sftpgate-{item.id}"
        self.disk.unlink(fresh, missing_ok=True)
        self.disk.copy(source, fresh, self.modes.file_mode, self.modes.gid)
        self.disk.rename(fresh, target)
        self.disk.sync_dirs([target.parent])
        self.disk.unlink(source)
        found = self.disk.lstat(target)
        return found.st_ino if found else 0

    def _move_beside(self, source: Spot, target: Spot, *, keep_source: bool) -> None:
        """Move without ever replacing. A crash between link and unlink leaves two names of one file, which settling
        recognises.
        """
        try:
            self.disk.link(source, target)
        except AlreadyExists:
            if not self._same_file(source, target):
                raise
        except CrossDevice:
            self.disk.copy(source, target, self.modes.file_mode, self.modes.gid)
        if not keep_source:
            self.disk.unlink(source)

    def _same_file(self, one: Spot, other: Spot) -> bool:
        first, second = self.disk.lstat(one), self.disk.lstat(other)
        return first is not None and second is not None and (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)

    def _write_note(self, item: Arrival) -> None:
        """Beside a file named by its id lies what is needed to know it again without the ledger."""
        if item.location is not None and area_of(item.location) in NAMED_BY_ID:
            note = {
                "path": item.path,
                "owner": item.owner,
                "state": item.state,
                "hold_reason": item.hold_reason,
                "received_at": item.received_at.isoformat(),
            }
            self.disk.write_small(_note(self.layout.spot(item.location)), json.dumps(note, ensure_ascii=False).encode())

    # -- settling ----------------------------------------------------------------------------------------------------

    def settle(self, item: Arrival, touched: dict[Spot, None]) -> tuple[Arrival, bool] | None:
        """``item`` with its last move made, and whether it had to be made now; None where its file is nowhere."""
        assert item.pending_from is not None
        origin = self._where_it_is(item)
        if origin == item.location:  # both None: it was to be removed, and is
            if area_of(item.pending_from) in NAMED_BY_ID:
                self.disk.unlink(_note(self.layout.spot(item.pending_from)), missing_ok=True)
            return replace(item, pending_from=None), False
        if origin is None:
            return None
        return replace(item, inode=self._move(replace(item, pending_from=origin), touched), pending_from=None), True

    def _where_it_is(self, item: Arrival) -> Location | None:
        """The place of a file whose last move may or may not have been made; None where it is nowhere.

        Its inode decides before its size and time do: two exports of one second can be alike in those.
        """
        places = [where for where in (item.pending_from, item.location) if where is not None]
        for is_there in (self._is_surely_at, self.is_at):
            for where in places:
                if is_there(item, where):
                    return where
        return self._search(item)

    def is_at(self, item: Arrival, where: Location) -> bool:
        """Whether the file of ``item`` is at ``where``, by its inode or by its size and time."""
        if self._is_surely_at(item, where):
            return True
        found = self.disk.lstat(self.layout.spot(where))
        return found is not None and (found.st_size, arrivals.storable_time(found.st_mtime_ns)) == (
            item.size,
            arrivals.storable_time(item.mtime_ns),
        )

    def _is_surely_at(self, item: Arrival, where: Location) -> bool:
        found = self.disk.lstat(self.layout.spot(where))
        return found is not None and (area_of(where) in NAMED_BY_ID or found.st_ino == item.inode)

    def _search(self, item: Arrival) -> Location | None:
        """Where a file is that is not where its last move put or found it: an earlier move of it did not survive a power cut."""
        for area in (Area.STAGING, Area.HELD, Area.QUEUE, Area.CLAIMS, Area.QUARANTINE):
            where = location(area, f"{item.owner or LOCAL_STAGING}/{item.id}" if area is Area.STAGING else item.id)
            if self.disk.exists(self.layout.spot(where)):
                return where
        return None

    def _take_settled(self) -> dict[ArrivalId, int]:
        with self._settled_lock:
            done, self._settled = self._settled, {}
            return done

    def _remember_settled(self, inodes: dict[ArrivalId, int]) -> None:
        with self._settled_lock:
            self._settled = inodes | self._settled


class Change:
    """One unit of work on arrivals; made by ``Moves.change``. Rows that it hands out are settled, and agree with the disk."""

    def __init__(self, moves: Moves, connection: Connection) -> None:
        self._moves = moves
        self.connection = connection
        self.now = moves.clock()
        self.failures: dict[ArrivalId, SftpgateError] = {}
        self.touched: dict[Spot, None] = {}
        self.already_settled: list[Arrival] = []
        self.completed: list[Arrival] = []  # those whose moves a crash had cut off
        self.written: list[Arrival] = []
        self._rows: dict[ArrivalId, Arrival] = {}
        self._by_path: dict[str, list[ArrivalId]] = {}
        self._loaded: set[str] = set()
        self._fresh: dict[ArrivalId, None] = {}
        self._changed: dict[ArrivalId, None] = {}
        self._events: list[Event] = []
        self._archive_names: set[str] = set()
        self.occupied: set[Location | None] = set()  # by files that could not be moved away
        self.unverified: dict[ArrivalId, str] = {}  # paths of files whose checksum file appeared too late to be compared
        self._known_places: set[Location | None] = set()
        self._vacated: set[Location] = set()

    # -- looking -----------------------------------------------------------------------------------------------------

    def load(self, paths: Iterable[str]) -> None:
        """Fetch the live arrivals of several paths at once."""
        missing = [path for path in dict.fromkeys(paths) if path not in self._loaded]
        if not missing:
            return
        self._loaded.update(missing)
        for row in arrivals.find(self.connection, live=True, paths=missing):
            self._adopt(row)

    def live_at(self, path: str) -> list[Arrival]:
        """The arrivals of ``path`` that are not at their end, in order of arrival."""
        self.load([path])
        found = [self._rows[key] for key in self._by_path.get(path, ())]
        return sorted((item for item in found if item.path == path and item.state in LIVE_STATES), key=_by_arrival)

    def get(self, arrival: str) -> Arrival:
        """The arrival with this id, settled. Raises UnknownArrival."""
        if arrival not in self._rows:
            row = arrivals.get(self.connection, ArrivalId(arrival))
            self.load([row.path])
            if row.id not in self._rows:
                self._adopt(row)
        return self._rows[ArrivalId(arrival)]

    def adopt(self, rows: Iterable[Arrival]) -> list[Arrival]:
        """Rows found by another query, settled and checked."""
        found = list(rows)
        self.load(row.path for row in found)
        return [self.get(row.id) for row in found]

    def settle_all(self) -> None:
        """Complete what an earlier change recorded and did not carry out, in the order in which it would have.

        Nobody else is in a change, so every row that is not settled is one that a crash left (or one whose holder did not
        come to clear it yet: its file is found in place).
        """
        for row in in_order_of_moves(arrivals.find(self.connection, pending=True)):
            try:
                _refuse_occupied(row, self.occupied)
                found = self._moves.settle(row, self.touched)
            except SftpgateError as error:
                # Something is in its way. It stays recorded, and must not keep the others from their moves.
                log.error("arrival.stuck", arrival=row.id, path=row.path, reason=error.message)
                self.occupied.add(row.pending_from)
                self._keep(row)
                self._known_places |= {row.location, row.pending_from}
                continue
            if found is not None:
                settled, moved_now = found
                self.already_settled.append(settled)
                self._keep(settled)
                self._known_places.add(settled.location)
                if moved_now:
                    self.completed.append(settled)
            elif row.state in LIVE_STATES:
                self.event(replace(row, pending_from=None, location=None), _how_it_went(row))
            else:
                lost = replace(row, pending_from=None, location=None, archived_as=None)
                self.put(lost)
                self.note("arrival.file_lost", lost, actor=audit.SYSTEM)

    def _adopt(self, row: Arrival) -> None:
        """Take a row in, and compare it with the disk."""
        if row.id in self._rows:
            return
        self._keep(row)
        if row.location is None or row.state not in LIVE_STATES:
            self._known_places.add(row.location)
        elif self._moves.is_at(row, row.location):
            self._known_places.add(row.location)
            # Its sender may have set its time since: what becomes of it is recorded with the time that it has.
            found = self._moves.disk.lstat(self._moves.layout.spot(row.location))
            self._keep(replace(row, mtime_ns=found.st_mtime_ns) if found is not None else row)
        else:
            self.event(replace(row, location=None), _GONE[row.state])

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

    def event(self, item: Arrival, event: ArrivalEvent, *, actor: str = audit.SYSTEM, **changes: object) -> Arrival:
        """Let something happen to an arrival: a transition of the table, with further changes. Raises IllegalTransition.

        The file moves where ``changes`` has a ``location``.
        """
        state = after(item.state, event)
        if "location" in changes:
            if item.location is not None:
                self._vacated.add(item.location)
            item = arrivals.moved(item, changes.pop("location"))  # type: ignore[arg-type]  # a Location or None, by the callers
        changed = replace(item, state=state, changed_at=self.now, **changes)  # type: ignore[arg-type]  # dataclasses.replace has no types for **
        self.put(changed)
        self.note(f"arrival.{event.replace(' ', '_')}", changed, actor=actor)
        return changed

    def put(self, item: Arrival) -> None:
        """Record a changed row."""
        self._known_places |= {item.location, item.pending_from}
        self._keep(item)
        if item.id not in self._fresh:
            self._changed.pop(item.id, None)
            self._changed[item.id] = None

    def note(self, event: str, item: Arrival, *, actor: str, **details: audit.Detail) -> None:
        """Add an event to the record of an arrival."""
        facts: dict[str, audit.Detail] = {"path": item.path, "state": item.state.value, "reason": item.hold_reason}
        known: dict[str, audit.Detail] = {name: value for name, value in (facts | details).items() if value is not None}
        self._events.append(Event(at=self.now, event=event, actor=actor, address=item.address, arrival=item.id, details=known))

    def archive_location(self, name: str) -> Location:
        """A place in the archives that nothing has, for a file called ``name``."""
        names = archive_names(name, self.now.astimezone())
        chosen = names.numbered(names.first_free(self._is_free_in_archives))
        self._archive_names.add(chosen)
        return location(Area.ARCHIVES, chosen)

    def _is_free_in_archives(self, name: str) -> bool:
        where = location(Area.ARCHIVES, name)
        return name not in self._archive_names and not self._moves.disk.exists(self._moves.layout.spot(where))

    def archive(self, item: Arrival, event: ArrivalEvent, *, actor: str = audit.SYSTEM) -> Arrival:
        """End an arrival and keep its file in the archives."""
        where = self.archive_location(item.path.rpartition("/")[2])
        return self.event(item, event, actor=actor, location=where, archived_as=path_in(where))

    def accounts_for(self, where: Location) -> bool:
        """Whether what lies at ``where`` is known to this change: a live arrival's, or one's that it moves."""
        return where in self._known_places

    def vacates(self, where: Location) -> bool:
        """Whether this change moves away what lies at ``where``."""
        return where in self._vacated

    def keep_unknown(self, where: Location, path: str) -> None:
        """Archive a file that lies at ``where`` and that the ledger does not know: no content is ever overwritten unseen."""
        found = self._moves.disk.lstat(self._moves.layout.spot(where))
        if found is None:
            return
        archived = self.archive_location(path.rpartition("/")[2])
        item = Arrival(
            id=ArrivalId(new_id(self.now)),
            owner=LOCAL_OWNER,
            path=path,
            state=ArrivalState.REPLACED,
            size=found.st_size,
            sha256="",
            grade=Grade.PLAUSIBLE,
            location=archived,
            pending_from=where,
            inode=found.st_ino,
            mtime_ns=found.st_mtime_ns,
            received_at=self.now,
            changed_at=self.now,
            source="store",
            archived_as=path_in(archived),
        )
        self.add(item)
        self.note("arrival.replaced", item, actor=audit.SYSTEM)

    def write(self) -> None:
        """Put everything into the transaction. Called once, by ``Moves.change``."""
        fresh = [self._rows[key] for key in self._fresh]
        changed = [self._rows[key] for key in self._changed]
        arrivals.add(self.connection, fresh)
        arrivals.save(self.connection, changed)
        audit.record(self.connection, self._events)
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


def _refuse_occupied(item: Arrival, occupied: Collection[Location | None]) -> None:
    """P3: a name is not taken while the file that has it could not be moved away."""
    if item.location is not None and item.location in occupied:
        raise StorageError("the earlier file of this name could not be moved away")


def _how_it_went(row: Arrival) -> ArrivalEvent:
    """What it means that a file is neither where it was nor where it shall be: from the store a plain program takes files."""
    in_store = row.pending_from is not None and area_of(row.pending_from) is Area.STORE
    return ArrivalEvent.TAKEN if in_store and (row.state, ArrivalEvent.TAKEN) in TRANSITIONS else ArrivalEvent.LOST


def in_order_of_moves(rows: Iterable[Arrival]) -> list[Arrival]:
    """A file that leaves a place goes before the file that takes it."""
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
    """Sorts in order of arrival; what the ledger has not numbered yet is the newest."""
    return item.seq == 0, item.seq


def _note(spot: Spot) -> Spot:
    return spot.parent / f"{spot.name}.json"
