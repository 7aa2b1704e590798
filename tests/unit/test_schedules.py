"""When something is due: lines of cron on the days of a clock change, zones, days, and what is none of these."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice

import pytest

from sftpgate.schedules import (
    Days,
    ScheduleUnusable,
    check_line,
    days_of,
    is_day_in,
    occurrences,
    shortest_gap,
    zone_of,
)

PARIS = zone_of("Europe/Paris")


def dues(*lines: str, after: str, zone: str = "Europe/Paris", count: int = 3) -> list[str]:
    """The next times, in UTC."""
    at = datetime.fromisoformat(after).replace(tzinfo=zone_of(zone))
    return [f"{due:%m-%d %H:%M}" for due in islice(occurrences(lines, zone_of(zone), at), count)]


def test_what_falls_into_the_hour_that_is_left_out_is_due_right_after_it() -> None:
    """On the day on which the clock goes forward, half past two is three o'clock."""
    assert dues("30 2 * * *", after="2026-03-28 00:00") == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]


def test_what_falls_into_the_hour_that_comes_twice_is_due_once() -> None:
    """On the day on which the clock goes back, half past two is the first one, also for who asks between the two."""
    assert dues("30 2 * * *", after="2026-10-24 00:00") == ["10-24 00:30", "10-25 00:30", "10-26 01:30"]
    between = datetime(2026, 10, 25, 2, 45, fold=0, tzinfo=PARIS)
    second = datetime(2026, 10, 25, 2, 15, fold=1, tzinfo=PARIS)
    for asked in (between, second):
        [due] = islice(occurrences(["30 2 * * *"], PARIS, asked), 1)
        assert due == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_a_zone_without_clock_changes_has_the_same_time_all_year() -> None:
    """In Abidjan and in Kolkata nothing moves."""
    assert dues("30 2 * * *", after="2026-03-28 00:00", zone="Africa/Abidjan") == ["03-28 02:30", "03-29 02:30", "03-30 02:30"]
    year = occurrences(["30 5 * * *"], zone_of("Asia/Kolkata"), datetime(2026, 1, 1, tzinfo=UTC))
    assert {f"{due:%H:%M}" for due in islice(year, 366)} == {"00:00"}


def test_several_lines_are_one_schedule() -> None:
    """Times of several lines come in order, and one that two lines have comes once."""
    lines = ("30 5 * * mon-fri", "0 9 * * sat", "30 5 * * mon")
    assert dues(*lines, after="2026-06-05 00:00") == ["06-05 03:30", "06-06 07:00", "06-08 03:30"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("61 5 * * *", "minute"),
        ("0 24 * * *", "hour"),
        ("0 5 * * fri-mon-x", "day-of-week"),
        ("0 5 32 * *", "day-of-month"),
        ("0 5 30 2 *", "day-of-month"),
        ("5 * * *", "5 fields"),
        ("0 0 5 * * *", "5 fields"),
        ("@daily", "5 fields"),
        ("", "5 fields"),
        ("*/0 * * * *", "minute"),
    ],
)
def test_a_line_that_is_none_says_what_is_wrong(line: str, why: str) -> None:
    """A malformed line is refused with the field that is not one."""
    with pytest.raises(ScheduleUnusable, match=why):
        check_line(line)


@pytest.mark.parametrize("name", ["Europe/Pariss", "../etc/passwd", "/etc/localtime", "", "Europe", "Mars/Base", "a\0b"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    """Neither a mistyped name nor a path is a zone; the nearest name is given."""
    with pytest.raises(ScheduleUnusable, match="did you mean Europe/Paris" if name == "Europe/Pariss" else "no time zone"):
        zone_of(name)


def test_days_and_ranges_of_days() -> None:
    """A day, and a range with both ends."""
    assert days_of("2026-12-25") == Days(date(2026, 12, 25), date(2026, 12, 25))
    holidays = days_of(" 2026-12-19..2027-01-04 ")
    assert str(holidays) == "2026-12-19..2027-01-04"
    inside = datetime(2027, 1, 4, 22, 59, tzinfo=UTC)  # a minute before midnight in Paris
    assert is_day_in(inside, PARIS, [holidays]) and not is_day_in(inside + timedelta(minutes=1), PARIS, [holidays])


@pytest.mark.parametrize("text", ["2026-13-01", "25.12.2026", "2026-12-25...2026-12-26", "2026-12-26..2026-12-25", ""])
def test_a_day_that_is_none_is_refused(text: str) -> None:
    """Another way to write a date, and a range that ends before it begins."""
    with pytest.raises(ScheduleUnusable, match=r"day|ends before"):
        days_of(text)


@pytest.mark.parametrize(
    ("lines", "hours"),
    [(["30 5 * * mon-fri"], 24), (["0 6,7 * * mon"], 1), (["0 0 1,15 * *"], 14 * 24), (["0 23 * * *", "0 1 * * *"], 2)],
)
def test_the_shortest_time_between_two(lines: list[str], hours: int) -> None:
    """It is found over midnight and between lines."""
    assert shortest_gap(lines) == timedelta(hours=hours)


def test_what_comes_once_in_four_years_has_no_gap() -> None:
    """There is nothing for it to overlap with."""
    assert shortest_gap(["0 0 29 2 *"]) is None
