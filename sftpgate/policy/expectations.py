"""Files that are to arrive by a time: what is the case with one at any moment, by what is known of the files that came.

Pure. An *expectation* is a path (or a pattern) with times at which a file is due. Each of these times is an *occasion*. It has a
window, from when on a file counts for it, which ends where the next one's begins: so a file counts for one occasion, also if it
comes late. An occasion knows the files that came for it, and how each of them stood since when. Its state at a moment follows
from these alone (``state_at``), so it is the same whoever looks, and whenever: a gate that was down at half past five says at
seven what was the case at half past five.

``judge`` returns what is told: each change of the state, once. A warning is told only while it is one. A file that was refused
an hour ago and is good now has two changes, in their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from zoneinfo import ZoneInfo

from sftpgate.policy.checks import REPORT_AFTER
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.policy.pointers import matches
from sftpgate.schedules import Days, is_day_in, occurrences

MOST_FILES = 20  # of one occasion that are remembered: the newest; a pattern may have thousands
WATCHED_FOR = timedelta(days=7)  # after the end of its window, for a file that is still held or still waits


class ExpectState(StrEnum):
    """What is the case with an expected file. Each but the first is said when it begins."""

    UPCOMING = "upcoming"
    WARNED = "warned"  # it will be late soon
    LATE = "late"
    MISSING = "missing"
    INVALID = "invalid"  # a file came and is held: its sender has to do something
    ARRIVED = "arrived"
    NOT_TAKEN = "not taken"  # it came, and no tool took it
    UNCHANGED = "unchanged"  # it came, with the content of the one before it
    RECOVERED = "recovered"  # it came, and all is well again


TROUBLE = frozenset({ExpectState.LATE, ExpectState.MISSING, ExpectState.INVALID, ExpectState.NOT_TAKEN, ExpectState.UNCHANGED})
ALARMS = TROUBLE - {ExpectState.UNCHANGED}  # what somebody has to see to


class Standing(StrEnum):
    """How a file stands that came."""

    PENDING = "pending"  # it is looked at by us: whatever is found holds from its arrival on
    WITHHELD = "withheld"  # its sender has not said that it is complete: it counts from when it is let go
    INVALID = "invalid"
    GOOD = "good"
    TAKEN = "taken"
    REPLACED = "replaced"
    GONE = "gone"


_HERE = frozenset({Standing.GOOD, Standing.TAKEN, Standing.REPLACED})
_STANDINGS = {
    ArrivalState.WAITING: Standing.GOOD,
    ArrivalState.QUEUED: Standing.GOOD,
    ArrivalState.CLAIMED: Standing.TAKEN,
    ArrivalState.DONE: Standing.TAKEN,
    ArrivalState.TAKEN: Standing.TAKEN,
    ArrivalState.QUARANTINED: Standing.TAKEN,
    ArrivalState.REPLACED: Standing.REPLACED,
}


def standing_of(state: ArrivalState, reason: HoldReason | None) -> Standing:
    """Return how an arrival stands in a state. A hold of which its sender is told at once is one that it has to act upon."""
    if state is not ArrivalState.HELD or reason is None:
        return _STANDINGS.get(state, Standing.GONE)
    if reason is HoldReason.UNCHECKED:
        return Standing.PENDING
    return Standing.WITHHELD if REPORT_AFTER[reason] else Standing.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is expected: an ``[expect.NAME]`` table with the days of its calendars."""

    name: str
    path: str
    by: tuple[str, ...]
    zone: ZoneInfo
    window: timedelta
    grace: timedelta
    warn_before: timedelta
    missing_after: timedelta
    take_within: timedelta | None
    says_unchanged: bool
    without: tuple[Days, ...] = ()

    def fits(self, path: str) -> bool:
        """Return whether the file at ``path`` (relative to the drop) is the expected one."""
        return matches(self.path, path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """One time at which a file is due, and the times around it. ``warn_at``: None if nobody is warned. ``take_within``: None if a
    file may wait for ever. ``says_unchanged``: whether the content of the file before it is worth saying.
    """

    due_at: datetime
    opens_at: datetime
    warn_at: datetime | None
    late_at: datetime
    missing_at: datetime
    closes_at: datetime
    take_within: timedelta | None
    says_unchanged: bool


def occasions(terms: Terms, after: datetime) -> Iterator[Occasion]:
    """Yield the occasions that are due after ``after``, in order, without those of days on which nothing is expected."""
    begin = after - terms.window - terms.grace  # the one before may be so near that it shortens a window
    dues = (due for due in occurrences(terms.by, terms.zone, begin) if not is_day_in(due, terms.zone, terms.without))
    last = None
    for due, following in pairwise(dues):
        if due > after:
            yield _occasion(terms, due, _opens(terms, due, last), _opens(terms, following, due))
        last = due


def _opens(terms: Terms, due: datetime, before: datetime | None) -> datetime:
    """Return from when on a file counts. A window never reaches into the time in which the one before it is not late yet: a clock
    change may bring two together.
    """
    opens = due - terms.window
    return opens if before is None else max(opens, before + terms.grace)


def _occasion(terms: Terms, due: datetime, opens: datetime, closes: datetime) -> Occasion:
    late = due + terms.grace
    warn = max(late - terms.warn_before, opens) if terms.warn_before else None
    missing = min(max(due + terms.missing_after, late), closes)
    return Occasion(
        due_at=due,
        opens_at=opens,
        warn_at=warn,
        late_at=late,
        missing_at=missing,
        closes_at=closes,
        take_within=terms.take_within,
        says_unchanged=terms.says_unchanged,
    )


@dataclass(frozen=True, slots=True)
class Step:
    """Since when a file stands how, and why if it is held. ``known_at``: when that was recorded, which may be later."""

    at: datetime
    standing: Standing
    reason: str = ""
    known_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that came for an occasion."""

    arrival: str
    path: str
    sha256: str
    steps: tuple[Step, ...]

    def at(self, moment: datetime) -> Step | None:
        """Return how it stood at a moment; None before it came."""
        return next((step for step in reversed(self.steps) if step.at <= moment), None)

    def stepped(self, step: Step) -> File:
        """Return the same after another step. What a tool has had stays taken, and what we were looking at was what it turned out
        to be from the beginning.
        """
        last = self.steps[-1]
        if step.at < last.at or last.standing in (step.standing, Standing.TAKEN):
            return self
        if last.standing is Standing.PENDING:
            return replace(self, steps=(*self.steps[:-1], replace(step, at=last.at)))
        return replace(self, steps=(*self.steps, step))

    @property
    def good_since(self) -> datetime | None:
        """From when on it counts as here; None if it never did."""
        return next((step.at for step in self.steps if step.standing in _HERE), None)

    @property
    def ready_since(self) -> datetime | None:
        """From when on a tool could have it; None if none ever could."""
        return next((step.known_at or step.at for step in self.steps if step.standing in _HERE), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """An occasion, what came for it, and what was said of it: its state up to ``judged_to``. ``is_troubled``: something was wrong
    before, with this occasion or the one before it. ``before``: the content of the last file that came for an earlier one.
    """

    name: str
    occasion: Occasion
    files: tuple[File, ...] = ()
    state: ExpectState = ExpectState.UPCOMING
    since: datetime
    judged_to: datetime
    is_troubled: bool = False
    before: str = ""
    is_over: bool = False

    def with_file(self, file: File) -> Watched:
        """Return the same with another file, or with what became of one of its own."""
        others = [other for other in self.files if other.arrival != file.arrival]
        return replace(self, files=tuple(sorted([*others, file], key=_by_arrival)[-MOST_FILES:]))

    def file(self, arrival: str) -> File | None:
        """Return the file of an arrival; None if it is none of ours."""
        return next((file for file in self.files if file.arrival == arrival), None)

    def behind(self, previous: Watched) -> Watched:
        """Return the same, knowing how the one before it ended: by what was the case when its window closed."""
        closes = previous.occasion.closes_at
        here = [file for file in previous.files if file.good_since is not None and file.good_since < closes]
        return replace(
            self,
            is_troubled=self.is_troubled or state_at(previous, closes).state in (ExpectState.MISSING, ExpectState.INVALID),
            before=here[-1].sha256 if here else previous.before,
        )


def begin(name: str, occasion: Occasion) -> Watched:
    """Return an occasion of which nothing is known yet."""
    return Watched(name=name, occasion=occasion, since=occasion.opens_at, judged_to=occasion.opens_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A state, the file that makes it (None: it is the lack of one), and why that is held."""

    state: ExpectState
    file: File | None = None
    reason: str = ""


def state_at(watched: Watched, moment: datetime) -> Case:
    """Return what was the case at a moment, by all that is known now; without regard to what was the case before it."""
    standing = [(file, step) for file in watched.files if (step := file.at(moment)) is not None]
    if here := [(file, step) for file, step in standing if step.standing in _HERE]:
        file, step = here[-1]
        return Case(state=_state_here(watched, file, step, moment), file=file)
    if refused := [(file, step) for file, step in standing if step.standing is Standing.INVALID]:
        file, step = refused[-1]
        return Case(state=ExpectState.INVALID, file=file, reason=step.reason)
    pending = [step.at for _, step in standing if step.standing is Standing.PENDING]
    return Case(state=_state_without(watched.occasion, min([moment, *pending])))


def _state_here(watched: Watched, file: File, step: Step, moment: datetime) -> ExpectState:
    limit = take_limit(watched.occasion, file)
    was_left = limit is not None and moment >= limit and step.standing is not Standing.TAKEN
    if was_left and not (step.standing is Standing.REPLACED and limit is not None and step.at < limit):
        return ExpectState.NOT_TAKEN
    is_same = watched.occasion.says_unchanged and file.sha256 != "" and file.sha256 == watched.before
    return ExpectState.UNCHANGED if is_same else ExpectState.ARRIVED


def take_limit(occasion: Occasion, file: File) -> datetime | None:
    """Return until when a tool is to take a file; None if there is no such time."""
    if occasion.take_within is None or file.ready_since is None:
        return None
    return max(file.ready_since, occasion.due_at) + occasion.take_within


def _state_without(occasion: Occasion, moment: datetime) -> ExpectState:
    if moment >= occasion.missing_at:
        return ExpectState.MISSING
    if moment >= occasion.late_at:
        return ExpectState.LATE
    is_soon = occasion.warn_at is not None and moment >= occasion.warn_at
    return ExpectState.WARNED if is_soon else ExpectState.UPCOMING


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A change of the state, and when it was."""

    at: datetime
    before: ExpectState
    seen: Case


def judge(watched: Watched, until: datetime) -> tuple[Watched, list[Transition]]:
    """Return an occasion as it was at ``until``, and what is to be said: each change since it was judged last, in order. What
    turns out to have been another way before that is said as one more change.
    """
    changes: list[Transition] = []
    state, since, troubled = watched.state, watched.since, watched.is_troubled
    for moment in _moments(watched, until):
        seen = state_at(watched, moment)
        if seen.state is ExpectState.ARRIVED and troubled:
            seen = replace(seen, state=ExpectState.RECOVERED)
        if seen.state is not state:
            at = moment if moment > watched.judged_to else _began(watched, moment)
            changes.append(Transition(at=at, before=state, seen=seen))
            state, since = seen.state, at
            troubled = troubled or state in TROUBLE
    said = [change for change in changes if change.seen.state is not ExpectState.WARNED or change is changes[-1]]
    judged = replace(watched, state=state, since=since, is_troubled=troubled, judged_to=max(watched.judged_to, until))
    return replace(judged, is_over=_is_over(judged)), said


def _moments(watched: Watched, until: datetime) -> list[datetime]:
    """Return the moments at which the state may change, from the one up to which it was judged."""
    if until < watched.judged_to:
        return []  # the clock was set back: that was said
    return [watched.judged_to, *(moment for moment in _boundaries(watched) if watched.judged_to < moment <= until)]


def _boundaries(watched: Watched) -> list[datetime]:
    occasion = watched.occasion
    limits = [take_limit(occasion, file) for file in watched.files]
    steps = [step.at for file in watched.files for step in file.steps]
    times = [occasion.opens_at, occasion.warn_at, occasion.late_at, occasion.missing_at, *limits, *steps]
    return sorted({moment for moment in times if moment is not None})


def _began(watched: Watched, moment: datetime) -> datetime:
    """Return since when the state of a moment held without a break."""
    since, state = moment, state_at(watched, moment).state
    for earlier in reversed([boundary for boundary in _boundaries(watched) if boundary <= moment]):
        if state_at(watched, earlier).state is not state:
            break
        since = earlier
    return since


def _is_over(watched: Watched) -> bool:
    """Return whether nothing can change any more that anybody waits for."""
    closes, now = watched.occasion.closes_at, watched.judged_to
    if now < closes:
        return False
    steps = [file.steps[-1] for file in watched.files]
    waits = any(step.standing in (Standing.PENDING, Standing.WITHHELD, Standing.INVALID) for step in steps)
    here = [file for file in watched.files if file.steps[-1].standing in _HERE]
    if here:
        is_waiting = here[-1].steps[-1].standing is Standing.GOOD and watched.occasion.take_within is not None
        waits = is_waiting
    return not waits or now >= closes + WATCHED_FOR


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalNews:
    """What the record says of an arrival: its path, and how it stands since ``at``, which was recorded at ``known_at``.
    ``can_begin``: a file may come by it.
    """

    at: datetime
    known_at: datetime
    arrival: str
    path: str
    standing: Standing
    can_begin: bool
    reason: str = ""
    sha256: str = ""


def applied(found: Sequence[Watched], terms: Terms, happened: ArrivalNews) -> Watched | None:
    """Return that of the occasions of an expectation, in their order, which something changes that happened; None if none is.

    A file is of the occasion in whose window it came, whatever becomes of it later.
    """
    fits = terms.fits(happened.path)
    standing = happened.standing if fits else Standing.GONE
    step = Step(happened.at, standing, happened.reason if fits else "", happened.known_at)
    for watched in found:
        if (file := watched.file(happened.arrival)) is not None:
            stepped = file.stepped(step)
            return watched.with_file(replace(stepped, path=happened.path)) if stepped != file else None
    if not fits or not happened.can_begin or happened.standing is Standing.GONE:
        return None
    came_for = [watched for watched in found if watched.occasion.opens_at <= happened.at < watched.occasion.closes_at]
    if not came_for:
        return None
    file = File(arrival=happened.arrival, path=happened.path, sha256=happened.sha256, steps=(step,))
    return came_for[-1].with_file(file)


def _by_arrival(file: File) -> tuple[datetime, str]:
    return file.steps[0].at, file.arrival


EVENT_PREFIX = "expect."


def event_of(state: ExpectState) -> str:
    """Return the name under which the record says that a state has begun."""
    return EVENT_PREFIX + state.replace(" ", "_")
