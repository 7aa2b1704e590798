"""How far an age can be believed, and when a local file is complete."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.policy.bans import SourceStanding
from sftpgate.policy.clocks import APART_SECONDS, Anchor, Reading, is_due
from sftpgate.policy.quiet import Look, Observation, is_quiet

WALL, UPTIME = 1_800_000_000.0, 5000.0
HOUR, YEAR = 3600.0, 365 * 86400.0
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FILE = Look(1, 2, int(WALL * 1e9))


def reading(passed: float = 0.0, *, set_by: float = 0.0, boot: str = "b") -> Reading:
    """Both clocks after so many seconds, the one set by something."""
    return Reading(WALL + passed + set_by, UPTIME + passed, boot)


@pytest.mark.parametrize("jump", [HOUR, -HOUR, YEAR, -YEAR])
def test_a_clock_that_is_set(jump: float) -> None:
    """Whatever the clock is set by, nothing counts as older than the time since then."""
    anchor = Anchor(reading()).looked(reading(60, set_by=jump))
    assert anchor.steady_seconds(reading(60, set_by=jump)) == 0
    assert anchor.looked(reading(160, set_by=jump)).steady_seconds(reading(160, set_by=jump)) == 100


@given(passed=st.floats(0, 10 * YEAR), slew=st.floats(-0.0005, 0.0005))
def test_a_clock_that_is_corrected_slowly(passed: float, slew: float) -> None:
    """NTP that slews the clock is no setting, however long nobody looked."""
    now = reading(passed, set_by=passed * slew)
    assert Anchor(reading()).looked(now).steady_seconds(now) == math.inf


def test_over_a_restart_of_the_machine() -> None:
    """Across boots the clock is believed where it went on a little; a jump that was seen before stays known."""
    assert Anchor(reading()).looked(Reading(WALL + 600, 1.0, "c")).set_wall is None
    for wall in (WALL - 1, WALL + APART_SECONDS + 1, WALL + YEAR):
        after = Reading(wall, 1.0, "c")
        assert Anchor(reading()).looked(after).steady_seconds(after) == 0
    was_set = Anchor(reading()).looked(reading(60, set_by=YEAR))
    after = Reading(WALL + 60 + YEAR + HOUR, 1.0, "c")
    assert was_set.looked(after).steady_seconds(after) == HOUR


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    ("wall", "steady", "seen", "quiet"),
    [
        (WALL + 10, math.inf, None, True),
        (WALL + 9, math.inf, None, False),
        (WALL + YEAR, 9.0, None, False),  # the clock was set forward just now
        (WALL - YEAR, math.inf, None, False),  # it was set back
        (WALL - YEAR, math.inf, Observation(FILE, UPTIME - 10), True),  # and the file was seen as it is for long enough
        (WALL - YEAR, math.inf, Observation(FILE, UPTIME - 9), False),
        (WALL - YEAR, math.inf, Observation(Look(1, 3, FILE.changed_ns), UPTIME - 99), False),
    ],
)
def test_quiet(wall: float, steady: float, seen: Observation | None, quiet: bool) -> None:
    """A local file is complete when it did not change for ten seconds that passed, whatever the clock says."""
    assert is_quiet(FILE, seen, 10.0, wall=wall, uptime=UPTIME, steady=steady) is quiet


def test_retries_and_bans_after_a_clock_was_set_back() -> None:
    """A file is tried again, and a ban ends, though the clock is behind the moment at which both began."""
    later = NOW + timedelta(minutes=5)
    assert not is_due(later, NOW, NOW)
    assert is_due(later, NOW, later)
    assert is_due(later, NOW, NOW - timedelta(days=365))
    ban = SourceStanding(source="192.0.2.1", score=0, scored_at=NOW, banned_at=NOW, banned_until=later)
    assert [ban.is_banned(NOW + timedelta(days=days)) for days in (-365, 0, 365)] == [False, True, False]
