"""Ids of arrivals, sessions and claims, and the clocks.

There are two. The *clock* says what people call the time: it may be set, forward or back, at any moment. The *uptime* counts
seconds since the machine was started, also while it sleeps (``CLOCK_BOOTTIME``): nobody can set it, and it means nothing to
another boot. How long something took or lay is asked of the uptime (docs/internals.md, "Time").
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from ulid import ULID

Clock = Callable[[], datetime]
Uptime = Callable[[], float]


def boot_seconds() -> float:
    """Return the uptime of this machine, in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def steady(clock: Clock) -> Uptime:
    """Return the uptime of a machine whose ``clock`` nobody sets: for tests that let time pass by their clock."""
    return lambda: clock().timestamp()


def new_id(at: datetime) -> str:
    """Return a fresh ULID: sorts by time, cannot be guessed."""
    return str(ULID.from_datetime(at))


def numbered_id(number: int) -> str:
    """Return a fresh ULID that sorts by a number (see ``store.sequence``), cannot be guessed."""
    return str(ULID.from_timestamp(number))


def number_of(identifier: str) -> int:
    """Return what a ULID sorts by: a number, or milliseconds since 1970; 0 for what is none."""
    try:
        return ULID.from_str(identifier).milliseconds
    except ValueError:
        return 0
