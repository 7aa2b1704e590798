"""What a sender does to its files besides writing them: rename, remove, set times and size, make directories (promise P5). How a
file is opened is in ``opening``.

The semantics are those that clients expect of any SFTP server, on the union of docs/promises.md. Paths are relative to the
drop and were checked by the gateway to be in it; names that are made here are checked here. Everything blocks. Each
function is one commit, or none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from sftpgate.drop.directory_renames import DirectoryRenames
from sftpgate.drop.opening import Opening
from sftpgate.drop.sender_directories import SenderDirectories, refuse_foreign_lock
from sftpgate.drop.sender_view import Item, SenderView
from sftpgate.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    FileExchanged,
    IsADirectory,
    NoSuchFile,
    PathIsAFile,
    Refused,
    SftpgateError,
)
from sftpgate.handover.changes import Change
from sftpgate.handover.journal import SLICE, Journal
from sftpgate.handover.local_files import draft_at, is_unchanged
from sftpgate.handover.placement.placer import Placer
from sftpgate.handover.resources import Resources
from sftpgate.handover.take_back import try_again
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.policy.checks import stands_aside
from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import LIVE_STATES, UNCLAIMED_STATES, Area, ArrivalEvent, ArrivalState
from sftpgate.policy.locations import location
from sftpgate.policy.names import check_storable
from sftpgate.uploads.notes import Partial
from sftpgate.uploads.publisher import Publisher
from sftpgate.uploads.quota.limits import UploadLimits
from sftpgate.uploads.staging import Staging
from sftpgate.uploads.terms import Origin, Sender, SessionTrace, UploadBounds
from sftpgate.uploads.upload import Upload


class SenderActs:
    """The acts of senders. One instance per process."""

    def __init__(
        self,
        resources: Resources,
        journal: Journal,
        placer: Placer,
        staging: Staging,
        sender_view: SenderView,
        publisher: Publisher,
        limits: UploadLimits,
    ) -> None:
        self._resources = resources
        self._journal = journal
        self._disk = resources.disk
        self._layout = resources.layout
        self._placer = placer
        self._staging = staging
        self._sender_view = sender_view
        self._publisher = publisher
        self.limits = limits
        self._directories = SenderDirectories(resources, journal, placer.rules, sender_view)
        self.opening = Opening(resources, placer.rules, staging, sender_view, self._directories, limits)
        self._renames = DirectoryRenames(resources, journal, placer, self._directories.make, self._directories.remove)

    # -- changing what is there --------------------------------------------------------------------------------------

    def rename(self, sender: Sender, old: str, new: str, *, replacing: bool, uploads: Sequence[Upload]) -> Arrival | None:
        """Give a file or directory another path; ``replacing``: also if a file has it (``posix-rename@openssh.com``). Returns the
        arrival that a finished file is, None for anything else.
        """
        check_storable(new)
        there = self._require(sender.user, old, uploads)
        refuse_foreign_lock(self._placer.rules.names, old, there)
        self._directories.require_parent(sender, new)
        if old == new:
            return None
        if there.is_dir:
            self._refuse_lock_directory(sender, new)
            self._placer.rules.homes.require_no_home(old)
            self._directories.refuse_rehearsal_folder(old, sender.home)
        seen = self._sender_view.look(sender.user, new, uploads)
        target = seen.item
        if target is None:
            self._placer.rules.refuse_foreign(seen.rows, new, owner=sender.user, home=sender.home)
            self._directories.refuse_hidden(new)
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
                sender.user,
                old,
                new,
                require_directories=lambda count: self.limits.require_moved_directories(sender.user, old, new, count),
            )
        elif there.upload is not None:
            self._refuse_unfinished(new)
            there.upload.renamed(new)
            if there.upload.is_noted:
                self._staging.note(there.upload)
        elif there.partial is not None:
            self._refuse_open(there.partial)
            self._refuse_unfinished(new)
            self._staging.rename_partial(there.partial, new)
        else:
            return self._rename_file(sender, there, old, new)
        return None

    def _require_empty(self, sender: Sender, directory: str, uploads: Sequence[Upload], *, replacing: bool) -> None:
        """Raise unless a directory may take the place of another: of an empty one, and if that is asked for."""
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

    def _rename_file(self, sender: Sender, there: Item, old: str, new: str) -> Arrival:
        local = None if there.arrival is not None else self._draft(sender, old, new)
        about = local or there.arrival
        assert about is not None
        self._placer.companions.hash_first([replace(about, path=new)])
        before: Arrival | None = None
        with self._journal.change() as change:
            if local is not None:
                if not is_unchanged(self._resources, local, location(Area.DROP, old)):
                    raise FileExchanged()
                if self._placer.rules.names.is_batch_lock(new, sender.home):
                    local = replace(local, owner=sender.user)  # nobody's file becomes this sender's lock
                moved = self._placer.admit(change, local, actor=sender.actor)
            else:
                item = before = change.get(about.id)
                if item.state not in UNCLAIMED_STATES or item.path != old:
                    raise NoSuchFile()
                if item.state is ArrivalState.IGNORED and self._placer.rules.names.eligible(new):
                    item = replace(item, grade=Grade.PROVEN)
                moved = self._placer.move(change, item, new, actor=sender.actor)
        for failure in try_again(self._journal, self._placer, change, {moved.id: before}).failures.values():
            raise failure
        self._staging.remove_partials(sender.user, new)
        self._placer.second_looks.at(change.unverified.values())
        self._placer.second_looks.after(sender.home, gone=[old], appeared=[new])
        return moved

    def _draft(self, sender: Sender, old: str, new: str) -> Arrival:
        """Make the draft of an arrival for a file that lies in the drop and that nobody sent. Raises LinkedFile."""
        return draft_at(self._resources, location(Area.DROP, old), home=sender.home, path=new)

    def remove(self, sender: Sender, path: str, uploads: Sequence[Upload]) -> None:
        """Remove a file: an unclaimed arrival is withdrawn, an unfinished upload forgotten."""
        there = self._require(sender.user, path, uploads)
        if there.is_dir:
            raise IsADirectory()
        refuse_foreign_lock(self._placer.rules.names, path, there)
        if there.partial is not None:
            self._refuse_open(there.partial)
        for upload in uploads:
            if upload.path == path:
                upload.fate.dropped()
        self._staging.remove_partials(sender.user, path)
        # What is seen of a path is the newest file. One whose contract holds it is not all that there is: a client that removes
        # what failed means that, and an earlier good file stays.
        only_aside = there.arrival is not None and stands_aside(there.arrival.hold_reason)
        withdrawn = self._withdraw(sender, path, there, only_aside=only_aside)
        while withdrawn == SLICE:
            withdrawn = self._withdraw(sender, path, only_aside=only_aside)
        self._placer.second_looks.after(sender.home, gone=[path])

    def _withdraw(self, sender: Sender, path: str, there: Item | None = None, *, only_aside: bool) -> int:
        """Withdraw arrivals of a path, a slice of a long queue from its end; returns how many. ``there`` is what the sender saw:
        if it is no arrival and no upload, its file is removed. ``only_aside``: only what stands aside for an earlier file.
        """
        with self._journal.change() as change:
            rows = arrivals.newest_of(change.connection, path, owner=sender.user, states=UNCLAIMED_STATES, limit=SLICE)
            mine = [item for item in change.adopt(rows) if item.path == path and item.state in UNCLAIMED_STATES]
            mine = [item for item in mine if stands_aside(item.hold_reason) or not only_aside]
            for item in mine:
                change.event(item, ArrivalEvent.WITHDRAWN, actor=sender.actor, location=None)
            if not mine and there is not None and there.upload is None and there.partial is None:
                if there.arrival is not None or change.accounts_for(location(Area.DROP, path)):
                    raise NoSuchFile()  # claimed since we looked, or taken, and another's lies there by now
                self._disk.unlink(there.disk_path)
        self._raise_failure(change, *(item.id for item in mine))
        return len(mine)

    def set_times(self, sender: Sender, path: str, atime_ns: int, mtime_ns: int, uploads: Sequence[Upload]) -> None:
        """Set the times of a file; those of a directory are accepted and have no effect."""
        there = self._require(sender.user, path, uploads)
        refuse_foreign_lock(self._placer.rules.names, path, there)
        if there.upload is not None:
            there.upload.set_times((atime_ns, mtime_ns))
        elif not there.is_dir:
            fd = self._sender_view.open_read(there)
            try:
                self._disk.set_times(fd, atime_ns, mtime_ns)
            finally:
                os.close(fd)

    def truncate(self, sender: Sender, path: str, size: int, uploads: Sequence[Upload]) -> None:
        """Set the size of a file: of an open upload directly, of an arrival by publishing a copy of that size in its place."""
        there = self._require(sender.user, path, uploads)
        if there.is_dir:
            raise IsADirectory()
        refuse_foreign_lock(self._placer.rules.names, path, there)
        if there.upload is not None:
            there.upload.truncate(self._disk, size)
        elif size != there.size:
            if there.partial is not None or size > there.size:
                raise Refused("only a finished file can be given a size, and only a smaller one (rule: a file has no gaps)")
            self.limits.require_today(sender.user, size)
            self.limits.require_free_space(there.size)  # for as long as there are both
            bounds = UploadBounds(max_archived_bytes=self.limits.quotas(sender.user).max_pending_bytes)
            origin = self.opening.made_of(there, path, Origin())
            upload = self.opening.copy_of(there, sender, path, SessionTrace(), origin, bounds)
            try:
                upload.cut(self._disk, size)
                [outcome] = self._publisher.commit([upload])
            except BaseException:
                self._staging.discard(upload)
                raise
            if isinstance(outcome, SftpgateError):
                self._staging.discard(upload)
                raise outcome

    def _require(self, user: str, path: str, uploads: Sequence[Upload]) -> Item:
        there = self._sender_view.lookup(user, path, uploads)
        if there is None:
            raise NoSuchFile()
        return there

    # -- directories -------------------------------------------------------------------------------------------------

    def make_directory(self, sender: Sender, path: str, uploads: Sequence[Upload]) -> None:
        """Make a directory in the drop, and its mirror in the store."""
        check_storable(path)
        seen = self._sender_view.look(sender.user, path, uploads)
        if seen.item is not None:
            raise AlreadyExists()
        self._directories.require_parent(sender, path)
        self._refuse_lock_directory(sender, path)
        self._placer.rules.refuse_foreign(seen.rows, path, owner=sender.user, home=sender.home)
        self.limits.require_directory(sender.user, path)
        self._directories.make(path)

    def _refuse_lock_directory(self, sender: Sender, path: str) -> None:
        """Raise Refused for the name of a batch lock: a directory is nobody's, and would hold everybody's files."""
        if self._placer.rules.names.is_batch_lock(path, sender.home):
            raise Refused("this is the name of a batch lock: send a file of that name (rule: a batch lock is a file)")

    def remove_directory(self, sender: Sender, path: str, uploads: Sequence[Upload]) -> None:
        """Remove a directory in which the sender sees nothing, and its mirror if that is empty too."""
        there = self._require(sender.user, path, uploads)
        if not there.is_dir:
            raise PathIsAFile()
        self._placer.rules.homes.require_no_home(path)
        self._require_nothing_in(sender, path, uploads)
        self._directories.remove(path)

    def _require_nothing_in(self, sender: Sender, directory: str, uploads: Sequence[Upload]) -> None:
        """Raise DirectoryNotEmpty if somebody has a file below the directory, also one that only a runner sees: if its run
        fails, it comes back to its place, which nothing else may have by then.
        """
        if any(self._sender_view.listing(sender.user, directory, uploads)):
            raise DirectoryNotEmpty()
        with self._resources.ledger.reading() as connection:
            rows = arrivals.find(connection, live=True, below=directory, states=LIVE_STATES, limit=1)
        if rows and rows[0].owner == sender.user:
            raise DirectoryNotEmpty("a file of this directory is being processed: try again when that is done")
        if rows:
            raise DirectoryNotEmpty()

    def finish_renames(self) -> int:
        """Go on with renames of directories that were cut off; returns how many came to their end."""
        return self._renames.finish()

    def make_home(self, home: str) -> None:
        """See ``SenderDirectories.make_home``."""
        self._directories.make_home(home)

    def is_home_taken(self, home: str) -> bool:
        """See ``SenderDirectories.is_home_taken``."""
        return self._directories.is_home_taken(home)

    def _raise_failure(self, change: Change, *ids: ArrivalId) -> None:
        for arrival in ids:
            if arrival in change.failures:
                raise change.failures[arrival]
