"""The sweep: the periodic pass that finds what the hook did not take, and makes ledger and disk agree.

It completes moves that were cut off, releases what a batch lock or a missing companion held, takes files that lie
quietly in the drop, notices what plain programs took from the store, and removes interrupted uploads that nobody
resumed. One process sweeps at a time (an ``flock``); the work is done in bounded batches, so that memory stays flat and
publishers get their turn.

When is a file in the drop complete? When it is quiet (``policy/quiet.py``) and nobody has it open for writing.

A crash in a sweep leaves what a crash of a change leaves (see ``moves``); the next sweep goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial

from sftpgate.errors import HomeTaken, LinkedFile, NoSuchFile, SftpgateError, StoreAway
from sftpgate.intake.edits import Edits
from sftpgate.intake.local import LocalFiles, is_unchanged
from sftpgate.intake.moves import SLICE, Moves
from sftpgate.intake.placing import Placer
from sftpgate.intake.publish import FLUSH_THREADS
from sftpgate.intake.staging import Staging
from sftpgate.ledger import arrivals
from sftpgate.ledger.actor import SYSTEM
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival
from sftpgate.ledger.database import set_fact
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import Area, ArrivalState, HoldReason
from sftpgate.policy.locations import location
from sftpgate.policy.names import is_managed, is_storable, join
from sftpgate.policy.tools import tool_for
from sftpgate.store.spots import Entry

log = get_logger("sweep")

BATCH = 500  # files that are looked at, read and flushed together; a change takes a slice of them
FLUSH_TOGETHER = 32  # measured: from about so many new small files on, one flush of the filesystem takes less time
LAST_SWEEP = "last_sweep"
LEFT_LIMIT = 50  # files that stay in the drop, which `status` shows

Progress = Callable[[str, int], None]


@dataclass(slots=True, kw_only=True)
class SweepResult:
    """What a sweep did: numbers of files."""

    scanned: int = 0
    taken: int = 0
    unsettled: int = 0
    waiting_for_lock: int = 0
    completed_moves: int = 0
    released: int = 0
    gone: int = 0
    expired_uploads: int = 0
    restored: int = 0
    failed: int = 0
    others: dict[str, int] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)  # files of the drop that stay there, the first of them, and why
    seconds: float = 0.0

    def leave(self, path: str, reason: str) -> None:
        """Note that a file stays where it is until somebody does something about it."""
        if len(self.left) < LEFT_LIMIT:
            self.left[path] = reason

    @property
    def did_something(self) -> bool:
        """True where anything changed or failed."""
        done = self.taken + self.completed_moves + self.released + self.gone + self.expired_uploads + self.failed
        return bool(done or any(self.others.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRules:
    """The settings of sweeps. ``homes`` is asked at each sweep: users come and go. ``others`` are passes of other
    packages, each returning counts by name.
    """

    settle_seconds: float
    partial_ttl: timedelta
    homes: Callable[[], Sequence[str]]
    others: Sequence[Callable[[], Mapping[str, int]]] = ()


class Sweeper:
    """One instance per process. ``run`` blocks; callers are in a thread."""

    def __init__(self, moves: Moves, placer: Placer, staging: Staging, edits: Edits, rules: SweepRules) -> None:
        self._moves = moves
        self._disk = moves.disk
        self._layout = moves.layout
        self._placer = placer
        self._staging = staging
        self._edits = edits
        self._rules = rules
        self._local = LocalFiles(moves, rules.settle_seconds, "sweep")
        self._progress: Progress = _silent
        self._homes: list[str] = []
        self._taken_homes: set[str] = set()
        self._flushers = ThreadPoolExecutor(FLUSH_THREADS, thread_name_prefix="sweep")

    def run(self, progress: Progress | None = None) -> SweepResult | None:
        """One pass; None where another process is sweeping. Raises StoreAway where the store is not there, or another gate's."""
        self._progress = progress or _silent
        self._moves.require_store()
        with self._disk.locked(self._layout.sweep_lock, wait=False) as mine:
            if not mine:
                return None
            started, began = self._moves.clock(), self._moves.uptime()
            self._attempt_notice()
            result = SweepResult()
            self._homes = sorted(self._rules.homes(), key=len, reverse=True)
            self._look_at_homes()
            for step in (
                self._complete_moves,
                self._finish_renames,
                self._release_batches,
                self._reconsider_held,
                self._take_from_drop,
                self._notice_gone,
                self._expire,
            ):
                self._attempt(step, result)
            for other in self._rules.others:
                self._attempt_other(other, result)
            result.seconds = self._moves.uptime() - began
            self._remember(started, result)
            self._seal()
            return result

    def close(self) -> None:
        """Let go of the threads; what they are at is ended first."""
        self._flushers.shutdown(wait=True)

    def recover(self) -> SweepResult:
        """What has to be done after a crash, before anybody is let in: complete the moves that were cut off, and find what
        is not where it must be. Logs each correction.
        """
        result = SweepResult()
        self._complete_moves(result)
        self._attempt(self._finish_renames, result)
        self._notice_gone(result)
        return result

    def _attempt_notice(self) -> None:
        """See whether the clock was set since the last sweep: what is old now may have been made a minute ago."""
        try:
            self._moves.time.notice()
        except SftpgateError as error:
            log.error("sweep.step_failed", step="notice", reason=error.message)

    def _attempt(self, step: Callable[[SweepResult], None], result: SweepResult) -> None:
        """A step that fails must not keep the others from their work; without the store there is none."""
        self._moves.require_store()
        try:
            step(result)
        except StoreAway:
            raise
        except SftpgateError as error:
            result.failed += 1
            log.error("sweep.step_failed", step=step.__name__.strip("_"), reason=error.message)

    def _attempt_other(self, other: Callable[[], Mapping[str, int]], result: SweepResult) -> None:
        self._moves.require_store()
        try:
            result.others.update(other())
        except StoreAway:
            raise
        except SftpgateError as error:
            result.failed += 1
            log.error("sweep.step_failed", reason=error.message)

    def _seal(self) -> None:
        """Let store and ledger say how old they are."""
        if self._moves.ties is None:
            return
        try:
            self._moves.ties.seal(self._moves.ledger)
        except SftpgateError as error:  # a full disk, for one: the next sweep tries again
            log.warning("sweep.step_failed", step="seal", reason=error.message)

    def _remember(self, at: datetime, result: SweepResult) -> None:
        with self._moves.ledger.transaction() as connection:
            set_fact(connection, LAST_SWEEP, json.dumps({"at": at.isoformat(), **asdict(result)}))

    # -- what was cut off --------------------------------------------------------------------------------------------

    def _complete_moves(self, result: SweepResult) -> None:
        self._moves.flush_names()
        self._moves.kept.clear(self._moves.ledger, self._moves.clock())
        with self._moves.change() as change:
            pass
        for row in change.completed:
            log.warning("arrival.move_completed", arrival=row.id, path=row.path, state=row.state)
        result.completed_moves += len(change.completed)

    def _finish_renames(self, result: SweepResult) -> None:
        result.completed_moves += self._edits.finish_renames()

    def _look_at_homes(self) -> None:
        """Say once of each home that a file has its name: its user cannot be served."""
        taken = {home for home in self._homes if self._edits.is_home_taken(home)}
        for home in sorted(taken - self._taken_homes):
            log.error("home.taken", home=home, reason=HomeTaken().message)
        self._taken_homes = taken

    # -- what was held -----------------------------------------------------------------------------------------------

    def _release_batches(self, result: SweepResult) -> None:
        for home in dict.fromkeys(("", *self._homes)):
            for lock in self._placer.batch_locks_of(home):
                age = self._placer.batch_lock_age(lock)
                if age > self._placer.rules.batch_lock_ttl:
                    whose = {"user": lock.owner} if lock.owner != LOCAL_OWNER else {}
                    log.warning("batch_lock.stale", home=home, path=lock.path, age_seconds=round(age.total_seconds()), **whose)
            result.released += self._edits.release_batch(home)
        if self._moves.consumer is not None and self._moves.consumer.has_stale_lock():
            age = self._moves.consumer.lock_age() or timedelta(0)
            log.warning("consumer_lock.stale", age_seconds=round(age.total_seconds()))

    def _reconsider_held(self, result: SweepResult) -> None:
        last = 0
        while True:
            with self._moves.ledger.reading() as connection:
                rows = arrivals.find(connection, states=[ArrivalState.HELD], after_seq=last, limit=SLICE)
            if not rows:
                return
            last = rows[-1].seq
            self._placer.prepare(rows)
            with self._moves.change() as change:
                for item in change.adopt(rows):
                    if item.state is ArrivalState.HELD and item.hold_reason is not HoldReason.BATCH_LOCK:
                        result.released += self._edits.try_release(change, item)

    # -- what lies in the drop ---------------------------------------------------------------------------------------

    def _take_from_drop(self, result: SweepResult) -> None:
        batch: list[tuple[str, os.stat_result]] = []
        for path, entry in self._walk("", top=True):
            result.scanned += 1
            self._progress("scanned", result.scanned)
            if not self._placer.rules.names.eligible(path):
                continue
            if not self._local.is_quiet(location(Area.DROP, path), entry.status):
                result.unsettled += 1
                continue
            batch.append((path, entry.status))
            if len(batch) >= BATCH:
                self._take(batch, result)
                batch = []
        self._take(batch, result)
        self._local.remember()

    def _walk(self, directory: str, *, top: bool = False) -> Iterator[tuple[str, Entry]]:
        """The files below a directory of the drop, depth first, without following links; our own and those that cannot be
        stored are left out.
        """
        below: list[str] = []
        try:
            for entry in self._disk.entries(self._layout.spot(location(Area.DROP, directory))):
                path = join(directory, entry.name)
                if is_managed(entry.name) or not is_storable(path):
                    continue
                if entry.is_file:
                    yield path, entry
                elif entry.is_dir:
                    below.append(path)
        except NoSuchFile:
            return
        except SftpgateError as error:
            log.warning("sweep.unreadable", path=directory, reason=error.message)
        for path in below:
            if not (top and self._placer.rules.names.is_reserved(path)):
                yield from self._walk(path)

    def _take(self, files: Sequence[tuple[str, os.stat_result]], result: SweepResult) -> None:
        """Make arrivals of files that lie in the drop. They are read and flushed before the changes, so that nobody waits for
        that.
        """
        drafts = self._drafts(self._unknown(files, result))
        self._placer.prepare(drafts)
        for start in range(0, len(drafts), SLICE):
            self._admit(drafts[start : start + SLICE], result)

    def _admit(self, drafts: Sequence[Arrival], result: SweepResult) -> None:
        """Make arrivals of these files, in one change."""
        taken: list[Arrival] = []
        with self._moves.change() as change:
            change.load(draft.path for draft in drafts)
            for draft in drafts:
                where = location(Area.DROP, draft.path)
                if change.accounts_for(where) or not is_unchanged(self._moves, draft, where):
                    continue  # somebody else has taken, changed or removed it meanwhile
                try:
                    arrival = self._placer.admit(change, draft, actor=SYSTEM)
                except SftpgateError as error:
                    result.failed += 1
                    log.warning("sweep.refused", path=draft.path, reason=error.message)
                    result.leave(draft.path, error.message)
                    continue
                taken.append(arrival)
        for arrival in taken:
            if arrival.id not in change.failures:
                log.info("sweep.took", arrival=arrival.id, path=arrival.path, size=arrival.size, state=arrival.state)
        result.taken += len(taken)
        self._placer.look_again(change.unverified.values())
        result.failed += len(change.failures)
        self._progress("taken", result.taken)

    def _unknown(self, files: Sequence[tuple[str, os.stat_result]], result: SweepResult) -> list[tuple[str, str]]:
        """The paths of those of the files that the ledger does not know and that need not wait, each with the home that it lies
        in.
        """
        if not files:
            return []
        alike: dict[str, dict[str, ArrivalState]] = {}
        with self._moves.ledger.reading() as connection:
            rows = arrivals.line_at(connection, [path for path, _ in files])
            known = {row.path for row in rows if row.location == location(Area.DROP, row.path)}
            for path, status in files:
                if path not in known:
                    alike[path] = arrivals.ended_alike(connection, path, status.st_size, status.st_mtime_ns)
        locked: dict[str, bool] = {}
        found = []
        for path, status in files:
            home = next((home for home in self._homes if path.startswith(f"{home}/")), "")
            if path in known:
                continue
            if self._local.is_linked(path, status):
                result.failed += 1
                result.leave(path, LinkedFile().message)
                continue
            has_tool = tool_for(path, self._placer.rules.pointers()) is not None
            if reason := self._local.why_left_alone(location(Area.DROP, path), status, alike[path], has_tool=has_tool):
                result.restored += 1
                result.leave(path, reason)
                continue
            if home not in locked:
                locked[home] = self._placer.is_batch_locked(self._placer.batch_locks_of(home), LOCAL_OWNER)
            if locked[home] or self._placer.must_wait_for_done_file(path):
                result.waiting_for_lock += 1
            else:
                found.append((path, home))
        return found

    def _drafts(self, files: Sequence[tuple[str, str]]) -> list[Arrival]:
        """Drafts of those of the files that can be taken now, all durable. Many are flushed with all that is on their
        filesystem, a few one by one: they need not wait for the large upload of somebody else.
        """
        one_by_one = len(files) < FLUSH_TOGETHER
        draft = partial(self._draft, flush=one_by_one)
        found = [found for found in (self._flushers.map if one_by_one else map)(draft, files) if found is not None]
        if found and not one_by_one and self._moves.durable:
            self._disk.sync_filesystem(self._layout.spot(location(Area.DROP, "")))
        return found

    def _draft(self, file: tuple[str, str], *, flush: bool) -> Arrival | None:
        """The draft of a local file; None where it cannot be taken now."""
        path, home = file
        now = self._moves.clock()
        return self._local.draft(
            location(Area.DROP, path), lambda fd: self._edits.draft_of_open(fd, path, home, path, now, flush=flush)
        )

    # -- what is no longer there -------------------------------------------------------------------------------------

    def _notice_gone(self, result: SweepResult) -> None:
        """Somebody took or removed a file: a plain program from the store, usually. Record it, and bring up the next of
        the queue.
        """
        last = 0
        while True:
            with self._moves.ledger.reading() as connection:
                rows = arrivals.live_after(connection, last, BATCH)
            if not rows:
                return
            last = rows[-1].seq
            doubtful = [row for row in rows if row.pending_from is None and not self._is_surely_there(row)]
            gone = [row for row in doubtful if row.location is not None and not self._moves.is_at(row, row.location)]
            for start in range(0, len(gone), SLICE):
                self._record_gone(gone[start : start + SLICE], result)
            self._recognise([row for row in doubtful if row not in gone])
            queued = sorted({row.path for row in rows if row.state is ArrivalState.QUEUED})
            for start in range(0, len(queued), SLICE):
                self._advance(queued[start : start + SLICE])

    def _is_surely_there(self, row: Arrival) -> bool:
        return row.location is None or self._moves.files.is_surely_at(row, row.location)

    def _recognise(self, rows: Sequence[Arrival]) -> None:
        """Record what the files are now that a backup brought back: the next look need not read them."""
        for start in range(0, len(rows), SLICE):
            with self._moves.change() as change:
                change.adopt(rows[start : start + SLICE])

    def _advance(self, paths: Collection[str]) -> None:
        """Bring up the next of queues whose head went unnoticed."""
        if paths:
            with self._moves.change() as change:
                change.load(paths)
                for path in paths:
                    self._placer.advance(change, path)

    def _record_gone(self, rows: Sequence[Arrival], result: SweepResult) -> None:
        with self._moves.change() as change:
            for row in rows:
                state = change.get(row.id).state
                if state is not row.state:
                    result.gone += 1
                    level = log.error if state is ArrivalState.LOST else log.info
                    level("arrival.gone", arrival=row.id, path=row.path, was=row.state, state=state)
                self._placer.advance(change, row.path)

    # -- what is too old ---------------------------------------------------------------------------------------------

    def _expire(self, result: SweepResult) -> None:
        """Remove interrupted uploads after their time, and staging files that nobody can resume."""
        ttl = self._rules.partial_ttl.total_seconds()
        for user in self._staging.users():
            notes = self._staging.notes(user)
            files = {name: status.st_ctime for name, status in self._staging.idle_files(user)}
            for lone in notes.keys() - files.keys():  # what a crash leaves while an upload is resumed
                self._staging.remove_idle(user, lone, notes[lone])
            # The change time: a modification time may be one that the client gave it.
            old = [name for name, changed in files.items() if self._moves.time.age(changed) > ttl]
            if not old:
                continue
            with self._moves.change() as change:  # what is an arrival's has been moved now, or is known to be stuck
                stuck = {row.id for row in arrivals.find(change.connection, pending=True)}
                for name in old:
                    if name not in stuck and self._staging.remove_idle(user, name, notes.get(name, ())):
                        result.expired_uploads += 1
                        log.info("upload.expired", user=user, upload=name)


def _silent(_what: str, _count: int) -> None:
    """No progress is shown."""
