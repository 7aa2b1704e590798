"""The decision about a complete file: ``policy.placement``, asked with what drop, store and ledger say.

Looks and decides; changes nothing, so a crash leaves nothing. Made in the change that carries it out. Blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

from sftpgate.contracts.objections import Objection
from sftpgate.handover.changes import Change
from sftpgate.handover.placement.batch_locks import BatchHolds
from sftpgate.handover.placement.companions import Beside, Companions
from sftpgate.handover.placement.contract_verdicts import ContractVerdicts, Judged
from sftpgate.handover.placement.queues import Queues
from sftpgate.handover.placement.rules import PlacementRules
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit import event_log
from sftpgate.policy.checks import Candidate
from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import Area, ArrivalState, HoldReason
from sftpgate.policy.locations import location
from sftpgate.policy.names import is_skipped_by_consumer
from sftpgate.policy.placement import Placement, Situation, place


class Decision:
    """Decides where a file goes. ``earlier`` are the other arrivals of its path."""

    def __init__(
        self, rules: PlacementRules, companions: Companions, batch_holds: BatchHolds, queues: Queues, verdicts: ContractVerdicts
    ) -> None:
        self._rules = rules
        self._verdicts = verdicts
        self._companions = companions
        self._batch_holds = batch_holds
        self._queues = queues

    def of(
        self,
        change: Change,
        item: Arrival,
        earlier: Sequence[Arrival],
        *,
        doubt: str = "",
        beside: Beside | None = None,
        let_go: bool = False,
    ) -> tuple[Placement, Grade]:
        """Return where a file goes, and how sure it is by now that it is complete. ``doubt``: what speaks against a new
        one's being complete; ``beside``: its companions, if somebody has looked for them; ``let_go``: it waits for its tool
        already, and its contract is not asked again.
        """
        if not self._rules.is_taken(item.path, item.home):
            return Placement(ArrivalState.IGNORED), item.grade
        if beside is None:
            beside = self._companions.beside(item.path)
        if self._companions.is_unhashed(item, beside):
            change.unverified[item.id] = item.path
        candidate = self._candidate(change, item, beside, doubt, let_go=let_go)
        found = place(
            Situation(
                file=candidate,
                queued=self._queues.is_queued(item.path),
                occupied=self._is_occupied(item, earlier),
            )
        )
        return found, Grade.VERIFIED if candidate.checksum_matches else item.grade

    def _candidate(self, change: Change, item: Arrival, beside: Beside, doubt: str, *, let_go: bool) -> Candidate:
        """Return what the checks are told of a file."""
        checksums = self._companions.checksums(item, beside)
        mismatch = next((name for name, is_right in checksums.items() if not is_right), "")
        judged = Judged() if let_go else self._verdicts.of(change.connection, item)
        return Candidate(
            grade=item.grade,
            doubt=doubt or _doubt(change, item),
            checksum_matches=not mismatch if checksums else None,
            mismatch=mismatch,
            has_done_file=self._companions.has_done_file(item.path, beside),
            batch_lock=self._batch_holds.lock_of(change, item),
            was_restored=item.hold_reason is HoldReason.RESTORED,
            is_skipped=self._queues.is_swept(item.path) and is_skipped_by_consumer(item.path),
            needs_approval=judged.needs_approval,
            is_judged=judged.is_judged,
            anew=judged.anew,
            contract=_said(judged.objections) or None,
            warning=_said(judged.warnings),
            require_done_file=self._rules.require_done_file,
            publish_suspect=self._rules.publish_suspect,
        )

    def of_released(self, change: Change, item: Arrival, earlier: Sequence[Arrival]) -> Placement:
        """Return where a file goes that is let into the store whatever held it back, but for the contract of its tool: that
        people let it go is another act. One that its tool had already is not judged again.
        """
        judged = self._verdicts.of(change.connection, item) if item.state is ArrivalState.HELD else Judged()
        candidate = Candidate(
            grade=Grade.VERIFIED,
            needs_approval=judged.needs_approval,
            is_judged=judged.is_judged,
            contract=_said(judged.objections) or None,
        )
        queued = self._queues.is_queued(item.path)
        return place(Situation(file=candidate, queued=queued, occupied=queued and self._is_occupied(item, earlier)))

    def in_store(self, change: Change, draft: Arrival) -> Placement:
        """Return what becomes of a local file that lies in the store under its name.

        The rules for all files hold, but for those that cannot say anything here: batch locks and companions speak of files of
        the drop, and it has its name already, so it waits behind nobody.
        """
        judged = self._verdicts.of(change.connection, draft)
        candidate = Candidate(
            grade=draft.grade,
            needs_approval=judged.needs_approval,
            is_judged=judged.is_judged,
            anew=judged.anew,
            contract=_said(judged.objections) or None,
            warning=_said(judged.warnings),
            publish_suspect=self._rules.publish_suspect,
        )
        return place(Situation(file=candidate, eligible=self._rules.names.eligible(draft.path)))

    def awaits_done_file(self, path: str, beside: Beside | None = None) -> bool:
        """Return whether a file that lies in the drop is to be left there until its done-file comes. ``beside``: its companions,
        if somebody has looked for them.
        """
        if not self._rules.require_done_file:
            return False
        return not self._companions.has_done_file(path, self._companions.beside(path) if beside is None else beside)

    def _is_occupied(self, item: Arrival, earlier: Sequence[Arrival]) -> bool:
        """Return whether a file that has to keep its turn cannot have its name yet."""
        where = location(Area.STORE, item.path)
        if any(other.state in _IN_LINE for other in earlier):
            return True
        return item.location != where and not self._queues.may_take(where)


# What a file of a queue waits behind.
_IN_LINE = frozenset({ArrivalState.WAITING, ArrivalState.QUEUED, ArrivalState.CLAIMED})


def _said(objections: Sequence[Objection]) -> str:
    """Return the first objection of a contract, and how many more there are; empty if there is none."""
    if not objections:
        return ""
    more = len(objections) - 1
    return objections[0].sentence() + (f" (and {more} more)" if more else "")


def _doubt(change: Change, item: Arrival) -> str:
    """Return what spoke against an arrival's being complete when it came; empty if nothing did."""
    if item.grade is not Grade.SUSPECT:
        return ""
    if item.hold_reason is HoldReason.INCOMPLETE and item.hold_detail is not None:
        return item.hold_detail
    return event_log.doubt_of(change.connection, item.id)
