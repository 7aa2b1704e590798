"""In which order the files of one pattern are processed: oldest first, if their names say which is older than another.

Pure. Files whose names differ in their digits alone are a series (``users-20260101.csv``, ``users-20260102.csv``). Parallel
transfers bring them in any order, and commands in the wrong order undo each other. Numbers are believed if they cannot
mean anything but an order: dates that begin with the year and whatever follows them, and counters that are filled up with
zeros. Others, such as process ids or dates that begin with the day, say nothing, and the order of arrival stays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_DIGITS = re.compile(r"[0-9]+")
_YEAR = re.compile(r"(19|20)[0-9]{2}")
_DATE = re.compile(r"(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])([0-9]{4}|[0-9]{6})?")
_DAY_FIRST = re.compile(r"((0[1-9]|[12][0-9]|3[01])(0[1-9]|1[0-2])|(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01]))[0-9]{2}([0-9]{2})?")


@dataclass(slots=True)
class _Series:
    """The members of a series, by their number in the order of arrival, each with the digits of its name."""

    members: list[tuple[int, list[str]]] = field(default_factory=list)

    def keys(self) -> dict[int, tuple[int, ...]]:
        """Return what each member is sorted by; the same for all if the names say nothing."""
        columns = list(zip(*(digits for _, digits in self.members), strict=True))
        believed: list[int] = []
        for place, column in enumerate(columns):
            is_date = all(_DATE.fullmatch(text) or _YEAR.fullmatch(text) for text in column)
            follows_date = any(_begins_with_year(columns[earlier]) for earlier in believed)
            leads_to_year = any(_begins_with_year(later) for later in columns[place + 1 :])
            if is_date or follows_date or (_is_counter(column) and not leads_to_year):
                believed.append(place)
        return {number: tuple(int(digits[place]) for place in believed) for number, digits in self.members}


def oldest_first(paths: Sequence[str]) -> list[int]:
    """Return the numbers of ``paths``, which are in order of arrival, in the order in which they are to be processed."""
    series: dict[str, _Series] = {}
    for number, path in enumerate(paths):
        series.setdefault(_DIGITS.sub("#", path), _Series()).members.append((number, _DIGITS.findall(path)))
    ranked: list[tuple[int, tuple[int, ...], int]] = []
    for found in series.values():
        first = found.members[0][0]
        ranked += [(first, key, number) for number, key in found.keys().items()]
    return [number for _, _, number in sorted(ranked)]


def _begins_with_year(column: Sequence[str]) -> bool:
    return all(_YEAR.match(text) for text in column)


def _is_counter(column: Sequence[str]) -> bool:
    """Return whether numbers of one width, one of them with zeros in front: 0009, 0010. Dates that begin with day or month
    are none.
    """
    if all(_DAY_FIRST.fullmatch(text) for text in column):
        return False
    return len({len(text) for text in column}) == 1 and len(column[0]) > 1 and any(text.startswith("0") for text in column)
