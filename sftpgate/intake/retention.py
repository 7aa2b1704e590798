"""Retention: archives, reports, quarantine, interrupted uploads and the ledger's records go when they are too old or too much.

Only what the ledger knows to be at its end: nothing that waits, is queued, held or claimed is ever a candidate, and a
file in ``archives`` or ``reports`` that the ledger does not know (an admin put it there, or another file has taken the
name) is left alone. Everything is done in batches, each of which is one change, so that publishers get their turn.

A crash leaves what a crash of a change leaves (see ``moves``): an archived file goes ledger first, so what is recorded
as gone is removed by whoever comes next. A report's file goes first and its record after it, under one lock: a crash
in between leaves a record without a file, which the next pass forgets. Everything blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from sftpgate.intake.changes import Change
from sftpgate.intake.moves import SLICE, Moves
from sftpgate.intake.staging import Staging
from sftpgate.ledger import arrivals as records
from sftpgate.ledger import audit
from sftpgate.ledger import retention as ledger
from sftpgate.ledger.actor import SYSTEM
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.database import Connection, get_fact, set_fact
from sftpgate.policy.lifecycle import Area, ArrivalEvent, ArrivalState
from sftpgate.policy.locations import location
from sftpgate.policy.retention import Doomed, Keep, Kind, beyond

BATCH = SLICE
_PAGE = 500  # reports that are looked for on the disk together
BATCHES = 10  # of each kind in one pass of the sweeper; the next pass goes on
EVERY = timedelta(hours=1)  # a pass looks at everything that is kept: not at each sweep
EVENTS_EVERY = timedelta(days=1)
SETTLED = timedelta(hours=1)  # a report that is younger may not be seen yet by another host that shares the store
_LAST = "last_prune"
_FOREVER_SECONDS = 10.0**9  # longer than anything is kept

Progress = Callable[[str, int], None]
Found = Iterator[tuple[Doomed, Arrival | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRules:
    """The settings of retention."""

    archives: Keep
    reports: Keep
    quarantine: Keep
    records: timedelta | None
    events: timedelta | None
    partials: timedelta


class Retention:
    """Prunes, and says what it would prune. One instance per process."""

    def __init__(self, moves: Moves, staging: Staging, rules: RetentionRules) -> None:
        self._moves = moves
        self._staging = staging
        self._all_rules = rules

    @property
    def _rules(self) -> RetentionRules:
        """The settings; without the ages that nothing can have, because the clock was set since."""
        rules, steady = self._all_rules, timedelta(seconds=min(self._moves.time.steady_seconds(), _FOREVER_SECONDS))
        return replace(
            rules,
            archives=_within(rules.archives, steady),
            reports=_within(rules.reports, steady),
            quarantine=_within(rules.quarantine, steady),
            records=rules.records if rules.records is not None and rules.records <= steady else None,
            events=rules.events if rules.events is not None and rules.events <= steady else None,
        )

    def plan(self) -> Iterator[Doomed]:
        """What would go now. Changes nothing; records of files that would go now are not counted, as they go later."""
        now = self._moves.clock()
        with self._moves.ledger.reading() as connection:
            for find in (self._archives, self._reports, self._quarantine, self._missing_reports, self._records):
                for doomed, _ in find(connection, now, None):
                    yield doomed
            if self._events_due(connection, now) and self._rules.events is not None:
                count, oldest = ledger.events_before(connection, now - self._rules.events)
                yield Doomed(kind=Kind.EVENTS, name=f"{count} events", size_bytes=0, at=oldest or now, reason="too old")
        yield from self._partials(now)

    def regularly(self) -> dict[str, int]:
        """A pass for the sweeper, where one is due: bounded, and gone on with at the next sweep where it was not enough."""
        now = self._moves.clock()
        with self._moves.ledger.reading() as connection:
            last = get_fact(connection, _LAST)
        if last is not None and timedelta(0) <= now - datetime.fromisoformat(last) < EVERY:
            return {}
        found = self._pass(BATCHES)
        if max(found.values(), default=0) < BATCH * BATCHES:
            with self._moves.ledger.transaction() as connection:
                set_fact(connection, _LAST, now.isoformat())
        return {f"{kind} pruned": count for kind, count in found.items()}

    def prune(self, progress: Progress | None = None) -> dict[Kind, int]:
        """Prune everything that is due; how many of each kind went. Interrupted uploads are left to the sweep."""
        return self._pass(None, progress)

    def _pass(self, batches: int | None, progress: Progress | None = None) -> dict[Kind, int]:
        gone: dict[Kind, int] = {}
        for kind, step in (
            (Kind.ARCHIVES, self._prune_archives),
            (Kind.REPORTS, self._prune_reports),
            (Kind.QUARANTINE, self._prune_quarantine),
            (Kind.RECORDS, self._forget_missing_reports),
            (Kind.RECORDS, self._prune_records),
            (Kind.EVENTS, self._prune_events),
        ):
            done = 0
            while batches is None or done < batches:
                count = step()
                if count:
                    gone[kind] = gone.get(kind, 0) + count
                if progress is not None:
                    progress(f"{kind} pruned", gone.get(kind, 0))
                done += 1
                if count < BATCH:
                    break
        return gone

    # -- looking -----------------------------------------------------------------------------------------------------

    def _archives(self, connection: Connection, now: datetime, limit: int | None) -> Found:
        keep = self._rules.archives
        if keep == Keep():
            return
        total = ledger.archived_bytes(connection) if keep.size_bytes is not None else 0
        rows = ledger.archived(connection, limit)
        for row, reason in beyond(((row, row.changed_at, row.size) for row in rows), keep, now, total):
            yield _doomed(Kind.ARCHIVES, f"archives/{row.archived_as}", row, reason), row

    def _quarantine(self, connection: Connection, now: datetime, limit: int | None) -> Found:
        keep = self._rules.quarantine
        if keep == Keep():
            return
        total = ledger.quarantined_bytes(connection) if keep.size_bytes is not None else 0
        rows = ledger.quarantined(connection, limit)
        for row, reason in beyond(((row, row.changed_at, row.size) for row in rows), keep, now, total):
            yield _doomed(Kind.QUARANTINE, row.path, row, reason), row

    def _reports(self, connection: Connection, now: datetime, limit: int | None) -> Found:
        keep = self._rules.reports
        if keep == Keep():
            return
        total = sum(self._report_size(name) for name, _ in ledger.reported(connection)) if keep.size_bytes is not None else 0
        sized = (
            ((name, at, size), at, size) for name, at in ledger.reported(connection, limit) for size in [self._report_size(name)]
        )
        for (name, at, size), reason in beyond(sized, keep, now, total):
            yield Doomed(kind=Kind.REPORTS, name=f"reports/{name}", size_bytes=size, at=at, reason=reason), None

    def _report_size(self, name: str) -> int:
        found = self._moves.disk.lstat(self._moves.layout.spot(location(Area.REPORTS, name)))
        return 0 if found is None else found.st_size

    def _missing_reports(self, connection: Connection, now: datetime, limit: int | None) -> Found:
        """Records of reports whose files somebody removed. The records are read first: what is reported meanwhile is there."""
        disk, top = self._moves.disk, self._moves.layout.spot(location(Area.REPORTS, ""))
        if not disk.is_dir(top):
            return
        settled = ((name, at) for name, at in ledger.reported(connection) if at <= now - SETTLED)
        left = limit
        while page := dict(islice(settled, _PAGE)):
            there = set(disk.present(top, page))
            for name in [name for name in page if name not in there][:left]:
                left = None if left is None else left - 1
                yield (
                    Doomed(kind=Kind.RECORDS, name=f"reports/{name}", size_bytes=0, at=page[name], reason="its file is gone"),
                    None,
                )
            if left == 0:
                return

    def _records(self, connection: Connection, now: datetime, limit: int | None) -> Found:
        if self._rules.records is None:
            return
        for row in ledger.fileless(connection, now - self._rules.records, limit):
            yield _doomed(Kind.RECORDS, row.path, row, "too old", size_bytes=0), row

    def _partials(self, now: datetime) -> Iterator[Doomed]:
        for user in self._staging.users():
            for name, status in self._staging.idle_files(user):
                at = datetime.fromtimestamp(status.st_mtime, UTC)
                if at <= now - self._rules.partials:
                    yield Doomed(kind=Kind.PARTIALS, name=f"{user}/{name}", size_bytes=status.st_size, at=at, reason="too old")

    def _events_due(self, connection: Connection, now: datetime) -> bool:
        keep = self._rules.events
        if keep is None:
            return False
        _, oldest = ledger.events_before(connection, now - keep - min(keep, EVENTS_EVERY))
        return oldest is not None

    # -- removing ----------------------------------------------------------------------------------------------------

    def _prune_archives(self) -> int:
        with self._moves.change() as change:
            found = list(self._archives(change.connection, change.now, BATCH))
            for doomed, row in found:
                assert row is not None
                self._let_go(change, row, doomed)
        return len(found)

    def _let_go(self, change: Change, row: Arrival, doomed: Doomed) -> None:
        """Remove an archived file. Where another file has its name, that one stays, and only the record changes."""
        gone = records.moved(row, None) if self._is_ours(row) else replace(row, location=None)
        change.put(replace(gone, archived_as=None))
        change.note("arrival.pruned", row, actor=SYSTEM, archive=row.archived_as, limit=doomed.reason)

    def _is_ours(self, row: Arrival) -> bool:
        """Whether the file of ``row`` is there still. An inode's number alone proves nothing: it is used again, after a file was
        removed, for the next one. A file that its tool altered stays: nobody can tell it from another one.
        """
        if row.location is None or not self._moves.is_at(row, row.location):
            return False
        found = self._moves.disk.lstat(self._moves.layout.spot(row.location))
        return found is not None and (found.st_size == row.size or found.st_mtime_ns == row.mtime_ns)

    def _prune_reports(self) -> int:
        disk, layout = self._moves.disk, self._moves.layout
        with self._moves.change() as change:
            found = [doomed for doomed, _ in self._reports(change.connection, change.now, BATCH)]
            names = [doomed.name.partition("/")[2] for doomed in found]
            for name in names:
                disk.unlink(layout.spot(location(Area.REPORTS, name)), missing_ok=True)
            if names and self._moves.durable:
                disk.sync_dirs([layout.spot(location(Area.REPORTS, ""))])
            ledger.forget_reports(change.connection, names)
        return len(found)

    def _forget_missing_reports(self) -> int:
        with self._moves.ledger.reading() as connection:  # without the store's lock: there may be a million
            found = list(self._missing_reports(connection, self._moves.clock(), BATCH))
        names = [doomed.name.partition("/")[2] for doomed, _ in found]
        if names:
            with self._moves.change() as change:
                there = self._moves.disk.present(self._moves.layout.spot(location(Area.REPORTS, "")), names)
                ledger.forget_reports(change.connection, set(names) - set(there))
        return len(names)

    def _prune_quarantine(self) -> int:
        with self._moves.change() as change:
            found = list(self._quarantine(change.connection, change.now, BATCH))
            for doomed, row in found:
                assert row is not None
                item = change.get(row.id)
                if item.state is ArrivalState.QUARANTINED:
                    change.note("arrival.pruned", item, actor=SYSTEM, limit=doomed.reason)
                    change.event(item, ArrivalEvent.DISCARDED, location=None)
        return len(found)

    def _prune_events(self) -> int:
        """Events go from the beginning of their chain, a day's at least: each time leaves an event that says so."""
        if self._rules.events is None:
            return 0
        now = self._moves.clock()
        with self._moves.ledger.transaction() as connection:
            if not self._events_due(connection, now):
                return 0
            return audit.prune_before(connection, now - self._rules.events, at=now)

    def _prune_records(self) -> int:
        with self._moves.change() as change:
            rows = [row for _, row in self._records(change.connection, change.now, BATCH) if row is not None]
            ledger.forget(change.connection, rows)
        return len(rows)


def _within(keep: Keep, steady: timedelta) -> Keep:
    return keep if keep.age is None or keep.age <= steady else replace(keep, age=None)


def _doomed(kind: Kind, name: str, row: Arrival, reason: str, *, size_bytes: int | None = None) -> Doomed:
    size = row.size if size_bytes is None else size_bytes
    return Doomed(kind=kind, name=name, size_bytes=size, at=row.changed_at, reason=reason)
