"""What people and programs of this machine do in the store: deposit a file, rename one, remove one (``sftpgate store``).

A deposit is an arrival like any other, without an owner: its bytes go to staging, and one change records it and gives
it its name, so that it waits, queues, replaces and is held by the same rules (promises P1, P2, P3). What happens to
the file of an arrival goes through a change too, or the ledger would take it for a file that a program has taken.
Files that the ledger does not know are renamed and removed under the store's lock, so that no change finds them
half-way.

A crash leaves a staging file, which the sweeper removes after ``partial_ttl``, or what a crash of a change leaves
(see ``moves``). Everything blocks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import BinaryIO, Protocol

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
from sftpgate.intake.changes import Change
from sftpgate.intake.digest import Digest
from sftpgate.intake.drafts import local_arrival
from sftpgate.intake.ids import new_id
from sftpgate.intake.moves import Moves
from sftpgate.intake.placing import Placer
from sftpgate.intake.trees import Trees
from sftpgate.ledger import arrivals
from sftpgate.ledger.actor import Actor
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival, ArrivalId
from sftpgate.policy.lifecycle import UNCLAIMED_STATES, Area, ArrivalEvent, ArrivalState
from sftpgate.policy.locations import LOCAL_STAGING, location
from sftpgate.policy.names import parent
from sftpgate.policy.tools import tools_into
from sftpgate.store.depot import Depot, DepotPath, is_utf8, require_storable, require_writable
from sftpgate.store.descriptors import try_lock
from sftpgate.store.spots import Spot

CHUNK_BYTES = 1024 * 1024

Progress = Callable[[int], None]


class Removals(Protocol):
    """Tells the sender of a file that an admin removes it (``runners/notices.py``)."""

    def removal(self, item: Arrival) -> AbstractContextManager[Spot | None]:
        """What the sender is told, staged for the block; None where there is nobody to tell."""

    def publish_removal(self, change: Change, item: Arrival, spot: Spot | None) -> None:
        """Publish it, in the change that removes the file."""


class Deposits:
    """Changes what is in the store, for ``actor``, a person of this machine. ``free_space_floor`` in bytes."""

    def __init__(self, moves: Moves, placer: Placer, actor: Actor, *, max_upload_bytes: int, free_space_floor: int) -> None:
        self._moves = moves
        self._disk = moves.disk
        self._layout = moves.layout
        self._placer = placer
        self._actor = actor
        self._max_bytes = max_upload_bytes
        self._floor = free_space_floor
        self.depot = Depot(moves.layout, moves.disk)

    # -- depositing --------------------------------------------------------------------------------------------------

    def put(self, source: BinaryIO, path: DepotPath, progress: Progress | None = None) -> Arrival:
        """Make all of ``source`` an arrival at ``path``, and return it.

        Raises PlaceRefused, NameRefused, NoSuchFile (no such directory), IsADirectory, OwnedByAnother, TooLarge or
        StorageError; nothing was deposited then.
        """
        require_storable(path)
        self._require_directory(parent(path))
        if self._disk.free_bytes(self._layout.store) < self._floor:
            raise NoSpace("the store's disk has less free space than its floor (rule: free_space_floor)")
        upload = ArrivalId(new_id(self._moves.clock()))
        spot = self._layout.staging(LOCAL_STAGING) / upload
        fd = self._create(spot)
        try:
            try:
                draft = self._receive(fd, source, upload, path, progress)
            except BaseException:
                self._disk.unlink(spot, missing_ok=True)
                raise
            return self._admit(draft, spot)
        finally:
            os.close(fd)

    def _create(self, spot: Spot) -> int:
        try:
            fd = self._disk.create(spot, 0o600)
        except NoSuchFile:
            self._disk.make_dirs(spot.parent, 0o700)
            fd = self._disk.create(spot, 0o600)
        try_lock(fd)  # the sweeper leaves it alone for as long as we live
        return fd

    def _receive(self, fd: int, source: BinaryIO, upload: ArrivalId, path: str, progress: Progress | None) -> Arrival:
        """Everything that can be done for the file alone, up to the flush."""
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
        self._disk.set_mode(fd, self._moves.modes.file_mode, self._moves.modes.gid)
        if self._moves.durable:
            self._disk.sync(fd)
        status, now = os.fstat(fd), self._moves.clock()
        draft = local_arrival(path, status, sha256=sha256, now=now, source="put")
        return replace(draft, id=upload, pending_from=location(Area.STAGING, f"{LOCAL_STAGING}/{upload}"))

    def _admit(self, draft: Arrival, spot: Spot) -> Arrival:
        self._placer.prepare([draft])
        with self._moves.change() as change:
            try:
                self._require_mine(change, draft.path)
                arrival = self._placer.admit(change, draft, actor=self._actor)
            except SftpgateError:
                self._disk.unlink(spot)  # only before the commit: after it the bytes are the arrival's, whatever fails
                raise
        _raise_failure(change, arrival.id)
        self._placer.look_again([*self._placer.spoken_of([draft.path]), *change.unverified.values()])
        return arrival

    def _require_mine(self, change: Change, path: str) -> None:
        """The admin may take a user's file away, but not by accident."""
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
        with self._disk.locked(self._layout.lock):
            self._disk.make_dir(self.depot.spot(path), self._moves.modes.dir_mode, self._moves.modes.gid)
            self._disk.sync_dirs([self.depot.spot(path).parent])

    def move(self, old: DepotPath, new: DepotPath, *, force: bool = False) -> Arrival | int | None:
        """Give a file or directory another path, and return its arrival if it is one's, or how many moved with a directory.
        Never replaces anything; ``force``: even where a tool would get nothing any more.

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
            return Trees(self._moves, self._placer, self.depot, self._actor).move(old, new)
        with self._moves.ledger.reading() as connection:
            rows = arrivals.find(connection, live=True, paths=[old]) if is_utf8(old) else []
        self._placer.prepare(replace(row, path=new) for row in rows)
        with self._moves.change() as change:
            if self.depot.find(new) is not None or any(item.state in UNCLAIMED_STATES for item in change.line_at(new)):
                raise AlreadyExists("there is already something of the new name (rule: nothing is replaced by a move)")
            item = self._waiting_at(change, old)
            if item is None:
                self._require_unread(old)
                self._rename_unknown(old, new)
                return None
            moved = self._placer.move(change, item, new, actor=self._actor)
        _raise_failure(change, moved.id)
        self._placer.look_again(change.unverified.values())
        return moved

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
        if self._moves.consumer is not None and self._moves.consumer.sweeps(location(Area.STORE, path)):
            self._moves.consumer.require_absent()

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
            change = stack.enter_context(self._moves.change())
            if there.is_dir:
                self._refuse_live_below(change, path)
                self._remove_directory(path)
                return None
            item = self._waiting_at(change, path)
            if (item.id if item else None) != (seen.id if seen else None):
                raise Refused("another file has taken this name at this moment: look again (`sftpgate store ls`)")
            if item is None:
                self._require_unread(path)
                self._disk.unlink(self.depot.spot(path))
                self._disk.sync_dirs([self.depot.spot(path).parent])
                return None
            removed = discard(change, self._placer, item, actor=self._actor)
            notices.publish_removal(change, removed, report)
        _raise_failure(change, removed.id)
        return removed

    def _seen_at(self, path: DepotPath) -> Arrival | None:
        """The arrival whose file seems to lie at ``path``: a change has to look again."""
        if not is_utf8(path):
            return None
        with self._moves.ledger.reading() as connection:
            rows = arrivals.find(connection, live=True, paths=[path])
        return next((row for row in rows if row.location == location(Area.STORE, path)), None)

    def _waiting_at(self, change: Change, path: DepotPath) -> Arrival | None:
        """The arrival whose file lies in the store at ``path``."""
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
        source, target = self.depot.spot(old), self.depot.spot(new)
        self._disk.rename(source, target, replacing=False)
        self._disk.sync_dirs([target.parent, source.parent])

    def _remove_directory(self, path: DepotPath) -> None:
        spot = self.depot.spot(path)
        try:
            self._disk.remove_dir(spot)
        except DirectoryNotEmpty as error:
            raise DirectoryNotEmpty("the directory is not empty: remove what is in it first") from error
        self._disk.sync_dirs([spot.parent])

    def _require_directory(self, path: str) -> None:
        if not self.depot.is_dir(DepotPath(path)):
            raise NoSuchFile("there is no such directory in the store (`sftpgate store mkdir` makes one)")


# -- what an admin decides about an arrival --------------------------------------------------------------------------


def discard(change: Change, placer: Placer, item: Arrival, *, actor: Actor) -> Arrival:
    """Remove the file of an arrival that no runner has; the next of its queue comes up. Raises IllegalTransition where a
    runner has it, or had.
    """
    discarded = change.event(item, ArrivalEvent.DISCARDED, actor=actor, location=None)
    placer.advance(change, item.path)
    return discarded


def release(change: Change, placer: Placer, item: Arrival, *, actor: Actor) -> Arrival:
    """Let a held or quarantined arrival into the store, whatever held it back; one from quarantine gets all its attempts again.

    Raises Refused where it waits already, was processed, or an arrival that came later took its place.
    """
    if item.state not in (ArrivalState.HELD, ArrivalState.QUARANTINED):
        raise Refused(f"this arrival is {item.state}: only one that is held or in quarantine can be released")
    fresh = replace(item, attempts=0, not_before=None)
    return placer.reconsider(change, fresh, actor=actor, release=True)


def _raise_failure(change: Change, arrival: ArrivalId) -> None:
    failure: SftpgateError | None = change.failures.get(arrival)
    if failure is not None:
        raise failure
