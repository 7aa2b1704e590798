"""When a file that a local program writes is complete, and what else keeps it from being taken: one rule, for drop and store
(promise P1).

Pure. A file is quiet when it did not change for ``settle`` seconds. Changed is what the inode's change time says: the kernel
sets it at every write, rename and ``utime``, and no program can set it back, as it can a modification time. It is by the wall
clock, so it is believed for no longer than that was not set; if it says nothing (it lies in the future, or the clock
was set just now) the file must have been seen unchanged for as long, by a clock that nobody sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Look:
    """What the disk says of a file."""

    inode: int
    size: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Observation:
    """A file as it was seen first, and every time since then. ``since`` is an uptime."""

    look: Look
    since: float


def is_quiet(look: Look, seen: Observation | None, settle: float, *, wall: float, uptime: float, steady: float) -> bool:
    """Return whether a file is complete. ``seen``: how it was seen before; ``steady``: for how long the clock was not set."""
    age = wall - look.changed_ns / 1e9
    if age >= 0 and settle <= min(age, steady):
        return True
    return seen is not None and seen.look == look and uptime - seen.since >= settle


class LocalStanding(StrEnum):
    """What a file in drop or store is to us. The first one that holds, in this order, is the answer."""

    KNOWN = "known"  # an arrival has it already
    UNQUIET = "unquiet"  # it may not be complete yet
    LINKED = "linked"  # it has other names (hard links): whoever has one could change it afterwards
    RESTORED = "restored"  # it came to its end before, and a backup brought it back: see ``policy.restored``
    FREE = "free"  # it can become an arrival


def standing(*, is_known: bool, is_quiet: bool, is_linked: bool, is_restored: bool) -> LocalStanding:
    """Return what a file is to us. What costs more to find out comes later: a caller may say False for it as long as an earlier
    reason holds.
    """
    if is_known:
        return LocalStanding.KNOWN
    if not is_quiet:
        return LocalStanding.UNQUIET
    if is_linked:
        return LocalStanding.LINKED
    return LocalStanding.RESTORED if is_restored else LocalStanding.FREE
