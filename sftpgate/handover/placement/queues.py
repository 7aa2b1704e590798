"""Whose turn a name in the store is: the next arrival of a queue, and what a stock consumer lets take its name.

What a stock consumer does, and why a name waits for it, is said in ``stock_consumer``. Without one a name can be taken at any
time, and the next of a queue follows as soon as the one before it is gone.

``advance`` and the questions with a change are asked in that change; ``bring_up`` makes changes of its own. Everything blocks.
A crash leaves what a crash of a change leaves; a queue whose head is gone is brought up by the next sweep.
"""

from __future__ import annotations

from sftpgate.handover.changes import Change
from sftpgate.handover.journal import SLICE, Journal
from sftpgate.handover.placement.rules import PlacementRules
from sftpgate.handover.placement.stock_consumer import Consumer
from sftpgate.handover.placement.targets import has_file
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals
from sftpgate.ledger.database.connection import Connection
from sftpgate.policy.lifecycle import Area, ArrivalEvent, ArrivalState
from sftpgate.policy.locations import Location, location, path_in
from sftpgate.policy.pointers import is_queued


class Queues:
    """The queues of a store. One instance per process; any thread."""

    def __init__(self, resources: Resources, journal: Journal, rules: PlacementRules) -> None:
        self._resources = resources
        self._journal = journal
        self._rules = rules

    def is_queued(self, path: str) -> bool:
        """Return whether each arrival of a path has its turn, instead of replacing the one before it."""
        return self.is_swept(path) or is_queued(path, self._rules.pointers())

    def is_swept(self, path: str) -> bool:
        """Return whether a stock consumer could take a file of the store from this path."""
        return self._consumer_of(location(Area.STORE, path)) is not None

    def may_take(self, where: Location) -> bool:
        """Return whether a name of the store may be taken now, for all that a stock consumer could be doing."""
        consumer = self._consumer_of(where)
        return consumer is None or not (consumer.is_reading() or self._is_there(where))

    def advance(self, change: Change, path: str) -> None:
        """Bring up the next arrival of a queue whose head is gone."""
        if any(item.state in (ArrivalState.WAITING, ArrivalState.CLAIMED) for item in change.line_at(path)):
            return
        first = change.first_queued(path)
        where = location(Area.STORE, path)
        if first is not None and self._may_follow(change, where):
            if has_file(self._resources, where):
                change.keep_unknown(where, path)
            change.event(first, ArrivalEvent.PUBLISHED, location=where)

    def bring_up(self) -> int:
        """Give the store the next file of each queue whose name the stock consumer has freed; returns how many. A change of
        its own; does nothing while the consumer is at work.
        """
        consumer = self._journal.consumer
        if consumer is None or consumer.is_reading():
            return 0
        with self._resources.ledger.reading() as connection:
            paths = arrivals.queued_paths(connection)
            free = [path for path in paths if self._is_free(connection, path)][:SLICE]
        if not free:
            return 0
        with self._journal.change() as change:
            change.load(free)
            for path in free:
                self.advance(change, path)
        return sum(item.state is ArrivalState.WAITING for item in change.written)

    def _consumer_of(self, where: Location) -> Consumer | None:
        """Return the stock consumer that could take what lies at ``where``."""
        consumer = self._journal.consumer
        return consumer if consumer is not None and consumer.sweeps(where) else None

    def _may_follow(self, change: Change, where: Location) -> bool:
        """Return whether the next one of a queue may take a name now: the consumer had its time for the one before."""
        consumer = self._consumer_of(where)
        if consumer is None:
            return True
        return self.may_take(where) and not consumer.is_at_work_on(change.taken_at(path_in(where)), change.now)

    def _is_free(self, connection: Connection, path: str) -> bool:
        """Return whether the next version of a name may come up, as far as a look from outside can say."""
        where = location(Area.STORE, path)
        if self._is_there(where):
            return False
        consumer = self._consumer_of(where)
        return consumer is None or not consumer.is_at_work_on(arrivals.last_taken_at(connection, path), self._resources.clock())

    def _is_there(self, where: Location) -> bool:
        return self._resources.disk.exists(self._resources.layout.disk_path(where))
