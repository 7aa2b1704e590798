"""Whether people have let a file go that the contract of its tool holds, and for how long yet.

Asked in a change, which decides by the answer: so an approval that has ended lets nothing go, whoever is late to say so. That it
has ended is recorded by the change that notices it (``Placer.end_approvals``); until then the row stands, and a crash leaves just
that. Blocks for a query or two.
"""

from __future__ import annotations

from collections.abc import Sequence

from sftpgate.handover.timekeeping import Timekeeper
from sftpgate.ids import Clock
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.contracts import approvals as records
from sftpgate.ledger.contracts.approvals import Approval, Subject
from sftpgate.ledger.database.connection import Connection, shared_time
from sftpgate.policy.approvals import Moment, are_enough, has_ended


class Approvals:
    """Knows the approvals of one site. Any thread."""

    def __init__(self, clock: Clock, time: Timekeeper) -> None:
        self._clock = clock
        self._time = time

    def moment(self, connection: Connection) -> Moment:
        """Return the time as approvals are told by."""
        read, shared = self._time.read(), shared_time(connection)
        return Moment(at=shared or self._clock(), boot=read.boot, uptime=read.uptime, is_shared=shared is not None)

    def people(self, connection: Connection, item: Arrival, subject: Subject) -> set[str]:
        """Return who approved just this of a file, without those whose approvals have ended."""
        found = self._running(connection, records.open_of(connection, item.id))
        return {each.person for each in found if each.subject == subject}

    def let_go(self, connection: Connection, item: Arrival, subject: Subject, *, needed: int) -> bool:
        """Return whether as many people as are needed approved just this of a file."""
        found = self.people(connection, item, subject)
        return bool(found) and are_enough(found, needed)

    def overdue(self, connection: Connection) -> list[ArrivalId]:
        """Return the arrivals that no tool has run on and whose approvals have ended, or too many of them."""
        given: dict[ArrivalId, list[Approval]] = {}
        for each in records.unused(connection):
            given.setdefault(each.arrival, []).append(each)
        return [arrival for arrival, found in given.items() if self._is_overdue(connection, found)]

    def _is_overdue(self, connection: Connection, given: Sequence[Approval]) -> bool:
        running = self._running(connection, given)
        return len(running) < len(given) and not are_enough({each.person for each in running}, given[-1].needed)

    def _running(self, connection: Connection, given: Sequence[Approval]) -> list[Approval]:
        if not given:
            return []
        now = self.moment(connection)
        return [each for each in given if not has_ended(each.given, now)]
