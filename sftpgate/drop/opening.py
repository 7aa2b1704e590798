"""Opening a file for writing: what an OPEN finds at its path, and the upload that it begins with that (promise P5).

An upload is empty, or goes on with what is there: an interrupted upload, or a copy of another open one or of a finished file,
which it replaces when it is closed. Quotas and free space are asked before anything is made. Everything blocks. A crash leaves a
staging file, which the sweeper removes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sftpgate.drop.sender_directories import SenderDirectories, refuse_foreign_lock
from sftpgate.drop.sender_view import Item, SenderView
from sftpgate.errors import AlreadyExists, AppendRefused, IsADirectory, NoSuchFile, SftpgateError, TakenMeanwhile
from sftpgate.handover.local_arrivals import local_arrival
from sftpgate.handover.placement.rules import PlacementRules
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals
from sftpgate.policy.appending import TAIL_TIME, is_tail
from sftpgate.policy.names import check_storable
from sftpgate.uploads.quota.limits import UploadLimits
from sftpgate.uploads.staging import Staging
from sftpgate.uploads.terms import Origin, Sender, SessionTrace, UploadBounds
from sftpgate.uploads.upload import Upload


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMode:
    """How a client opens a file for writing: the flags of filexfer-02 §6.3 but READ and WRITE, and the size that it declares."""

    create: bool
    truncate: bool
    exclusive: bool
    append: bool
    declared_size: int | None = None


class Opening:
    """Opens files for senders. One instance per process."""

    def __init__(
        self,
        resources: Resources,
        rules: PlacementRules,
        staging: Staging,
        sender_view: SenderView,
        directories: SenderDirectories,
        limits: UploadLimits,
    ) -> None:
        self._resources = resources
        self._rules = rules
        self._staging = staging
        self._sender_view = sender_view
        self._directories = directories
        self._limits = limits

    def open(self, sender: Sender, path: str, mode: OpenMode, trace: SessionTrace, uploads: Sequence[Upload]) -> Upload:
        """Begin a new upload to ``path``: empty, or continuing what is there. ``uploads`` are the open ones of the user."""
        with self._resources.disk.at_a_stretch():
            return self._open(sender, path, mode, trace, uploads)

    def _open(self, sender: Sender, path: str, mode: OpenMode, trace: SessionTrace, uploads: Sequence[Upload]) -> Upload:
        check_storable(path)
        self._directories.require_parent(sender, path)
        seen = self._sender_view.look(sender.user, path, uploads)
        there = seen.item
        if there is None:
            self._rules.homes.require_no_home(path)
            self._rules.refuse_foreign(seen.rows, path, owner=sender.user, home=sender.home)
            self._directories.refuse_hidden(path)
            if not mode.create:
                raise NoSuchFile()
            if mode.append and not mode.truncate:
                self._refuse_tail(sender.user, path)
        elif there.is_dir:
            raise IsADirectory()
        elif mode.create and mode.exclusive:
            raise AlreadyExists()
        continued = None if mode.truncate or there is None else self._to_continue(sender.user, path, there)
        if continued is not None:
            refuse_foreign_lock(self._rules.names, path, continued)
        quotas, budget = self._limits.require(sender.user)
        copied_bytes = continued.size if continued is not None and self._is_continued_on_a_copy(continued) else 0
        replaced_bytes = copied_bytes if continued is not None and continued.arrival is not None else 0
        budget.require(copied_bytes, replaced_bytes)
        if copied_bytes:
            self._limits.require_free_space(copied_bytes)
        bounds = UploadBounds(
            max_bytes=quotas.max_upload_bytes,
            budget=budget,
            replaced_bytes=replaced_bytes,
            max_archived_bytes=quotas.max_pending_bytes,
        )
        if continued is None:
            origin = Origin(is_truncated=mode.truncate, is_append=mode.append, declared_size=mode.declared_size)
            upload = self._staging.create(sender, path, trace, origin, bounds)
        else:
            origin = Origin(is_truncated=mode.truncate, is_append=mode.append)
            upload = self._continue(continued, sender, path, trace, origin, bounds)
        try:
            if not mode.truncate and (upload.origin.goes_on_with is not None or self._staging.has_others(upload)):
                self._staging.note(upload)  # they learn of it when they are closed
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
        with self._resources.ledger.reading() as connection:
            last = next(iter(arrivals.last_of(connection, path, user)), None)
        if last is not None and is_tail(last.state, self._resources.clock() - last.changed_at):
            hour = int(TAIL_TIME.total_seconds()) // 60
            raise AppendRefused(
                "a tool has taken the file of this name, so what is appended now would be a file without its beginning: send it "
                f"without APPEND, as a file of its own, or append {hour} minutes after that "
                "(rule: an append goes to the end of a file that waits)"
            )

    def _to_continue(self, user: str, path: str, there: Item) -> Item:
        """Return what an OPEN without truncation goes on with.

        While another handle changes a copy of a finished file, that file and not the copy: whoever closes first has it, and
        the other one is told.
        """
        if there.upload is not None:
            is_edited = there.upload.origin.is_edit
        else:
            is_edited = there.partial is not None and there.partial.continues is not None and self._staging.is_open(there.partial)
        if not is_edited:
            return there
        finished = self._sender_view.finished(user, path)
        if finished is None or finished.is_dir:
            raise TakenMeanwhile()
        return finished

    def _continue(
        self, there: Item, sender: Sender, path: str, trace: SessionTrace, origin: Origin, bounds: UploadBounds
    ) -> Upload:
        if there.partial is not None:
            return self._staging.resume(there.partial, sender, trace, origin, bounds)
        if there.upload is not None:
            trusted_bytes = there.upload.progress.trusted_bytes
            origin = replace(origin, goes_on_with=there.upload.id)
            return self.copy_of(there, sender, path, trace, origin, bounds, trusted_bytes=trusted_bytes)
        return self.copy_of(there, sender, path, trace, self.made_of(there, path, origin), bounds)

    def made_of(self, there: Item, path: str, origin: Origin) -> Origin:
        """Say of a copy which finished file it is to replace."""
        if there.arrival is not None:
            return replace(origin, continues=there.arrival.id)
        draft = local_arrival(path, there.status, sha256="", now=self._resources.clock(), source="continued")
        return replace(origin, continues_local=draft)

    def copy_of(
        self,
        there: Item,
        sender: Sender,
        path: str,
        trace: SessionTrace,
        origin: Origin,
        bounds: UploadBounds,
        *,
        trusted_bytes: int | None = None,
    ) -> Upload:
        """Begin an upload with a copy of what is there, or of the first ``trusted_bytes`` of it."""
        reading = self._sender_view.open_read(there)
        try:
            return self._staging.copy_of(reading, sender, path, trace, origin, bounds, trusted_bytes=trusted_bytes)
        finally:
            os.close(reading)
