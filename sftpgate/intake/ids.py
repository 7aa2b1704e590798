"""Ids of arrivals, sessions and claims, and the clock that they come from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ulid import ULID

Clock = Callable[[], datetime]


def new_id(at: datetime) -> str:
    """A fresh ULID: sorts by time, cannot be guessed."""
    return str(ULID.from_datetime(at))
