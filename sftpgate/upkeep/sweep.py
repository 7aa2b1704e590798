"""The sweep: the periodic pass that finds what the hook did not take, and makes ledger and disk agree.

It completes moves that were cut off, releases what a batch lock or a missing companion held, takes files that lie
quietly in the drop, notices what plain programs took from the store, and removes interrupted uploads that nobody
resumed. One process sweeps at a time (an ``flock``); the work is done in bounded batches, so that memory stays flat and
publishers get their turn.

When is a file in the drop complete? When it is quiet (``policy/quiet.py``) and nobody has it open for writing.

A crash in a sweep leaves what a crash of a change leaves (see ``handover.journal``); the next sweep goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta

from sftpgate.drop.sender_acts import SenderActs
from sftpgate.errors import HomeTaken, NoSuchFile, SftpgateError, StoreAway
from sftpgate.handover.journal import SLICE, Journal
from sftpgate.handover.local_files import LocalFiles, is_takeable
from sftpgate.handover.placement.companions import Beside
from sftpgate.handover.placement.placer import Placer
from sftpgate.handover.placement.surroundings import Surroundings
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.ledger.database.connection import set_fact
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import Area, ArrivalState, HoldReason
from sftpgate.policy.locations import location
from sftpgate.policy.managed import is_reserved
from sftpgate.policy.names import is_managed, is_storable, join
from sftpgate.policy.quiet import LocalStanding
from sftpgate.uploads.publisher import FLUSH_THREADS
from sftpgate.uploads.staging import Staging

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
        """Note that a file stays if it is until somebody does something about it."""
        if len(self.left) < LEFT_LIMIT:
            self.left[path] = reason

    def counts(self) -> dict[str, int]:
        """Return what was counted, by its name here, as far as it is not 0."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.type == "int"}
        return {name: count for name, count in {**named, **self.others}.items() if count}

    @property
    def did_something(self) -> bool:
        """True if anything changed or failed."""
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

    def __init__(
        self, resources: Resources, journal: Journal, placer: Placer, staging: Staging, acts: SenderActs, rules: SweepRules
    ) -> None:
        self._resources = resources
        self._journal = journal
        self._disk = resources.disk
        self._layout = resources.layout
        self._placer = placer
        self._staging = staging
        self._acts = acts
        self._rules = rules
        pointers = placer.rules.pointers
        self._local = LocalFiles(resources, Area.DROP, pointers, settle_seconds=rules.settle_seconds, who="sweep")
        self._progress: Progress = _silent
        self._homes: list[str] = []
        self._taken_homes: set[str] = set()
        self._flushers = ThreadPoolExecutor(FLUSH_THREADS, thread_name_prefix="sweep")

    def run(self, progress: Progress | None = None) -> SweepResult | None:
        """Do one pass; None if another process is sweeping. Raises StoreAway if the store is not there, or another gate's."""
        self._progress = progress or _silent
        self._journal.require_store()
        with self._journal.locks.sweep_if_free() as mine:
            if not mine:
                return None
            started, began = self._resources.clock(), self._resources.uptime()
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
            result.seconds = self._resources.uptime() - began
            self._remember(started, result)
            self._seal()
            return result

    def close(self) -> None:
        """Let go of the threads; what they are at is ended first."""
        self._flushers.shutdown(wait=True)

    def recover(self) -> SweepResult:
        """Do what has to be done after a crash, before anybody is let in: complete the moves that were cut off, and find what
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
            self._resources.time.notice()
        except SftpgateError as error:
            log.error("sweep.step_failed", step="notice", reason=error.message)

    def _attempt(self, step: Callable[[SweepResult], None], result: SweepResult) -> None:
        """Do a step. One that fails must not keep the others from their work; without the store there is none."""
        self._journal.require_store()
        try:
            step(result)
        except StoreAway:
            raise
        except SftpgateError as error:
            result.failed += 1
            log.error("sweep.step_failed", step=step.__name__.strip("_"), reason=error.message)

    def _attempt_other(self, other: Callable[[], Mapping[str, int]], result: SweepResult) -> None:
        self._journal.require_store()
        try:
            result.others.update(other())
        except StoreAway:
            raise
        except SftpgateError as error:
            result.failed += 1
            log.error("sweep.step_failed", reason=error.message)

    def _seal(self) -> None:
        """Let store and ledger say how old they are."""
        if self._journal.ties is None:
            return
        try:
            self._journal.ties.seal(self._resources.ledger)
        except SftpgateError as error:  # a full disk, for one: the next sweep tries again
            log.warning("sweep.step_failed", step="seal", reason=error.message)

    def _remember(self, at: datetime, result: SweepResult) -> None:
        with self._resources.ledger.transaction() as connection:
            set_fact(connection, LAST_SWEEP, json.dumps({"at": at.isoformat(), **asdict(result)}))

    # -- what was cut off --------------------------------------------------------------------------------------------

    def _complete_moves(self, result: SweepResult) -> None:
        self._journal.flush_names()
        self._journal.kept.clear(self._resources.ledger, self._resources.clock())
        with self._journal.change() as change:
            pass
        for row in change.completed:
            log.warning("arrival.move_completed", arrival=row.id, path=row.path, state=row.state)
        result.completed_moves += len(change.completed)

    def _finish_renames(self, result: SweepResult) -> None:
        result.completed_moves += self._acts.finish_renames()

    def _look_at_homes(self) -> None:
        """Say once of each home that a file has its name: its user cannot be served."""
        taken = {home for home in self._homes if self._acts.is_home_taken(home)}
        for home in sorted(taken - self._taken_homes):
            log.error("home.taken", home=home, reason=HomeTaken().message)
        self._taken_homes = taken

    # -- what was held -----------------------------------------------------------------------------------------------

    def _release_batches(self, result: SweepResult) -> None:
        for home in dict.fromkeys(("", *self._homes)):
            for lock in self._placer.batch_holds.locks_of(home):
                if self._placer.batch_holds.is_stale(lock):
                    age = self._placer.batch_holds.age(lock)
                    whose = {"user": lock.owner} if lock.owner != LOCAL_OWNER else {}
                    log.warning("batch_lock.stale", home=home, path=lock.path, age_seconds=round(age.total_seconds()), **whose)
            result.released += self._placer.second_looks.release_batch(home)
        if self._journal.consumer is not None and self._journal.consumer.has_stale_lock():
            age = self._journal.consumer.lock_age() or timedelta(0)
            log.warning("consumer_lock.stale", age_seconds=round(age.total_seconds()))

    def _reconsider_held(self, result: SweepResult) -> None:
        last = 0
        while True:
            with self._resources.ledger.reading() as connection:
                rows = arrivals.find(connection, states=[ArrivalState.HELD], after_seq=last, limit=SLICE)
            if not rows:
                return
            last = rows[-1].seq
            self._placer.companions.hash_first(rows)
            with self._journal.change() as change:
                for item in change.adopt(rows):
                    if item.state is ArrivalState.HELD and item.hold_reason is not HoldReason.BATCH_LOCK:
                        result.released += self._placer.second_looks.try_release(change, item)

    # -- what lies in the drop ---------------------------------------------------------------------------------------

    def _take_from_drop(self, result: SweepResult) -> None:
        around = Surroundings(self._placer.companions, self._resources.uptime)
        batch: list[str] = []
        for path in self._walk("", top=True):
            result.scanned += 1
            self._progress("scanned", result.scanned)
            if self._placer.rules.names.eligible(path):
                batch.append(path)
            if len(batch) >= BATCH:
                self._take(batch, around, result)
                batch = []
        self._take(batch, around, result)
        self._placer.second_looks.at(around.appeared(end=True))
        self._local.remember()

    def _walk(self, directory: str, *, top: bool = False) -> Iterator[str]:
        """Yield the paths of the files below a directory of the drop, depth first, without following links; our own and those
        that cannot be stored are left out.
        """
        below: list[str] = []
        try:
            for entry in self._disk.entries(self._layout.disk_path(location(Area.DROP, directory))):
                path = join(directory, entry.name)
                if is_managed(entry.name) or not is_storable(path):
                    continue
                if entry.is_file:
                    yield path
                elif entry.is_dir:
                    below.append(path)
        except NoSuchFile:
            return
        except SftpgateError as error:
            log.warning("sweep.unreadable", path=directory, reason=error.message)
        for path in below:
            if not (top and is_reserved(path)):
                yield from self._walk(path)

    def _take(self, paths: Sequence[str], around: Surroundings, result: SweepResult) -> None:
        """Make arrivals of files that lie in the drop. They are read and flushed before the changes, so that nobody waits for
        that.
        """
        drafts = self._drafts(self._free(paths, around, result))
        beside = around.beside(draft.path for draft in drafts)
        self._placer.companions.hash_first(drafts, beside)
        for start in range(0, len(drafts), SLICE):
            self._admit(drafts[start : start + SLICE], beside, result)
        self._placer.second_looks.at(around.appeared())

    def _admit(self, drafts: Sequence[Arrival], beside: Mapping[str, Beside], result: SweepResult) -> None:
        """Make arrivals of these files, in one change."""
        taken: list[Arrival] = []
        with self._journal.change() as change:
            change.load(draft.path for draft in drafts)
            for draft in drafts:
                if not is_takeable(self._resources, change, draft):
                    continue  # somebody else has taken, changed or removed it meanwhile
                try:
                    lain = self._local.lain_since(draft.path)
                    arrival = self._placer.admit(change, draft, actor=SYSTEM, beside=beside.get(draft.path), lain_since=lain)
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
        self._placer.second_looks.at(change.unverified.values())
        result.failed += len(change.failures)
        self._progress("taken", result.taken)

    def _free(self, paths: Sequence[str], around: Surroundings, result: SweepResult) -> list[tuple[str, str]]:
        """Return the paths of those of the files that can be taken now and need not wait, each with the home that it lies in."""
        holds, locked = self._placer.batch_holds, dict[str, bool]()
        found = []
        beside = around.beside(paths) if self._placer.rules.require_done_file else {}
        for file in self._local.examine(paths):
            match file.standing:
                case LocalStanding.KNOWN:
                    pass
                case LocalStanding.UNQUIET:
                    result.unsettled += 1
                case LocalStanding.LINKED:
                    result.failed += 1
                    result.leave(file.path, file.reason)
                case LocalStanding.RESTORED:
                    result.restored += 1
                    result.leave(file.path, file.reason)
                case LocalStanding.FREE:
                    home = next((home for home in self._homes if file.path.startswith(f"{home}/")), "")
                    if home not in locked:
                        locked[home] = holds.holding(holds.locks_of(home), LOCAL_OWNER) is not None
                    if locked[home] or self._placer.decision.awaits_done_file(file.path, beside.get(file.path)):
                        result.waiting_for_lock += 1
                    else:
                        found.append((file.path, home))
        return found

    def _drafts(self, files: Sequence[tuple[str, str]]) -> list[Arrival]:
        """Return drafts of those of the files that can be taken now, all durable. Many are flushed with all that is on their
        filesystem, a few one by one: they need not wait for the large upload of somebody else.
        """
        one_by_one = len(files) < FLUSH_TOGETHER
        made = (self._flushers.map if one_by_one else map)(
            lambda file: self._local.draft(file[0], home=file[1], flush=one_by_one), files
        )
        found = [draft for draft in made if draft is not None]
        if found and not one_by_one and self._resources.durable:
            self._disk.sync_filesystem(self._layout.disk_path(location(Area.DROP, "")))
        return found

    # -- what is no longer there -------------------------------------------------------------------------------------

    def _notice_gone(self, result: SweepResult) -> None:
        """Record that somebody took or removed a file, usually a plain program from the store, and bring up the next of
        the queue.
        """
        last = 0
        while True:
            with self._resources.ledger.reading() as connection:
                rows = arrivals.live_after(connection, last, BATCH)
            if not rows:
                return
            last = rows[-1].seq
            doubtful = [row for row in rows if row.pending_from is None and not self._is_surely_there(row)]
            gone = [row for row in doubtful if row.location is not None and not self._journal.is_at(row, row.location)]
            for start in range(0, len(gone), SLICE):
                self._record_gone(gone[start : start + SLICE], result)
            self._recognise([row for row in doubtful if row not in gone])
            queued = sorted({row.path for row in rows if row.state is ArrivalState.QUEUED})
            for start in range(0, len(queued), SLICE):
                self._advance(queued[start : start + SLICE])

    def _is_surely_there(self, row: Arrival) -> bool:
        return row.location is None or self._journal.files.is_surely_at(row, row.location)

    def _recognise(self, rows: Sequence[Arrival]) -> None:
        """Record what the files are now that a backup brought back: the next look need not read them."""
        for start in range(0, len(rows), SLICE):
            with self._journal.change() as change:
                change.adopt(rows[start : start + SLICE])

    def _advance(self, paths: Collection[str]) -> None:
        """Bring up the next of queues whose head went unnoticed."""
        if paths:
            with self._journal.change() as change:
                change.load(paths)
                for path in paths:
                    self._placer.queues.advance(change, path)

    def _record_gone(self, rows: Sequence[Arrival], result: SweepResult) -> None:
        with self._journal.change() as change:
            for row in rows:
                state = change.get(row.id).state
                if state is not row.state:
                    result.gone += 1
                    level = log.error if state is ArrivalState.LOST else log.info
                    level("arrival.gone", arrival=row.id, path=row.path, was=row.state, state=state)
                self._placer.queues.advance(change, row.path)

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
            old = [name for name, changed in files.items() if self._resources.time.age(changed) > ttl]
            if not old:
                continue
            with self._journal.change() as change:  # what is an arrival's has been moved now, or is known to be stuck
                stuck = {row.id for row in arrivals.find(change.connection, pending=True)}
                for name in old:
                    if name not in stuck and self._staging.remove_idle(user, name, notes.get(name, ())):
                        result.expired_uploads += 1
                        log.info("upload.expired", user=user, upload=name)


def _silent(_what: str, _count: int) -> None:
    """Show no progress."""
