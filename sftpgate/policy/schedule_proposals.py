"""When a file usually comes, proposed as a schedule from the times at which it came.

Pure. Times of day that are near each other are one time of delivery. A day of the week counts if a file came on most of them.
What is proposed is a little later than the file came nearly always, so that it is not late by chance; whoever knows the agreement
with the sender writes that instead.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

LEAST_DAYS = 5  # on which a file came: fewer show no habit
USUAL = 0.6  # of the days of a kind: on which a file came if it comes on them
_APART = 90  # minutes between two deliveries of one day
_MOST_DELIVERIES = 4  # a day: what comes more often comes at no fixed times
_STEP = 5  # minutes that a proposed time is rounded to
_SHARE = 0.9  # of the files that had come by the proposed time, at least
_DAY = 24 * 60
_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleProposal:
    """What could be expected of a path, and what was seen. ``by`` is empty if it comes at no fixed times; then ``because`` says
    why.
    """

    path: str
    files: int
    first: date
    last: date
    by: tuple[str, ...] = ()
    window_minutes: int = 0
    seen: tuple[str, ...] = ()  # a line for each delivery
    without: tuple[str, ...] = ()  # days on which it did not come, and should have
    because: str = ""


def proposals(came: Iterable[tuple[str, datetime]]) -> list[ScheduleProposal]:
    """Return a proposal for each path, or series of paths that differ in their digits, that came often enough; the one with the
    most files first. Times are local.
    """
    found: dict[str, list[tuple[str, datetime]]] = defaultdict(list)
    for path, at in came:
        found[_DIGITS.sub("#", path)].append((path, at))
    made = [_proposal(_pattern(path for path, _ in items), sorted(at for _, at in items)) for items in found.values()]
    return sorted((each for each in made if each is not None), key=lambda each: (-each.files, each.path))


def _pattern(paths: Iterable[str]) -> str:
    """Return the one path, or a pattern for those that differ in their digits."""
    different = set(paths)
    return different.pop() if len(different) == 1 else _DIGITS.sub("*", different.pop())


def _proposal(path: str, times: Sequence[datetime]) -> ScheduleProposal | None:
    days = sorted({at.date() for at in times})
    if len(days) < LEAST_DAYS:
        return None
    known = ScheduleProposal(path=path, files=len(times), first=days[0], last=days[-1])
    lines, seen, windows, without = list[str](), list[str](), [0], set[date]()
    for delivery in _deliveries(times):
        by_day = {at.date(): at for at in reversed(delivery)}  # the first of each day
        usual = _usual_days(by_day, days[0], days[-1])
        if not usual:
            continue
        line, window, text, missed = _described(by_day, usual, days[0], days[-1])
        lines.append(line)
        seen.append(text)
        windows.append(window)
        without |= missed
    if not lines or len(lines) > _MOST_DELIVERIES:
        because = "it comes at no fixed times" if not lines else f"it comes {len(lines)} times a day"
        return _with(known, because=because)
    return _with(known, by=tuple(lines), window_minutes=max(windows), seen=tuple(seen), without=_ranges(sorted(without)))


def _with(known: ScheduleProposal, **changes: object) -> ScheduleProposal:
    from dataclasses import replace

    return replace(known, **changes)  # type: ignore[arg-type]  # dataclasses.replace has no types for **


def _minute(at: datetime) -> int:
    return at.hour * 60 + at.minute


def _deliveries(times: Sequence[datetime]) -> list[list[datetime]]:
    """Return the times by delivery: those whose times of day have no long pause between them. None goes over midnight."""
    by_minute = sorted(times, key=_minute)
    found = [[by_minute[0]]]
    for at in by_minute[1:]:
        if _minute(at) - _minute(found[-1][-1]) > _APART:
            found.append([])
        found[-1].append(at)
    return [sorted(each) for each in found if len(each) >= LEAST_DAYS]


def _usual_days(by_day: Mapping[date, datetime], first: date, last: date) -> list[int]:
    """Return the days of the week on which a delivery usually comes."""
    every = [(first + timedelta(days=number)).weekday() for number in range((last - first).days + 1)]
    came = [day.weekday() for day in by_day]
    return [day for day in range(7) if every.count(day) and came.count(day) >= USUAL * every.count(day)]


def _described(by_day: Mapping[date, datetime], usual: Sequence[int], first: date, last: date) -> tuple[str, int, str, set[date]]:
    """Return a line of cron, the minutes of its window, what was seen, and the days on which it should have come."""
    minutes = sorted(_minute(at) for day, at in by_day.items() if day.weekday() in usual)
    due = min(_DAY - 1, -(-(minutes[int(_SHARE * (len(minutes) - 1))] + 1) // _STEP) * _STEP)
    window = max(30, -(-(due - minutes[0] + 15) // 15) * 15)
    wanted = {day for number in range((last - first).days + 1) if (day := first + timedelta(days=number)).weekday() in usual}
    missed = wanted - by_day.keys()
    text = (
        f"{len(wanted) - len(missed)} of {len(wanted)} days, from {_clock(minutes[0])} to {_clock(minutes[-1])}; "
        f"{sum(minute <= due for minute in minutes)} of {len(minutes)} by {_clock(due)}"
    )
    return f"{due % 60} {due // 60} * * {_weekdays(usual)}", window, text, missed


def _clock(minute: int) -> str:
    return f"{time(minute // 60, minute % 60):%H:%M}"


def _weekdays(days: Sequence[int]) -> str:
    """Return days of the week as cron has them: ``*``, ``mon-fri``, ``mon,wed``."""
    if len(days) == len(_NAMES):
        return "*"
    is_run = len(days) > 2 and list(days) == list(range(days[0], days[-1] + 1)) and days[-1] < 6
    return f"{_NAMES[days[0]]}-{_NAMES[days[-1]]}" if is_run else ",".join(_NAMES[day] for day in days)


def _ranges(days: Sequence[date]) -> tuple[str, ...]:
    """Return days as ranges; a weekend between two of them is part of one."""
    found: list[list[date]] = []
    for day in days:
        if found and (day - found[-1][-1]).days <= 3:
            found[-1].append(day)
        else:
            found.append([day])
    return tuple(str(each[0]) if len(each) == 1 else f"{each[0]}..{each[-1]}" for each in found)
