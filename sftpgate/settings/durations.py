"""Durations as people write them in settings: ``30``, ``"30m"``, ``"1.5h"``, ``"2d"``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_SECONDS = 1000 * 365 * 86400  # what can be added to today's date
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*")


def parse_duration(value: object) -> object:
    """Return seconds of a duration such as ``30``, ``"30m"``, ``"1.5h"`` or ``"2d"``; anything else is returned for pydantic to
    refuse.
    """
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return float(match[1]) * _UNITS[match[2] or "s"]
    return value


def duration_text(seconds: float) -> str:
    """Return a duration as a person would write it: ``365d``, ``30m``, ``1.5s``; what ``parse_duration`` reads back."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds:g}s" if seconds else "0"


def duration_of(text: str) -> float | None:
    """Return seconds of a duration that somebody typed; None if it is none, or longer than a thousand years."""
    seconds = parse_duration(text)
    return seconds if isinstance(seconds, float) and seconds <= _LONGEST_SECONDS else None


Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
