"""How far an age can be believed: the wall clock is set now and then, by an hour, by a year, in either direction.

Pure. The uptime of a machine goes on evenly, the wall clock should: if both did not go on by the same, the clock was set
in between. Then nothing is older than the time since: a lock that looks abandoned, an upload that nobody resumed, an archive
that was kept for long enough may be a minute old. Across boots only the wall clock is left; it is believed if it went on
by less than ``APART_SECONDS``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime

SLACK_SECONDS = 5.0  # what is no setting: the time between the two looks at the clocks, on a machine that is busy
SLEW = 0.001  # of what has passed: twice what NTP slews a clock by (500 ppm)
APART_SECONDS = 7 * 86400.0  # a machine that was off for longer starts all ages anew: too late loses nothing


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at both clocks: seconds since 1970, seconds since the machine was started, and its boot."""

    wall: float
    uptime: float
    boot: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """The last look, and when the clock was seen to be set last: by the new wall clock and, within the boot, the uptime."""

    last: Reading
    set_wall: float | None = None
    set_uptime: float | None = None

    def looked(self, now: Reading) -> Anchor:
        """Return the same after another look."""
        passed = now.wall - self.last.wall
        if now.boot == self.last.boot:
            steady = now.uptime - self.last.uptime
            was_set = abs(passed - steady) > SLACK_SECONDS + SLEW * abs(steady)
            kept = self.set_uptime
        else:
            was_set = not 0 <= passed <= APART_SECONDS
            kept = None
        if was_set:
            return Anchor(now, now.wall, now.uptime)
        return replace(self, last=now, set_uptime=kept)

    def steady_seconds(self, now: Reading) -> float:
        """Return for how long the clock has not been set; without end if it never was."""
        if self.set_wall is None:
            return math.inf
        if now.boot == self.last.boot and self.set_uptime is not None:
            return now.uptime - self.set_uptime
        return max(0.0, now.wall - self.set_wall)


def is_due(not_before: datetime | None, since: datetime, now: datetime) -> bool:
    """Return whether something that was put off at ``since`` may be tried. If the clock was set back behind that, it may: a
    try too early loses nothing, and a wait of a year does.
    """
    return not_before is None or not_before <= now or now < since
