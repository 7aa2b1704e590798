"""Ids of arrivals, sessions and claims, and the clock that they come from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ulid import ULID

Clock = Callable[[], datetime]


def new_id(at: datetime) -> str:
    """A fresh ULID: sorts by time, cannot be guessed."""
    return str(ULID.from_datetime(at))


def numbered_id(number: int) -> str:
    """A fresh ULID that sorts by a number (see ``store.sequence``), cannot be guessed."""
    return str(ULID.from_timestamp(number))


def number_of(identifier: str) -> int:
    """What a ULID sorts by: a number, or milliseconds since 1970; 0 for what is none."""
    try:
        return ULID.from_str(identifier).milliseconds
    except ValueError:
        return 0
