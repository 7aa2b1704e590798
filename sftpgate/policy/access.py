"""Where a virtual path lies, and what may be done there (promise P6).

Pure. The tree that a user sees has six zones; only one of them is writable, and not its reserved directories. All
refusals are worded here, so that every operation says the same about the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sftpgate.errors import PlaceRefused
from sftpgate.hidden_names import MANAGED_NAME
from sftpgate.policy.managed import ManagedDirectory, directory_called, in_words, is_reserved
from sftpgate.policy.names import VirtualPath, is_managed, split

RECEIPTS = "receipts"  # the name of the directory of receipts, at the top of what a user sees


class Zone(StrEnum):
    """A part of the tree that a user sees."""

    ROOT = "root"  # "/" and the directories above the drop
    DROP = "drop"
    RESERVED = "reserved"  # the system's own names inside the drop
    MANAGED = "managed"  # a managed directory, beside the drop
    RECEIPTS = "receipts"  # beside the drop too, and of rows of the ledger: nothing of it lies in the store
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True)
class Place:
    """A zone and the path inside it, relative and in normal form; empty for the zone's own directory. ``managed`` is the managed
    directory of that zone, and None in the others.
    """

    zone: Zone
    inner: str
    managed: ManagedDirectory | None = None

    @property
    def is_top(self) -> bool:
        """True for the zone's own directory."""
        return not self.inner


def locate(path: VirtualPath, mount: VirtualPath) -> Place:
    """Return the place of ``path`` for a user who sees the drop at ``mount``."""
    parts, mount_parts = split(path), split(mount)
    depth = len(mount_parts)
    if parts[:depth] == mount_parts:
        inner = parts[depth:]
        if inner and (is_reserved(inner[0]) or any(is_managed(part) for part in inner)):
            return Place(Zone.RESERVED, "/".join(inner))
        return Place(Zone.DROP, "/".join(inner))
    if parts == mount_parts[: len(parts)]:
        return Place(Zone.ROOT, "/".join(parts))
    if (managed := directory_called(parts[0])) is not None:
        return Place(Zone.MANAGED, "/".join(parts[1:]), managed)
    if parts[0] == RECEIPTS:
        return Place(Zone.RECEIPTS, "/".join(parts[1:]))
    return Place(Zone.NOWHERE, "/".join(parts))


def require_writable(place: Place, mount: VirtualPath) -> str:
    """Return the path inside the drop, if ``place`` may be changed. Raises PlaceRefused with the rule otherwise."""
    if place.zone is Zone.DROP and not place.is_top:
        return place.inner
    raise PlaceRefused(_why_not_writable(place, mount))


def _why_not_writable(place: Place, mount: VirtualPath) -> str:
    match place.zone:
        case Zone.RESERVED:
            name = split(place.inner)[0]
            return f"{name} is reserved: {in_words(MANAGED_NAME)} in {mount} are the system's own (rule: reserved directories)"
        case Zone.MANAGED:
            assert place.managed is not None
            return f"/{place.managed.name} is read-only: it shows what became of your files (rule: only {mount} is writable)"
        case Zone.RECEIPTS:
            return f"/{RECEIPTS} is read-only: it says what became of your files (rule: only {mount} is writable)"
        case Zone.DROP:
            return f"{mount} itself cannot be changed or replaced, only what is in it (rule: the drop stays)"
        case Zone.ROOT | Zone.NOWHERE:
            return f"only {mount} is writable: put the file there (rule: only {mount} is writable)"
