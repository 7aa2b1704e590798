"""What a sender does to its files besides writing them: open again, rename, remove, set times, make directories (promise
P5).

The semantics are those that clients expect of any SFTP server, on the union of docs/promises.md. Paths are relative to the
drop and were checked by the gateway to be in it; names that are made here are checked here. Everything blocks. Each
function is one commit, or none.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sftpgate.errors import (
    AlreadyExists,
    AppendRefused,
    DirectoryNotEmpty,
    FileExchanged,
    HomeTaken,
    IsADirectory,
    NoSuchFile,
    NotADirectory,
    PathIsAFile,
    Refused,
    SftpgateError,
    TakenMeanwhile,
)
from sftpgate.intake.changes import Change
from sftpgate.intake.directory_renames import DirectoryRenames, Plan
from sftpgate.intake.drafts import local_arrival
from sftpgate.intake.homes import ways_to
from sftpgate.intake.local import digest_and_flush, is_unchanged, opened
from sftpgate.intake.moves import SLICE, Moves
from sftpgate.intake.placing import Placer
from sftpgate.intake.publish import Publisher
from sftpgate.intake.room import Room
from sftpgate.intake.staging import Partial, Staging
from sftpgate.intake.undo import try_again
from sftpgate.intake.union import Item, Union
from sftpgate.intake.uploads import Sender, SessionTrace, Upload
from sftpgate.ledger import arrivals
from sftpgate.ledger.actor import SYSTEM
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.policy.appending import TAIL_TIME, is_tail
from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import LIVE_STATES, UNCLAIMED_STATES, Area, ArrivalEvent, ArrivalState, HoldReason
from sftpgate.policy.locations import location
from sftpgate.policy.names import check_storable, parent


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMode:
    """How a client opens a file for writing: the flags of filexfer-02 §6.3 but READ and WRITE, and the size that it declares."""

    create: bool
    truncate: bool
    exclusive: bool
    append: bool
    declared_size: int | None = None


class Edits:
    """The acts of senders. One instance per process."""

    def __init__(self, moves: Moves, placer: Placer, staging: Staging, union: Union, publisher: Publisher, room: Room) -> None:
        self._moves = moves
        self._disk = moves.disk
        self._layout = moves.layout
        self._placer = placer
        self._staging = staging
        self._union = union
        self._publisher = publisher
        self.room = room
        self._renames = DirectoryRenames(moves, placer, self._make_directory, self._remove_directory)

    # -- opening -----------------------------------------------------------------------------------------------------

    def open_for_writing(
        self, sender: Sender, path: str, mode: OpenMode, trace: SessionTrace, uploads: Sequence[Upload]
    ) -> Upload:
        """A new upload to ``path``: empty, or continuing what is there. ``uploads`` are the open ones of the user."""
        with self._disk.at_a_stretch():
            return self._open(sender, path, mode, trace, uploads)

    def _open(self, sender: Sender, path: str, mode: OpenMode, trace: SessionTrace, uploads: Sequence[Upload]) -> Upload:
        check_storable(path)
        self._require_parent(sender, path)
        sight = self._union.look(sender.user, path, uploads)
        there = sight.item
        if there is None:
            self._placer.rules.homes.require_no_home(path)
            self._placer.refuse_foreign(sight.rows, path, owner=sender.user, home=sender.home)
            self._refuse_hidden_directory(path)
            if not mode.create:
                raise NoSuchFile()
            if mode.append and not mode.truncate:
                self._refuse_tail(sender.user, path)
        elif there.is_dir:
            raise IsADirectory()
        elif mode.create and mode.exclusive:
            raise AlreadyExists()
        continued = None if mode.truncate or there is None else self._to_continue(sender.user, path, there)
        quotas, budget = self.room.require(sender.user)
        copied_bytes = continued.size if continued is not None and self._is_continued_on_a_copy(continued) else 0
        replaced_bytes = copied_bytes if continued is not None and continued.arrival is not None else 0
        budget.require(copied_bytes, replaced_bytes)
        if copied_bytes:
            self.room.require_free_space(copied_bytes)
        if continued is None:
            upload = self._staging.create(sender, path, trace, declared_size=mode.declared_size)
        else:
            upload = self._continue(continued, sender, path, trace)
        try:
            if mode.append:
                upload.continue_at_end()
            if not mode.truncate:
                upload.is_truncated = False
                if upload.goes_on_with is not None or self._staging.has_others(upload):
                    self._staging.note(upload)  # they learn of it when they are closed
            upload.max_bytes, upload.budget, upload.replaced_bytes = quotas.max_upload_bytes, budget, replaced_bytes
            upload.max_archived_bytes = quotas.max_pending_bytes
            budget.charge(copied_bytes)
            if mode.declared_size is not None:
                upload.require_size(mode.declared_size)
        except SftpgateError:
            self._staging.interrupt(upload)  # nobody has its handle, and it would count as open
            raise
        return upload

    def _is_continued_on_a_copy(self, there: Item) -> bool:
        """Whether a writer gets a copy of what is there: of all but an interrupted upload that nobody has open."""
        return there.partial is None or self._staging.is_open(there.partial)

    def _refuse_tail(self, user: str, path: str) -> None:
        """Refuse an append to a file that a tool has just taken: what comes would be a file without its beginning."""
        with self._moves.ledger.reading() as connection:
            last = arrivals.last_of(connection, path, user)
        if last is not None and is_tail(last.state, self._moves.clock() - last.changed_at):
            hour = int(TAIL_TIME.total_seconds()) // 60
            raise AppendRefused(
                "a tool has taken the file of this name, so what is appended now would be a file without its beginning: send it "
                f"without APPEND, as a file of its own, or append {hour} minutes after that "
                "(rule: an append goes to the end of a file that waits)"
            )

    def _to_continue(self, user: str, path: str, there: Item) -> Item:
        """What an OPEN without truncation goes on with.

        While another handle changes a copy of a finished file, that file and not the copy: whoever closes first has it, and
        the other one is told.
        """
        if there.upload is not None:
            is_edited = there.upload.is_edit
        else:
            is_edited = there.partial is not None and there.partial.continues is not None and self._staging.is_open(there.partial)
        if not is_edited:
            return there
        finished = self._union.finished(user, path)
        if finished is None or finished.is_dir:
            raise TakenMeanwhile()
        return finished

    def _continue(self, there: Item, sender: Sender, path: str, trace: SessionTrace) -> Upload:
        if there.partial is not None:
            return self._staging.resume(there.partial, sender, trace)
        trusted = there.upload.trusted_bytes if there.upload is not None else None
        upload = self._copy_of(there, sender, path, trace, trusted_bytes=trusted)
        if there.upload is not None and upload.size:
            upload.goes_on_with = there.upload.id
        self._is_made_of(upload, there, path)
        return upload

    def _is_made_of(self, upload: Upload, there: Item, path: str) -> None:
        """Say of a copy which finished file it is to replace."""
        if there.arrival is not None:
            upload.continues = there.arrival.id
        elif there.upload is None:
            upload.continues_local = local_arrival(path, there.status, sha256="", now=self._moves.clock(), source="continued")

    def _copy_of(
        self, there: Item, sender: Sender, path: str, trace: SessionTrace, *, trusted_bytes: int | None = None
    ) -> Upload:
        reading = self._union.open_read(there)
        try:
            return self._staging.copy_of(reading, sender, path, trace, trusted_bytes=trusted_bytes)
        finally:
            os.close(reading)

    def _refuse_hidden_directory(self, path: str) -> None:
        if self._disk.is_dir(self._layout.spot(location(Area.STORE, path))) and not self._union.is_directory(path):
            raise IsADirectory("a directory of this name is in the store (rule: one name is one file)")

    # -- changing what is there --------------------------------------------------------------------------------------

    def rename(self, sender: Sender, old: str, new: str, *, replacing: bool, uploads: Sequence[Upload]) -> None:
        """Give a file or directory another path; ``replacing``: also where a file has it (``posix-rename@openssh.com``)."""
        check_storable(new)
        there = self._require(sender.user, old, uploads)
        self._require_parent(sender, new)
        if old == new:
            return
        if there.is_dir:
            self._refuse_lock_directory(sender, new)
            self._placer.rules.homes.require_no_home(old)
        sight = self._union.look(sender.user, new, uploads)
        target = sight.item
        if target is None:
            self._placer.refuse_foreign(sight.rows, new, owner=sender.user, home=sender.home)
            self._refuse_hidden_directory(new)
        elif target.is_dir and not there.is_dir:
            raise IsADirectory("a directory has the new name")
        elif target.is_dir:
            self._require_empty(sender, new, uploads, replacing=replacing)
        elif there.is_dir and replacing:
            raise PathIsAFile("a file has the new name")
        elif not replacing:
            raise AlreadyExists("there is already a file of the new name")
        if there.is_dir:
            unfinished = [upload.path for upload in uploads] + [partial.path for partial in self._staging.partials(sender.user)]
            if any(path.startswith(f"{old}/") for path in unfinished):
                raise Refused("the directory has uploads that are not finished: finish or remove them first")
            self._renames.rename(
                sender.actor,
                Plan(user=sender.user, old=old, new=new),
                require_directories=lambda count: self.room.require_moved_directories(sender.user, old, new, count),
            )
        elif there.upload is not None:
            self._refuse_unfinished(new)
            there.upload.renamed(new)
            if there.upload.noted:
                self._staging.note(there.upload)
        elif there.partial is not None:
            self._refuse_open(there.partial)
            self._refuse_unfinished(new)
            self._staging.rename_partial(there.partial, new)
        else:
            self._rename_file(sender, there, old, new)

    def _require_empty(self, sender: Sender, directory: str, uploads: Sequence[Upload], *, replacing: bool) -> None:
        """A directory takes the place of an empty one only, and only where that is asked for."""
        if not replacing:
            raise AlreadyExists()
        self._placer.rules.homes.require_no_home(directory)
        self._require_nothing_in(sender, directory, uploads)

    def _refuse_open(self, partial: Partial) -> None:
        """Another worker has the upload open, and would go on under the old name."""
        if self._staging.is_open(partial):
            raise Refused("another session is still uploading this file: end it, or try again when it was found dead")

    def _refuse_unfinished(self, new: str) -> None:
        if self._placer.rules.names.eligible(new):
            raise Refused(
                "the upload of this file was not finished: resume it or send it again "
                "(rule: an unfinished upload gets no final name)"
            )

    def _rename_file(self, sender: Sender, there: Item, old: str, new: str) -> None:
        draft = None if there.arrival is not None else self.draft_of_local(old, sender.home, new, self._moves.clock())
        about = draft or there.arrival
        assert about is not None
        self._placer.prepare([replace(about, path=new)])
        before: Arrival | None = None
        with self._moves.change() as change:
            if draft is not None:
                if not is_unchanged(self._moves, draft, location(Area.DROP, old)):
                    raise FileExchanged()
                if self._placer.rules.names.is_batch_lock(new, sender.home):
                    draft = replace(draft, owner=sender.user)  # nobody's file becomes this sender's lock
                moved = self._placer.admit(change, draft, actor=sender.actor)
            else:
                item = before = change.get(about.id)
                if item.state not in UNCLAIMED_STATES or item.path != old:
                    raise NoSuchFile()
                if item.state is ArrivalState.IGNORED and self._placer.rules.names.eligible(new):
                    item = replace(item, grade=Grade.PROVEN)
                moved = self._placer.move(change, item, new, actor=sender.actor)
        for failure in try_again(self._moves, self._placer, change, {moved.id: before}).failures.values():
            raise failure
        self._staging.remove_partials(sender.user, new)
        self._placer.look_again(change.unverified.values())
        self.names_changed(sender.home, gone=[old], appeared=[new])

    def draft_of_local(self, path: str, home: str, new_path: str, now: datetime) -> Arrival:
        """The draft of an arrival for a file that lies in the drop and that nobody sent; it is made durable on the way.

        Raises LinkedFile for a file that has other names.
        """
        with opened(self._moves, location(Area.DROP, path)) as fd:
            return self.draft_of_open(fd, path, home, new_path, now)

    def draft_of_open(self, fd: int, path: str, home: str, new_path: str, now: datetime, *, flush: bool = True) -> Arrival:
        """The same for an open one; ``flush``: not where the caller makes it durable."""
        sha256 = digest_and_flush(self._moves, fd, flush=flush)
        self._disk.set_mode(fd, self._moves.modes.file_mode, self._moves.modes.gid)
        draft = local_arrival(new_path, os.fstat(fd), sha256=sha256, now=now, source="drop")
        return replace(draft, home=home, pending_from=location(Area.DROP, path))

    def remove(self, sender: Sender, path: str, uploads: Sequence[Upload]) -> None:
        """Remove a file: an unclaimed arrival is withdrawn, an unfinished upload forgotten."""
        there = self._require(sender.user, path, uploads)
        if there.is_dir:
            raise IsADirectory()
        if there.partial is not None:
            self._refuse_open(there.partial)
        for upload in uploads:
            if upload.path == path:
                upload.dropped()
        self._staging.remove_partials(sender.user, path)
        withdrawn = self._withdraw(sender, path, there)
        while withdrawn == SLICE:
            withdrawn = self._withdraw(sender, path)
        self.names_changed(sender.home, gone=[path])

    def _withdraw(self, sender: Sender, path: str, there: Item | None = None) -> int:
        """Withdraw arrivals of a path, a slice of a long queue from its end; returns how many. ``there`` is what the sender saw:
        where it is no arrival and no upload, its file is removed.
        """
        with self._moves.change() as change:
            rows = arrivals.newest_of(change.connection, path, owner=sender.user, states=UNCLAIMED_STATES, limit=SLICE)
            mine = [item for item in change.adopt(rows) if item.path == path and item.state in UNCLAIMED_STATES]
            for item in mine:
                change.event(item, ArrivalEvent.WITHDRAWN, actor=sender.actor, location=None)
            if not mine and there is not None and there.upload is None and there.partial is None:
                if there.arrival is not None or change.accounts_for(location(Area.DROP, path)):
                    raise NoSuchFile()  # claimed since we looked, or taken, and another's lies there by now
                self._disk.unlink(there.spot)
        self._raise_failure(change, *(item.id for item in mine))
        return len(rows)

    def set_times(self, sender: Sender, path: str, atime_ns: int, mtime_ns: int, uploads: Sequence[Upload]) -> None:
        """Set the times of a file; those of a directory are accepted and have no effect."""
        there = self._require(sender.user, path, uploads)
        if there.upload is not None:
            there.upload.set_times((atime_ns, mtime_ns))
        elif not there.is_dir:
            fd = self._union.open_read(there)
            try:
                self._disk.set_times(fd, atime_ns, mtime_ns)
            finally:
                os.close(fd)

    def truncate(self, sender: Sender, path: str, size: int, uploads: Sequence[Upload]) -> None:
        """Set the size of a file: of an open upload directly, of an arrival by publishing a copy of that size in its place."""
        there = self._require(sender.user, path, uploads)
        if there.is_dir:
            raise IsADirectory()
        if there.upload is not None:
            there.upload.truncate(self._disk, size)
        elif size != there.size:
            if there.partial is not None or size > there.size:
                raise Refused("only a finished file can be given a size, and only a smaller one (rule: a file has no gaps)")
            self.room.require_today(sender.user, size)
            self.room.require_free_space(there.size)  # for as long as there are both
            upload = self._copy_of(there, sender, path, SessionTrace())
            self._is_made_of(upload, there, path)
            upload.max_archived_bytes = self.room.quotas(sender.user).max_pending_bytes
            try:
                upload.truncate(self._disk, size)
                upload.declared_size, upload.cut_back = size, False  # a request on a finished file, and not a part of an upload
                [outcome] = self._publisher.commit([upload])
            except BaseException:
                self._staging.discard(upload)
                raise
            if isinstance(outcome, SftpgateError):
                self._staging.discard(upload)
                raise outcome

    def _require(self, user: str, path: str, uploads: Sequence[Upload]) -> Item:
        there = self._union.lookup(user, path, uploads)
        if there is None:
            raise NoSuchFile()
        return there

    # -- directories -------------------------------------------------------------------------------------------------

    def make_directory(self, sender: Sender, path: str, uploads: Sequence[Upload]) -> None:
        """Make a directory in the drop, and its mirror in the store."""
        check_storable(path)
        sight = self._union.look(sender.user, path, uploads)
        if sight.item is not None:
            raise AlreadyExists()
        self._require_parent(sender, path)
        self._refuse_lock_directory(sender, path)
        self._placer.refuse_foreign(sight.rows, path, owner=sender.user, home=sender.home)
        self.room.require_directory(sender.user, path)
        self._make_directory(path)

    def _refuse_lock_directory(self, sender: Sender, path: str) -> None:
        """A directory is nobody's: as a batch lock it would hold the files of all senders of the home."""
        if self._placer.rules.names.is_batch_lock(path, sender.home):
            raise Refused("this is the name of a batch lock: send a file of that name (rule: a batch lock is a file)")

    def make_home(self, home: str) -> None:
        """Make the directory of the drop that a user sees as its top, where it is missing. Raises HomeTaken where a file is in
        its way, and StoreAway.
        """
        self._moves.require_store()
        spot, modes = self._layout.spot(location(Area.DROP, home)), self._moves.modes
        if not home or self._disk.is_dir(spot):
            return
        try:
            self._disk.make_dirs(spot, modes.dir_mode, modes.gid)
        except (NotADirectory, NoSuchFile) as error:  # the latter of a link
            raise HomeTaken() from error
        if not self._disk.is_dir(spot):
            raise HomeTaken()

    def is_home_taken(self, home: str) -> bool:
        """Whether something else than a directory has the name of a home, or of what leads to it."""
        found = (self._disk.lstat(self._layout.spot(location(Area.DROP, way))) for way in ways_to([home]))
        return any(status is not None and not stat.S_ISDIR(status.st_mode) for status in found)

    def _require_parent(self, sender: Sender, path: str) -> None:
        """The directory of a path must be there. A home that somebody removed on the disk is made again."""
        directory = parent(path)
        if self._union.is_directory(directory):
            return
        if f"{directory}/".startswith(f"{sender.home}/"):
            self.make_home(sender.home)
        if not self._union.is_directory(directory):
            raise NoSuchFile("no such directory")

    def _make_directory(self, path: str) -> None:
        spot = self._layout.spot(location(Area.DROP, path))
        modes = self._moves.modes
        self._disk.make_dir(spot, modes.dir_mode, modes.gid)
        self._disk.sync_dirs([spot.parent])
        with contextlib.suppress(NotADirectory):  # a file has a part of the path in the store: uploads below it will say so
            self._disk.make_dirs(self._layout.spot(location(Area.STORE, path)), modes.dir_mode, modes.gid)

    def remove_directory(self, sender: Sender, path: str, uploads: Sequence[Upload]) -> None:
        """Remove a directory in which the sender sees nothing, and its mirror where that is empty too."""
        there = self._require(sender.user, path, uploads)
        if not there.is_dir:
            raise PathIsAFile()
        self._placer.rules.homes.require_no_home(path)
        self._require_nothing_in(sender, path, uploads)
        self._remove_directory(path)

    def _require_nothing_in(self, sender: Sender, directory: str, uploads: Sequence[Upload]) -> None:
        """Raise DirectoryNotEmpty where somebody has a file below the directory, also one that only a runner sees: where its run
        fails, it comes back to its place, which nothing else may have by then.
        """
        if any(self._union.listing(sender.user, directory, uploads)):
            raise DirectoryNotEmpty()
        with self._moves.ledger.reading() as connection:
            rows = arrivals.find(connection, live=True, below=directory, states=LIVE_STATES, limit=1)
        if rows and rows[0].owner == sender.user:
            raise DirectoryNotEmpty("a file of this directory is being processed: try again when that is done")
        if rows:
            raise DirectoryNotEmpty()

    def _remove_directory(self, path: str) -> None:
        spot = self._layout.spot(location(Area.DROP, path))
        self._disk.remove_dir(spot)
        self._disk.sync_dirs([spot.parent])
        with contextlib.suppress(SftpgateError):  # files of others, or the admin's, are in it: it stays
            self._disk.remove_dir(self._layout.spot(location(Area.STORE, path)))

    def finish_renames(self) -> int:
        """Go on with renames of directories that were cut off; returns how many came to their end."""
        return self._renames.finish()

    # -- what follows from a change of names -------------------------------------------------------------------------

    def names_changed(self, home: str, *, gone: Sequence[str] = (), appeared: Sequence[str] = ()) -> None:
        """Look again at files whose fate depends on what is, or was, at these paths: the batch lock of ``home``, and companions.

        A companion that goes can only let a file through; one that appears can also speak against it.
        """
        names = self._placer.rules.names
        if any(names.is_batch_lock(path, home) for path in (*gone, *appeared)):
            self.release_batch(home)
        self._placer.look_again(self._placer.spoken_of(gone), states={ArrivalState.HELD})
        self._placer.look_again(self._placer.spoken_of(appeared))

    def release_batch(self, home: str) -> int:
        """Publish what batch locks of ``home`` held back, in order of arrival, but for the files of senders who still have one
        (of all senders, where a lock is there that nobody sent); returns how many.
        """
        released = 0
        last = 0
        with self._moves.ledger.reading() as connection:
            owners = arrivals.owners_held(connection, HoldReason.BATCH_LOCK, home=home)
        while owners:
            locks = self._placer.batch_locks_of(home)
            free = [owner for owner in owners if not self._placer.is_batch_locked(locks, owner)]
            with self._moves.ledger.reading() as connection:
                rows = arrivals.find(
                    connection,
                    states=[ArrivalState.HELD],
                    hold_reason=HoldReason.BATCH_LOCK,
                    home=home,
                    owners=free,
                    after_seq=last,
                    limit=SLICE,
                )
            if not rows:
                break
            last = rows[-1].seq
            self._placer.prepare(rows)
            with self._moves.change() as change:
                for item in change.adopt(rows):
                    if item.state is ArrivalState.HELD:
                        released += self.try_release(change, item)
        return released

    def try_release(self, change: Change, item: Arrival) -> bool:
        """Place a held arrival anew; returns whether it is held no more. One that cannot be placed must not keep others back."""
        try:
            return self._placer.reconsider(change, item, actor=SYSTEM).state is not ArrivalState.HELD
        except SftpgateError as error:
            change.note("arrival.release_failed", item, actor=SYSTEM, error=error.message)
            return False

    def _raise_failure(self, change: Change, *ids: ArrivalId) -> None:
        for arrival in ids:
            if arrival in change.failures:
                raise change.failures[arrival]
