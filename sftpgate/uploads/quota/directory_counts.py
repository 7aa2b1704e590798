"""How many directories lie in each part of the drop, and whether one more may be made: the rule ``max_directories``.

Nothing says who made a directory, so they count where they lie: each user's home is a part, and what is left of the drop is
another one. A count is read from the disk; a process may make a share of what is left before it reads again, so that several
processes pass the limit by those only that they make at the very same moment. Whoever was refused is refused for a second more
without a look. Blocks for the time of reading the directories.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sftpgate.errors import SftpgateError
from sftpgate.ids import Clock
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import location
from sftpgate.policy.names import is_managed, join
from sftpgate.policy.quotas import require_directories
from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout

_HOLDS_FOR = timedelta(seconds=10)  # others make directories too, and remove some
_FULL_FOR = timedelta(seconds=1)


@dataclass(slots=True)
class _Counted:
    count: int
    left: int  # that this process may make before it counts again
    until: datetime


class DirectoryCounts:
    """Asked before a directory is made. One instance per process; any thread."""

    def __init__(self, layout: Layout, disk: Disk, homes: Callable[[], Sequence[str]], *, processes: int, clock: Clock) -> None:
        self._layout = layout
        self._disk = disk
        self._homes_now = homes
        self._homes: Sequence[str] = ()
        self._homes_until: datetime | None = None
        self._parts = 2 * processes  # after a reload there are as many again
        self._clock = clock
        self._counted: dict[str, _Counted] = {}

    def require(self, path: str, limit: int, growth: int = 1) -> None:
        """Raise QuotaExceeded if ``growth`` directories more, at ``path`` and below it, would be more than ``limit``."""
        now = self._clock()
        if self._homes_until is None or now >= self._homes_until:
            self._homes, self._homes_until = self._homes_now(), now + _HOLDS_FOR
        part = self.part_of(path)
        known = self._counted.get(part)
        if known is None or now >= known.until or 0 <= known.left < growth:
            count = self.count(part)
            left = (limit - count) // self._parts if count + growth <= limit else -1
            known = self._counted[part] = _Counted(count, left, now + (_HOLDS_FOR if left >= 0 else _FULL_FOR))
        if known.left < 0:
            require_directories(limit, known.count, growth)
        known.left = max(0, known.left - growth)
        known.count += growth

    def part_of(self, path: str) -> str:
        """Return the home that ``path`` lies in, the innermost one; empty for what is left of the drop."""
        return max((home for home in self._homes if path.startswith(f"{home}/")), key=len, default="")

    def count(self, part: str) -> int:
        """Return how many directories lie in a part of the drop, without those of the homes in it."""
        homes, found, below = set(self._homes_now()) - {part}, 0, [part]
        while below:
            directory = below.pop()
            for name in self._directories(directory):
                path = join(directory, name)
                if path not in homes and not is_managed(name):
                    found += 1
                    below.append(path)
        return found

    def _directories(self, directory: str) -> Sequence[str]:
        try:
            return self._disk.directories_in(self._layout.disk_path(location(Area.DROP, directory)))
        except SftpgateError:  # it was removed just now, or cannot be read: then nobody can make anything in it either
            return ()
