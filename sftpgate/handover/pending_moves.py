"""What this process knows of moves that the ledger still has as pending, so that it need not ask before each change.

The knowledge is whole as long as nobody else made a change in between, which the mark in the lock's file tells: every
change of another process leaves another mark there. If it is not whole it is thrown away, and the ledger is asked:
it is a cache, and all of it is in the rows that have ``pending_from``.

Some of these moves are *made*, and a power cut may still take them back; the others are *durable*, and only the rows
are still to be cleared. Does not block; any thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

from sftpgate.ledger.arrivals import ArrivalId
from sftpgate.store.content import Place


@dataclass(frozen=True, slots=True)
class Unflushed:
    """Moves that are made and not durable, and the directories that make them so. ``forgotten``: of which time they are."""

    forgotten: int
    inodes: Mapping[ArrivalId, int]
    directories: Sequence[Place]


class PendingMoves:
    """Made and durable moves, with the inodes that their files have now. One instance per process."""

    def __init__(self) -> None:
        self._random = os.urandom(12).hex()
        self._lock = Lock()
        self._made: dict[ArrivalId, int] = {}
        self._directories: dict[Place, None] = {}
        self._durable: dict[ArrivalId, int] = {}
        self._is_whole = False
        self._stuck: dict[ArrivalId, str] = {}  # by why they are
        self._forgotten = 0  # how often all of it was thrown away

    @property
    def mark(self) -> bytes:
        """What this process leaves in the lock's file; another one after a fork."""
        return f"{self._random}-{os.getpid():010}".encode()

    def begin(self, *, ours: bool) -> tuple[bool, Mapping[ArrivalId, int]]:
        """Begin a change; ``ours`` is the mark that was found. Returns whether we know of every pending move, and the
        durable ones, which the change clears. Until ``end``, nothing is known for sure.
        """
        with self._lock:
            known = ours and self._is_whole
            if not known:
                self._made, self._directories, self._durable = {}, {}, {}
                self._forgotten += 1
            durable, self._durable, self._is_whole = self._durable, {}, False
            return known, durable

    def undo(self, *, is_whole: bool, durable: Mapping[ArrivalId, int]) -> None:
        """Take back what a change began that came to nothing: what we knew before is so still."""
        with self._lock:
            self._durable, self._is_whole = {**durable, **self._durable}, is_whole

    def end(self) -> None:
        """Note that a change was carried out. What it left pending was given to ``made`` or ``durable``."""
        self._is_whole = True

    def made(self, inodes: Mapping[ArrivalId, int], directories: Iterable[Place]) -> None:
        """Note moves that were made. Flushing the directories makes them durable."""
        with self._lock:
            self._made.update(inodes)
            self._directories.update(dict.fromkeys(directories))

    def durable(self, inodes: Mapping[ArrivalId, int]) -> None:
        """Note moves that are durable."""
        with self._lock:
            self._durable.update(inodes)

    def to_flush(self) -> Unflushed:
        """Return the moves that are made and not durable, and the directories."""
        with self._lock:
            return Unflushed(self._forgotten, dict(self._made), list(self._directories))

    def flushed(self, what: Unflushed) -> None:
        """Note that what ``to_flush`` gave is durable now. What was thrown away meanwhile stays so: a move that is known
        again since may be a later one of the same file, by another process, and lead to another directory.
        """
        with self._lock:
            if what.forgotten != self._forgotten:
                return
            done = {arrival: inode for arrival, inode in what.inodes.items() if self._made.get(arrival) == inode}
            for arrival in done:
                del self._made[arrival]
            self._durable.update(done)
            if not self._made:
                for directory in what.directories:
                    self._directories.pop(directory, None)

    def inode(self, arrival: ArrivalId) -> int | None:
        """Return the inode of a file whose last move was made; None if nothing is known of one."""
        with self._lock:
            found = self._made.get(arrival)
            return self._durable.get(arrival) if found is None else found

    def is_new_trouble(self, arrival: ArrivalId, reason: str) -> bool:
        """Note that the move of an arrival cannot be made; whether that was not known already: it is tried with every change."""
        with self._lock:
            known = self._stuck.get(arrival)
            self._stuck[arrival] = reason
            return known != reason

    def moved(self, arrival: ArrivalId) -> None:
        """Forget what is in the way of an arrival's move, which was made, or is not wanted any more."""
        if self._stuck:
            with self._lock:
                self._stuck.pop(arrival, None)

    def is_unflushed(self, arrival: ArrivalId) -> bool:
        """Return whether a power cut may take the last move of an arrival back."""
        return arrival in self._made

    @property
    def has_unflushed(self) -> bool:
        """Whether there is such a move."""
        return bool(self._made)

    @property
    def has_durable(self) -> bool:
        """Whether rows are to be cleared."""
        return bool(self._durable)
