"""Which bytes of an upload were written (promise P1). Pure.

Writes in order keep it at one range, and cost one comparison each. A write anywhere else costs a search among the ranges, and
their number is bounded, so that no order of writes is much dearer than another one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from sftpgate.errors import TooScattered

# Clients that send the pieces of a file in any order have up to some hundred of them under way (ssh2-sftp-client 64, lftp and
# OpenSSH 256, in order): several times what any of them can leave open.
MAX_RANGES = 4096


class Coverage:
    """Sorted, disjoint ranges that do not touch each other."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, existing_bytes: int = 0) -> None:
        self._starts: list[int] = [0] if existing_bytes else []
        self._ends: list[int] = [existing_bytes] if existing_bytes else []

    def add(self, start: int, end: int) -> None:
        """Record that the bytes from ``start`` up to ``end`` were written. Raises TooScattered if that would be one range
        too many; nothing is recorded then.
        """
        if start >= end:
            return
        starts, ends = self._starts, self._ends
        if ends and starts[-1] <= start <= ends[-1]:
            ends[-1] = max(end, ends[-1])
            return
        first = bisect_left(ends, start)  # the ranges from here up to ``last`` touch the new one
        last = bisect_right(starts, end)
        if first < last:
            start, end = min(start, starts[first]), max(end, ends[last - 1])
        elif len(starts) >= MAX_RANGES:
            raise TooScattered(MAX_RANGES)
        starts[first:last], ends[first:last] = [start], [end]

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the written parts of the range from ``start`` up to ``end``."""
        found = []
        for index in range(bisect_right(self._ends, start), len(self._starts)):
            if self._starts[index] >= end:
                break
            found.append((max(start, self._starts[index]), min(end, self._ends[index])))
        return found

    def truncate(self, size: int) -> None:
        """Forget what lies at and behind ``size``."""
        kept = bisect_left(self._starts, size)
        del self._starts[kept:], self._ends[kept:]
        if kept:
            self._ends[-1] = min(self._ends[-1], size)

    def first_gap(self, size: int) -> tuple[int, int] | None:
        """Return the first range below ``size`` that no write covered, or None."""
        if not self._starts or self._starts[0] > 0:
            return (0, min(self._starts[0], size) if self._starts else size) if size else None
        if self._ends[0] >= size:
            return None
        return self._ends[0], min(self._starts[1], size) if len(self._starts) > 1 else size

    @property
    def range_count(self) -> int:
        """How many separate ranges there are: a measure of how scattered the writes were."""
        return len(self._starts)
