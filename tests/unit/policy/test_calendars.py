"""Calendar files: school holidays as they are published, days that repeat themselves, lists, and what is neither."""

from __future__ import annotations

from datetime import date

import pytest

from sftpgate.policy.calendars import days_in
from sftpgate.schedules import ScheduleUnusable

TODAY = date(2026, 6, 1)


def icalendar(*events: str) -> str:
    """A calendar with these events."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN"]
    for number, event in enumerate(events):
        lines += ["BEGIN:VEVENT", f"UID:{number}@test", "DTSTAMP:20260101T000000Z", *event.split("|"), "END:VEVENT"]
    return "\r\n".join([*lines, "END:VCALENDAR", ""])


def test_school_holidays() -> None:
    """An event of whole days ends on the day before its end, as the standard has it."""
    text = icalendar("DTSTART;VALUE=DATE:20261219|DTEND;VALUE=DATE:20270104|SUMMARY:Vacances de Noël - Zone A")
    assert [str(days) for days in days_in(text, TODAY)] == ["2026-12-19..2027-01-03"]
    assert days_in("\ufeff" + text, TODAY) == days_in(text, TODAY)


def test_a_day_that_comes_each_year() -> None:
    """A public holiday is there in the years around today; one without an end is one day."""
    found = [str(days) for days in days_in(icalendar("DTSTART;VALUE=DATE:20190714|RRULE:FREQ=YEARLY"), TODAY)]
    assert found == ["2025-07-14", "2026-07-14", "2027-07-14"]


def test_an_event_with_times_takes_the_days_that_it_touches() -> None:
    """A closure from Friday evening to Sunday noon is three days."""
    text = icalendar("DTSTART:20261002T180000|DTEND:20261004T120000")
    assert [str(days) for days in days_in(text, TODAY)] == ["2026-10-02..2026-10-04"]


def test_a_list() -> None:
    """One day or range in each line, with comments and blank lines."""
    text = "# closed\n2026-12-25\n\n2026-07-01..2026-08-31  # summer\n"
    assert [str(days) for days in days_in(text, TODAY)] == ["2026-07-01..2026-08-31", "2026-12-25"]
    assert days_in("", TODAY) == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("25.12.2026\n", "line 1: .*iCalendar begins with BEGIN:VCALENDAR"),
        ("2026-12-25\n2026-12-26..2026-12-24\n", "line 2: .*ends before it begins"),
        ("BEGIN:VCALENDAR\nBEGIN:VEVENT\n", "no iCalendar that can be read|names no day"),
        (icalendar("DTSTART;VALUE=DATE:20120101"), "names no day between .* is it an old calendar"),
        (icalendar("DTSTART:yesterday"), "no iCalendar that can be read|names no day"),
    ],
)
def test_what_is_no_calendar(text: str, why: str) -> None:
    """It is refused with what is wrong; a calendar that says nothing of these years is one that somebody forgot to renew."""
    with pytest.raises(ScheduleUnusable, match=why):
        days_in(text, TODAY)
