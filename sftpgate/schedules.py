"""When something is due, as an administrator writes it: lines of cron in a time zone, and the days on which nothing is.

Times are those that Debian's cron would run a job at, on the days of a clock change too (``cronsim``): what falls into the hour
that is left out in spring is due right after it, and what falls into the hour that comes twice in autumn is due the first time.
Zones come from the system, and from the package ``tzdata`` on a machine that has none. Does no I/O but that; both packages are
imported with the first schedule: most gates have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from heapq import merge
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_FIELDS = 5  # minute, hour, day of the month, month, day of the week
_FIVE_WEEKS = timedelta(days=35)
_LOOKED_AT = 1500  # times: more than a day that has one each minute
_LONGEST_CHANGE = timedelta(hours=25)  # that a zone's clock was ever set by: more than a day, when one crossed the date line
_RANGE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:\s*\.\.\s*(\d{4}-\d{2}-\d{2}))?")


class ScheduleUnusable(ValueError):
    """A schedule, a zone or a range of days is none; the message says which and why."""


@dataclass(frozen=True, slots=True, order=True)
class Days:
    """Days one after the other: ``first`` to ``last``, both included."""

    first: date
    last: date

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first}..{self.last}"


def days_of(text: str) -> Days:
    """Return the days that ``2026-12-25`` or ``2026-12-19..2027-01-04`` names. Raises ScheduleUnusable."""
    match = _RANGE.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError
        first = date.fromisoformat(match[1])
        last = date.fromisoformat(match[2]) if match[2] else first
    except ValueError as error:
        raise ScheduleUnusable(f"{text!r} is no day: write 2026-12-25, or 2026-12-19..2027-01-04 for several") from error
    if last < first:
        raise ScheduleUnusable(f"{text!r} ends before it begins")
    return Days(first, last)


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone of this name, such as ``Europe/Paris``. Raises ScheduleUnusable."""
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # the last two: a name that is a path, or a directory of zones
        raise ScheduleUnusable(f"there is no time zone {name!r}; {_nearest_zone(name)}") from error


def check_line(line: str) -> None:
    """Raise ScheduleUnusable unless ``line`` is one of cron that comes due at some time."""
    _first(line, datetime(2024, 1, 1, tzinfo=UTC))


def occurrences(lines: Sequence[str], zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield, in UTC and in order, each time after ``after`` at which one of the lines is due in ``zone``."""
    begin = (after - _LONGEST_CHANGE).astimezone(zone)
    last = after
    for due in merge(*(_of_line(line, begin) for line in lines)):
        if due > last:
            last = due
            yield due


def is_day_in(at: datetime, zone: ZoneInfo, days: Iterable[Days]) -> bool:
    """Return whether the day that ``at`` is in ``zone`` is one of ``days``."""
    day = at.astimezone(zone).date()
    return any(day in each for each in days)


def shortest_gap(lines: Sequence[str]) -> timedelta | None:
    """Return the shortest time between two times at which lines are due, in a zone without clock changes; None if there are not
    two in five weeks. So long is looked at from the first one on: days and weeks repeat themselves by then.
    """
    found: list[datetime] = []
    for due in occurrences(lines, zone_of("UTC"), datetime(2024, 1, 1, tzinfo=UTC)):
        if found and (due > found[0] + _FIVE_WEEKS or len(found) >= _LOOKED_AT):
            break
        found.append(due)
    return min((later - earlier for earlier, later in pairwise(found)), default=None)


def _of_line(line: str, begin: datetime) -> Iterator[datetime]:
    from cronsim import CronSim

    return (due.astimezone(UTC) for due in CronSim(line, begin))


def _first(line: str, begin: datetime) -> datetime:
    from cronsim import CronSim, CronSimError

    if len(line.split()) != _FIELDS:
        raise ScheduleUnusable(
            f"{line!r} is no line of cron: it has {_FIELDS} fields (minute, hour, day, month, day of the week), "
            'such as "30 5 * * mon-fri"'
        )
    try:
        return next(CronSim(line, begin))
    except CronSimError as error:
        what = str(error).removeprefix("Bad ")
        raise ScheduleUnusable(f"{line!r} is no line of cron: its {what} is not one") from error
    except StopIteration as error:
        raise ScheduleUnusable(f"{line!r} never comes: no such day is in any month") from error


def _nearest_zone(name: str) -> str:
    from difflib import get_close_matches
    from zoneinfo import available_timezones

    close = get_close_matches(name, sorted(available_timezones()), n=1)
    return f"did you mean {close[0]}?" if close else "write one such as Europe/Paris or UTC"
