"""When an approval ends, whatever happens to the clocks; and how many people are enough."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sftpgate.policy.approvals import APPROVED_FOR, Moment, are_enough, has_ended

HOUR = timedelta(hours=1)
GIVEN = Moment(at=datetime(2026, 9, 1, 22, tzinfo=UTC), boot="one", uptime=50_000.0)


def later(by: timedelta, *, set_by: timedelta = timedelta()) -> Moment:
    """A moment of the same boot, with a wall clock that somebody set meanwhile."""
    return replace(GIVEN, at=GIVEN.at + by + set_by, uptime=GIVEN.uptime + by.total_seconds())


def restarted(by: timedelta, *, up: timedelta) -> Moment:
    """A moment after a restart, by the wall clock."""
    return Moment(at=GIVEN.at + by, boot="two", uptime=up.total_seconds())


@pytest.mark.parametrize("set_by", [timedelta(), timedelta(days=400), timedelta(days=-400)])
def test_within_a_boot(set_by: timedelta) -> None:
    """Within a boot an approval ends after two hours of uptime, whatever somebody sets the clock to."""
    assert timedelta(hours=2) == APPROVED_FOR
    assert not has_ended(GIVEN, later(timedelta(), set_by=set_by))
    assert not has_ended(GIVEN, later(APPROVED_FOR - timedelta(seconds=1), set_by=set_by))
    assert has_ended(GIVEN, later(APPROVED_FOR, set_by=set_by))
    assert has_ended(GIVEN, replace(GIVEN, uptime=GIVEN.uptime - 1))  # another machine's uptime, by all that can be told


@pytest.mark.parametrize(
    ("by", "up", "ended"),
    [
        (HOUR, timedelta(minutes=10), False),
        (2 * HOUR, timedelta(minutes=10), True),  # it was off for long
        (HOUR, 2 * HOUR, True),  # the clock says an hour; the machine has been up for two since then
        (-HOUR, timedelta(minutes=10), True),  # a clock that is behind the approval is not believed
        (timedelta(days=300), timedelta(minutes=10), True),
    ],
)
def test_after_a_restart(by: timedelta, up: timedelta, ended: bool) -> None:
    """After a restart of the machine an approval goes on by the wall clock, as far as that can be believed."""
    assert has_ended(GIVEN, restarted(by, up=up)) is ended


def test_on_another_machine() -> None:
    """Where machines share a clock, another machine's uptime says nothing about an approval."""
    now = replace(restarted(HOUR, up=timedelta(days=90)), is_shared=True)
    assert not has_ended(GIVEN, now)
    assert has_ended(GIVEN, replace(now, at=GIVEN.at + APPROVED_FOR))


def test_people() -> None:
    """One person is enough, unless two are wanted; who approves twice is one person."""
    assert are_enough(["a"], 1) and are_enough(["a"], 0) and not are_enough([], 0)
    assert not are_enough(["a", "a"], 2) and are_enough(["a", "b"], 2)
