"""Rehearsals go after a day: what lies in the rehearsal folder was reported, and is for nobody.

Each goes in a change, as an administrator would discard it, so a crash leaves what a crash of a change leaves. Its record stays
as long as every record does. By the clock rules of ``handover.timekeeping`` nothing counts as older than the time since the clock
was set. Everything blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

from sftpgate.handover.journal import SLICE, Journal
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.policy.lifecycle import ArrivalEvent, ArrivalState
from sftpgate.policy.rehearsals import RehearsalRules


class OldRehearsals:
    """Removes what is old in the rehearsal folders. ``homes`` is asked each time."""

    def __init__(
        self,
        resources: Resources,
        journal: Journal,
        rules: RehearsalRules,
        *,
        kept: timedelta,
        homes: Callable[[], Iterable[str]],
    ) -> None:
        self._resources = resources
        self._journal = journal
        self._rules = rules
        self._kept = kept
        self._homes = homes

    def remove(self) -> Mapping[str, int]:
        """Remove them, and return how many under a name for people. A pass for the sweeper."""
        if not self._rules.folder or self._resources.time.steady_seconds() < self._kept.total_seconds():
            return {}
        return {"rehearsals removed": sum(self._remove_in(home) for home in dict.fromkeys(("", *self._homes())))}

    def _remove_in(self, home: str) -> int:
        before, count, last = self._resources.clock() - self._kept, 0, 0
        while True:
            with self._resources.ledger.reading() as connection:
                rows = arrivals.find(
                    connection,
                    states=[ArrivalState.IGNORED],
                    below=self._rules.folder_in(home),
                    after_seq=last,
                    limit=SLICE,
                )
            if not rows:
                return count
            last = rows[-1].seq
            if old := [row for row in rows if row.received_at < before and self._is_rehearsal(row)]:
                count += self._discard(old)

    def _is_rehearsal(self, row: Arrival) -> bool:
        return self._rules.rehearsed(row.path, row.home) is not None

    def _discard(self, rows: Iterable[Arrival]) -> int:
        count = 0
        with self._journal.change() as change:
            for item in change.adopt(rows):
                if item.state is ArrivalState.IGNORED and self._is_rehearsal(item):
                    change.event(item, ArrivalEvent.DISCARDED, actor=SYSTEM, location=None)
                    count += 1
        return count
