"""The trail: events of connections and logins, taken at once and written a little later, in batches.

``note`` never blocks and never fails: it is called on the event loop, for every connection of every stranger. A thread
writes what was noted, one transaction a second at most, so ten thousand failed logins are a few commits. Events that
differ in nothing but their time become one record with ``times`` and ``last_at``. The queue is bounded: what does not
fit is counted, and one record (``audit.overflow``) says what was left out.

A crash loses what was noted in the last second, and nothing else: events of arrivals are not written here, but in the
transaction of what they tell about. ``close`` writes what is left. A ledger that cannot be written is tried again, with
what the queue holds.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sftpgate.errors import LedgerError
from sftpgate.ledger.audit import chain, event_log
from sftpgate.ledger.audit.actor import SYSTEM, Actor
from sftpgate.ledger.audit.event_log import Detail, Event
from sftpgate.ledger.database.connection import Ledger
from sftpgate.logs import get_logger

log = get_logger("audit")

QUEUE_LIMIT = 10_000  # distinct events between two batches: some 5 MB
BATCH_SECONDS = 1.0  # what a crash can take, and how often strangers can make us commit
RETRY_SECONDS = 10.0  # after a batch that could not be written
CHUNK = 500  # records in one transaction: publishers wait for it

_Key = tuple[str, Actor, str | None, tuple[tuple[str, Detail], ...]]


class Trail:
    """One per process. ``note`` may be called from any thread."""

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime], *, limit: int = QUEUE_LIMIT) -> None:
        self._ledger = ledger
        self._clock = clock
        self._limit = limit
        self._lock = threading.Lock()
        self._noted: dict[_Key, tuple[Event, int, datetime]] = {}
        self._dropped: Counter[str] = Counter()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._writer = threading.Thread(target=self._run, name="trail", daemon=True)
        self._writer.start()

    def note(self, event: str, *, actor: Actor = SYSTEM, address: str | None = None, **details: Detail) -> None:
        """Take an event for the record. Does not block."""
        at = self._clock()
        key = (event, actor, address, tuple(details.items()))
        with self._lock:
            known = self._noted.get(key)
            if known is not None:
                self._noted[key] = (known[0], known[1] + 1, at)
            elif len(self._noted) < self._limit:
                self._noted[key] = (Event(at=at, event=event, actor=actor, address=address, details=details), 1, at)
            else:
                self._dropped[event] += 1
        if not self._wake.is_set():
            self._wake.set()

    def flush(self) -> bool:
        """Write what was noted up to now; False if the ledger could not be written. Blocks."""
        with self._lock:
            noted, self._noted = self._noted, {}
            dropped, self._dropped = self._dropped, Counter()
        events = [_told(*entry) for entry in noted.values()]
        if dropped:
            about: dict[str, Detail] = {"dropped": dropped.total(), **dropped}
            events.append(Event(at=self._clock(), event="audit.overflow", actor=SYSTEM, details=about))
        written = 0
        try:
            while written < len(events):
                with self._ledger.transaction() as connection:
                    event_log.record(connection, events[written : written + CHUNK])
                written += CHUNK
        except LedgerError as error:
            log.error("audit.not_written", reason=error.message, events=len(events) - written)
            self._put_back(dict(list(noted.items())[written:]), dropped)
            return False
        return True

    def close(self) -> None:
        """Write what is left, and end the thread. The log then has the head of the chain."""
        self._closing.set()
        self._wake.set()
        self._writer.join()
        self.flush()
        log_head(self._ledger)

    def _put_back(self, noted: dict[_Key, tuple[Event, int, datetime]], dropped: Counter[str]) -> None:
        """Keep what could not be written, as far as it fits; what came meanwhile goes behind it."""
        with self._lock:
            came, self._noted = self._noted, noted
            self._dropped.update(dropped)
            for key, entry in came.items():
                if key in self._noted or len(self._noted) < self._limit:
                    self._noted[key] = entry
                else:
                    self._dropped[key[0]] += entry[1]

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._wake.clear()
            if not self._closing.wait(BATCH_SECONDS) and not self.flush():
                self._closing.wait(RETRY_SECONDS)
                self._wake.set()


def log_head(ledger: Ledger) -> None:
    """Write the end of the chain to the log, which is kept elsewhere: `sftpgate verify --audit-head` compares."""
    try:
        with ledger.reading() as connection:
            ends = chain.ends(connection)
    except LedgerError as error:
        log.error("audit.unreadable", reason=error.message)
    else:
        log.info("audit.head", head=f"{ends.head_seq}:{ends.head_hash}")


def _told(event: Event, times: int, last_at: datetime) -> Event:
    if times == 1:
        return event
    return replace(event, details={**event.details, "times": times, "last_at": last_at.isoformat()})
