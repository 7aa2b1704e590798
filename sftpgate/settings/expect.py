"""The table ``[expect.NAME]``: a file that is to arrive by a time.

A part of the settings, in a module of its own because it is long.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from sftpgate.schedules import Days, ScheduleUnusable, check_line, days_of, shortest_gap, zone_of
from sftpgate.settings.durations import Duration, duration_text

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

Lines = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
Files = Annotated[tuple[Path, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]


class SameContent(StrEnum):
    """What is made of a file whose content is, byte for byte, that of the one before it."""

    SAY = "say"
    IGNORE = "ignore"


class ExpectSettings(BaseModel):
    """A file that is to arrive, and by when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        min_length=1, max_length=1000, description="the file, as its sender sees it below /sync: a name, or a pattern: users*.csv"
    )
    by: Lines = Field(
        min_length=1,
        description='when it is due, in cron\'s syntax: "30 5 * * mon-fri" is 5:30 on weekdays; a list for several times',
    )
    timezone: str = Field("UTC", description="time zone of these times and days, such as Europe/Paris")
    window: Duration = Field(7200.0, gt=0, description="seconds before it is due from which on a file counts")
    grace: Duration = Field(900.0, description="seconds after it was due from which on it is late")
    warn_before: Duration = Field(600.0, description="seconds before it is late at which is warned; 0: no warning")
    missing_after: Duration = Field(
        14400.0, gt=0, description="seconds after it was due from which on it is missing, if the next one is not due sooner"
    )
    take_within: Duration = Field(
        7200.0,
        description="seconds that it may wait for a tool from when it was due, or came if that is later; 0: any time",
    )
    same_content: SameContent = Field(
        SameContent.SAY, description='"say" if its content is that of the file before it, or "ignore" that'
    )
    except_: Lines = Field(
        (),
        alias="except",
        description='days on which it is not expected: "2026-12-25", or "2026-12-19..2027-01-04"; a list for several',
    )
    calendars: Files = Field(
        (),
        description="files that name such days: iCalendar (.ics), or a text with a day or a range of days in each line",
    )

    @field_validator("path")
    @classmethod
    def _is_in_drop(cls, value: str) -> str:
        if value.startswith("/") or any(part in ("", ".", "..") for part in value.split("/")):
            raise ValueError("write the path below /sync, without a slash at either end, such as enrols.csv or hr/users*.csv")
        return value

    @field_validator("by")
    @classmethod
    def _are_lines(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for line in value:
            check_line(line)
        return value

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, value: str) -> str:
        zone_of(value)
        return value

    @field_validator("except_")
    @classmethod
    def _are_days(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            days_of(text)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.warn_before > self.window + self.grace:
            raise ValueError("warn_before reaches back before the window: nothing could have come by then")
        if self.missing_after <= self.grace:
            raise ValueError("missing_after is not longer than grace: a file is late before it is missing")
        gap = shortest_gap(self.by)
        if gap is not None and timedelta(seconds=self.window + self.grace) > gap:
            raise ValueError(
                f"window: two of them overlap: times are only {duration_text(gap.total_seconds())} apart, and a file counts from "
                f"{duration_text(self.window)} before to {duration_text(self.grace)} after each; make window or grace shorter"
            )
        return self

    @property
    def days_without(self) -> tuple[Days, ...]:
        """The days of ``except``."""
        return tuple(days_of(text) for text in self.except_)


def require_names(expectations: Mapping[str, ExpectSettings]) -> None:
    """Raise ScheduleUnusable if an expectation's name is not one that metrics and the ledger can have."""
    for name in expectations:
        if _NAME.fullmatch(name) is None:
            raise ScheduleUnusable(f"{name!r}: write a name of at most 64 letters, digits, dots, hyphens and underscores")


def require_apart(expectations: Mapping[str, ExpectSettings]) -> None:
    """Raise ScheduleUnusable if one file could be two expected ones."""
    for (name, one), (other_name, other) in combinations(expectations.items(), 2):
        if may_fit_both(one.path, other.path):
            raise ScheduleUnusable(
                f"expect.{other_name}: a file can be expected by expect.{name} too: {one.path!r} and {other.path!r} fit the same "
                "paths; write all times of one file as a list in by"
            )


def may_fit_both(one: str, other: str) -> bool:
    """Return whether there is a path that two patterns both fit. ``*`` and ``?`` stand for anything but a slash."""
    pending, seen = [(0, 0)], set[tuple[int, int]]()
    while pending:
        at, at_other = pending.pop()
        if (at, at_other) in seen:
            continue
        seen.add((at, at_other))
        here, there = one[at : at + 1], other[at_other : at_other + 1]
        if here == there == "":
            return True
        if here == "*":
            pending += [(at + 1, at_other), *([(at, at_other + 1)] if there not in ("", "/") else [])]
        elif there == "*":
            pending += [(at, at_other + 1), *([(at + 1, at_other)] if here not in ("", "/") else [])]
        elif here and there and (here == there or ("?" in (here, there) and "/" not in (here, there))):
            pending.append((at + 1, at_other + 1))
    return False
