"""The follower that knows which expected files came, and says once of each change what is the case (docs/expected-files.md).

It reads the record of arrivals, keeps what came for each occasion, and judges by that and by the clock what
``policy.expectations`` says. A change is an event of the record (``expect.late`` and so on), written in the transaction that
keeps the new state: so each is said exactly once, by whichever process, and whoever tells people of it follows the record too.

What it promises: what is said does not depend on when this looks, so a gate that was down says afterwards what was the case. For
that it judges up to a time before which everything that came is known, a little behind the clock: a commit may take a while, a
sweep finds local files some seconds after they came, and hosts that share a ledger do not have the same time to the second. After
a start nothing is judged before the first sweep has looked for local files.

What it does not: it judges no occasion that was due more than a month ago. A crash leaves each of its transactions made or not,
and the next step goes on from there. Everything blocks.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sftpgate.errors import FollowerMoved, UnknownArrival
from sftpgate.ids import Clock
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.audit import event_log, feed
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.ledger.audit.event_log import Detail, Event, Record
from sftpgate.ledger.audit.feed import Batch
from sftpgate.ledger.database.connection import Connection, Ledger, get_fact, shared_time
from sftpgate.ledger.expectations import history, occasions
from sftpgate.logs import get_logger
from sftpgate.policy import expectations as rules
from sftpgate.policy.expectations import ArrivalNews, File, Occasion, Standing, Step, Terms, Transition, Watched
from sftpgate.policy.lifecycle import ArrivalEvent, ArrivalState, HoldReason
from sftpgate.upkeep.sweep import LAST_SWEEP

log = get_logger("expectations")

NAME = "expectations"
PAUSE_SECONDS = 5.0  # between two looks, which cost some queries; far below what is told of: minutes
BACKLOG = timedelta(days=31)  # what was due earlier is not judged: a gate that was away for so long has other news
MOST_AT_ONCE = 1000  # occasions of one expectation that are begun at once, the newest
COMMITS_TAKE = timedelta(seconds=60)  # above what a change waits for the store and the ledger, and hosts differ by
LONGEST_SWEEP = timedelta(minutes=5)  # beyond which nobody waits for a sweep to find local files

_INSTANT = timedelta(microseconds=1)
_BEGINNINGS = frozenset(f"arrival.{event}" for event in ("received", "published", "queued", "held"))
EVENTS = frozenset(
    {
        *_BEGINNINGS,
        *(f"arrival.{event.replace(' ', '_')}" for event in ArrivalEvent),
        "arrival.put_back",
        "arrival.found",
        "arrival.taken_back",
        "arrival.held_anew",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How far behind the clock is judged. ``sweeps``: how long a sweep may take to find a local file; ``keep``: for how long
    occasions that are over are kept, None for ever.
    """

    sweeps: timedelta
    keep: timedelta | None

    @property
    def margin(self) -> timedelta:
        """Before this, everything that came is known."""
        return COMMITS_TAKE + min(self.sweeps, LONGEST_SWEEP)


class Expectations:
    """One instance per process. ``terms`` is asked at each step: calendar files change."""

    def __init__(self, ledger: Ledger, terms: Callable[[], Sequence[Terms]], pace: Pace, clock: Clock) -> None:
        self._ledger = ledger
        self._terms = terms
        self._pace = pace
        self._clock = clock
        self._started_at = clock()

    def step(self) -> bool:
        """Do what is due; returns whether there is more to do at once. For ``followers.run_followers``."""
        terms = {each.name: each for each in self._terms()}
        if not terms:
            self._stop_following()
            return False
        try:
            self._prepare(terms)
            if self._read_on(terms):
                return True
        except FollowerMoved:  # another gate that shares the ledger was there before us
            return True
        self._judge(terms)
        return False

    def _stop_following(self) -> None:
        with self._ledger.reading() as connection:
            is_following = any(each.name == NAME for each in feed.all_followers(connection))
        if is_following:
            with self._ledger.transaction() as connection:
                feed.leave(connection, NAME)
                occasions.leave(connection, (), before=self._now(connection))

    # -- which occasions there are -----------------------------------------------------------------------------------

    def _prepare(self, terms: Mapping[str, Terms]) -> None:
        """Begin the occasions whose windows have opened, and the next one, and give what is not due yet the times of today's
        settings.
        """
        with self._ledger.reading() as connection:
            if _is_following(connection) and not any(plan.is_needed for plan in plans(connection, terms, self._now(connection))):
                return
        with self._ledger.transaction() as connection:
            now = self._now(connection)
            is_new = not _is_following(connection)
            if is_new:
                feed.join(connection, NAME, at=now)
            read_to = None if is_new else _last_look(connection)
            occasions.leave(connection, terms, before=now - BACKLOG)
            if self._pace.keep is not None:
                occasions.prune(connection, now - self._pace.keep)
            for plan in plans(connection, terms, now):
                occasions.remove(connection, plan.terms.name, [item.occasion.due_at for item in plan.cancelled])
                occasions.save(connection, plan.moved)
                occasions.add(connection, _begun(connection, plan, read_to))

    # -- what came ---------------------------------------------------------------------------------------------------

    def _read_on(self, terms: Mapping[str, Terms]) -> bool:
        """Take one batch of the record; returns whether there may be more."""
        with self._ledger.reading() as connection:
            batch = feed.read(connection, NAME, events=EVENTS)
        if batch.is_empty:
            return False
        with self._ledger.transaction() as connection:
            found = occasions.watched(connection, terms)
            if batch.missed:  # long ago: what is there now has to do
                found = {name: [_with_what_came(connection, each, terms[name]) for each in of] for name, of in found.items()}
                occasions.save(connection, [each for of in found.values() for each in of])
            occasions.save(connection, happened_to(connection, found, terms, batch))
            feed.move_on(connection, batch, at=self._now(connection))
        return True

    # -- what is the case --------------------------------------------------------------------------------------------

    def _judge(self, terms: Mapping[str, Terms]) -> None:
        """Say what has changed, if anything has."""
        with self._ledger.reading() as connection:
            until = self._known_to(connection)
            if until is None or not self._judged(connection, terms, until):
                return
        with self._ledger.transaction() as connection:
            now = self._now(connection)
            judged = self._judged(connection, terms, until)
            event_log.record(connection, [event for _, changes in judged for event in changes(now)])
            occasions.save(connection, [item for item, _ in judged])
        for _, changes in judged:
            for event in changes(now):
                level = log.warning if event.event in _ALARMING else log.info
                level("expect.changed", **{key: value for key, value in event.details.items() if key in _LOGGED})

    def _judged(
        self, connection: Connection, terms: Mapping[str, Terms], until: datetime
    ) -> list[tuple[Watched, Callable[[datetime], list[Event]]]]:
        """Return the occasions with which something is another way than was said, with what makes their events."""
        result: list[tuple[Watched, Callable[[datetime], list[Event]]]] = []
        for name, found in occasions.watched(connection, terms).items():
            for before, item, changes in judged_in_order(connection, name, found, until):
                if changes or item.is_over != before.is_over:
                    result.append((item, _events_of(terms[name], item, changes)))
        return result

    def _known_to(self, connection: Connection) -> datetime | None:
        """Return the time before which everything that came is known; None if that is not known yet: no sweep has looked for
        local files since this began.
        """
        now = self._now(connection)
        swept = _last_sweep(connection)
        if (swept is None or swept < self._started_at) and now < self._started_at + LONGEST_SWEEP:
            return None
        return now - self._pace.margin

    def _now(self, connection: Connection) -> datetime:
        return shared_time(connection) or self._clock()


# -- steps that a listing makes too ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OccasionChanges:
    """What becomes of an expectation's occasions: which begin, which have other times, and which are not due any more."""

    terms: Terms
    new: tuple[Watched, ...]
    moved: tuple[Watched, ...]
    cancelled: tuple[Watched, ...]

    @property
    def is_needed(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.new or self.moved or self.cancelled)


def plans(connection: Connection, terms: Mapping[str, Terms], now: datetime) -> list[OccasionChanges]:
    """Return what becomes of the occasions of all expectations at a time."""
    found = occasions.watched(connection, terms)
    return [_plan(each, found[name], _begun_up_to(connection, each, found[name], now), now) for name, each in terms.items()]


def _plan(terms: Terms, found: Sequence[Watched], begun_up_to: datetime, now: datetime) -> OccasionChanges:
    begin = max(begun_up_to, now - BACKLOG)
    wanted = {occasion.due_at: occasion for occasion in deque(_up_to_next(terms, begin, now), maxlen=MOST_AT_ONCE)}
    undue = {item.occasion.due_at: item for item in found if item.occasion.due_at > begin}
    changed = [due for due, item in undue.items() if due in wanted and wanted[due] != item.occasion]
    return OccasionChanges(
        terms=terms,
        new=tuple(rules.begin(terms.name, occasion) for due, occasion in wanted.items() if due not in undue),
        moved=tuple(replace(undue[due], occasion=wanted[due]) for due in changed),
        cancelled=tuple(item for due, item in undue.items() if due not in wanted),
    )


def _up_to_next(terms: Terms, begin: datetime, now: datetime) -> Iterator[Occasion]:
    """Yield the occasions after ``begin`` whose windows have opened, and the one that comes next."""
    for occasion in rules.occasions(terms, begin):
        yield occasion
        if occasion.opens_at > now:
            return


def _begun_up_to(connection: Connection, terms: Terms, found: Sequence[Watched], now: datetime) -> datetime:
    """Return the time up to which what was due has been begun. The next one is always watched, unless nothing was expected until
    now: then what would be late already is not asked for.
    """
    if not found:
        return now - terms.grace
    if found[0].occasion.due_at > now:
        return now
    return occasions.latest(connection, terms.name, up_to=now)[0].occasion.due_at


def _begun(connection: Connection, plan: OccasionChanges, read_to: datetime | None) -> list[Watched]:
    """Return the occasions that begin, with the files of those whose windows have opened before the record was read up to now:
    ``read_to``, None if it is only read from now on.
    """
    begun = []
    for item in plan.new:
        if read_to is None or item.occasion.opens_at <= read_to + COMMITS_TAKE:
            item = _with_what_came(connection, item, plan.terms)
        begun.append(item)
    return begun


def _with_what_came(connection: Connection, item: Watched, terms: Terms) -> Watched:
    """Return an occasion with the files that came for it, as they stand now."""
    for arrival in history.since(connection, item.occasion.opens_at):
        is_its = item.occasion.opens_at <= arrival.received_at < item.occasion.closes_at and terms.fits(arrival.path)
        if is_its and (file := _file_of(arrival)) is not None:
            item = item.with_file(file)
    return item


def _file_of(arrival: Arrival) -> File | None:
    standing = rules.standing_of(arrival.state, arrival.hold_reason)
    if standing is Standing.GONE:
        return None
    begin = standing if standing not in (Standing.TAKEN, Standing.REPLACED) else Standing.GOOD
    file = File(
        arrival=arrival.id,
        path=arrival.path,
        sha256=arrival.sha256,
        steps=(Step(arrival.received_at, begin, arrival.hold_reason or ""),),
    )
    return file.stepped(Step(arrival.changed_at, standing))


def happened_to(
    connection: Connection, found: Mapping[str, Sequence[Watched]], terms: Mapping[str, Terms], batch: Batch
) -> list[Watched]:
    """Return those of the occasions that a batch of the record changes."""
    now: dict[str, dict[datetime, Watched]] = {
        name: {item.occasion.due_at: item for item in items} for name, items in found.items()
    }
    changed: dict[tuple[str, datetime], Watched] = {}
    for record in batch.records:
        if (happened := _happened(record)) is None:
            continue
        for name, each in terms.items():
            item = rules.applied(list(now[name].values()), each, happened)
            if item is not None:
                item = _with_content(connection, item, happened.arrival)
                now[name][item.occasion.due_at] = changed[name, item.occasion.due_at] = item
    return list(changed.values())


def _happened(record: Record) -> ArrivalNews | None:
    event = record.event
    path, state = event.details.get("path"), event.details.get("state")
    if event.arrival is None or not isinstance(path, str) or state not in set(ArrivalState):
        return None
    reason = event.details.get("reason")
    return ArrivalNews(
        at=_came_at(event),
        known_at=event.at,
        arrival=event.arrival,
        path=path,
        standing=rules.standing_of(ArrivalState(str(state)), _reason(reason)),
        can_begin=event.event in _BEGINNINGS,
        reason=str(reason or ""),
        sha256=str(event.details.get("sha256", "")),
    )


def _came_at(event: Event) -> datetime:
    """Return since when something is so: a local file was there before it was found."""
    lain = event.details.get("lain_since")
    return min(datetime.fromisoformat(lain), event.at) if isinstance(lain, str) else event.at


def _reason(value: Detail) -> HoldReason | None:
    return HoldReason(str(value)) if value in set(HoldReason) else None


def _with_content(connection: Connection, item: Watched, arrival: str) -> Watched:
    """Return the same with the content of a file of which the record did not say it: one that was renamed."""
    file = item.file(arrival)
    if file is None or file.sha256:
        return item
    try:
        return item.with_file(replace(file, sha256=arrivals.get(connection, ArrivalId(arrival)).sha256))
    except UnknownArrival:
        return item


def judged_in_order(
    connection: Connection, name: str, found: Sequence[Watched], until: datetime
) -> list[tuple[Watched, Watched, list[Transition]]]:
    """Return each occasion that is watched as it was, as it was at ``until``, and what has changed. Each knows how the one before
    it ended, which may be over while an earlier one is not.
    """
    if not found:
        return []
    first, watched = found[0].occasion.due_at, {item.occasion.due_at: item for item in found}
    previous = next(iter(occasions.latest(connection, name, up_to=first - _INSTANT)), None)
    result = []
    rows = {row.occasion.due_at: row for row in (occasions.since(connection, name, first) if len(found) > 1 else ())}
    for due, row in sorted((rows | watched).items()):
        item = watched.get(due)
        if item is None:
            previous = row
            continue
        judged, changes = rules.judge(item.behind(previous) if previous is not None else item, until)
        result.append((item, judged, changes))
        previous = judged
    return result


def seen_now(connection: Connection, terms: Mapping[str, Terms], now: datetime) -> dict[str, list[Watched]]:
    """Return the occasions of each expectation as they are at this moment, by all that is known: what was said, what has come
    since, and the clock. Says nothing and changes nothing.
    """
    is_following = _is_following(connection)
    found = occasions.watched(connection, terms)
    for plan in plans(connection, terms, now):
        gone = {item.occasion.due_at for item in plan.cancelled}
        new = [item if is_following else _with_what_came(connection, item, plan.terms) for item in plan.new]
        items = {item.occasion.due_at: item for item in (*found[plan.terms.name], *plan.moved, *new)}
        found[plan.terms.name] = [item for due, item in sorted(items.items()) if due not in gone]
    if is_following:
        changed = happened_to(connection, found, terms, feed.read(connection, NAME, events=EVENTS))
        for item in changed:
            others = [each for each in found[item.name] if each.occasion.due_at != item.occasion.due_at]
            found[item.name] = sorted([*others, item], key=lambda each: each.occasion.due_at)
    return {name: [item for _, item, _ in judged_in_order(connection, name, items, now)] for name, items in found.items()}


# -- what is said ------------------------------------------------------------------------------------------------------

_ALARMING = frozenset(rules.event_of(state) for state in rules.ALARMS)
_LOGGED = frozenset({"expectation", "state", "path", "due", "since", "arrival", "reason"})


def _events_of(terms: Terms, item: Watched, changes: Sequence[Transition]) -> Callable[[datetime], list[Event]]:
    return lambda now: [_event(terms, item, change, now) for change in changes]


def _event(terms: Terms, item: Watched, change: Transition, now: datetime) -> Event:
    """Return the event that says a change. Its details are a promise to whoever reads the record: docs/expected-files.md."""
    seen, occasion = change.seen, item.occasion
    details: dict[str, Detail] = {
        "expectation": terms.name,
        "expected": terms.path,
        "state": seen.state.value,
        "was": change.before.value,
        "since": _time(change.at),
        "due": _time(occasion.due_at),
        "late_from": _time(occasion.late_at),
        "due_local": _local(occasion.due_at, terms),
        "late_local": _local(occasion.late_at, terms),
    }
    if seen.file is not None:
        came = seen.file.steps[0].at
        details |= {"arrival": seen.file.arrival, "path": seen.file.path, "came": _time(came)}
        details |= {"late_seconds": round((came - occasion.due_at).total_seconds())} if came > occasion.late_at else {}
    if seen.reason:
        details["reason"] = seen.reason
    return Event(at=now, event=rules.event_of(seen.state), actor=SYSTEM, details=details)


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _local(at: datetime, terms: Terms) -> str:
    """Return a time as people of its zone read it."""
    return f"{at.astimezone(terms.zone):%Y-%m-%d %H:%M} ({terms.zone.key})"


# -- facts of the ledger -----------------------------------------------------------------------------------------------


def _is_following(connection: Connection) -> bool:
    return any(each.name == NAME for each in feed.all_followers(connection))


def _last_look(connection: Connection) -> datetime | None:
    return next((each.moved_at for each in feed.all_followers(connection) if each.name == NAME), None)


def _last_sweep(connection: Connection) -> datetime | None:
    at = json.loads(get_fact(connection, LAST_SWEEP) or "{}").get("at")
    return datetime.fromisoformat(at) if isinstance(at, str) else None
