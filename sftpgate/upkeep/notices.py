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
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from sftpgate.contracts.objections import Objection
from sftpgate.errors import AlreadyExists, NoSuchFile, SftpgateError
from sftpgate.handover.changes import Change
from sftpgate.handover.journal import SLICE, Journal
from sftpgate.handover.placement.batch_locks import BatchLocks
from sftpgate.handover.resources import Resources
from sftpgate.ids import new_id
from sftpgate.ledger import reports, verdicts
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.logs import get_logger
from sftpgate.policy.checks import REPORT_AFTER, HeldFile, check_of
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.policy.locations import LOCAL_STAGING
from sftpgate.policy.names import NameRules
from sftpgate.policy.phrases import phrase
from sftpgate.policy.stamps import report_names
from sftpgate.runners.reports import about_arrival, as_text, link_free, local_time
from sftpgate.settings.choices import Language
from sftpgate.store.disk_paths import DiskPath

log = get_logger("notices")

BATCH = SLICE  # reports of one change: each is a link under the store's lock


class Notices:
    """Tells senders. One instance per process."""

    def __init__(
        self, resources: Resources, journal: Journal, *, batch_lock_name: str, language_of: Callable[[str], Language]
    ) -> None:
        self._resources = resources
        self._journal = journal
        self._disk = resources.disk
        self._batch_lock_name = batch_lock_name
        self.language_of = language_of

    def report_holds(self) -> int:
        """Write the reports that are due; returns how many. For the sweeper: one process does it at a time."""
        written = 0
        while True:
            now = self._resources.clock()
            with self._resources.ledger.reading() as connection:
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
            staged = [(item, stack.enter_context(self.staged(self._hold_text(item)))) for item in held]
            with self._journal.change() as change:
                change.load(item.path for item in held)
                for item, disk_path in staged:
                    current = change.get(item.id)
                    if current.state is ArrivalState.HELD and current.changed_at == item.changed_at:
                        told.append((current, self.publish(change, current, disk_path, held_at=current.changed_at)))
        for item, name in told:
            log.info("sender.told", arrival=item.id, path=item.path, user=item.owner, reason=item.hold_reason, report=name)
        return len(told)

    @contextlib.contextmanager
    def removal(self, item: Arrival) -> Iterator[DiskPath | None]:
        """Yield a report, staged for the block, that says that an admin removes the file; None if there is nobody to tell."""
        if item.owner == LOCAL_OWNER:
            yield None
            return
        with self.staged(self._removal_text(item)) as disk_path:
            yield disk_path

    @contextlib.contextmanager
    def rejection(self, item: Arrival, reason: str) -> Iterator[DiskPath | None]:
        """Yield the same about a file that an admin rejects, with the reason that was given."""
        if item.owner == LOCAL_OWNER:
            yield None
            return
        with self.staged(self._rejection_text(item, reason)) as disk_path:
            yield disk_path

    def publish_end(self, change: Change, item: Arrival, disk_path: DiskPath | None) -> None:
        """Give the report of a removal or a rejection its name, in the change that it tells of."""
        if disk_path is not None:
            self.publish(change, item, disk_path)

    # -- files -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def staged(self, text: str) -> Iterator[DiskPath]:
        """Yield a durable file with the text, nobody's until it has a name in ``reports``; its own name is removed at the end."""
        disk_path = self._resources.layout.staging(LOCAL_STAGING) / new_id(self._resources.clock())
        fd = self._create(disk_path)
        try:
            self._disk.write(fd, 0, text.encode("utf-8", "backslashreplace"))
            self._resources.open_to_readers(fd)
            if self._resources.durable:
                self._disk.sync(fd)
        finally:
            os.close(fd)
        try:
            yield disk_path
        finally:
            with contextlib.suppress(SftpgateError):  # it expires
                self._disk.unlink(disk_path, missing_ok=True)

    def _create(self, disk_path: DiskPath) -> int:
        try:
            return self._disk.create(disk_path, 0o600)
        except NoSuchFile:
            with contextlib.suppress(AlreadyExists):
                self._disk.make_dirs(disk_path.parent, 0o700)
            return self._disk.create(disk_path, 0o600)

    def publish(
        self, change: Change, item: Arrival, disk_path: DiskPath, *, held_at: datetime | None = None, called: str = ""
    ) -> str:
        """Give a staged report about a file its name, and record it; return the name. ``called``: it is named after this, not
        after the file; ``held_at``: since when the hold lasts that it is about.
        """
        names = report_names(called or item.path.rpartition("/")[2], change.now.astimezone())
        name = link_free(self._resources, disk_path, names)
        reports.add(change.connection, name, owner=item.owner, arrival=item.id, at=change.now, held_at=held_at)
        change.note("arrival.reported", item, actor=SYSTEM, report=name)
        return name

    # -- text --------------------------------------------------------------------------------------------------------

    def _hold_text(self, item: Arrival) -> str:
        assert item.hold_reason is not None
        name = item.path.rpartition("/")[2]
        detail, is_own = self._lock_of(item) if item.hold_reason is HoldReason.BATCH_LOCK else (item.hold_detail or "", True)
        check = check_of(item.hold_reason)
        because, to_do = check.for_sender(HeldFile(name=name, detail=detail, is_own_lock=is_own))
        language = self.language_of(item.owner)
        lines = [
            *about_arrival(item, language),
            (phrase("outcome", language), phrase("held", language)),
            (phrase("held since", language), local_time(item.changed_at)),
            (phrase("reason", language), check.called.in_language(language)),
            (phrase("why", language), because.in_language(language)),
            *((phrase("what is wrong", language), said) for said in self._objections(item, language)),
            (phrase("what next", language), to_do.in_language(language)),
        ]
        return as_text(lines)

    def _objections(self, item: Arrival, language: Language) -> list[str]:
        """Return what its tool's contract objects to, with what to do about each; nothing if that is not why it is held."""
        if item.hold_reason is not HoldReason.CONTRACT:
            return []
        with self._resources.ledger.reading() as connection:
            found = verdicts.latest(connection, item.sha256)
        return in_words(found, language)

    def _removal_text(self, item: Arrival) -> str:
        language = self.language_of(item.owner)
        because = phrase("The administrators of this server removed the file: it is not processed.", language)
        lines = [
            *about_arrival(item, language),
            (phrase("outcome", language), phrase("removed", language)),
            (phrase("why", language), because),
            (phrase("what next", language), phrase("Ask them why, and send the file again if it is wanted.", language)),
        ]
        return as_text(lines)

    def _rejection_text(self, item: Arrival, reason: str) -> str:
        language = self.language_of(item.owner)
        because = phrase(
            "The administrators of this server rejected the file: it is not processed. They say: {reason}",
            language,
            reason=reason,
        )
        to_do = phrase("Send a corrected file under the same name. This one is kept in the archives.", language)
        lines = [
            *about_arrival(item, language),
            (phrase("outcome", language), phrase("rejected by the administrators", language)),
            (phrase("why", language), because),
            *((phrase("what is wrong", language), said) for said in self._objections(item, language)),
            (phrase("what next", language), to_do),
        ]
        return as_text(lines)

    def _lock_of(self, item: Arrival) -> tuple[str, bool]:
        """Return the name of the batch lock that holds a file, and whether it is its sender's; the sender's own before others."""
        names = NameRules(batch_lock_name=self._batch_lock_name)
        with self._resources.ledger.reading() as connection:
            locks = BatchLocks(self._resources.layout, self._disk, names).as_recorded(connection, item.home)
        holding = sorted((lock.owner != item.owner, lock.name) for lock in locks if lock.holds(item.owner))
        return next(((name, not is_foreign) for is_foreign, name in holding), (self._batch_lock_name, True))


def in_words(objections: Iterable[Objection], language: Language) -> list[str]:
    """Return a line for each objection of a contract: what is wrong, and what to do about it."""
    return [f"{each.sentence(language)} {each.advice(language)}" for each in objections]
