"""Approvals: people let one file go that the contract of its tool holds, for a while, and for that file alone.

Pure. When an approval ends is told by the clock that nobody can set, as far as there is one (docs/internals.md, "Time"): whatever
is uncertain ends it. A file that is held once more costs a question; one that runs unapproved may cost a school its courses.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

APPROVED_FOR = timedelta(hours=2)  # long enough for the next pass of cron, and to see to it; not for the file of tomorrow night
MOST_REASON_CHARACTERS = 500  # a sentence or a few: the record and a report have it


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A time as it is told: by a wall clock, and by the uptime of a machine in one of its boots.

    ``is_shared``: the wall clock is the database's, which several machines have in common.
    """

    at: datetime
    boot: str
    uptime: float
    is_shared: bool = False


def has_ended(given: Moment, now: Moment) -> bool:
    """Return whether an approval that was given at one moment has ended at another one.

    Within one boot the uptime decides. After a restart the wall clock does, and a machine that has been up for longer than an
    approval holds has none of before its start left; a clock that is behind the approval is not believed.
    """
    limit = APPROVED_FOR.total_seconds()
    if given.boot == now.boot:
        return not 0.0 <= now.uptime - given.uptime < limit
    if not now.is_shared and now.uptime >= limit:
        return True
    return not timedelta(0) <= now.at - given.at < APPROVED_FOR


def are_enough(people: Collection[str], needed: int) -> bool:
    """Return whether these people, each of whom counts once, are as many as a contract asks for."""
    return len(set(people)) >= max(1, needed)
