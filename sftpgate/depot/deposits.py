"""What people and programs of this machine do in the store: deposit a file, rename one, remove one (``sftpgate store``).

A deposit is an arrival like any other, without an owner: its bytes go to staging, and one change records it and gives
it its name, so that it waits, queues, replaces and is held by the same rules (promises P1, P2, P3). What happens to
the file of an arrival goes through a change too, or the ledger would take it for a file that a program has taken.
Files that the ledger does not know are renamed and removed under the store's lock, so that no change finds them
half-way.

A crash leaves a staging file, which the sweeper removes after ``partial_ttl``, or what a crash of a change leaves
(see ``handover.journal``). Everything blocks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import BinaryIO, Protocol

from sftpgate.depot.depot import Depot, DepotPath, is_utf8, require_storable, require_writable
from sftpgate.depot.trees import Trees
from sftpgate.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    NameRefused,
    NoSpace,
    NoSuchFile,
    OwnedByAnother,
    Refused,
    SftpgateError,
    TooLarge,
)
from sftpgate.handover.changes import Change
from sftpgate.handover.guard import Guard
from sftpgate.handover.journal import Journal
from sftpgate.handover.local_arrivals import local_arrival
from sftpgate.handover.placement.placer import Placer
from sftpgate.handover.resources import Resources
from sftpgate.ids import new_id
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival, ArrivalId
from sftpgate.ledger.audit.actor import Actor
from sftpgate.ledger.contracts import undos
from sftpgate.policy.checks import check_of
from sftpgate.policy.clocks import is_due
from sftpgate.policy.lifecycle import UNCLAIMED_STATES, Area, ArrivalEvent, ArrivalState, HoldReason
from sftpgate.policy.locations import LOCAL_STAGING, location
from sftpgate.policy.names import parent
from sftpgate.policy.pointers import tools_into
from sftpgate.store.digest import Digest
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.kernel.open_files import try_lock

CHUNK_BYTES = 1024 * 1024

Progress = Callable[[int], None]


class Removals(Protocol):
    """Tells the sender of a file that an admin removes it (``upkeep/notices.py``)."""

    def removal(self, item: Arrival) -> AbstractContextManager[DiskPath | None]:
        """Return what the sender is told, staged for the block; None if there is nobody to tell."""

    def publish_end(self, change: Change, item: Arrival, disk_path: DiskPath | None) -> None:
        """Publish it, in the change that removes the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What was moved, to ``path``: a file, with its arrival if it is one's, or a directory, with so many ``arrivals`` in it."""

    path: str
    is_directory: bool = False
    arrival: Arrival | None = None
    arrivals: int = 0


class Deposits:
    """Changes what is in the store, for ``actor``, a person of this machine. ``free_space_floor`` in bytes."""

    def __init__(
        self,
        resources: Resources,
        journal: Journal,
        placer: Placer,
        actor: Actor,
        *,
        max_upload_bytes: int,
        free_space_floor: int,
    ) -> None:
        self._resources = resources
        self._journal = journal
        self._disk = resources.disk
        self._layout = resources.layout
        self._placer = placer
        self._guard = Guard(resources, journal, placer)
        self._actor = actor
        self._max_bytes = max_upload_bytes
        self._floor = free_space_floor
        self.depot = Depot(resources.layout, resources.disk)

    # -- depositing --------------------------------------------------------------------------------------------------

    def put(self, source: BinaryIO, path: DepotPath, progress: Progress | None = None) -> Arrival:
        """Make all of ``source`` an arrival at ``path``, and return it.

        Raises PlaceRefused, NameRefused, NoSuchFile (no such directory), IsADirectory, OwnedByAnother, TooLarge or
        StorageError; nothing was deposited then.
        """
        require_storable(path)
        self._require_directory(parent(path))
        return self._deposit(source, path, "put", self._require_mine, progress)

    def put_to_undo(self, source: BinaryIO, path: DepotPath, undone: ArrivalId, *, is_commands: bool) -> Arrival:
        """Make all of ``source``, which undoes what a run on ``undone`` did, an arrival that is held until people approve it.

        It takes nobody's place, whoever has files of that name. Raises as ``put``.
        """

        def note(change: Change, made: Arrival) -> None:
            undos.add(change.connection, made.id, undone=undone, is_commands=is_commands, at=change.now)
            change.note("arrival.made_to_undo", made, actor=self._actor, undone=undone)

        return self._deposit(source, path, undos.SOURCE, None, None, note)

    def _deposit(
        self,
        source: BinaryIO,
        path: DepotPath,
        kind: str,
        require: Callable[[Change, str], None] | None,
        progress: Progress | None,
        note: Callable[[Change, Arrival], None] | None = None,
    ) -> Arrival:
        """Make an arrival of the source ``kind``. ``require`` may refuse it in the change, and ``note`` adds to that."""
        if self._disk.free_bytes(self._layout.store) < self._floor:
            raise NoSpace("the store's disk has less free space than its floor (rule: free_space_floor)")
        upload = ArrivalId(new_id(self._resources.clock()))
        disk_path = self._layout.staging(LOCAL_STAGING) / upload
        fd = self._create(disk_path)
        try:
            try:
                local = replace(self._receive(fd, source, upload, path, progress), source=kind)
            except BaseException:
                self._disk.unlink(disk_path, missing_ok=True)
                raise
            self._guard.judge(local)  # what cannot be judged now is judged where it is held
            return self._admit(local, disk_path, require, note)
        finally:
            os.close(fd)

    def _create(self, disk_path: DiskPath) -> int:
        try:
            fd = self._disk.create(disk_path, 0o600)
        except NoSuchFile:
            self._disk.make_dirs(disk_path.parent, 0o700)
            fd = self._disk.create(disk_path, 0o600)
        try_lock(fd)  # the sweeper leaves it alone for as long as we live
        return fd

    def _receive(self, fd: int, source: BinaryIO, upload: ArrivalId, path: str, progress: Progress | None) -> Arrival:
        """Do everything that can be done for the file alone, up to the flush."""
        digest, size = Digest(), 0
        while chunk := source.read(CHUNK_BYTES):
            if size + len(chunk) > self._max_bytes:
                raise TooLarge(self._max_bytes)
            self._disk.write(fd, size, chunk)
            digest.written(size, [chunk])
            size += len(chunk)
            if progress is not None:
                progress(size)
        sha256 = digest.finish(fd, size)
        self._disk.set_mode(fd, self._resources.modes.file_mode, self._resources.modes.gid)
        if self._resources.durable:
            self._disk.sync(fd)
        status, now = os.fstat(fd), self._resources.clock()
        local = local_arrival(path, status, sha256=sha256, now=now, source="put")
        return replace(local, id=upload, pending_from=location(Area.STAGING, f"{LOCAL_STAGING}/{upload}"))

    def _admit(
        self,
        local: Arrival,
        disk_path: DiskPath,
        require: Callable[[Change, str], None] | None,
        note: Callable[[Change, Arrival], None] | None,
    ) -> Arrival:
        self._placer.companions.hash_first([local])
        with self._journal.change() as change:
            try:
                if require is not None:
                    require(change, local.path)
                arrival = self._placer.admit(change, local, actor=self._actor)
                if note is not None:
                    note(change, arrival)
            except SftpgateError:
                self._disk.unlink(disk_path)  # only before the commit: after it the bytes are the arrival's, whatever fails
                raise
        _raise_failure(change, arrival.id)
        self._placer.second_looks.at([*self._placer.second_looks.spoken_of([local.path]), *change.unverified.values()])
        return arrival

    def _require_mine(self, change: Change, path: str) -> None:
        """Refuse a user's file: the admin may take it away, but not by accident."""
        for item in change.line_at(path):
            if item.owner != LOCAL_OWNER and item.state in UNCLAIMED_STATES:
                raise OwnedByAnother(
                    f"a file of this name from the user {item.owner} is {item.state}: "
                    f"choose another name, or `sftpgate discard {item.id}` first"
                )

    # -- changing names ----------------------------------------------------------------------------------------------

    def make_directory(self, path: DepotPath) -> None:
        """Make a directory in the store. Raises AlreadyExists, NoSuchFile, PlaceRefused or NameRefused."""
        require_storable(path)
        self._require_directory(parent(path))
        with self._journal.locks.names():
            self._disk.make_dir(self.depot.disk_path(path), self._resources.modes.dir_mode, self._resources.modes.gid)
            self._disk.sync_dirs([self.depot.disk_path(path).parent])

    def move(self, old: DepotPath, new: DepotPath, *, force: bool = False) -> Moved:
        """Give a file or directory another path. Never replaces anything; ``force``: even if a tool would get nothing any more.

        Raises NoSuchFile, AlreadyExists, PlaceRefused, NameRefused, Refused or StorageError.
        """
        require_writable(old)
        require_storable(new)
        there = self.depot.require(old)
        if f"{new}/".startswith(f"{old}/"):
            raise Refused("a file or directory cannot be moved onto or into itself")
        self._require_directory(parent(new))
        if not force:
            self._refuse_breaking(old, new if is_utf8(new) else None)
        if there.is_dir:
            if self.depot.find(new) is not None:
                raise AlreadyExists("there is already something of the new name (rule: nothing is replaced by a move)")
            trees = Trees(self._resources, self._journal, self._placer, self.depot, self._actor)
            return Moved(path=new, is_directory=True, arrivals=trees.move(old, new))
        with self._resources.ledger.reading() as connection:
            rows = arrivals.find(connection, live=True, paths=[old]) if is_utf8(old) else []
        self._placer.companions.hash_first(replace(row, path=new) for row in rows)
        with self._journal.change() as change:
            if self.depot.find(new) is not None or any(item.state in UNCLAIMED_STATES for item in change.line_at(new)):
                raise AlreadyExists("there is already something of the new name (rule: nothing is replaced by a move)")
            item = self._waiting_at(change, old)
            if item is None:
                self._require_unread(old)
                self._rename_unknown(old, new)
                return Moved(path=new)
            moved = self._placer.move(change, item, new, actor=self._actor)
        _raise_failure(change, moved.id)
        self._placer.second_looks.at(change.unverified.values())
        return Moved(path=new, arrival=moved)

    def _refuse_breaking(self, old: DepotPath, new: DepotPath | None = None) -> None:
        """Refuse what would leave a tool without its files, or a file under a name that no tool ever gets."""
        if tools := tools_into(old, self._placer.rules.pointers()):
            raise Refused(
                f"tools.{tools[0]} is pointed into {old}: `sftpgate tool point {tools[0]} FILE` first, or say --force "
                "(rule: a tool keeps its directory)"
            )
        if new is not None and not self._placer.rules.names.eligible(new):
            raise NameRefused(
                f"no tool ever gets a file of such a name (rule: {self._placer.rules.names.eligibility(new)} names): "
                "choose another one, or say --force"
            )

    def _require_unread(self, path: DepotPath) -> None:
        if self._journal.consumer is not None and self._journal.consumer.sweeps(location(Area.STORE, path)):
            self._journal.consumer.require_absent()

    def remove(self, path: DepotPath, notices: Removals, *, force: bool = False) -> Arrival | None:
        """Remove a file or an empty directory; returns the arrival if it was one's, discarded, of which its sender is told.
        Raises as ``move``.
        """
        require_writable(path)
        there = self.depot.require(path)
        if there.is_dir and not force:
            self._refuse_breaking(path)
        seen = None if there.is_dir else self._seen_at(path)
        with contextlib.ExitStack() as stack:
            report = stack.enter_context(notices.removal(seen)) if seen else None
            change = stack.enter_context(self._journal.change())
            if there.is_dir:
                self._refuse_live_below(change, path)
                self._remove_directory(path)
                return None
            item = self._waiting_at(change, path)
            if (item.id if item else None) != (seen.id if seen else None):
                raise Refused("another file has taken this name at this moment: look again (`sftpgate store ls`)")
            if item is None:
                self._require_unread(path)
                self._disk.unlink(self.depot.disk_path(path))
                self._disk.sync_dirs([self.depot.disk_path(path).parent])
                return None
            removed = discard(change, self._placer, item, actor=self._actor)
            notices.publish_end(change, removed, report)
        _raise_failure(change, removed.id)
        return removed

    def _seen_at(self, path: DepotPath) -> Arrival | None:
        """Return the arrival whose file seems to lie at ``path``: a change has to look again."""
        if not is_utf8(path):
            return None
        with self._resources.ledger.reading() as connection:
            rows = arrivals.find(connection, live=True, paths=[path])
        return next((row for row in rows if row.location == location(Area.STORE, path)), None)

    def _waiting_at(self, change: Change, path: DepotPath) -> Arrival | None:
        """Return the arrival whose file lies in the store at ``path``."""
        where = location(Area.STORE, path)
        if not is_utf8(path):
            return None
        return next((item for item in change.line_at(path) if item.location == where), None)

    def _refuse_live_below(self, change: Change, path: DepotPath) -> None:
        rows = arrivals.find(change.connection, live=True, below=path) if is_utf8(path) else []
        waiting = [row for row in change.adopt(rows) if row.state in UNCLAIMED_STATES]
        if waiting:
            raise Refused(
                f"{len(waiting)} files in this directory wait to be processed: "
                "remove them one by one (rule: no file goes unrecorded)"
            )

    def _rename_unknown(self, old: DepotPath, new: DepotPath) -> None:
        source, target = self.depot.disk_path(old), self.depot.disk_path(new)
        self._disk.rename(source, target, replacing=False)
        self._disk.sync_dirs([target.parent, source.parent])

    def _remove_directory(self, path: DepotPath) -> None:
        disk_path = self.depot.disk_path(path)
        try:
            self._disk.remove_dir(disk_path)
        except DirectoryNotEmpty as error:
            raise DirectoryNotEmpty("the directory is not empty: remove what is in it first") from error
        self._disk.sync_dirs([disk_path.parent])

    def _require_directory(self, path: str) -> None:
        if not self.depot.is_dir(DepotPath(path)):
            raise NoSuchFile("there is no such directory in the store (`sftpgate store mkdir` makes one)")


# -- what an admin decides about an arrival --------------------------------------------------------------------------


def discard(change: Change, placer: Placer, item: Arrival, *, actor: Actor) -> Arrival:
    """Remove the file of an arrival that no runner has; the next of its queue comes up. Raises IllegalTransition if a
    runner has it, or had.
    """
    discarded = change.event(item, ArrivalEvent.DISCARDED, actor=actor, location=None)
    placer.queues.advance(change, item.path)
    return discarded


def release(change: Change, placer: Placer, item: Arrival, *, actor: Actor) -> Arrival:
    """Let a held or quarantined arrival into the store, whatever held it back, but for the contract of its tool; one from
    quarantine gets all its attempts again.

    One that waits for its next try is due at once. One that a backup brought back goes where it would be if it came now, and
    may be held for another reason. Raises Refused if it waits for a runner alone, was processed, an arrival that
    came later took its place, or the contract of its tool holds it.
    """
    if item.state in (ArrivalState.WAITING, ArrivalState.QUEUED) and not is_due(item.not_before, item.changed_at, change.now):
        due = replace(item, not_before=None)
        change.put(due)
        change.note("arrival.due", due, actor=actor)
        return due
    if item.state not in (ArrivalState.HELD, ArrivalState.QUARANTINED):
        raise Refused(f"this arrival is {item.state}: only one that is held, in quarantine, or put off can be released")
    fresh = replace(item, attempts=0, not_before=None)
    placed = placer.reconsider(change, fresh, actor=actor, release=True)
    if placed.hold_reason is not None and item.hold_reason is not HoldReason.RESTORED:
        raise Refused(
            "the contract of its tool was not asked yet: try again in a moment"
            if check_of(placed.hold_reason).awaits_verdict
            else f"the contract of its tool holds it: `sftpgate show {item.id}` says why, and `sftpgate diff {item.id}` "
            f"what it would do; then `sftpgate approve {item.id} --reason …`, or `sftpgate reject {item.id} --reason …`"
        )
    return placed


def _raise_failure(change: Change, arrival: ArrivalId) -> None:
    failure: SftpgateError | None = change.failures.get(arrival)
    if failure is not None:
        raise failure
