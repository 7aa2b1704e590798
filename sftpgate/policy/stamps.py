"""The stamped names of archives, reports and rejected lines: conventions of the system that users' scripts rely on.

Pure: the time comes in as an argument, in the local time zone of the server. Two things of the same name in the same
minute (or in the hour that comes twice in autumn) get a number before the suffix: ``20260102-0304_enrols-2.csv``. The
stock tool deletes the earlier one; we never do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import count

from sftpgate.policy.names import MAX_NAME_BYTES

_STAMP = "%Y%m%d-%H%M"
MAX_SUFFIX_BYTES = 32  # a longer one is none: a stamped name must have room for its stamp, whatever the name is


@dataclass(frozen=True, slots=True)
class StampedNames:
    """The names that one thing may have, best first, without end: the stamped one, then numbered ones."""

    prefix: str
    name: str

    def numbered(self, number: int) -> str:
        """Return the name of this number; 1 is the one without a number."""
        stem, suffix = split_suffix(self.name)
        tail = suffix if number == 1 else f"-{number}{suffix}"
        return self.prefix + _shortened(stem, MAX_NAME_BYTES - len(self.prefix) - len(tail.encode())) + tail

    def __iter__(self) -> Iterator[str]:
        return map(self.numbered, count(1))

    def first_free(self, is_free: Callable[[str], bool]) -> int:
        """Return the number of a free name: the first one if the taken ones have no gaps.

        Asks about a few names only, however many are taken: a thousand files of one name can come in one minute.
        """
        taken, free = 0, 1
        while not is_free(self.numbered(free)):
            taken, free = free, free * 2
        while free - taken > 1:
            middle = (taken + free) // 2
            if is_free(self.numbered(middle)):
                free = middle
            else:
                taken = middle
        return free


def archive_names(name: str, at: datetime) -> StampedNames:
    """Return names under which ``name`` may be archived at the local time ``at``."""
    return StampedNames(f"{at:{_STAMP}}_", name)


def report_names(name: str, at: datetime) -> StampedNames:
    """Return names for the execution report of ``name``."""
    return StampedNames(f"{at:{_STAMP}}_report_", name)


def output_names(name: str, at: datetime) -> StampedNames:
    """Return names for the whole output of a run, which the admin reads."""
    return StampedNames(f"{at:{_STAMP}}_output_", name)


def tryback_names(name: str, at: datetime) -> StampedNames:
    """Return names for the rejected lines of ``name``."""
    stem, suffix = split_suffix(name)
    return StampedNames("", f"{stem}_tryback_{at:{_STAMP}}{suffix}")


def split_suffix(name: str) -> tuple[str, str]:
    """Return stem and suffix. The suffix has its dot; it is empty if there is none, or one longer than MAX_SUFFIX_BYTES."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem and len(suffix.encode()) < MAX_SUFFIX_BYTES else (name, "")


def _shortened(stem: str, max_bytes: int) -> str:
    """Return ``stem`` cut so that the stamped name still fits the filesystem: the stamp and the suffix are what people
    search for.
    """
    return stem.encode()[: max(max_bytes, 1)].decode("utf-8", "ignore")
