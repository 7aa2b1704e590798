"""Publish: the one act that makes complete uploads arrivals, for several of them at once (promises P1, P2, P3).

When ``publish`` returns, content, name and record of the upload are durable; when it raises, nothing of it is visible
to runners. Uploads that close while a commit is under way are committed together by the next one: they share the
transaction and the flushes of directories.

The order: flush the contents and their names in staging; one ledger transaction; rename; answer; flush the directories, for
all that were published meanwhile. See ``moves`` for what a crash leaves at each point, and why the directories can wait.
``relaxed`` durability leaves out the flushes: an answered CLOSE then survives a killed process, not a power cut.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from sftpgate.errors import LedgerError, SftpgateError
from sftpgate.intake.hops import Hops
from sftpgate.intake.moves import Moves
from sftpgate.intake.placing import Placer
from sftpgate.intake.staging import Staging
from sftpgate.intake.undo import try_again
from sftpgate.intake.uploads import Upload
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.lifecycle import Area, ArrivalState
from sftpgate.policy.locations import location

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


@dataclass(slots=True, eq=False)
class _Waiting:
    upload: Upload
    done: asyncio.Future[Arrival]


class Publisher:
    """Turns closed uploads into arrivals. ``publish`` and ``flush_ahead`` are called on the event loop; commits and flushes are
    made in threads, one commit at a time.

    ``commit`` alone needs no event loop.
    """

    def __init__(self, moves: Moves, placer: Placer, staging: Staging, hops: Hops | None = None) -> None:
        self._moves = moves
        self._placer = placer
        self._staging = staging
        self._hops = hops or Hops(1, "publish")
        self._flushers = Hops(FLUSH_THREADS, "flush")
        self._waiting: list[_Waiting] = []
        self._committing: asyncio.Future[list[Outcome | Exception]] | None = None
        self._flushing_names = False
        self._files_in_log = 0

    def flush_ahead(self, upload: Upload) -> None:
        """Begin to make an upload durable whose CLOSE is likely near."""
        if self._moves.durable:
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
            self._committing = self._hops.begin(self._commit_safely, [item.upload for item in batch])
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
        """What was left to do for the batches is done for several of them; at the end, ``Moves.flush`` does it."""
        left = self._moves.has_unflushed_names or self._files_in_log >= LOG_FILES
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
        """An error that nobody foresaw fails the upload that it belongs to, and no other."""
        try:
            return [*self.commit(uploads)]
        except Exception as error:  # noqa: BLE001 - each upload's session answers it and logs it
            if len(uploads) == 1:
                return [error]
            return [outcome for upload in uploads for outcome in self._commit_safely([upload])]

    # -- in a thread -------------------------------------------------------------------------------------------------

    def _flush_behind(self) -> bool:
        """What the commits left to do; False where the disk refuses."""
        if self._files_in_log >= LOG_FILES:
            self._files_in_log = 0
            with contextlib.suppress(LedgerError):  # a commit does it, sooner or later
                self._moves.ledger.move_log()
        return self._moves.flush_names()

    def _flush(self, upload: Upload) -> None:
        with contextlib.suppress(SftpgateError):  # the commit learns of it too
            upload.flush(self._moves.disk)
            self._staging.keep_names([upload])

    def commit(self, uploads: Sequence[Upload]) -> list[Outcome]:
        """Publish uploads in their order; one outcome for each. Blocks."""
        with self._moves.disk.at_a_stretch():
            return self._commit(uploads)

    def _commit(self, uploads: Sequence[Upload]) -> list[Outcome]:
        for upload in uploads[1:]:  # the first one's is made here, and theirs beside it
            if upload.is_unflushed:
                self.flush_ahead(upload)
        drafts = [self._prepare(upload) for upload in uploads]
        outcomes: list[Outcome] = list(drafts)
        handed_over: list[int] = []
        try:
            self._moves.ledger.require_in_place()
            if self._moves.durable:
                # The ledger is about to say that the files are there, and the answer does not wait for the names that they get.
                self._staging.keep_names(
                    upload for upload, draft in zip(uploads, drafts, strict=True) if isinstance(draft, Arrival)
                )
            with self._moves.change() as change:
                change.load(draft.path for draft in drafts if isinstance(draft, Arrival))
                for index, draft in enumerate(drafts):
                    if isinstance(draft, Arrival):
                        try:
                            upload = uploads[index]
                            upload.admitted()
                            outcomes[index] = self._placer.admit(
                                change,
                                draft,
                                actor=upload.sender.actor,
                                continues=upload.continues,
                                continues_local=upload.continues_local,
                            )
                            handed_over.append(index)
                        except SftpgateError as error:
                            outcomes[index] = error
        except SftpgateError as error:
            return [outcome if isinstance(outcome, SftpgateError) else error for outcome in outcomes]
        left = try_again(self._moves, self._placer, change, {uploads[index].id: None for index in handed_over})
        for index in handed_over:
            upload = uploads[index]
            if upload.id not in left.taken_back:
                self._hand_over(upload, moved=upload.id not in left.failures)
            outcomes[index] = left.failures.get(upload.id, outcomes[index])
        self._follow_up([outcomes[index] for index in handed_over], change.unverified.values())
        return outcomes

    def _prepare(self, upload: Upload) -> Outcome:
        """Everything that can be done for one upload alone: its hash, its grade, its times, and the flush."""
        disk, now = self._moves.disk, self._moves.clock()
        try:
            upload.close_begins()
            sha256 = upload.digest.finish(upload.fd, upload.size)
            grade = upload.grade()
            if upload.times_ns is not None:
                disk.set_times(upload.fd, *upload.times_ns)
            if self._moves.durable:
                upload.flush(disk)
            status = upload.stat()
        except SftpgateError as error:
            return error
        sender = upload.sender
        draft = Arrival(
            id=upload.id,
            owner=sender.user,
            home=sender.home,
            path=upload.path,
            state=ArrivalState.IGNORED,  # until it is placed
            size=status.st_size,
            sha256=sha256,
            grade=grade,
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
        self._placer.prepare([draft])
        return draft

    def _hand_over(self, upload: Upload, *, moved: bool) -> None:
        """The file is an arrival's now, whatever happens next; older unfinished ones of its path are of no use any more."""
        upload.published()
        with contextlib.suppress(SftpgateError):  # what stays is removed by the sweeper
            self._staging.forget(upload)
            if moved:
                self._staging.remove_partials(upload.sender.user, upload.path)
        upload.close()

    def _follow_up(self, published: Iterable[Outcome], unverified: Iterable[str]) -> None:
        """Look again at the files whose companions have just arrived."""
        speaks_of = self._placer.spoken_of(item.path for item in published if isinstance(item, Arrival))
        self._placer.look_again([*speaks_of, *unverified])
