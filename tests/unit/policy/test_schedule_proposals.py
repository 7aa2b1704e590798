"""Schedules that are proposed from when files came."""

from __future__ import annotations

from datetime import datetime, timedelta

from sftpgate.policy.schedule_proposals import proposals
from sftpgate.schedules import check_line

MONDAY = datetime.fromisoformat("2026-03-02T00:00+01:00")


def daily(
    path: str, hour: int, minute: int, *, days: int = 56, weekdays: tuple[int, ...] = (0, 1, 2, 3, 4)
) -> list[tuple[str, datetime]]:
    """A file that comes on these weekdays, some minutes later each day of the week."""
    times = [MONDAY + timedelta(days=number, hours=hour, minutes=minute + number % 5) for number in range(days)]
    return [(path, at) for at in times if at.weekday() in weekdays]


def test_a_nightly_file() -> None:
    """It is due a little after the time by which it had nearly always come, on the days on which it came."""
    [found] = proposals(daily("enrols.csv", 5, 2))
    assert found.by == ("10 5 * * mon-fri",) and found.window_minutes == 30
    assert found.seen == ("40 of 40 days, from 05:02 to 05:06; 40 of 40 by 05:10",) and found.without == ()


def test_outliers_and_days_without_do_not_move_it() -> None:
    """A late night and a week of holidays are said, and are not the rule."""
    came = [item for item in daily("enrols.csv", 5, 2) if not 14 <= (item[1] - MONDAY).days < 21]
    came.append(("enrols.csv", MONDAY + timedelta(days=60, hours=6)))
    [found] = proposals(came)
    assert found.by == ("10 5 * * mon-fri",) and "2026-03-16..2026-03-20" in found.without


def test_two_deliveries_a_day_and_a_series_of_names() -> None:
    """Each delivery is a line; names that differ in their digits are one pattern."""
    came = (
        daily("grades.csv", 6, 0)
        + daily("grades.csv", 18, 30)
        + [(f"users-{at:%Y%m%d}.csv", at) for _, at in daily("", 4, 0, weekdays=(0, 3))]
    )
    found = {each.path: each for each in proposals(came)}
    assert found["grades.csv"].by == ("5 6 * * mon-fri", "35 18 * * mon-fri")
    assert found["users-*.csv"].by == ("5 4 * * mon,thu",)
    for each in found.values():
        for line in each.by:
            check_line(line)


def test_what_comes_rarely_or_at_any_time_is_not_proposed() -> None:
    """Four files show no habit, and files around the clock have no time."""
    often = [("log.csv", MONDAY + timedelta(hours=1.6 * number)) for number in range(300)]
    rare = daily("once.csv", 5, 0, days=4)
    [found] = proposals(often + rare)
    assert found.path == "log.csv" and found.by == () and found.because
