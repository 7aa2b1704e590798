"""A simulated year of an expected file, against a plain account of what was the case at each moment."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from sftpgate.ledger.database.connection import Ledger
from sftpgate.policy.expectations import ExpectState, event_of
from sftpgate.schedules import zone_of
from tests.harness.expectations import PACE, Desk, terms

STEP = timedelta(minutes=15)  # all times of this test are multiples of it
WINDOW, GRACE, MISSING_AFTER, TAKE_WITHIN = (timedelta(hours=hours) for hours in (2.0, 0.5, 4.0, 3.0))
HOLIDAYS = (date(2026, 4, 20), date(2026, 5, 1))
TROUBLE = {"late", "missing", "invalid", "not taken", "unchanged"}


@dataclass
class Came:
    """A file of the account: from when on it was what."""

    at: datetime
    content: str
    invalid_from: datetime | None = None
    good_from: datetime | None = None
    gone_from: datetime | None = None
    taken_from: datetime | None = None


@dataclass
class Day:
    """A day on which a file is due, by the account."""

    due: datetime
    opens: datetime
    closes: datetime
    files: list[Came] = field(default_factory=list)

    def state(self, moment: datetime, content_before: str) -> str:
        """What is the case at a moment, said plainly."""
        there = [file for file in self.files if file.good_from and file.good_from <= moment]
        there = [file for file in there if not (file.gone_from and file.gone_from <= moment)]
        if there:
            file = there[-1]
            assert file.good_from is not None
            was_taken = file.taken_from is not None and file.taken_from <= moment
            if not was_taken and moment >= max(file.good_from, self.due) + TAKE_WITHIN:
                return "not taken"
            return "unchanged" if file.content == content_before else "arrived"
        if any(f.invalid_from and f.invalid_from <= moment and not (f.gone_from and f.gone_from <= moment) for f in self.files):
            return "invalid"
        if moment >= min(self.due + MISSING_AFTER, self.closes):
            return "missing"
        return "late" if moment >= self.due + GRACE else "upcoming"


def days(hour: int, minute: int, zone: str, first: date, last: date) -> list[Day]:
    """The weekdays that are no holidays, each with its window."""
    dues = []
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        if day.weekday() < 5 and not HOLIDAYS[0] <= day <= HOLIDAYS[1]:
            local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone_of(zone))
            dues.append(local.astimezone(UTC))
    return [Day(due, due - WINDOW, following - WINDOW) for due, following in pairwise(dues)]


def between(random: Random, first: datetime, last: datetime) -> datetime:
    """A moment from ``first`` on and before ``last``."""
    return first + STEP * random.randrange(max(1, (last - first) // STEP))


def tell(random: Random, day: Day) -> None:
    """Make up what comes for a day."""
    after = day.due + timedelta(hours=8)  # what happens to a file happens before the next window, also from Thursday to Friday
    for _ in range(random.choice([0, 1, 1, 1, 1, 2])):
        early = random.random() < 0.7
        came = between(random, day.opens, day.due + GRACE) if early else between(random, day.due + GRACE, after)
        if day.files:
            came = max(came, day.files[-1].at + STEP)
        file = Came(came, random.choice(["same", str(random.random())]))
        if random.random() < 0.2:
            file.invalid_from = came
            if random.random() < 0.5:
                file.good_from = came + STEP * random.randrange(1, 8)
        else:
            file.good_from = came
        if file.good_from and random.random() < 0.8:
            file.taken_from = file.good_from + STEP * random.randrange(1, 20)
        elif random.random() < 0.3:
            file.gone_from = (file.good_from or came) + STEP * random.randrange(1, 8)
        day.files.append(file)


def account(all_days: list[Day]) -> list[tuple[str, datetime, datetime]]:
    """Everything that was to be said but warnings: the state, the time that was due, and since when it was so."""
    said = []
    content, ended_badly = "", False
    for day in all_days:
        state, troubled = "upcoming", ended_badly
        moment = day.opens
        while moment < day.closes + timedelta(days=2):
            now = day.state(moment, content)
            if now == "arrived" and troubled:
                now = "recovered"
            if now != state:
                said.append((now, day.due, moment))
                state, troubled = now, troubled or now in TROUBLE
            moment += STEP
        ended_badly = day.state(day.closes, content) in ("missing", "invalid")
        counted = [file for file in day.files if file.good_from]
        content = counted[-1].content if counted else content
    return sorted(said, key=lambda item: (item[1], item[2]))


def happenings(all_days: list[Day]) -> Iterator[tuple[datetime, str, str, str, str, str]]:
    """What the record has of all that: when, which event, the state, the arrival, the content, the reason of a hold."""
    for number, day in enumerate(all_days):
        for which, file in enumerate(day.files):
            arrival = f"A{number:03d}-{which}"
            held = file.invalid_from is not None
            yield file.at, "received", "held" if held else "waiting", arrival, file.content, "incomplete?" if held else ""
            if held and file.good_from:
                yield file.good_from, "published", "waiting", arrival, file.content, ""
            if file.taken_from:
                yield file.taken_from, "claimed", "claimed", arrival, file.content, ""
            if file.gone_from:
                yield file.gone_from, "withdrawn", "withdrawn", arrival, file.content, ""


@pytest.mark.promise("P8")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("zone", ["Europe/Paris", "Asia/Kolkata"])
def test_a_year_is_told_as_it_was(seed: int, zone: str) -> None:
    """Whenever somebody looks, and however long nobody did, what is said of a year is what a plain account says of it, each once,
    with the time since which it was so; a warning is said only before the file is late.
    """
    random = Random(f"{seed}{zone}")
    all_days = days(5, 30, zone, date(2026, 1, 5), date(2027, 1, 8))
    for day in all_days[:-2]:
        tell(random, day)
    pending = sorted(happenings(all_days))
    with tempfile.TemporaryDirectory() as directory:
        ledger = Ledger(f"sqlite:///{Path(directory) / 'ledger.db'}", durable=False)
        ledger.create()
        expected = terms(
            timezone=zone,
            grace=GRACE.total_seconds(),
            missing_after=MISSING_AFTER.total_seconds(),
            take_within=TAKE_WITHIN.total_seconds(),
            without=[f"{HOLIDAYS[0]}..{HOLIDAYS[1]}"],
        )
        now, end = all_days[0].opens - timedelta(days=1), all_days[-3].closes
        desk = Desk(ledger, [expected], now)
        while now < end:
            now = min(
                end,
                now
                + random.choice(
                    [timedelta(minutes=7), timedelta(minutes=7), timedelta(hours=1), timedelta(hours=9), timedelta(days=6)]
                ),
            )
            while pending and pending[0][0] <= now:
                at, event, state, arrival, content, reason = pending.pop(0)
                reasons = {"reason": reason} if reason else {}
                desk.happen(at, event, state, arrival=arrival, sha256=content, **reasons)
            desk.look(now)
        desk.look(end + timedelta(minutes=3))
        events = desk.events()
        ledger.close()
    found = [(str(e.details["state"]), parsed(e.details["due"]), parsed(e.details["since"])) for e in events]
    wanted = [item for item in account(all_days) if item[2] <= end]
    assert sorted((i for i in found if i[0] != "warned"), key=lambda i: (i[1], i[2])) == wanted
    warnings = [event for event in events if event.event == event_of(ExpectState.WARNED)]
    assert all(event.at < parsed(event.details["late_from"]) + PACE.margin for event in warnings)
    for warning in warnings:
        [day] = [day for day in all_days if day.due == parsed(warning.details["due"])]
        assert day.state(parsed(warning.details["since"]), "") == "upcoming"


def parsed(text: object) -> datetime:
    """A time of the record."""
    return datetime.fromisoformat(str(text))
