"""Where complete files go: the decisions of ``policy.placement``, made with what drop, store and ledger say, and written
into a change.

Used for uploads, for files that the sweeper finds, for what local programs deposit, and for held files when their
reason may have gone. Everything here runs inside a ``changes.Change``, and blocks.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from sftpgate.errors import IsADirectory, OwnedByAnother, Refused, SftpgateError, TakenMeanwhile
from sftpgate.intake.batch_locks import BatchLock, BatchLocks, is_own_lock
from sftpgate.intake.changes import Change
from sftpgate.intake.companions import Companions, stem_of, stem_released_by
from sftpgate.intake.consumer import Consumer
from sftpgate.intake.homes import Homes
from sftpgate.intake.local import is_unchanged
from sftpgate.intake.moves import SLICE, Moves
from sftpgate.ledger import arrivals, audit
from sftpgate.ledger.actor import SYSTEM, Actor
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival, ArrivalId
from sftpgate.ledger.database import Connection
from sftpgate.logs import get_logger
from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import UNCLAIMED_STATES, Area, ArrivalEvent, ArrivalState, HoldReason
from sftpgate.policy.locations import Location, location, path_in
from sftpgate.policy.names import NameRules, is_skipped_by_consumer
from sftpgate.policy.placement import Fate, Placement, Situation, fate_of_earlier, place
from sftpgate.policy.tools import Pointer, is_queued

log = get_logger("placing")

# What can still be kept from runners, where a checksum file says so.
_IN_REACH = frozenset({ArrivalState.HELD, ArrivalState.WAITING, ArrivalState.QUEUED})
_LOOKS = 3  # at a companion that appears while we look; the sweeper looks again later


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeRules:
    """The settings that decide about files. ``pointers`` is asked each time: tools can be pointed elsewhere while we run."""

    names: NameRules
    batch_lock_ttl: timedelta
    require_done_file: bool
    publish_suspect: bool
    pointers: Callable[[], Sequence[Pointer]]
    homes: Homes


class Placer:
    """Puts complete files where they belong."""

    def __init__(self, moves: Moves, rules: IntakeRules) -> None:
        self._moves = moves
        self._disk = moves.disk
        self._layout = moves.layout
        self.companions = Companions(moves.layout, moves.disk)
        self.batch_locks = BatchLocks(moves.layout, moves.disk, rules.names)
        self.rules = rules

    # -- new files ---------------------------------------------------------------------------------------------------

    def admit(
        self,
        change: Change,
        draft: Arrival,
        *,
        actor: Actor,
        why: str = "",
        continues: ArrivalId | None = None,
        continues_local: Arrival | None = None,
        extends: bool = False,
    ) -> Arrival:
        """Record the complete file ``draft``, which lies at its ``pending_from``, as an arrival, and say where it goes.
        ``why``: the reason of its grade. ``continues`` is the arrival that it was made of, ``continues_local`` the same of a
        local file in the drop; ``extends``: it has all of that, and more behind it.

        State, reason and location of the draft are decided here. Raises OwnedByAnother where the path is another
        user's, IsADirectory where a directory has the name, TakenMeanwhile where what it was made of is gone.
        """
        self.rules.homes.require_no_home(draft.path)
        is_lock = is_own_lock(self.rules.names, draft)
        earlier = self._earlier(change, draft)
        if continues is not None:
            earlier = self._replace_continued(change, draft.path, earlier, continues, extends=extends)
        if continues_local is not None:
            self._require_local(change, continues_local)
        found, grade = self._placement(change, draft, earlier)
        where = self._prepare(change, draft, found, earlier)
        if continues_local is not None and not is_lock:  # a local lock stays: it is not this sender's
            self._set_aside(change, continues_local, where)
        origin = None if draft.pending_from == where else draft.pending_from
        arrival = replace(
            draft, grade=grade, state=found.state, hold_reason=found.hold_reason, location=where, pending_from=origin
        )
        change.add(arrival)
        change.note(
            "arrival.received",
            arrival,
            actor=actor,
            size=draft.size,
            sha256=draft.sha256,
            grade=grade,
            **({"why": why} if why and grade is draft.grade else {}),
        )
        if found.state is ArrivalState.QUEUED:
            self.advance(change, arrival.path)  # the head may have been taken unnoticed
        return change.get(arrival.id)

    def _earlier(self, change: Change, item: Arrival) -> list[Arrival]:
        """What a file finds under its path, without itself. Raises OwnedByAnother where that is another user's; but a batch lock
        is its sender's alone, and finds only locks of the same one.
        """
        earlier = [other for other in change.line_at(item.path) if other.id != item.id]
        if is_own_lock(self.rules.names, item):
            return [other for other in earlier if other.owner == item.owner]
        refuse_foreign(earlier, item.owner)
        return earlier

    def refuse_foreign(self, earlier: Sequence[Arrival], path: str, *, owner: str, home: str) -> None:
        """Raise OwnedByAnother where ``owner``, whose home is ``home``, cannot have ``path`` because of another user's file."""
        if not self.rules.names.is_batch_lock(path, home):
            refuse_foreign(earlier, owner)

    def _replace_continued(
        self, change: Change, path: str, earlier: list[Arrival], continues: ArrivalId, *, extends: bool
    ) -> list[Arrival]:
        """A changed copy takes the place of the arrival that it was made of, in a queue too; returns the other ones. Where a
        stock consumer may have that one, the copy is a version of its own. One that ``extends`` it keeps its content.
        """
        copied = [item for item in change.live_at(path) if item.id == continues]
        if self._is_swept(location(Area.STORE, path)) and (not copied or copied[0].state is ArrivalState.WAITING):
            return earlier
        if not copied or copied[0].state not in UNCLAIMED_STATES:
            raise TakenMeanwhile()
        if copied[0].state is ArrivalState.IGNORED:
            return earlier
        if extends:
            change.event(copied[0], ArrivalEvent.REPLACED, location=None)
        else:
            change.archive(copied[0], ArrivalEvent.REPLACED)
        return [item for item in earlier if item.id != continues]

    def _require_local(self, change: Change, local: Arrival) -> None:
        """Raise TakenMeanwhile where a local file is not in the drop any more: it is an arrival's, or a tool has it."""
        where = location(Area.DROP, local.path)
        if change.accounts_for(where) or not self._disk.exists(self._layout.spot(where)):
            raise TakenMeanwhile()

    def _set_aside(self, change: Change, local: Arrival, replaced: Location) -> None:
        """Archive a local file of the drop whose content is in what is being admitted: it must not run again for itself (promise
        P4). One that was changed since is a file of its own, and what lies at ``replaced`` makes way by itself.
        """
        where = location(Area.DROP, local.path)
        if where != replaced and not change.accounts_for(where) and is_unchanged(self._moves, local, where):
            change.keep_unknown(where, local.path)

    def move(self, change: Change, item: Arrival, path: str, *, actor: Actor) -> Arrival:
        """Give an unclaimed arrival another path, and put it where it belongs under that name."""
        self.rules.homes.require_no_home(path)
        renamed = replace(item, path=path)
        earlier = self._earlier(change, renamed)
        found, grade = self._placement(change, renamed, earlier)
        where = self._prepare(change, renamed, found, earlier)
        changed = change.event(
            renamed, _EVENTS[found.state], actor=actor, location=where, hold_reason=found.hold_reason, grade=grade
        )
        self.advance(change, item.path)
        return changed

    def reconsider(self, change: Change, item: Arrival, *, actor: Actor = SYSTEM, release: bool = False) -> Arrival:
        """Place a held (or waiting) arrival anew, because its companions or the batch lock may have changed; ``release``:
        whatever they say.
        """
        others = [other for other in change.line_at(item.path) if other.id != item.id]
        found, grade = (self._free(change, item, others), item.grade) if release else self._placement(change, item, others)
        if item.id in change.unverified and not release:
            return item
        if grade is not item.grade:
            item = replace(item, grade=grade)
            change.put(item)
            change.note("arrival.verified", item, actor=actor)
        if found.state is ArrivalState.WAITING and any(
            other.state is ArrivalState.WAITING and _has_name_since_later(change, other, item) for other in others
        ):
            if release:
                raise Refused("a newer file of this name is already waiting: it would be replaced by an older one")
            return change.archive(item, ArrivalEvent.REPLACED, actor=actor)
        if (found.state, found.hold_reason) == (item.state, item.hold_reason):
            return item
        if item.state is ArrivalState.WAITING and found.state is ArrivalState.QUEUED:
            return item  # it is at the head already
        earlier = [other for other in others if not _has_name_since_later(change, other, item)]
        where = self._prepare(change, item, found, earlier)
        return change.event(item, _EVENTS[found.state], actor=actor, location=where, hold_reason=found.hold_reason)

    def prepare(self, items: Iterable[Arrival]) -> None:
        """Read what has to be read of files that are about to be placed. Called before a change, without the store's lock;
        a change that goes without places its files as well, and notes those in ``Change.unverified``.
        """
        self.companions.hash_first(item for item in items if self.rules.names.eligible(item.path))

    def look_again(self, paths: Iterable[str], *, states: Collection[ArrivalState] = _IN_REACH) -> None:
        """Place the files of these paths anew, because of what lies beside them: those that are held, and the newest one, which
        a companion speaks of. A change of its own, whose failure is the next sweep's: what called for it was done already.
        """
        wanted = list(dict.fromkeys(paths))
        try:
            for start in range(0, len(wanted), SLICE):
                self._look_again(wanted[start : start + SLICE], states)
        except SftpgateError as error:
            log.warning("companion.failed", reason=error.message)

    def _look_again(self, paths: Sequence[str], states: Collection[ArrivalState]) -> None:
        wanted = paths
        for _ in range(_LOOKS):
            if not wanted:
                return
            with self._moves.ledger.reading() as connection:
                rows = arrivals.line_at(connection, wanted)
            self.prepare(rows)
            with self._moves.change() as change:
                for path in wanted:
                    in_reach = [item for item in change.line_at(path) if item.state in states]
                    for item in in_reach:
                        if item.state is ArrivalState.HELD or item is in_reach[-1]:
                            self.reconsider(change, item)
            wanted = list(change.unverified.values())

    def spoken_of(self, paths: Iterable[str]) -> list[str]:
        """The files that the companions among ``paths`` speak of; of a done-file also those of which it has the stem."""
        found: list[str] = []
        for path in paths:
            if whole := self.rules.names.spoken_of(path):
                found.append(whole)
                if stem := stem_released_by(path):
                    with self._moves.ledger.reading() as connection:
                        beside = arrivals.live_paths_of_stem(connection, stem)
                    found += [other for other in beside if stem_of(other) == stem and self.rules.names.eligible(other)]
        return found

    def advance(self, change: Change, path: str) -> None:
        """Bring up the next arrival of a queue whose head is gone."""
        if any(item.state in (ArrivalState.WAITING, ArrivalState.CLAIMED) for item in change.line_at(path)):
            return
        first = change.first_queued(path)
        where = location(Area.STORE, path)
        if first is not None and self._may_follow(change, where):
            if self._has_file(where):
                self._keep_unknown(change, where, path)
            change.event(first, ArrivalEvent.PUBLISHED, location=where)

    def must_wait_for_done_file(self, path: str) -> bool:
        """Whether a file that lies in the drop is to be left there until its done-file comes."""
        return self.rules.require_done_file and not self.companions.has_done_file(path, self.companions.beside(path))

    # -- deciding ----------------------------------------------------------------------------------------------------

    def _placement(self, change: Change, item: Arrival, earlier: Sequence[Arrival]) -> tuple[Placement, Grade]:
        """Where a file goes, and how sure it is by now that it is complete."""
        if not self.rules.names.eligible(item.path):
            return Placement(ArrivalState.IGNORED), item.grade
        beside = self.companions.beside(item.path)
        if self.companions.is_unhashed(item, beside):
            change.unverified[item.id] = item.path
        matches = self.companions.checksum_matches(item, beside)
        found = place(
            Situation(
                eligible=True,
                grade=item.grade,
                batch_locked=self._is_batch_locked_in(change, item),
                checksum_matches=matches,
                has_done_file=self.companions.has_done_file(item.path, beside),
                require_done_file=self.rules.require_done_file,
                publish_suspect=self.rules.publish_suspect,
                queued=self._is_queued(item.path),
                occupied=self._is_occupied(change, item, earlier),
                is_skipped=self._is_swept(location(Area.STORE, item.path)) and is_skipped_by_consumer(item.path),
            )
        )
        return found, Grade.VERIFIED if matches else item.grade

    def _free(self, change: Change, item: Arrival, earlier: Sequence[Arrival]) -> Placement:
        queued = self._is_queued(item.path) and self._is_occupied(change, item, earlier)
        return Placement(ArrivalState.QUEUED if queued else ArrivalState.WAITING)

    def _is_queued(self, path: str) -> bool:
        return self._is_swept(location(Area.STORE, path)) or is_queued(path, self.rules.pointers())

    def _is_occupied(self, change: Change, item: Arrival, earlier: Sequence[Arrival]) -> bool:
        """Whether a file that has to keep its turn cannot have its name yet."""
        where = location(Area.STORE, item.path)
        if any(other.state in _IN_LINE for other in earlier):
            return True
        return item.location != where and not self._may_take(where)

    # -- in front of a stock consumer --------------------------------------------------------------------------------

    def _is_swept(self, where: Location) -> bool:
        return self._moves.consumer is not None and self._moves.consumer.sweeps(where)

    def _may_take(self, where: Location) -> bool:
        """Whether a name may be taken now, for all that a stock consumer could be doing: see ``consumer``."""
        consumer = self._moves.consumer
        if consumer is None or not consumer.sweeps(where):
            return True
        return not (consumer.is_reading() or self._disk.exists(self._layout.spot(where)))

    def _may_follow(self, change: Change, where: Location) -> bool:
        """Whether the next one of a queue may take a name now: the consumer had its time for the one before."""
        consumer = self._moves.consumer
        if consumer is None or not consumer.sweeps(where):
            return True
        return self._may_take(where) and not consumer.is_at_work_on(change.taken_at(path_in(where)), change.now)

    def _is_free(self, connection: Connection, consumer: Consumer, path: str) -> bool:
        """Whether the next version of a name may come up, as far as a look from outside can say."""
        where = location(Area.STORE, path)
        if self._disk.exists(self._layout.spot(where)):
            return False
        return not (
            consumer.sweeps(where) and consumer.is_at_work_on(arrivals.last_taken_at(connection, path), self._moves.clock())
        )

    def bring_up(self) -> int:
        """Give the store the next file of each queue whose name the stock consumer has freed; returns how many. A change of
        its own; does nothing while the consumer is at work.
        """
        consumer = self._moves.consumer
        if consumer is None or consumer.is_reading():
            return 0
        with self._moves.ledger.reading() as connection:
            paths = arrivals.queued_paths(connection)
            free = [path for path in paths if self._is_free(connection, consumer, path)][:SLICE]
        if not free:
            return 0
        with self._moves.change() as change:
            change.load(free)
            for path in free:
                self.advance(change, path)
        return sum(item.state is ArrivalState.WAITING for item in change.written)

    def batch_locks_of(self, home: str) -> list[BatchLock]:
        """The batch locks at the top of ``home``, stale ones too. A directory of that name counts: somebody means a lock."""
        with self._moves.ledger.reading() as connection:
            return self.batch_locks.as_recorded(connection, home)

    def is_batch_locked(self, locks: Iterable[BatchLock], owner: str) -> bool:
        """Whether one of the locks of a home holds files of ``owner`` and is not stale."""
        return any(lock.holds(owner) and self.batch_lock_age(lock) <= self.rules.batch_lock_ttl for lock in locks)

    def _is_batch_locked_in(self, change: Change, item: Arrival) -> bool:
        """The same of a file. Looked at once in a change: nobody can say whether a lock that appears during it came before or
        after it.
        """
        locks = change.batch_locks.get(item.home)
        if locks is None:
            locks = change.batch_locks[item.home] = self.batch_locks.seen_by(change, item.home)
        return self.is_batch_locked(locks, item.owner)

    def batch_lock_age(self, lock: BatchLock) -> timedelta:
        """The time since the disk saw a batch lock change."""
        return timedelta(seconds=self._moves.time.age(lock.changed))

    # -- making room -------------------------------------------------------------------------------------------------

    def _prepare(self, change: Change, item: Arrival, new: Placement, earlier: Sequence[Arrival]) -> Location:
        """Where ``item`` goes, after what has to make way for it was sent away. Raises IsADirectory before anything is."""
        is_taken = False
        if new.state in (ArrivalState.WAITING, ArrivalState.IGNORED):
            is_taken = self._has_file(location(Area.STORE if new.state is ArrivalState.WAITING else Area.DROP, item.path))
        queued = self._is_queued(item.path)
        if fate_of_earlier(Placement(ArrivalState.QUEUED), new, queued=queued) is not Fate.STAYS:
            known = {item.id, *(other.id for other in earlier)}
            queue = [other for other in change.live_at(item.path) if other.state is ArrivalState.QUEUED and other.id not in known]
            earlier = [*earlier, *queue]
        for other in earlier:
            if other.state not in UNCLAIMED_STATES:
                continue
            match fate_of_earlier(Placement(other.state, other.hold_reason), new, queued=queued):
                case Fate.ARCHIVED:
                    change.archive(other, ArrivalEvent.REPLACED)
                case Fate.DROPPED:
                    change.event(other, ArrivalEvent.REPLACED, location=None)
                case Fate.STAYS:
                    pass
        if is_taken and new.state is ArrivalState.WAITING:
            self._keep_unknown(change, location(Area.STORE, item.path), item.path)
            self._moves.kept.keep(item)
        return self._target(change, item, new)

    def _target(self, change: Change, item: Arrival, new: Placement) -> Location:
        match new.state:
            case ArrivalState.WAITING:
                return location(Area.STORE, item.path)
            case ArrivalState.QUEUED:
                return location(Area.QUEUE, item.id)
            case ArrivalState.HELD:
                in_drop = location(Area.DROP, item.path)
                if new.hold_reason in _SHOWN_BY_DISK and (item.location == in_drop or not self._is_taken(change, in_drop)):
                    return in_drop
                return location(Area.HELD, item.id)
            case _:
                return self._beside(change, item) if is_own_lock(self.rules.names, item) else location(Area.DROP, item.path)

    def _beside(self, change: Change, item: Arrival) -> Location:
        """Where a sender's batch lock lies: under its name, or under its id where somebody else's lock has that."""
        in_drop = location(Area.DROP, item.path)
        has_name = any(other.location == in_drop and other.id != item.id for other in change.line_at(item.path))
        if has_name or (item.location != in_drop and self._is_taken(change, in_drop)):
            return location(Area.LOCKS, item.id)
        return in_drop

    def _is_taken(self, change: Change, where: Location) -> bool:
        return self._disk.exists(self._layout.spot(where)) and not change.vacates(where)

    def _keep_unknown(self, change: Change, where: Location, path: str) -> None:
        """Keep what lies in the store under a name that is about to be taken and that no live arrival has."""
        if not change.accounts_for(where):
            change.keep_unknown(where, path)

    def _has_file(self, where: Location) -> bool:
        """Whether something has a name that is about to be taken. Raises IsADirectory."""
        found = self._disk.lstat(self._layout.spot(where))
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise IsADirectory("a directory of this name is already there (rule: one name is one file)")
        return found is not None


# What a file of a queue waits behind.
_IN_LINE = frozenset({ArrivalState.WAITING, ArrivalState.QUEUED, ArrivalState.CLAIMED})


def _has_name_since_later(change: Change, other: Arrival, item: Arrival) -> bool:
    """Whether ``other`` is the newer one of two arrivals of a name. One that came earlier may have been renamed to it later."""
    if other.seq < item.seq:
        return False
    since = [audit.named_since(change.connection, each.id, each.path) for each in (other, item)]
    return since[0] >= since[1]


_SHOWN_BY_DISK = frozenset(reason for reason in HoldReason if reason.shown_by_disk)

_EVENTS = {
    ArrivalState.WAITING: ArrivalEvent.PUBLISHED,
    ArrivalState.QUEUED: ArrivalEvent.QUEUED,
    ArrivalState.HELD: ArrivalEvent.HELD,
    ArrivalState.IGNORED: ArrivalEvent.SET_ASIDE,
}


def refuse_foreign(earlier: Sequence[Arrival], owner: str) -> None:
    """Raise OwnedByAnother where a path has an unclaimed arrival of another user. What a local program put there is nobody's."""
    if any(item.owner not in (owner, LOCAL_OWNER) and item.state in UNCLAIMED_STATES for item in earlier):
        raise OwnedByAnother()
