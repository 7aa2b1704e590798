"""What of an upload is durable: its content, and its name in staging. Flushed ahead of its CLOSE if that is likely near.

A flush that failed is never tried again: a kernel tells of lost writes once, and the second flush would be well. All
methods block but ``changed``; any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from threading import Lock

from sftpgate.errors import SftpgateError
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath


class ContentFlush:
    """Of one upload. Two flushes at a time are one: the later waits, and does what is left."""

    __slots__ = ("_changes", "_durable", "_ended", "_failure", "_lock", "begun")

    def __init__(self) -> None:
        self._changes = 0
        self._durable = -1  # how many of the changes
        self._failure: SftpgateError | None = None
        self._ended = False
        self._lock = Lock()
        self.begun = False  # somebody is going to flush, has flushed, or flushes

    def changed(self) -> None:
        """Note that the content was changed. Called after each change."""
        self._changes += 1

    def make(self, sync: Callable[[], None]) -> None:
        """Call ``sync`` unless everything written is already durable. Does nothing after ``end()``. Raises the error of
        ``sync``, again on every later call.
        """
        self.begun = True
        with self._lock:
            if self._failure is not None:
                raise self._failure
            changes = self._changes
            if self._ended or self._durable == changes:
                return
            try:
                sync()
            except SftpgateError as error:
                self._failure = error
                raise
            self._durable = changes

    def end(self) -> None:
        """Wait for the last flush: when this returns, no thread flushes the file any more, and it can be closed."""
        with self._lock:
            self._ended = True


class Names:
    """Of one directory of staging files: one flush keeps all names that were in it when it began."""

    def __init__(self, disk: Disk, directory: DiskPath) -> None:
        self._disk = disk
        self._directory = directory
        self._numbers = count(1)
        self._added = 0  # at least so many names are in the directory
        self._kept = 0
        self._lock = Lock()

    def added(self) -> int:
        """Return the number of a name that was just put into the directory."""
        number = next(self._numbers)
        self._added = number  # a thread that is overtaken sets it back, and costs a flush more
        return number

    def keep(self, number: int) -> None:
        """Make this name last, and those before it. Raises StorageError."""
        with self._lock:
            if self._kept < number:
                added = self._added
                self._disk.sync_dirs([self._directory])
                self._kept = added
