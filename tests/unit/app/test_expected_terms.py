"""What is expected by the settings and the calendar files that they name, in a process that lives on."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sftpgate.app.expectations.terms import LiveTerms, terms_of
from sftpgate.errors import SettingsError
from sftpgate.settings.tree import Settings
from tests.harness.expectations import Hand, expect

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def settings(*calendars: Path) -> Settings:
    """Settings that expect one file, but on the days of calendars."""
    return Settings(expect={"enrols": expect(**{"except": "2026-12-25", "calendars": list(calendars)})})


def days(live: LiveTerms) -> list[str]:
    """The days on which nothing is expected."""
    [terms] = live()
    return [str(each) for each in terms.without]


def write(path: Path, text: str, *, later: int = 0) -> None:
    """Write a calendar, with a time of its own: two writes in one moment would look alike."""
    path.write_text(text, encoding="utf-8")
    os.utime(path, (NOW.timestamp() + later,) * 2)


def test_a_calendar_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """And the days that it had hold while it cannot be read."""
    calendar, clock = tmp_path / "holidays.txt", Hand(NOW)
    write(calendar, "2026-07-14\n")
    live = LiveTerms(settings(calendar), clock)
    assert days(live) == ["2026-07-14", "2026-12-25"]
    assert live() is live()
    write(calendar, "2026-07-14\n2026-08-15\n", later=1)
    assert days(live) == ["2026-07-14", "2026-08-15", "2026-12-25"]
    write(calendar, "14.7.2026\n", later=2)
    assert days(live) == ["2026-07-14", "2026-08-15", "2026-12-25"]
    calendar.unlink()
    assert days(live) == ["2026-07-14", "2026-08-15", "2026-12-25"]
    write(calendar, "2026-11-11\n", later=3)
    assert days(live) == ["2026-11-11", "2026-12-25"]


def test_days_that_repeat_themselves_go_on(tmp_path: Path) -> None:
    """A public holiday of the calendar is there in later years too, in a process that nobody restarts."""
    calendar, clock = tmp_path / "holidays.ics", Hand(NOW)
    event = "BEGIN:VEVENT\nUID:1\nDTSTAMP:20260101T000000Z\nDTSTART;VALUE=DATE:20200714\nRRULE:FREQ=YEARLY\nEND:VEVENT\n"
    write(calendar, f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//test//EN\n{event}END:VCALENDAR\n")
    live = LiveTerms(settings(calendar), clock)
    assert "2031-07-14" not in days(live)
    clock.now = NOW + timedelta(days=4 * 366)
    assert "2031-07-14" in days(live)


@pytest.mark.parametrize("content", [None, b"25.12.2026\n", b"\xff\xfe"])
def test_a_calendar_that_cannot_be_used_is_an_error_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    """It names the key and the file."""
    calendar = tmp_path / "holidays.ics"
    if content is not None:
        calendar.write_bytes(content)
    with pytest.raises(SettingsError, match=r"expect\.enrols\.calendars: .*holidays\.ics"):
        terms_of(settings(calendar), NOW.date())


def test_a_directory_and_a_pipe_are_no_calendars(tmp_path: Path) -> None:
    """Neither is waited for."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(SettingsError, match=r"expect\.enrols\.calendars"):
            terms_of(settings(path), NOW.date())
