"""Whether a store, a drop and a ledger belong together: the rules alone, on what was seen.

Each of the three carries the id of its gate. A store whose filesystem is not mounted is an empty directory, and everything
that the ledger expects in it would look as if somebody had taken it; another gate's store would do the same. So a gate starts
only if the three fit together, or if there is nothing yet that could belong to another gate.

A *seal* tells whether one of two was brought back from a backup: a number that the ledger and the store both have, and that
goes up while there is something to tell apart.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundIdentity:
    """What was found. An id is None if there is none.

    ``store_used``: our own directory is in the store. ``ledger_used``: the ledger has had arrivals. ``kept`` are places in the
    store that only we take files from (archives, held, claimed …), ``taken`` those that programs of the machine take files from:
    how many of them the ledger expects to be filled, and how many are. ``is_beside``: ledger and store are on one filesystem.
    ``remembered``: the id of the gate that the keys belong to. ``is_restoring``: a backup is being brought back here.
    """

    store: str | None
    drop: str | None
    ledger: str | None
    store_used: bool
    ledger_used: bool
    kept_expected: int = 0
    kept_found: int = 0
    taken_expected: int = 0
    taken_found: int = 0
    is_beside: bool = True
    remembered: str | None = None
    is_restoring: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether all three have one id: nothing is to be written."""
        return self.ledger is not None and self.store == self.drop == self.ledger

    @property
    def is_new(self) -> bool:
        """Whether there is nothing yet: no gate has been here, or what it left is not mounted."""
        return self.identity is None and self.drop is None and not self.store_used and not self.ledger_used

    @property
    def identity(self) -> str | None:
        """The id that all three shall have; None if there is none yet."""
        return self.ledger or self.store


class Mismatch(StrEnum):
    """Why a store, a drop and a ledger do not belong together, for the local admin."""

    STORE_MISSING = "the store is missing or empty, and the ledger is that of a gate in use: is the store's filesystem mounted?"
    STORE_UNMARKED = (
        "the store has no identity, and the ledger is that of a gate in use: it is another store, or an old copy of this one"
    )
    STORE_OTHER = "the store belongs to another gate than the ledger: two gates cannot share a ledger or a store"
    STORE_STRANGE = "none of the files that the ledger expects is in the store: it is another one, or a part of it is not mounted"
    DROP_MISSING = "the drop is missing or empty, and store and ledger are those of a gate in use: is its filesystem mounted?"
    DROP_OTHER = "the drop belongs to another gate than the store and the ledger"
    RESTORING = "a restore of a backup was cut off, or is under way: the same `sftpgate restore` goes on with it"
    ALL_MISSING = (
        "store, drop and ledger are missing or empty, and the keys are those of a gate in use: is the filesystem of the data "
        "mounted?"
    )


WHAT_TO_DO = (
    "mount it, or correct store_dir, drop_dir, data_dir or ledger_url; where it is meant so, `sftpgate store adopt` shows what "
    "would be missing and makes them one gate"
)


def mismatch(seen: FoundIdentity) -> Mismatch | None:
    """Return why a gate must not start on what was seen, or None."""
    if seen.is_restoring:
        return Mismatch.RESTORING
    if seen.ledger is not None:
        if seen.store is None:
            return Mismatch.STORE_UNMARKED if seen.store_used else Mismatch.STORE_MISSING
        if seen.store != seen.ledger:
            return Mismatch.STORE_OTHER
        if seen.drop is None:
            return Mismatch.DROP_MISSING
        return None if seen.drop == seen.ledger else Mismatch.DROP_OTHER
    if seen.drop is not None and seen.drop != seen.store:
        # The store gets its id before the drop does, so this one's store had one.
        return Mismatch.STORE_MISSING if seen.store is None else Mismatch.DROP_OTHER
    if seen.is_new and seen.remembered is not None:
        return Mismatch.ALL_MISSING
    return _of_earlier_version(seen) if seen.ledger_used else None


def _of_earlier_version(seen: FoundIdentity) -> Mismatch | None:
    """Return the same for a ledger that was in use before there were ids: it takes a store in which it finds its files."""
    if not seen.store_used:
        return Mismatch.STORE_MISSING
    if seen.kept_found or seen.taken_found:
        return None
    if seen.kept_expected or (seen.taken_expected and not seen.is_beside):
        return Mismatch.STORE_STRANGE
    return None


class Age(StrEnum):
    """How old store and ledger are, compared with each other."""

    SAME = "same"
    STORE_OLDER = "the store is older than the ledger: it was brought back from a backup"
    LEDGER_OLDER = "the ledger is older than the store: it was brought back from a backup"


def was_brought_back(age: Age, *, copied: bool, other_ledger: bool) -> bool:
    """Return whether what waits may have been processed since, by something that neither store nor ledger knows of.

    ``copied``: the store is a copy of the one that the ledger knew. A ledger that is newer than the store, and was not copied
    (``other_ledger``), knows what was processed; a store that was not copied shows what was.
    """
    return copied and (age is not Age.STORE_OLDER or other_ledger)


def age(ledger: int, store: Collection[int]) -> Age:
    """Compare the seals. ``store``: the numbers that fit the store's own, two if a new one was being set; none if it
    has never had one.
    """
    if ledger in store or (not store and ledger == 0):
        return Age.SAME
    return Age.STORE_OLDER if ledger > max(store, default=0) else Age.LEDGER_OLDER
