"""The record of every file, and what an admin decides about one: to release it, or to discard it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sftpgate.app.composition import make_notices
from sftpgate.contracts.objections import Objection
from sftpgate.depot import approvals as approving
from sftpgate.depot import deposits
from sftpgate.depot.approvals import require_content, require_reason
from sftpgate.errors import Refused, UnknownArrival
from sftpgate.handover.changes import Change
from sftpgate.handover.guard import Guard
from sftpgate.handover.journal import SLICE
from sftpgate.handover.placement.placer import Placer
from sftpgate.ledger import arrivals as records
from sftpgate.ledger import overview, reports, runs, verdicts
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.actor import Actor
from sftpgate.ledger.audit.event_log import Event
from sftpgate.ledger.contracts import approvals
from sftpgate.ledger.contracts.approvals import Approval
from sftpgate.ledger.database import identity
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.runs import Run
from sftpgate.policy.approvals import APPROVED_FOR
from sftpgate.policy.lifecycle import Area, ArrivalState, HoldReason
from sftpgate.policy.locations import location
from sftpgate.policy.runs import RunOutcome
from sftpgate.site import Site

Decision = Callable[[Change, Placer, Arrival], Arrival]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The newest arrivals of a search; ``has_more``: older ones fit too."""

    arrivals: Sequence[Arrival]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalHistory:
    """Everything that is known of one file, the oldest first."""

    arrival: Arrival
    events: Sequence[Event]
    runs: Sequence[Run]
    objections: tuple[Objection, ...] = ()  # of its tool's contract, if that is why it is held
    approvals: Sequence[Approval] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """What became of a file that somebody approved: by how many people so far, how many the contract wants, and until when this
    approval holds, unless a tool runs on the file before. Aware UTC.
    """

    arrival: Arrival
    people: int
    needed: int
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A file that a tool failed on too often. ``report`` is the last one; ``reports`` are all, as paths in the store."""

    since: datetime
    arrival: str
    user: str
    path: str
    size_bytes: int
    tool: str | None
    attempts: int
    last_outcome: RunOutcome | None
    exit_status: int | None
    report: str | None
    reports: Sequence[str]


# -- looking ---------------------------------------------------------------------------------------------------------


def find(
    ledger: Ledger | None,
    *,
    states: Collection[ArrivalState] = (),
    user: str | None = None,
    path: str | None = None,
    since: datetime | None = None,
    limit: int,
) -> Found:
    """Return the arrivals that fit, the newest first. ``user``: empty for those of local programs; ``path``: a pattern.

    ``ledger`` is None before the first start.
    """
    if ledger is None:
        return Found(arrivals=[], has_more=False)
    with ledger.reading() as connection:
        rows = records.newest(connection, states=states or None, owner=user, glob=path, since=since, limit=limit + 1)
    return Found(arrivals=rows[:limit], has_more=len(rows) > limit)


def history(ledger: Ledger | None, identifier: str) -> ArrivalHistory:
    """Return what is known of the arrival whose id begins with ``identifier``. Raises UnknownArrival unless there is just one."""
    if ledger is None:
        raise UnknownArrival(f"there is no arrival {identifier}: nothing has arrived yet")
    with ledger.reading() as connection:
        item = overview.by_prefix(connection, identifier)
        return ArrivalHistory(
            arrival=item,
            events=list(event_log.history(connection, item.id)),
            runs=list(runs.of_arrival(connection, item.id)),
            objections=verdicts.latest(connection, item.sha256) if item.hold_reason is HoldReason.CONTRACT else (),
            approvals=approvals.of_arrival(connection, item.id),
        )


def quarantined(ledger: Ledger) -> list[Quarantined]:
    """Return what lies in quarantine, the oldest first: which tool failed on it, how, and where the reports are."""
    found = []
    with ledger.reading() as connection:
        for item in records.find(connection, states=[ArrivalState.QUARANTINED]):
            tried = runs.of_arrival(connection, item.id)
            last = tried[-1] if tried else None
            found.append(
                Quarantined(
                    since=item.changed_at,
                    arrival=item.id,
                    user=item.owner,
                    path=item.path,
                    size_bytes=item.size,
                    tool=last.tool if last else None,
                    attempts=item.attempts,
                    last_outcome=last.outcome if last else None,
                    exit_status=last.exit_status if last else None,
                    report=location(Area.REPORTS, last.report) if last and last.report else None,
                    reports=[location(Area.REPORTS, name) for name in reports.of_arrival(connection, item.id)],
                )
            )
    return found


# -- deciding --------------------------------------------------------------------------------------------------------


def release(site: Site, actor: Actor, identifier: str, *, only: ArrivalState | None = None) -> Arrival:
    """Let a held or quarantined file into the store, whatever held it back, but for the contract of its tool; it gets all its
    attempts. One that waits for its next try is due at once.

    Raises UnknownArrival, and Refused if its state is another one, or not ``only``, or its tool's contract holds it.
    """
    found = _find(site.ledger, identifier)
    _judge(site, found)
    return _decide(site, found, partial(deposits.release, actor=actor), only)


def release_restored(site: Site, actor: Actor) -> list[Arrival]:
    """Let everything go on that is held because a backup was brought back, the oldest first; return what became of it.

    For an admin who knows that nothing of it was processed since. A file that cannot go on (a newer one of its name waits)
    stays held, and is returned as it is. Files that no arrival has yet are taken by the next sweep or run.
    """
    with site.ledger.transaction() as connection:
        identity.set_restored_at(connection, None)
    decided: list[Arrival] = []
    last = 0
    while True:
        with site.ledger.reading() as connection:
            rows = records.held_for(connection, HoldReason.RESTORED, after_seq=last, limit=SLICE)
        if not rows:
            return decided
        last = rows[-1].seq
        for row in rows:
            try:
                decided.append(release(site, actor, row.id))
            except Refused:
                decided.append(row)


def discard(site: Site, actor: Actor, identifier: str, *, only: ArrivalState | None = None) -> Arrival:
    """Remove a file that no runner has, and put a report of that where its sender finds it. Its record stays.

    Raises UnknownArrival, and Refused if a runner has it, or its state is not ``only``.
    """
    found = _find(site.ledger, identifier)
    notices = make_notices(site)
    with notices.removal(found) as report:

        def removed(change: Change, placer: Placer, item: Arrival) -> Arrival:
            gone = deposits.discard(change, placer, item, actor=actor)
            notices.publish_end(change, gone, report)
            return gone

        return _decide(site, found, removed, only)


def approve(site: Site, actor: Actor, identifier: str, *, reason: str) -> Approved:
    """Let a file go that the contract of its tool holds, with its content and the verdict on it, for two hours.

    Raises UnknownArrival, and Refused if no reason is given, or there is nothing to approve (``depot.approvals.approve``).
    """
    said = require_reason(reason)
    found = _find(site.ledger, identifier)
    _judge(site, found)
    if found.state is ArrivalState.HELD:
        require_content(site.journal, found)
    given: list[Approved] = []

    def approved(change: Change, placer: Placer, item: Arrival) -> Arrival:
        item, people, needed = approving.approve(change, placer, item, actor=actor, reason=said)
        given.append(Approved(arrival=item, people=people, needed=needed, until=change.now + APPROVED_FOR))
        return item

    _decide(site, found, approved, None)
    return given[0]


def reject(site: Site, actor: Actor, identifier: str, *, reason: str) -> Arrival:
    """End a file that no runner has, keep it in the archives, and tell its sender why in a report.

    Raises UnknownArrival, and Refused if no reason is given, or in any other state.
    """
    said = require_reason(reason)
    found = _find(site.ledger, identifier)
    notices = make_notices(site)
    with notices.rejection(found, said) as report:

        def rejected(change: Change, placer: Placer, item: Arrival) -> Arrival:
            ended = approving.reject(change, placer, item, actor=actor, reason=said)
            notices.publish_end(change, ended, report)
            return ended

        return _decide(site, found, rejected, None)


def _judge(site: Site, item: Arrival) -> None:
    """Ask the contract of its tool about a held file, if nobody did so yet: who decides about it, decides by the verdict."""
    if item.state is not ArrivalState.HELD:
        return
    guard = Guard(site.resources, site.journal, site.placer)
    try:
        guard.judge(item)
    finally:
        guard.stop()


def _find(ledger: Ledger, identifier: str) -> Arrival:
    with ledger.reading() as connection:
        try:
            return overview.by_prefix(connection, identifier)
        except UnknownArrival as error:
            raise UnknownArrival(f"there is no claim or arrival {identifier} (`sftpgate arrivals` lists those)") from error


def _decide(site: Site, found: Arrival, decision: Decision, only: ArrivalState | None) -> Arrival:
    with site.journal.change() as change:
        item = change.get(found.id)
        if only is not None and item.state is not only:
            raise Refused(f"arrival {item.id} is {item.state}, not {only}: see `sftpgate show {item.id}`")
        decided = decision(change, site.placer, item)
    if decided.id in change.failures:
        raise change.failures[decided.id]
    return decided
