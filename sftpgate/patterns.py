"""Regular expressions that an administrator writes, searched in text that somebody else does.

They are those of the package ``regex``, because a search of Python's own cannot be stopped: ``(a+)+$`` in a line of a hundred
letters goes on for years, and keeps the whole process meanwhile. Here a search ends after a time, and other threads go on.

The package is imported with the first pattern: most commands, and a pass that finds nothing, have none.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regex import Match, Pattern

MAX_CHARACTERS = 1000
# The compiler writes a repeated part as often as the least number says. This many characters are some tens of MiB for a moment;
# a date and time needs a few hundred.
_MAX_REPEATED_CHARACTERS = 100_000
_REPEAT = re.compile(r"(\)?)\{\s*(\d{1,12})")
_RECURSION = re.compile(r"\(\?(R|&|P>|[+-]?\d)")  # without end, it takes all memory sooner than its time


class PatternUnusable(ValueError):
    """A pattern is no regular expression, or would be too large; the message says which and why."""


class TookTooLong(Exception):
    """A search was stopped: its time or its memory was over."""


def compiled(pattern: str) -> Pattern[str]:
    """Return the regular expression that ``pattern`` is. Raises PatternUnusable."""
    import regex

    if len(pattern) > MAX_CHARACTERS:
        raise PatternUnusable(f"a pattern of {len(pattern)} characters is too long; {MAX_CHARACTERS} at most")
    if len(pattern) * _most_repeats(pattern) > _MAX_REPEATED_CHARACTERS:
        raise PatternUnusable(f"{pattern!r} repeats a part too often; a number in braces is to be smaller")
    if _RECURSION.search(pattern):
        raise PatternUnusable(f"{pattern!r} calls itself or another group; write that part out")
    try:
        return regex.compile(pattern)
    except (regex.error, ValueError, RecursionError, OverflowError) as error:
        raise PatternUnusable(f"{pattern!r} is no regular expression: {error}") from error


def search(pattern: Pattern[str], line: str, seconds: float, *, at: int = 0, length: int = sys.maxsize) -> Match[str] | None:
    """Return the first match in ``line``, or in so many characters of it from ``at`` on; None if there is none.

    Raises TookTooLong after so many seconds of processor time.
    """
    try:
        return pattern.search(line, at, min(at + length, len(line)), timeout=seconds, concurrent=True)
    except (TimeoutError, MemoryError) as error:
        raise TookTooLong from error


def _most_repeats(pattern: str) -> int:
    """Return how often a single part is repeated at most: the numbers behind groups, which may be inside each other, and one
    more.
    """
    most, of_groups = 1, 1
    for is_group, number in _REPEAT.findall(pattern):
        if is_group:
            of_groups *= max(int(number), 1)
        else:
            most = max(most, int(number))
    return most * of_groups
