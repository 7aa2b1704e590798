"""The placer: makes arrivals of complete files, and puts arrivals where they belong.

It joins the parts of this package in a change: ``decision`` says what becomes of a file, ``targets`` where that is and what makes
way, ``queues`` whose turn it is. Used for uploads, for local files, for what is deposited or renamed, and for held files when
their reason may have gone. Everything here runs inside a ``changes.Change``, and blocks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from sftpgate.errors import Refused, SftpgateError, TakenMeanwhile
from sftpgate.handover.changes import Change
from sftpgate.handover.contracts.approvals import Approvals
from sftpgate.handover.journal import Journal
from sftpgate.handover.local_files import is_unchanged
from sftpgate.handover.placement.batch_locks import BatchHolds, is_own_lock
from sftpgate.handover.placement.companions import Beside, Companions
from sftpgate.handover.placement.contract_verdicts import ContractVerdicts
from sftpgate.handover.placement.decision import Decision
from sftpgate.handover.placement.queues import Queues
from sftpgate.handover.placement.rules import PlacementRules, refuse_foreign
from sftpgate.handover.placement.second_looks import SecondLooks
from sftpgate.handover.placement.targets import Targets
from sftpgate.handover.resources import Resources
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.actor import SYSTEM, Actor
from sftpgate.ledger.contracts import approvals, undos
from sftpgate.logs import get_logger
from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import UNCLAIMED_STATES, Area, ArrivalEvent, ArrivalState, HoldReason
from sftpgate.policy.locations import Location, location
from sftpgate.policy.placement import Placement

log = get_logger("placing")
WARNED = "arrival.warned"  # the event of a file that goes on although its contract objects, because that only warns


class Placer:
    """Puts complete files where they belong. Its parts are for those who need one of them alone."""

    def __init__(self, resources: Resources, journal: Journal, rules: PlacementRules) -> None:
        self._resources = resources
        self.rules = rules
        self.companions = Companions(resources.layout, resources.disk, rules.names)
        self.batch_holds = BatchHolds(resources, rules.names, rules.batch_lock_ttl)
        self.queues = Queues(resources, journal, rules)
        self.approvals = Approvals(resources.clock, resources.time)
        self.verdicts = ContractVerdicts(rules.pointers, rules.contracts, self.approvals)
        self.decision = Decision(rules, self.companions, self.batch_holds, self.queues, self.verdicts)
        self.second_looks = SecondLooks(resources, journal, rules.names, self.companions, self.batch_holds, self.reconsider)
        self._targets = Targets(resources, journal.kept, rules.names)

    def admit(
        self,
        change: Change,
        local: Arrival,
        *,
        actor: Actor,
        why: str = "",
        continues: ArrivalId | None = None,
        continues_local: Arrival | None = None,
        extends: bool = False,
        beside: Beside | None = None,
        lain_since: datetime | None = None,
    ) -> Arrival:
        """Record the complete file ``local``, which lies at its ``pending_from``, as an arrival, and say where it goes.
        ``why``: the reason of its grade. ``continues`` is the arrival that it was made of, ``continues_local`` the same of a
        local file in the drop; ``extends``: it has all of that, and more behind it. ``beside``: its companions, if somebody has
        looked for them (see ``surroundings``). ``lain_since``: when a file that nobody sent was there already.

        State, reason and location of the draft are decided here. Raises OwnedByAnother if the path is another
        user's, IsADirectory if a directory has the name, TakenMeanwhile if what it was made of is gone.
        """
        self.rules.homes.require_no_home(local.path)
        is_lock = is_own_lock(self.rules.names, local)
        earlier = self._earlier(change, local)
        if continues is not None:
            earlier = self._replace_continued(change, local.path, earlier, continues, extends=extends)
        if continues_local is not None:
            self._require_local(change, continues_local)
        found, grade = self.decision.of(change, local, earlier, doubt=why, beside=beside)
        where = self._clear(change, local, found, earlier)
        if continues_local is not None and not is_lock:  # a local lock stays: it is not this sender's
            self._set_aside(change, continues_local, where)
        arrival = self._record(change, local, found, where, actor=actor, grade=grade, why=why, lain_since=lain_since)
        if found.state is ArrivalState.QUEUED:
            self.queues.advance(change, arrival.path)  # the head may have been taken unnoticed
        return change.get(arrival.id)

    def admit_from_store(self, change: Change, draft: Arrival, *, actor: Actor, lain_since: datetime | None = None) -> Arrival:
        """Record a local file that lies in the store under its name as an arrival. It replaces nobody."""
        found = self.decision.in_store(change, draft)
        where = self._targets.of(change, draft, found)
        return self._record(change, draft, found, where, actor=actor, grade=draft.grade, lain_since=lain_since)

    def _record(
        self,
        change: Change,
        draft: Arrival,
        found: Placement,
        where: Location,
        *,
        actor: Actor,
        grade: Grade,
        why: str = "",
        lain_since: datetime | None = None,
    ) -> Arrival:
        """Make an arrival of a draft that goes to ``where``. ``why``: the reason of the grade that it came with."""
        origin = None if draft.pending_from == where else draft.pending_from
        arrival = replace(
            draft,
            grade=grade,
            state=found.state,
            hold_reason=found.hold_reason,
            hold_detail=found.hold_detail,
            location=where,
            pending_from=origin,
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
            **({"lain_since": lain_since.isoformat(timespec="seconds")} if lain_since is not None else {}),
        )
        _warn(change, arrival, found)
        return arrival

    def _earlier(self, change: Change, item: Arrival) -> list[Arrival]:
        """Return what a file finds under its path, without itself. Raises OwnedByAnother if that is another user's; but a batch
        lock is its sender's alone, and finds only locks of the same one.
        """
        earlier = [other for other in change.line_at(item.path) if other.id != item.id]
        if is_own_lock(self.rules.names, item):
            return [other for other in earlier if other.owner == item.owner]
        if item.source != undos.SOURCE:  # what undoes a run is held, and takes nobody's place
            refuse_foreign(earlier, item.owner)
        return earlier

    def _replace_continued(
        self, change: Change, path: str, earlier: list[Arrival], continues: ArrivalId, *, extends: bool
    ) -> list[Arrival]:
        """Put a changed copy in the place of the arrival that it was made of, in a queue too; return the other ones. If a
        stock consumer may have that one, the copy is a version of its own. One that ``extends`` it keeps its content.
        """
        copied = [item for item in change.live_at(path) if item.id == continues]
        if self.queues.is_swept(path) and (not copied or copied[0].state is ArrivalState.WAITING):
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
        """Raise TakenMeanwhile if a local file is not in the drop any more: it is an arrival's, or a tool has it."""
        where = location(Area.DROP, local.path)
        if change.accounts_for(where) or not self._resources.disk.exists(self._resources.layout.disk_path(where)):
            raise TakenMeanwhile()

    def _set_aside(self, change: Change, local: Arrival, replaced: Location) -> None:
        """Archive a local file of the drop whose content is in what is being admitted: it must not run again for itself (promise
        P4). One that was changed since is a file of its own, and what lies at ``replaced`` makes way by itself.
        """
        where = location(Area.DROP, local.path)
        if where != replaced and is_unchanged(self._resources, local, where):
            change.keep_unknown(where, local.path)

    def move(self, change: Change, item: Arrival, path: str, *, actor: Actor) -> Arrival:
        """Give an unclaimed arrival another path, and put it where it belongs under that name."""
        self.rules.homes.require_no_home(path)
        renamed = replace(item, path=path)
        earlier = self._earlier(change, renamed)
        found, grade = self.decision.of(change, renamed, earlier)
        where = self._clear(change, renamed, found, earlier)
        changed = change.event(
            renamed,
            _EVENTS[found.state],
            actor=actor,
            location=where,
            hold_reason=found.hold_reason,
            hold_detail=found.hold_detail,
            grade=grade,
        )
        _warn(change, changed, found)
        self.queues.advance(change, item.path)
        return changed

    def end_approvals(self, change: Change, altered: Collection[ArrivalId] = ()) -> int:
        """Hold again what people had let go whose approval has ended before a tool ran on it; return how many files. One that
        cannot be moved now (a stock consumer could be reading it) is tried again. ``altered`` have another content than was
        approved: their approvals end at once.
        """
        ended = 0
        for item in map(change.get, altered):
            if item.state is ArrivalState.WAITING:
                approvals.end(change.connection, item.id, change.now)
                change.note("arrival.approval_ended", item, actor=SYSTEM, because="its content was changed on this machine")
                self.reconsider(change, item, judged_anew=True)
                self.queues.advance(change, item.path)
                ended += 1
        for item in map(change.get, self.approvals.overdue(change.connection)):
            try:
                placed = self.reconsider(change, item, judged_anew=True)
            except SftpgateError as error:
                log.warning("approval.not_ended", arrival=item.id, path=item.path, reason=error.message)
                continue
            approvals.end(change.connection, item.id, change.now)
            change.note("arrival.approval_ended", placed, actor=SYSTEM)
            self.queues.advance(change, item.path)
            ended += 1
        return ended

    def reconsider(
        self,
        change: Change,
        item: Arrival,
        *,
        actor: Actor = SYSTEM,
        release: bool = False,
        approved: bool = False,
        judged_anew: bool = False,
    ) -> Arrival:
        """Place a held (or waiting) arrival anew, because its companions or the batch lock may have changed; ``release``:
        whatever they say. ``approved``: people have just let it go; ``judged_anew``: its contract is asked though it waits.

        Raises Refused if it is released or approved, and a newer file of its name waits.
        """
        others = [other for other in change.line_at(item.path) if other.id != item.id]
        if release and item.hold_reason is HoldReason.RESTORED:  # as if it had come now: what else may hold it is asked anew
            item = replace(item, hold_reason=None, hold_detail=None)
            found, grade = self.decision.of(change, item, others)
        elif release:
            found, grade = self.decision.of_released(change, item, others), item.grade
        else:
            let_go = item.state is not ArrivalState.HELD and not judged_anew
            found, grade = self.decision.of(change, item, others, let_go=let_go)
        if item.id in change.unverified and not release:
            return item
        if grade is not item.grade:
            item = replace(item, grade=grade)
            change.put(item)
            change.note("arrival.verified", item, actor=actor)
        if found.state is ArrivalState.WAITING and any(
            other.state is ArrivalState.WAITING and _has_name_since_later(change, other, item) for other in others
        ):
            if release or approved:
                raise Refused("a newer file of this name is already waiting: it would be replaced by an older one")
            return change.archive(item, ArrivalEvent.REPLACED, actor=actor)
        if (found.state, found.hold_reason) == (item.state, item.hold_reason):
            return self._explain(change, item, found, actor)
        if item.state is ArrivalState.WAITING and found.state is ArrivalState.QUEUED:
            return item  # it is at the head already
        earlier = [other for other in others if not _has_name_since_later(change, other, item)]
        where = self._clear(change, item, found, earlier)
        placed = change.event(
            item,
            _EVENTS[found.state],
            actor=actor,
            location=where,
            hold_reason=found.hold_reason,
            hold_detail=found.hold_detail,
        )
        _warn(change, placed, found)
        return placed

    def _explain(self, change: Change, item: Arrival, found: Placement, actor: Actor) -> Arrival:
        """Record that a file stays where it is, and is held for the same reason with another detail."""
        if found.hold_detail == item.hold_detail:
            return item
        explained = replace(item, hold_detail=found.hold_detail)
        change.put(explained)
        change.note("arrival.held_anew", explained, actor=actor)
        return explained

    def _clear(self, change: Change, item: Arrival, found: Placement, earlier: Sequence[Arrival]) -> Location:
        """Send away what has to make way for ``item``, and return where it goes. Raises IsADirectory before anything is."""
        return self._targets.clear(change, item, found, earlier, queued=self.queues.is_queued(item.path))


def _warn(change: Change, item: Arrival, found: Placement) -> None:
    """Put on the record what the contract says of a file that goes on. Its sender is told by whoever follows the record."""
    if found.warning:
        change.note(WARNED, item, actor=SYSTEM, because=found.warning)


def _has_name_since_later(change: Change, other: Arrival, item: Arrival) -> bool:
    """Return whether ``other`` is the newer one of two arrivals of a name: one that came earlier may have got it later."""
    if other.seq < item.seq:
        return False
    since = [event_log.named_since(change.connection, each.id, each.path) for each in (other, item)]
    return since[0] >= since[1]


_EVENTS = {
    ArrivalState.WAITING: ArrivalEvent.PUBLISHED,
    ArrivalState.QUEUED: ArrivalEvent.QUEUED,
    ArrivalState.HELD: ArrivalEvent.HELD,
    ArrivalState.IGNORED: ArrivalEvent.SET_ASIDE,
}
