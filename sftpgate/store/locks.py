"""Who may change names now: the rights of a store that one at a time can have.

``Locks`` is the contract, stated once; ``tests/unit/store/test_locks.py`` holds each implementation to it. A right is had by one
thread of one process of all that share the store. It ends with its block, and with the life of its process, so a crash leaves
nothing to release. Everything blocks, but never without a bound.

``LocalLocks`` keeps it with ``flock`` on two files of the store, for all processes of one machine (``shared.file_lock``).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout


class Locks(Protocol):
    """The rights of one store. One instance per process; any thread. No right is asked for by who has it already."""

    def names(self) -> AbstractContextManager[object]:
        """Have the right to change names in drop and store for the block. Raises StoreBusy if it does not come within a bound."""

    def names_in_turn(self, mark: bytes) -> AbstractContextManager[bool]:
        """Have the same right, and leave ``mark`` behind. Yields whether the one who had it last in this way left the same mark:
        then nobody else made a change in between. A mark may get lost, never come from nowhere.
        """

    def sweep(self) -> AbstractContextManager[object]:
        """Have the right to sweep for the block; wait for it as for ``names``."""

    def sweep_if_free(self) -> AbstractContextManager[bool]:
        """Have the right to sweep for the block, if nobody has it; yields whether."""

    @property
    def waiting_seconds(self) -> float:
        """Return for how long somebody of this process has tried to get the right to names, and nobody could."""


class LocalLocks:
    """The rights of a store whose users are all on this machine."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._disk = disk
        self._names = layout.lock
        self._sweep = layout.sweep_lock

    def names(self) -> AbstractContextManager[object]:
        """See ``Locks``."""
        return self._disk.locked(self._names)

    def names_in_turn(self, mark: bytes) -> AbstractContextManager[bool]:
        """See ``Locks``."""
        return self._disk.in_turn(self._names, mark)

    def sweep(self) -> AbstractContextManager[object]:
        """See ``Locks``."""
        return self._disk.locked(self._sweep)

    def sweep_if_free(self) -> AbstractContextManager[bool]:
        """See ``Locks``."""
        return self._disk.locked(self._sweep, wait=False)

    @property
    def waiting_seconds(self) -> float:
        """See ``Locks``."""
        return self._disk.lock_waiting_seconds(self._names)
