"""A user's allowance: how many bytes a second it may send and fetch, over all processes that share a store.

A token bucket of one second in a small file, which each session opens for itself. It is locked for the microseconds of a
change and never waited for: who finds it locked pays with its next bytes. The kernel gives the lock back when a process
dies, so what a crash leaves is whole, and short of what one session had not paid yet. Time is that of the day, which hosts
share; if it is set back, a debt is paid from then on.

**How far the sum can pass the limit:** each session may owe what a 32nd of a second is worth, at most 64 KiB, before it pays; all
that it uses is paid for, sooner or later. Blocks for a few system calls on one page.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable

from sftpgate.errors import SftpgateError
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath, translated
from sftpgate.store.kernel.open_files import try_lock

_STATE = struct.Struct("<dd")  # bytes that may be used, and since when, in Unix time
_MAX_UNPAID_BYTES = 64 * 1024
_UNPAID_PARTS = 32
_MAX_AHEAD_SECONDS = 5.0  # a time that is further ahead was written before the clock was set back


class Allowance:
    """One session's access to what its user may use. ``spend`` what was used, in the end by ``close``. Never raises: if the
    file cannot be used, the session pays in time for all that it uses, as if it were the only one.
    """

    def __init__(self, disk: Disk, file: DiskPath, bytes_per_second: int, clock: Callable[[], float] = time.time) -> None:
        self._disk = disk
        self._file = file
        self._rate = float(bytes_per_second)
        self._clock = clock
        self._unpaid = 0
        self._most_unpaid = min(_MAX_UNPAID_BYTES, bytes_per_second // _UNPAID_PARTS)
        self._fd = -1

    def spend(self, count: int) -> float:
        """Use ``count`` bytes. Returns the seconds until more may be used, 0 for at once."""
        self._unpaid += count
        return self._pay() if self._unpaid > self._most_unpaid else 0.0

    def close(self) -> None:
        """Pay what is not paid."""
        self._pay()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _pay(self) -> float:
        """Take what was used out of the bucket; the seconds until it is no longer in debt."""
        try:
            if self._fd < 0:
                self._fd = self._disk.open_or_create(self._file, 0o600)
            if not try_lock(self._fd):
                return 0.0
            try:
                left = self._change(self._unpaid)
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        except SftpgateError:
            left = -float(self._unpaid)
        self._unpaid = 0
        return max(0.0, -left / self._rate)

    def _change(self, count: int) -> float:
        """Return what is left in the bucket after ``count`` bytes."""
        with translated("use an allowance"):
            now, state = self._clock(), os.pread(self._fd, _STATE.size, 0)
            left: float = self._rate
            at: float = now
            if len(state) == _STATE.size:
                left, at = _STATE.unpack(state)
            if at > now + _MAX_AHEAD_SECONDS:
                at = now
            left = min(self._rate, left + max(0.0, now - at) * self._rate) - count
            os.pwrite(self._fd, _STATE.pack(left, max(at, now)), 0)
        return left
