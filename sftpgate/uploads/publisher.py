"""Publish: the one act that makes complete uploads arrivals, for several of them at once (promises P1, P2, P3).

When ``publish`` returns, content, name and record of the upload are durable; when it raises, nothing of it is visible
to runners. Uploads that close while a commit is under way are committed together by the next one: they share the
transaction and the flushes of directories.

The order: flush the contents and their names in staging; one ledger transaction; rename; answer; flush the directories, for
all that were published meanwhile. See ``handover.journal`` for what a crash leaves at each point, and why the
directories can wait. ``relaxed`` durability leaves out the flushes: an answered CLOSE then survives a killed process, not a
power cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from functools import partial

from sftpgate.errors import LedgerError, QuotaExceeded, SftpgateError, TakenMeanwhile
from sftpgate.handover.changes import Change
from sftpgate.handover.journal import Journal
from sftpgate.handover.placement.placer import Placer
from sftpgate.handover.resources import Resources
from sftpgate.handover.take_back import try_again
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.checks import doubts_content
from sftpgate.policy.lifecycle import UNCLAIMED_STATES, Area, ArrivalState
from sftpgate.policy.locations import location
from sftpgate.policy.quotas import require_archives
from sftpgate.threads import Threads
from sftpgate.uploads.completeness import Judge
from sftpgate.uploads.notes import Notes
from sftpgate.uploads.staging import Staging
from sftpgate.uploads.upload import Upload

# Enough to keep a disk's queue busy; the time of one flush is the disk's, not ours.
FLUSH_THREADS = 8
# Directories are flushed so long after the first file that was published into them: often enough that a restart has
# little to look at, seldom enough that a busy session shares one flush among many files.
NAMES_SECONDS = 0.05
AGAIN_SECONDS = 5.0  # after a flush that the disk refused
LOG_FILES = 200  # after so many files, some 10 MB, the ledger's log is moved into its database
# A batch is one transaction: bounded, so that its first file does not wait for too many others, and the event loop not for
# the answers to all of them.
BATCH_LIMIT = 32

Outcome = Arrival | SftpgateError


@dataclass(frozen=True, slots=True)
class _Unchanged:
    """What a client opened again and left as it was."""

    arrival: Arrival


@dataclass(slots=True, eq=False)
class _Waiting:
    upload: Upload
    done: asyncio.Future[Arrival]


class Publisher:
    """Turns closed uploads into arrivals. ``publish`` and ``flush_ahead`` are called on the event loop; commits and flushes are
    made in threads, one commit at a time.

    ``commit`` alone needs no event loop.
    """

    def __init__(
        self, resources: Resources, journal: Journal, placer: Placer, staging: Staging, threads: Threads | None = None
    ) -> None:
        self._resources = resources
        self._journal = journal
        self._placer = placer
        self._staging = staging
        self._judge = Judge(resources)
        self._threads = threads or Threads(1, "publish")
        self._flushers = Threads(FLUSH_THREADS, "flush")
        self._waiting: list[_Waiting] = []
        self._committing: asyncio.Future[list[Outcome | Exception]] | None = None
        self._flushing_names = False
        self._files_in_log = 0

    def flush_ahead(self, upload: Upload) -> None:
        """Begin to make an upload durable whose CLOSE is likely near."""
        if self._resources.durable:
            upload.begin_flush()
            self._flushers.start(partial(self._flush, upload))

    async def publish(self, upload: Upload) -> Arrival:
        """Make the closed upload an arrival.

        Raises UploadFailed, UploadIncomplete, OwnedByAnother, IsADirectory, StorageError or LedgerError; nothing was
        published then, and the upload is still open unless its state says that it was handed over.
        """
        upload.require_complete()
        done: asyncio.Future[Arrival] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(upload, done))
        self._commit_next()
        return await done

    def _commit_next(self) -> None:
        """Begin the next commit, of all that wait, unless one is under way."""
        if self._waiting and self._committing is None:
            batch, self._waiting = self._waiting[:BATCH_LIMIT], self._waiting[BATCH_LIMIT:]
            self._committing = self._threads.begin(self._commit_safely, [item.upload for item in batch])
            self._committing.add_done_callback(lambda done: self._committed(batch, done.result()))

    def _committed(self, batch: Sequence[_Waiting], outcomes: Sequence[Outcome | Exception]) -> None:
        self._committing = None
        self._files_in_log += len(batch)
        self._commit_next()
        for item, outcome in zip(batch, outcomes, strict=True):
            if item.done.cancelled():
                continue
            if isinstance(outcome, Exception):
                item.done.set_exception(outcome)
            else:
                item.done.set_result(outcome)
        self._flush_names_soon()

    async def finish(self) -> None:
        """Wait for all commits, and let go of the threads; nothing can be published any more."""
        while self._committing is not None:
            await asyncio.wait([self._committing])
        self.close()

    def close(self) -> None:
        """Let go of the threads; what they are at is ended first."""
        self._flushers.close()

    def _flush_names_soon(self, seconds: float = NAMES_SECONDS) -> None:
        """Do what was left to do for the batches, for several of them soon; at the end, ``Journal.flush`` does it."""
        left = self._journal.has_unflushed_names or self._files_in_log >= LOG_FILES
        if left and not self._flushing_names:
            self._flushing_names = True
            asyncio.get_running_loop().call_later(seconds, self._start_flushing_names)

    def _start_flushing_names(self) -> None:
        with contextlib.suppress(RuntimeError):  # we are stopping
            self._flushers.begin(self._flush_behind).add_done_callback(self._flushed_names)

    def _flushed_names(self, done: asyncio.Future[bool]) -> None:
        self._flushing_names = False
        well = not done.cancelled() and done.exception() is None and done.result()
        self._flush_names_soon(NAMES_SECONDS if well else AGAIN_SECONDS)

    def _commit_safely(self, uploads: Sequence[Upload]) -> list[Outcome | Exception]:
        """Commit so that an error that nobody foresaw fails the upload that it belongs to, and no other."""
        try:
            return [*self.commit(uploads)]
        except Exception as error:  # noqa: BLE001 - each upload's session answers it and logs it
            if len(uploads) == 1:
                return [error]
            return [outcome for upload in uploads for outcome in self._commit_safely([upload])]

    # -- in a thread -------------------------------------------------------------------------------------------------

    def _flush_behind(self) -> bool:
        """Do what the commits left to do; False if the disk refuses."""
        if self._files_in_log >= LOG_FILES:
            self._files_in_log = 0
            with contextlib.suppress(LedgerError):  # a commit does it, sooner or later
                self._resources.ledger.move_log()
        return self._journal.flush_names()

    def _flush(self, upload: Upload) -> None:
        with contextlib.suppress(SftpgateError):  # the commit learns of it too
            upload.flush(self._resources.disk)
            self._staging.keep_names([upload])

    def commit(self, uploads: Sequence[Upload]) -> list[Outcome]:
        """Publish uploads in their order; one outcome for each: an arrival, or why there is none. If an upload left a finished
        file as it was, that is its outcome, and the state of the upload is DISCARDED. Blocks.
        """
        with self._resources.disk.at_a_stretch():
            return self._commit(uploads)

    def _commit(self, uploads: Sequence[Upload]) -> list[Outcome]:
        for upload in uploads[1:]:  # the first one's is made here, and theirs beside it
            if upload.is_unflushed:
                self.flush_ahead(upload)
        notes = {user: self._staging.notes(user) for user in {upload.sender.user for upload in uploads}}
        local_arrivals = [self._prepare(upload, notes[upload.sender.user]) for upload in uploads]
        outcomes: list[Outcome] = [local.arrival if isinstance(local, _Unchanged) else local for local in local_arrivals]
        for upload, local in zip(uploads, local_arrivals, strict=True):
            if isinstance(local, _Unchanged):
                self._leave(upload, local.arrival)
        if not any(isinstance(local, Arrival) for local in local_arrivals):
            return outcomes
        handed_over: list[int] = []
        unchanged: dict[int, Arrival] = {}
        try:
            self._resources.ledger.require_in_place()
            if self._resources.durable:
                # The ledger is about to say that the files are there, and the answer does not wait for the names that they get.
                self._staging.keep_names(
                    upload for upload, local in zip(uploads, local_arrivals, strict=True) if isinstance(local, Arrival)
                )
            with self._journal.change() as change:
                change.load(local.path for local in local_arrivals if isinstance(local, Arrival))
                for index, local in enumerate(local_arrivals):
                    if isinstance(local, Arrival):
                        try:
                            admitted = self._admit(change, uploads[index], local)
                        except SftpgateError as error:
                            outcomes[index] = error
                            continue
                        if isinstance(admitted, _Unchanged):
                            outcomes[index] = unchanged[index] = admitted.arrival
                        else:
                            outcomes[index] = admitted
                            handed_over.append(index)
        except SftpgateError as error:
            return [
                error if isinstance(local, Arrival) and not isinstance(outcome, SftpgateError) else outcome
                for local, outcome in zip(local_arrivals, outcomes, strict=True)
            ]
        for index, arrival in unchanged.items():
            self._leave(uploads[index], arrival)
        left = try_again(self._journal, self._placer, change, {uploads[index].id: None for index in handed_over})
        for index in handed_over:
            upload = uploads[index]
            if upload.id not in left.taken_back:
                self._hand_over(upload, notes[upload.sender.user], moved=upload.id not in left.failures)
            outcomes[index] = left.failures.get(upload.id, outcomes[index])
        self._follow_up([outcomes[index] for index in handed_over], change.unverified.values())
        return outcomes

    def _admit(self, change: Change, upload: Upload, local: Arrival) -> Arrival | _Unchanged:
        """Make the file of an upload an arrival, unless a waiting one of its name has just this content, as a client that opens
        a file again and changes nothing leaves it.
        """
        upload.fate.admitted()
        continues, progress = upload.origin.continues, upload.progress
        if continues is not None:
            before = change.get(continues)
            if _is_same(before, local):
                return _Unchanged(before)
            is_free = before.state not in UNCLAIMED_STATES or self._placer.verdicts.speak_of(upload.path)
            if is_free and progress.is_written_anew:
                # A whole file, as scp sends one: it has nothing of the one that a tool has taken; and if its contract holds it,
                # an earlier good one stays.
                continues = None
            elif not progress.extends and not progress.is_written_anew:
                self._require_archives(change, upload, before)
        try:
            return self._placer.admit(
                change,
                local,
                actor=upload.sender.actor,
                why=upload.fate.why,
                continues=continues,
                continues_local=upload.origin.continues_local,
                extends=progress.extends,
            )
        except TakenMeanwhile:
            upload.fate.supersede()  # nobody resumes it: lines that a tool has would run again (promise P4)
            raise

    def _require_archives(self, change: Change, upload: Upload, before: Arrival) -> None:
        """Refuse a change in place whose earlier version has no room in the archives, by its sender's quota."""
        if upload.bounds.max_archived_bytes is not None:
            midnight = datetime.combine(change.now.astimezone(UTC).date(), time(), UTC)
            kept = arrivals.replaced_bytes(change.connection, before.owner, midnight)
            try:
                require_archives(upload.bounds.max_archived_bytes, kept, before.size)
            except QuotaExceeded:
                upload.fate.supersede()
                raise

    def _leave(self, upload: Upload, arrival: Arrival) -> None:
        """Nothing has changed: the arrival stays what it is, with the times that the client set."""
        upload.fate.kept()
        with contextlib.suppress(SftpgateError):  # what stays is removed by the sweeper
            if upload.times_ns is not None and arrival.location is not None:
                fd = self._resources.disk.open_read(self._resources.layout.disk_path(arrival.location))
                try:
                    if os.fstat(fd).st_ino == arrival.inode:
                        self._resources.disk.set_times(fd, *upload.times_ns)
                finally:
                    os.close(fd)
        with contextlib.suppress(SftpgateError):
            self._staging.discard(upload)

    def _continued(self, upload: Upload) -> Arrival | None:
        """Return the finished file that an upload began as a copy of."""
        if upload.origin.continues is None:
            return upload.origin.continues_local
        with self._resources.ledger.reading() as connection:
            return arrivals.get(connection, upload.origin.continues)

    def _prepare(self, upload: Upload, notes: Notes) -> Outcome | _Unchanged:
        """Everything that can be done for one upload alone: its hash, its grade, its times, and the flush."""
        disk, now = self._resources.disk, self._resources.clock()
        try:
            upload.close_begins()
            if not upload.progress.is_touched and (before := self._continued(upload)) is not None:
                return _Unchanged(before)
            self._staging.require_sole(upload, notes)
            self._staging.outrun(upload, notes)
            sha256 = upload.progress.finish(upload.fd)
            verdict = self._judge.verdict(upload, sha256)
            upload.fate.judged(str(verdict.why))
            if upload.times_ns is not None:
                disk.set_times(upload.fd, *upload.times_ns)
            if self._resources.durable:
                upload.flush(disk)
            status = upload.stat()
        except SftpgateError as error:
            return error
        sender = upload.sender
        local = Arrival(
            id=upload.id,
            owner=sender.user,
            home=sender.home,
            path=upload.path,
            state=ArrivalState.IGNORED,  # until it is placed
            size=status.st_size,
            sha256=sha256,
            grade=verdict.grade,
            location=None,
            pending_from=location(Area.STAGING, f"{sender.user}/{upload.id}"),
            inode=status.st_ino,
            mtime_ns=status.st_mtime_ns,
            received_at=now,
            changed_at=now,
            source="sftp",
            address=sender.address,
            login=sender.login,
            client=sender.client,
            session=sender.session,
        )
        self._placer.companions.hash_first([local])
        return local

    def _hand_over(self, upload: Upload, notes: Notes, *, moved: bool) -> None:
        """Let go of a file that is an arrival's now, whatever happens next; older unfinished ones of its path are of no use any
        more.
        """
        upload.fate.published()
        with contextlib.suppress(SftpgateError):  # what stays is removed by the sweeper
            self._staging.forget(upload)
            if moved:
                self._staging.remove_partials(upload.sender.user, upload.path, before=upload.id, notes=notes)
        upload.close()

    def _follow_up(self, published: Iterable[Outcome], unverified: Iterable[str]) -> None:
        """Look again at the files whose companions have just arrived."""
        speaks_of = self._placer.second_looks.spoken_of(item.path for item in published if isinstance(item, Arrival))
        self._placer.second_looks.at([*speaks_of, *unverified])


def _is_same(before: Arrival, local: Arrival) -> bool:
    """Whether a changed copy is what it was made of, and nothing was in doubt of that: if something was, the same content again
    says that the file is whole after all, and is a file of its own.
    """
    if before.state not in UNCLAIMED_STATES or doubts_content(before.hold_reason):
        return False
    return (before.path, before.size, before.sha256) == (local.path, local.size, local.sha256)
