"""Holds what waited in a backup that was brought back: it may have been processed since, and must not run twice (promise P4).

Whether a gate was brought back is known by ``handover.identity.copies``. Then every file that could go on by itself is held as
``restored``, until an admin releases or discards it: what waits, is queued or claimed, and what is held for something that
ends by itself. What is held for people, or is in quarantine, stays there. A file that no arrival has yet is not taken until it
is touched or all is released: ``policy.restored.lay_here``.

Runs at a start, before anybody is let in and before any command can claim, by one process at a time. A crash in it leaves the
mark in the ledger: the next start goes on. Everything blocks.
"""

from __future__ import annotations

from sftpgate.handover.changes import Change
from sftpgate.handover.journal import SLICE, Journal
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals, claims, runs
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.ledger.audit.event_log import Event
from sftpgate.ledger.database import identity as records
from sftpgate.logs import get_logger
from sftpgate.policy.checks import ends_by_itself
from sftpgate.policy.lifecycle import Area, ArrivalEvent, ArrivalState, HoldReason
from sftpgate.policy.locations import location
from sftpgate.policy.runs import RunOutcome

log = get_logger("recovery")

_GOES_ON = frozenset({ArrivalState.WAITING, ArrivalState.QUEUED, ArrivalState.CLAIMED})


def hold_restored(resources: Resources, journal: Journal) -> int:
    """Hold what waited in a backup, if the ledger is marked; return how many files."""
    if _because(resources) is None:
        return 0
    with journal.locks.sweep():
        because = _because(resources)
        if because is None:
            return 0  # another process was quicker
        held = _hold_all(resources, journal)
        with resources.ledger.transaction() as connection:
            details: dict[str, event_log.Detail] = {"reason": because, "held": held}
            event_log.record(connection, [Event(at=resources.clock(), event="store.brought_back", actor=SYSTEM, details=details)])
            records.set_restored(connection, None)
            records.set_restored_at(connection, resources.clock())
    log.warning("store.brought_back", reason=f"{because}; what waited is held, as it may have been processed since", held=held)
    return held


def _because(resources: Resources) -> str | None:
    with resources.ledger.reading() as connection:
        return records.restored(connection)


def _hold_all(resources: Resources, journal: Journal) -> int:
    held = last = 0
    while True:
        with resources.ledger.reading() as connection:
            rows = arrivals.live_after(connection, last, SLICE)
        if not rows:
            return held
        last = rows[-1].seq
        with journal.change() as change:
            for row in rows:
                item = change.get(row.id)
                if item.state in _GOES_ON or (item.state is ArrivalState.HELD and ends_by_itself(item.hold_reason)):
                    _hold(change, item)
                    held += 1


def _hold(change: Change, item: Arrival) -> None:
    if item.state is ArrivalState.CLAIMED:
        claim = claims.of_arrival(change.connection, item.id)
        if claim is not None:
            runs.finish(change.connection, claim.token, ended_at=change.now, outcome=RunOutcome.DIED)
            claims.remove(change.connection, item.id)
    change.event(
        item,
        ArrivalEvent.HELD,
        actor=SYSTEM,
        location=location(Area.HELD, item.id),
        hold_reason=HoldReason.RESTORED,
        hold_detail=None,
    )
