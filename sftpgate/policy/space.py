"""Whether there is room to hand files over, and in which words it is said if there is none.

Pure. The store has a floor of its own (``free_space_floor``). Drop and ledger may be on other filesystems, which need a little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# What a full filesystem may still say that it has: below it SQLite cannot write a page of its journal, or a directory grow.
LEAST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a filesystem has left for us. ``files``: None if their number is not limited."""

    bytes: int
    files: int | None = None


def shortages(places: Mapping[str, Room | None], floor: int) -> Iterator[str]:
    """Yield a sentence for each of the places (``store``, ``drop``, ``ledger``) that has too little room; ``floor`` is the
    store's.
    """
    for place, room in places.items():
        if room is None:
            continue
        if place == "store" and room.bytes < floor:
            yield f"{room.bytes} bytes are free, fewer than free_space_floor: uploads are refused"
        elif room.bytes < LEAST_BYTES:
            yield f"the disk of the {place} is full ({room.bytes} bytes are free): uploads are refused"
        if room.files == 0:
            yield f"the disk of the {place} can hold no more files (inodes): uploads are refused"
