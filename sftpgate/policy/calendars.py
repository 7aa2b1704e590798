"""Days on which nothing is expected, as a calendar file names them: iCalendar (RFC 5545), or one day or range in each line.

Pure: it is given the text. School calendars and public holidays are published as iCalendar, with events of whole days, some of
which repeat each year; a list is what a person writes. In a list ``#`` begins a comment.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

from sftpgate.schedules import Days, ScheduleUnusable, days_of

_YEARS_BACK, _YEARS_AHEAD = 1, 2  # of events that repeat themselves: a schedule looks no further
MOST_DAYS = 10_000  # events in one file: a calendar of holidays has some hundreds


def days_in(text: str, today: date) -> tuple[Days, ...]:
    """Return the days that a calendar file names, from a year before ``today`` to two years after it if it is iCalendar.

    Raises ScheduleUnusable, which says what is wrong and in which line of a list.
    """
    if text.lstrip("\ufeff \r\n").upper().startswith("BEGIN:VCALENDAR"):
        return _of_icalendar(text.lstrip("\ufeff \r\n"), today)
    return _of_list(text)


def _of_list(text: str) -> tuple[Days, ...]:
    found: list[Days] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if wanted := line.partition("#")[0].strip():
            try:
                found.append(days_of(wanted))
            except ScheduleUnusable as error:
                raise ScheduleUnusable(f"line {number}: {error}; iCalendar begins with BEGIN:VCALENDAR") from error
    return tuple(sorted(found))


def _of_icalendar(text: str, today: date) -> tuple[Days, ...]:
    import recurring_ical_events  # type: ignore[import-untyped]
    from icalendar import Calendar

    begin, end = today - timedelta(days=366 * _YEARS_BACK), today + timedelta(days=366 * _YEARS_AHEAD)
    try:
        calendar = Calendar.from_ical(text)
        found = recurring_ical_events.of(calendar).between(begin, end)
        days = sorted({_days_of_event(event) for event in found})
    except Exception as error:  # a parser of other people's files raises whatever it finds
        raise ScheduleUnusable(f"it is no iCalendar that can be read: {' '.join(str(error).split())}") from error
    if not days:
        raise ScheduleUnusable(f"it names no day between {begin} and {end}: is it an old calendar?")
    if len(days) > MOST_DAYS:
        raise ScheduleUnusable(f"it has more than {MOST_DAYS} events: is it a calendar of holidays?")
    return tuple(days)


def _days_of_event(event: object) -> Days:
    """Return the days that an event touches. The end of an event of whole days is the day after it."""
    start, end = event.start, event.end  # type: ignore[attr-defined]  # of icalendar, which has no types for what it found
    first = start.date() if isinstance(start, datetime) else start
    last = (end - timedelta(microseconds=1)).date() if isinstance(end, datetime) else end - timedelta(days=1)
    return Days(first, max(first, last))
