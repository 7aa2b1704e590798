"""A number that only grows, over all processes that share a store, over restarts, and whatever the clock does.

It says which of two uploads was opened later. It is the time in milliseconds wherever the clock goes forward, and one more
than the last one wherever it does not, so that what is made of it still looks like a time. The last one is in a small file,
which is locked for the microseconds of a change. Nothing of it is flushed: what a power cut takes back is found again by
``floor``, which looks at what bears such a number, once in each process.

Blocks for a few system calls on one page, and for a second at most if a process was stopped while it had the lock: then
the number is made without it, and two processes may get the same one.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable
from threading import Lock

from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath, translated
from sftpgate.store.kernel.open_files import try_lock

_STATE = struct.Struct("<Q")
_TRIES = 200
_TRY_AGAIN_SECONDS = 0.005


class NumberSequence:
    """One process's access to the number. Any thread; after a fork, each process makes its own."""

    def __init__(self, disk: Disk, file: DiskPath, floor: Callable[[], int]) -> None:
        self._disk = disk
        self._file = file
        self._floor = floor
        self._last = -1  # the last number that this process knows of; none before the first look
        self._fd = -1
        self._lock = Lock()

    def next(self, now_ms: int) -> int:
        """Return a number that is larger than any before, and at least ``now_ms``. Raises StorageError."""
        with self._lock:
            if self._last < 0:
                self._last = self._floor()
                self._fd = self._disk.open_or_create(self._file, 0o600)
            locked = self._wait()
            try:
                with translated("count uploads"):
                    state = os.pread(self._fd, _STATE.size, 0)
                    shared = _STATE.unpack(state)[0] if len(state) == _STATE.size else 0
                    self._last = max(now_ms, shared + 1, self._last + 1)
                    os.pwrite(self._fd, _STATE.pack(self._last), 0)
            finally:
                if locked:
                    fcntl.flock(self._fd, fcntl.LOCK_UN)
            return self._last

    def _wait(self) -> bool:
        for _ in range(_TRIES):
            if try_lock(self._fd):
                return True
            time.sleep(_TRY_AGAIN_SECONDS)
        return False

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = self._last = -1
