"""Reports for senders about files that no tool ran on: why one is held and what to do, or that it was removed (promise P8).

The sweeper writes one for each hold, once the hold lasts as long as ``policy.holds`` says. The text is written and flushed to
staging, and one change gives it its name in ``reports`` and records it: a hold that is over by then is not reported. A crash
before the commit leaves a file in ``reports`` that the ledger does not know, so no sender sees it, and the next sweep writes
another; one before that leaves a staging file that expires. What local programs deposited has no sender to tell. Everything
blocks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from datetime import datetime

from sftpgate.errors import AlreadyExists, NoSuchFile, SftpgateError
from sftpgate.intake.batch_locks import BatchLocks
from sftpgate.intake.changes import Change
from sftpgate.intake.ids import new_id
from sftpgate.intake.moves import SLICE, Moves
from sftpgate.ledger import audit, reports
from sftpgate.ledger.actor import SYSTEM
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival
from sftpgate.logs import get_logger, printable
from sftpgate.policy.holds import REPORT_AFTER, explanation
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.policy.locations import LOCAL_STAGING
from sftpgate.policy.names import NameRules
from sftpgate.policy.stamps import report_names
from sftpgate.runners.reports import link_free, local_time
from sftpgate.store.spots import Spot

log = get_logger("notices")

BATCH = SLICE  # reports of one change: each is a link under the store's lock


class Notices:
    """Tells senders. One instance per process."""

    def __init__(self, moves: Moves, *, batch_lock_name: str) -> None:
        self._moves = moves
        self._disk = moves.disk
        self._batch_lock_name = batch_lock_name

    def report_holds(self) -> int:
        """Write the reports that are due; returns how many. For the sweeper: one process does it at a time."""
        written = 0
        while True:
            now = self._moves.clock()
            with self._moves.ledger.reading() as connection:
                due = reports.untold_holds(connection, now, REPORT_AFTER, BATCH)
            if not due:
                return written
            told = self._report(due)
            written += told
            if told < len(due):  # what changed meanwhile is for the next sweep
                return written

    def _report(self, held: list[Arrival]) -> int:
        told: list[tuple[Arrival, str]] = []
        with contextlib.ExitStack() as stack:
            staged = [(item, stack.enter_context(self._staged(self._hold_text(item)))) for item in held]
            with self._moves.change() as change:
                change.load(item.path for item in held)
                for item, spot in staged:
                    current = change.get(item.id)
                    if current.state is ArrivalState.HELD and current.changed_at == item.changed_at:
                        told.append((current, self._publish(change, current, spot, held_at=current.changed_at)))
        for item, name in told:
            log.info("sender.told", arrival=item.id, path=item.path, user=item.owner, reason=item.hold_reason, report=name)
        return len(told)

    @contextlib.contextmanager
    def removal(self, item: Arrival) -> Iterator[Spot | None]:
        """A report, staged for the block, that says that an admin removes the file; None where there is nobody to tell."""
        if item.owner == LOCAL_OWNER:
            yield None
            return
        because = "The administrators of this server removed the file: it is not processed."
        text = _text(item, "removed", {}, because, "Ask them why, and send the file again if it is wanted.")
        with self._staged(text) as spot:
            yield spot

    def publish_removal(self, change: Change, item: Arrival, spot: Spot | None) -> None:
        """Give the report of a removal its name, in the change that removes the file."""
        if spot is not None:
            self._publish(change, item, spot, held_at=None)

    # -- files -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _staged(self, text: str) -> Iterator[Spot]:
        """A durable file with the text, nobody's until it has a name in ``reports``; its own name is removed at the end."""
        spot = self._moves.layout.staging(LOCAL_STAGING) / new_id(self._moves.clock())
        fd = self._create(spot)
        try:
            self._disk.write(fd, 0, text.encode("utf-8", "backslashreplace"))
            self._moves.open_to_readers(fd)
            if self._moves.durable:
                self._disk.sync(fd)
        finally:
            os.close(fd)
        try:
            yield spot
        finally:
            with contextlib.suppress(SftpgateError):  # it expires
                self._disk.unlink(spot, missing_ok=True)

    def _create(self, spot: Spot) -> int:
        try:
            return self._disk.create(spot, 0o600)
        except NoSuchFile:
            with contextlib.suppress(AlreadyExists):
                self._disk.make_dirs(spot.parent, 0o700)
            return self._disk.create(spot, 0o600)

    def _publish(self, change: Change, item: Arrival, spot: Spot, *, held_at: datetime | None) -> str:
        names = report_names(item.path.rpartition("/")[2], change.now.astimezone())
        name = link_free(self._moves, spot, names)
        reports.add(change.connection, name, owner=item.owner, arrival=item.id, at=change.now, held_at=held_at)
        change.note("arrival.reported", item, actor=SYSTEM, report=name)
        return name

    # -- text --------------------------------------------------------------------------------------------------------

    def _hold_text(self, item: Arrival) -> str:
        assert item.hold_reason is not None
        name = item.path.rpartition("/")[2]
        evidence = self._evidence(item) if item.hold_reason is HoldReason.INCOMPLETE else ""
        lock, is_own = self._lock_of(item) if item.hold_reason is HoldReason.BATCH_LOCK else (self._batch_lock_name, True)
        because, to_do = explanation(item.hold_reason, name, batch_lock_name=lock, is_own_lock=is_own, evidence=evidence)
        since = {"held since": local_time(item.changed_at), "reason": item.hold_reason.value}
        return _text(item, "held", since, because, to_do)

    def _lock_of(self, item: Arrival) -> tuple[str, bool]:
        """The name of the batch lock that holds a file, and whether it is its sender's; the sender's own before others."""
        names = NameRules(batch_lock_name=self._batch_lock_name)
        with self._moves.ledger.reading() as connection:
            locks = BatchLocks(self._moves.layout, self._disk, names).as_recorded(connection, item.home)
        holding = sorted((lock.owner != item.owner, lock.name) for lock in locks if lock.holds(item.owner))
        return next(((name, not is_foreign) for is_foreign, name in holding), (self._batch_lock_name, True))

    def _evidence(self, item: Arrival) -> str:
        """What spoke against its being complete when it came; empty where the record has nothing of it."""
        with self._moves.ledger.reading() as connection:
            events = audit.history(connection, item.id)
        return next((str(event.details["why"]) for event in events if "why" in event.details), "")


def _text(item: Arrival, outcome: str, more: Mapping[str, str], because: str, to_do: str) -> str:
    lines = {
        "arrival": item.id,
        "user": item.owner,
        "path": item.path,
        "size": f"{item.size} bytes",
        "SHA-256": item.sha256 or "(not known)",
        "received": local_time(item.received_at),
        "outcome": outcome,
        **more,
        "why": because,
        "what next": to_do,
    }
    return "".join(f"{name}: {printable(value)}\n" for name, value in lines.items())
