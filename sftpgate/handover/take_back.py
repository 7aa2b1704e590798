"""When a recorded move cannot be made: try it once more, and take the record back if that is possible.

A change is in the ledger before it is on disk. If its sender is then told of a failure, a record that stood would be
carried out later all the same, and what the sender sends again would be a second arrival of the same file. So the
record is taken back by another one, if nothing has happened yet: the file still is where it was, and nothing made
way for it. What had to make way is in the archives already; then the record stands, and the sweeper goes on trying.

A crash before the second record leaves the first one: nobody was told anything then. Everything blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sftpgate.errors import SftpgateError
from sftpgate.handover.changes import Change
from sftpgate.handover.journal import Journal
from sftpgate.handover.placement.placer import Placer
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.policy.lifecycle import ArrivalEvent, ArrivalState, after


@dataclass(frozen=True, slots=True)
class Remainder:
    """What a second attempt could not do: the failures that are left, and those of them whose records were taken back."""

    failures: Mapping[ArrivalId, SftpgateError]
    taken_back: frozenset[ArrivalId] = frozenset()


def try_again(journal: Journal, placer: Placer, change: Change, before: Mapping[ArrivalId, Arrival | None]) -> Remainder:
    """Try the failed moves of ``change`` once more. ``before`` are the rows as they were, by arrival; None for a new one."""
    failed = {arrival: error for arrival, error in change.failures.items() if arrival in before}
    if not failed:
        return Remainder({})
    taken_back: set[ArrivalId] = set()
    done: set[ArrivalId] = set()
    try:
        with journal.change() as again:
            for arrival in failed:
                item = again.get(arrival)
                if item.pending_from is None:
                    done.add(arrival)
                elif _nothing_happened(journal, change, item, before[arrival]):
                    _take_back(placer, again, item, before[arrival])
                    taken_back.add(arrival)
    except SftpgateError:
        return Remainder(failed)
    left = {arrival: error for arrival, error in failed.items() if arrival not in done - again.failures.keys()}
    return Remainder(left, frozenset(taken_back))


def _nothing_happened(journal: Journal, change: Change, item: Arrival, before: Arrival | None) -> bool:
    others = [row for row in change.written if row.id != item.id]
    made_way = any(row.path == item.path and row.state is ArrivalState.REPLACED for row in others)
    place_taken = before is not None and any(row.location == before.location for row in others)
    return (
        not made_way and not place_taken and item.pending_from is not None and journal.files.is_surely_at(item, item.pending_from)
    )


def _take_back(placer: Placer, again: Change, item: Arrival, before: Arrival | None) -> None:
    if before is None:
        state = after(item.state, ArrivalEvent.WITHDRAWN)
        undone = replace(item, state=state, location=None, pending_from=None, changed_at=again.now)
    else:
        undone = replace(before, changed_at=again.now)
    again.put(undone)
    again.note("arrival.taken_back", undone, actor=SYSTEM)
    placer.queues.advance(again, item.path)
