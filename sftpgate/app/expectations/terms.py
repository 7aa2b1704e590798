"""What is expected, by the settings and the calendar files that they name.

Calendar files are read when they have changed, and once a day, because some of their events repeat themselves. One that cannot be
read is an error at the start (``terms_of``); later the days that it had last hold, and the log says so each
day. Blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path

from sftpgate.errors import SettingsError
from sftpgate.ids import Clock
from sftpgate.logs import get_logger
from sftpgate.policy.calendars import days_in
from sftpgate.policy.expectations import Terms
from sftpgate.regular_files import read_regular
from sftpgate.schedules import Days, ScheduleUnusable, zone_of
from sftpgate.settings.expect import ExpectSettings, SameContent
from sftpgate.settings.tree import Settings

log = get_logger("expectations")

MAX_CALENDAR_BYTES = 4 * 1024 * 1024  # a calendar of holidays has some tens of kilobytes

ReadDays = Callable[[Path], tuple[Days, ...]]


def terms_of(settings: Settings, today: date) -> list[Terms]:
    """Return what is expected. Raises SettingsError, which names the key, if a calendar file cannot be used."""
    return _terms(settings, lambda path: read_calendar(path, today))


def read_calendar(path: Path, today: date) -> tuple[Days, ...]:
    """Return the days that a calendar file names. Raises ScheduleUnusable."""
    try:
        return days_in(read_regular(path, MAX_CALENDAR_BYTES).decode(), today)
    except UnicodeDecodeError as error:
        raise ScheduleUnusable(f"{path}: it is no UTF-8 text") from error
    except OSError as error:
        raise ScheduleUnusable(f"{path}: cannot be read: {error.strerror or error}") from error
    except ScheduleUnusable as error:
        raise ScheduleUnusable(f"{path}: {error}") from error


class LiveTerms:
    """What is expected, for a process that lives on: calendar files are looked at again. One thread."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._days: dict[Path, tuple[Days, ...]] = {}
        self._read: dict[Path, tuple[object, date]] = {}  # what each file was, and the day, when it was read
        self._terms: Sequence[Terms] | None = None

    def __call__(self) -> Sequence[Terms]:
        """Return what is expected now."""
        paths = {path for each in self._settings.expect.values() for path in each.calendars}
        changed = [path for path in sorted(paths) if self._has_changed(path)]
        for path in changed:
            self._look(path)
        if changed or self._terms is None:
            self._terms = _terms(self._settings, lambda path: self._days.get(path, ()))
        return self._terms

    def _has_changed(self, path: Path) -> bool:
        return self._read.get(path) != (_identity(path), self._clock().date())

    def _look(self, path: Path) -> None:
        today = self._clock().date()
        self._read[path] = (_identity(path), today)
        try:
            self._days[path] = read_calendar(path, today)
        except ScheduleUnusable as error:
            log.warning("calendar.unusable", reason=str(error), what_to_do="the days that it had last hold until it is mended")


def _identity(path: Path) -> object:
    try:
        status = path.stat()
    except OSError as error:
        return error.errno
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _terms(settings: Settings, read: ReadDays) -> list[Terms]:
    found = []
    for name, table in settings.expect.items():
        try:
            found.append(_of_table(name, table, read))
        except ScheduleUnusable as error:
            raise SettingsError(f"expect.{name}.calendars: {error}") from error
    return found


def _of_table(name: str, table: ExpectSettings, read: ReadDays) -> Terms:
    days = [*table.days_without, *(each for path in table.calendars for each in read(path))]
    return Terms(
        name=name,
        path=table.path,
        by=table.by,
        zone=zone_of(table.timezone),
        window=timedelta(seconds=table.window),
        grace=timedelta(seconds=table.grace),
        warn_before=timedelta(seconds=table.warn_before),
        missing_after=timedelta(seconds=table.missing_after),
        take_within=timedelta(seconds=table.take_within) if table.take_within else None,
        says_unchanged=table.same_content is SameContent.SAY,
        without=tuple(sorted(days)),
    )
