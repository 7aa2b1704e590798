"""Retention: archives, reports, quarantine, interrupted uploads and the ledger's records go when they are too old or too much.

Only what the ledger knows to be at its end: nothing that waits, is queued, held or claimed is ever a candidate, and a
file in ``archives`` or ``reports`` that the ledger does not know (an admin put it there, or another file has taken the
name) is left alone.

What has to go is looked for without the store's lock: that is a look at everything that is kept, a million files perhaps, and
their sizes. It then goes in batches, each of which is one change, so that publishers get their turn; the change verifies of each
file that it is what was found. So nothing goes that was not due at the look, whatever others do meanwhile.

A crash leaves what a crash of a change leaves (see ``handover.journal``): an archived file goes ledger first, so what is recorded
as gone is removed by whoever comes next. A report's file goes first and its record after it, under one lock: a crash
in between leaves a record without a file, which the next pass forgets. Everything blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from sftpgate.handover.changes import Change
from sftpgate.handover.journal import SLICE, Journal
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals as records
from sftpgate.ledger import retention as ledger
from sftpgate.ledger import verdicts
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit import event_log, feed
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.ledger.contracts import approvals
from sftpgate.ledger.database.connection import Connection, get_fact, set_fact
from sftpgate.ledger.receipts import records as receipts_kept
from sftpgate.policy.lifecycle import Area, ArrivalEvent, ArrivalState
from sftpgate.policy.locations import location
from sftpgate.policy.managed import MANAGED
from sftpgate.policy.retention import Doomed, Keep, KeptKind, beyond
from sftpgate.uploads.staging import Staging

BATCH = SLICE
LOOK = 200 * BATCH  # what one look finds at most: how far the sizes can be from those of the moment
_PAGE = 500  # reports that are looked for on the disk together
BATCHES = 10  # of each kind in one pass of the sweeper; the next pass goes on
EVERY = timedelta(hours=1)  # a pass looks at everything that is kept: not at each sweep
VERDICTS_KEPT = timedelta(days=90)  # of contracts, and approvals: what is asked again after that is judged again
EVENTS_EVERY = timedelta(days=1)
SETTLED = timedelta(hours=1)  # a report that is younger may not be seen yet by another host that shares the store
_LAST = "last_prune"
_FOREVER_SECONDS = 10.0**9  # longer than anything is kept

Progress = Callable[[str, int], None]
Found = Iterator[tuple[Doomed, Arrival | None]]
Find = Callable[[Connection, datetime, int | None], Found]
Remove = Callable[[Sequence[tuple[Doomed, Arrival | None]]], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRules:
    """The settings of retention."""

    managed: Mapping[KeptKind, Keep]  # of each of the managed directories
    receipts: Keep
    quarantine: Keep
    records: timedelta | None
    events: timedelta | None
    partials: timedelta


class Retention:
    """Prunes, and says what it would prune. One instance per process."""

    def __init__(self, resources: Resources, journal: Journal, staging: Staging, rules: RetentionRules) -> None:
        self._resources = resources
        self._journal = journal
        self._staging = staging
        self._all_rules = rules

    @property
    def _rules(self) -> RetentionRules:
        """The settings; without the ages that nothing can have, because the clock was set since."""
        rules, steady = self._all_rules, timedelta(seconds=min(self._resources.time.steady_seconds(), _FOREVER_SECONDS))
        return replace(
            rules,
            managed={kind: _within(keep, steady) for kind, keep in rules.managed.items()},
            receipts=_within(rules.receipts, steady),
            quarantine=_within(rules.quarantine, steady),
            records=rules.records if rules.records is not None and rules.records <= steady else None,
            events=rules.events if rules.events is not None and rules.events <= steady else None,
        )

    def plan(self) -> Iterator[Doomed]:
        """Yield what would go now. Changes nothing; records of files that would go now are not counted, as they go later."""
        now = self._resources.clock()
        with self._resources.ledger.reading() as connection:
            for _, find, _ in self._steps():
                for doomed, _ in find(connection, now, None):
                    yield doomed
            if self._events_due(connection, now) and self._rules.events is not None:
                cutoff = now - self._rules.events
                count, oldest = ledger.events_before(connection, cutoff, feed.read_by_all(connection, cutoff))
                yield Doomed(kind=KeptKind.EVENTS, name=f"{count} events", size_bytes=0, at=oldest or now, reason="too old")
        yield from self._partials(now)

    def regularly(self) -> dict[str, int]:
        """Return a pass for the sweeper, if one is due: bounded, and gone on with at the next sweep if it was not enough."""
        now = self._resources.clock()
        with self._resources.ledger.reading() as connection:
            last = get_fact(connection, _LAST)
        if last is not None and timedelta(0) <= now - datetime.fromisoformat(last) < EVERY:
            return {}
        found, is_done = self._pass(BATCH * BATCHES)
        if is_done:
            with self._resources.ledger.transaction() as connection:
                set_fact(connection, _LAST, now.isoformat())
        return {f"{kind} pruned": count for kind, count in found.items()}

    def prune(self, progress: Progress | None = None) -> dict[KeptKind, int]:
        """Prune everything that is due; how many of each kind went. Interrupted uploads are left to the sweep."""
        return self._pass(None, progress)[0]

    def _pass(self, most: int | None, progress: Progress | None = None) -> tuple[dict[KeptKind, int], bool]:
        """Prune at most so many of each kind: how many went, and whether these were all."""
        gone: dict[KeptKind, int] = {}
        is_done = True
        for kind, find, remove in self._steps():
            for count in self._batches(find, remove, most):
                gone[kind] = gone.get(kind, 0) + count
                if progress is not None:
                    progress(f"{kind} pruned", gone[kind])
            is_done = is_done and gone.get(kind, 0) < (most or 1)
        while count := self._prune_events():
            gone[KeptKind.EVENTS] = gone.get(KeptKind.EVENTS, 0) + count
        with self._resources.ledger.transaction() as connection:
            verdicts.prune(connection, self._resources.clock() - VERDICTS_KEPT)
            approvals.prune(connection, self._resources.clock() - VERDICTS_KEPT)
        return {kind: count for kind, count in gone.items() if count}, is_done

    def _steps(self) -> Sequence[tuple[KeptKind, Find, Remove]]:
        """Return what is looked for and removed, in order: first what is in the managed directories, then what speaks of it."""
        managed: Mapping[KeptKind, tuple[Find, Remove]] = {
            KeptKind.ARCHIVES: (self._archives, self._remove_archives),
            KeptKind.REPORTS: (self._reports, self._remove_reports),
        }
        return (
            *((directory.kept_as, *managed[directory.kept_as]) for directory in MANAGED),
            (KeptKind.RECEIPTS, self._receipts, self._remove_receipts),
            (KeptKind.QUARANTINE, self._quarantine, self._remove_quarantine),
            (KeptKind.RECORDS, self._missing_reports, self._forget_missing_reports),
            (KeptKind.RECORDS, self._records, self._forget_records),
        )

    def _batches(self, find: Find, remove: Remove, most: int | None) -> Iterator[int]:
        """Look and remove, a batch at a time, until at most ``most`` were found; yields how many each batch removed."""
        left = most
        while left is None or left > 0:
            limit = LOOK if left is None else min(LOOK, left)
            with self._resources.ledger.reading() as connection:
                found = list(find(connection, self._resources.clock(), limit))
            removed = 0
            for start in range(0, len(found), BATCH):
                count = remove(found[start : start + BATCH])
                removed += count
                yield count
            if len(found) < limit or not removed:  # else others prune the same at this moment
                return
            left = None if left is None else left - len(found)

    # -- looking -----------------------------------------------------------------------------------------------------

    def _archives(self, connection: Connection, now: datetime, limit: int | None) -> Found:
        keep = self._rules.managed[KeptKind.ARCHIVES]
        if keep == Keep():
            return
        total = ledger.archived_bytes(connection) if keep.size_bytes is not None else 0
        rows = ledger.archived(connection, limit)
        for row, reason in beyond(((row, row.changed_at, row.size) for row in rows), keep, now, total):
            yield _doomed(KeptKind.ARCHIVES, f"{Area.ARCHIVES}/{row.archived_as}", row, reason), row

    def _quarantine(self, connection: Connection, now: datetime, limit: int | None) -> Found:
        keep = self._rules.quarantine
        if keep == Keep():
            return
        total = ledger.quarantined_bytes(connection) if keep.size_bytes is not None else 0
        rows = ledger.quarantined(connection, limit)
        for row, reason in beyond(((row, row.changed_at, row.size) for row in rows), keep, now, total):
            yield _doomed(KeptKind.QUARANTINE, row.path, row, reason), row

    def _reports(self, connection: Connection, now: datetime, limit: int | None) -> Found:
        keep = self._rules.managed[KeptKind.REPORTS]
        if keep == Keep():
            return
        total = sum(self._report_size(name) for name, _ in ledger.reported(connection)) if keep.size_bytes is not None else 0
        sized = (
            ((name, at, size), at, size) for name, at in ledger.reported(connection, limit) for size in [self._report_size(name)]
        )
        for (name, at, size), reason in beyond(sized, keep, now, total):
            yield Doomed(kind=KeptKind.REPORTS, name=location(Area.REPORTS, name), size_bytes=size, at=at, reason=reason), None

    def _receipts(self, connection: Connection, now: datetime, limit: int | None) -> Found:
        keep = self._rules.receipts
        if keep == Keep():
            return
        total = receipts_kept.total_bytes(connection) if keep.size_bytes is not None else 0
        rows = (((file, at, size), at, size) for file, at, size in receipts_kept.oldest(connection, limit))
        for (file, at, size), reason in beyond(rows, keep, now, total):
            yield Doomed(kind=KeptKind.RECEIPTS, name=file, size_bytes=size, at=at, reason=reason), None

    def _report_size(self, name: str) -> int:
        found = self._resources.disk.lstat(self._resources.layout.disk_path(location(Area.REPORTS, name)))
        return 0 if found is None else found.st_size

    def _missing_reports(self, connection: Connection, now: datetime, limit: int | None) -> Found:
        """Return records of reports whose files somebody removed. The records are read first: what is reported meanwhile is
        there.
        """
        disk, top = self._resources.disk, self._resources.layout.disk_path(location(Area.REPORTS, ""))
        if not disk.is_dir(top):
            return
        settled = ((name, at) for name, at in ledger.reported(connection) if at <= now - SETTLED)
        left = limit
        while page := dict(islice(settled, _PAGE)):
            there = set(disk.present(top, page))
            for name in [name for name in page if name not in there][:left]:
                left = None if left is None else left - 1
                yield (
                    Doomed(
                        kind=KeptKind.RECORDS,
                        name=location(Area.REPORTS, name),
                        size_bytes=0,
                        at=page[name],
                        reason="its file is gone",
                    ),
                    None,
                )
            if left == 0:
                return

    def _records(self, connection: Connection, now: datetime, limit: int | None) -> Found:
        if self._rules.records is None:
            return
        for row in ledger.fileless(connection, now - self._rules.records, limit):
            yield _doomed(KeptKind.RECORDS, row.path, row, "too old", size_bytes=0), row

    def _partials(self, now: datetime) -> Iterator[Doomed]:
        for user in self._staging.users():
            for name, status in self._staging.idle_files(user):
                at = datetime.fromtimestamp(status.st_mtime, UTC)
                if at <= now - self._rules.partials:
                    yield Doomed(
                        kind=KeptKind.PARTIALS, name=f"{user}/{name}", size_bytes=status.st_size, at=at, reason="too old"
                    )

    def _events_due(self, connection: Connection, now: datetime) -> bool:
        keep = self._rules.events
        if keep is None:
            return False
        read = feed.read_by_all(connection, now - keep)
        _, oldest = ledger.events_before(connection, now - keep - min(keep, EVENTS_EVERY), read)
        return oldest is not None

    # -- removing ----------------------------------------------------------------------------------------------------

    def _remove_archives(self, found: Sequence[tuple[Doomed, Arrival | None]]) -> int:
        with self._journal.change() as change:
            due = _reasons(found)
            return sum(self._let_go(change, row, due[row.seq]) for row in ledger.unchanged(change.connection, _rows(found)))

    def _let_go(self, change: Change, row: Arrival, reason: str) -> int:
        """Remove an archived file; returns 1. If another file has its name, that one stays, and only the record changes."""
        gone = records.moved(row, None) if self._is_ours(row) else replace(row, location=None)
        change.put(replace(gone, archived_as=None))
        change.note("arrival.pruned", row, actor=SYSTEM, archive=row.archived_as, limit=reason)
        return 1

    def _is_ours(self, row: Arrival) -> bool:
        """Return whether the file of ``row`` is there still. An inode's number alone proves nothing: it is used again, after
        a file was removed, for the next one. A file that its tool altered stays: nobody can tell it from another one.
        """
        if row.location is None or not self._journal.is_at(row, row.location):
            return False
        found = self._resources.disk.lstat(self._resources.layout.disk_path(row.location))
        return found is not None and (found.st_size == row.size or found.st_mtime_ns == row.mtime_ns)

    def _remove_reports(self, found: Sequence[tuple[Doomed, Arrival | None]]) -> int:
        disk, layout = self._resources.disk, self._resources.layout
        due = {doomed.name.partition("/")[2]: doomed.at for doomed, _ in found}
        with self._journal.change() as change:
            names = [name for name, at in ledger.reported_at(change.connection, due) if due[name] == at]
            for name in names:
                disk.unlink(layout.disk_path(location(Area.REPORTS, name)), missing_ok=True)
            if names and self._resources.durable:
                disk.sync_dirs([layout.disk_path(location(Area.REPORTS, ""))])
            ledger.forget_reports(change.connection, names)
        return len(names)

    def _remove_receipts(self, found: Sequence[tuple[Doomed, Arrival | None]]) -> int:
        with self._resources.ledger.transaction() as connection:
            return receipts_kept.remove(connection, [doomed.name for doomed, _ in found])

    def _forget_missing_reports(self, found: Sequence[tuple[Doomed, Arrival | None]]) -> int:
        names = [doomed.name.partition("/")[2] for doomed, _ in found]
        with self._journal.change() as change:
            there = self._resources.disk.present(self._resources.layout.disk_path(location(Area.REPORTS, "")), names)
            missing = set(names) - set(there)
            ledger.forget_reports(change.connection, missing)
        return len(missing)

    def _remove_quarantine(self, found: Sequence[tuple[Doomed, Arrival | None]]) -> int:
        removed = 0
        with self._journal.change() as change:
            due = _reasons(found)
            for row in ledger.unchanged(change.connection, _rows(found)):  # others were taken out of quarantine since
                item = change.get(row.id)
                if item.state is ArrivalState.QUARANTINED:
                    change.note("arrival.pruned", item, actor=SYSTEM, limit=due[row.seq])
                    change.event(item, ArrivalEvent.DISCARDED, location=None)
                    removed += 1
        return removed

    def _prune_events(self) -> int:
        """Remove events from the beginning of their chain, a day's at least: each time leaves an event that says so."""
        if self._rules.events is None:
            return 0
        now = self._resources.clock()
        with self._resources.ledger.transaction() as connection:
            if not self._events_due(connection, now):
                return 0
            cutoff = now - self._rules.events
            return event_log.prune_before(connection, cutoff, up_to=feed.read_by_all(connection, cutoff), at=now)

    def _forget_records(self, found: Sequence[tuple[Doomed, Arrival | None]]) -> int:
        with self._journal.change() as change:
            rows = ledger.without_report(change.connection, ledger.unchanged(change.connection, _rows(found)))
            ledger.forget(change.connection, rows)
        return len(rows)


def _rows(found: Sequence[tuple[Doomed, Arrival | None]]) -> list[Arrival]:
    return [row for _, row in found if row is not None]


def _reasons(found: Sequence[tuple[Doomed, Arrival | None]]) -> dict[int, str]:
    """Why each has to go, by its number."""
    return {row.seq: doomed.reason for doomed, row in found if row is not None}


def _within(keep: Keep, steady: timedelta) -> Keep:
    return keep if keep.age is None or keep.age <= steady else replace(keep, age=None)


def _doomed(kind: KeptKind, name: str, row: Arrival, reason: str, *, size_bytes: int | None = None) -> Doomed:
    size = row.size if size_bytes is None else size_bytes
    return Doomed(kind=kind, name=name, size_bytes=size, at=row.changed_at, reason=reason)
