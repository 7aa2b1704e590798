"""User slots: how many of something one user has at a time, over all processes that share a store.

A slot is a lock on one byte of one file. The kernel gives it back when its process dies, however that was, so nothing has to be
cleaned up and nothing can be counted wrong. The locks are those of open file descriptions (fcntl(2), F_OFD_SETLK): they are
a process's own affair no longer than the file is open, and work over NFS 4. Takes a few microseconds on a local disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
from dataclasses import dataclass

from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath, translated

_FLOCK = struct.Struct("hhqqi4x")  # struct flock: l_type, l_whence, l_start, l_len, l_pid
_SEATS_BITS = 16
MAX_SEATS = 1 << _SEATS_BITS


@dataclass(frozen=True, slots=True)
class UserSlot:
    """A slot that was taken."""

    byte: int


class UserSlots:
    """The slots of one process. Used on one thread."""

    def __init__(self, disk: Disk, file: DiskPath) -> None:
        self._fd = disk.open_or_create(file, 0o600)
        self._taken: set[int] = set()

    def take(self, what: str, limit: int) -> UserSlot | None:
        """Return a slot for ``what`` (a kind and a user's name), or None if all ``limit`` are taken."""
        first = int.from_bytes(hashlib.sha256(what.encode()).digest()[:5], "big") << _SEATS_BITS
        end = first + min(limit, MAX_SEATS)
        beyond = self._held(end, first + MAX_SEATS)  # by processes that had a higher limit, before a reload
        if beyond and beyond + self._held(first, end) >= limit:
            return None
        for byte in range(first, end):
            if byte not in self._taken and self._lock(byte, fcntl.F_WRLCK):
                self._taken.add(byte)
                return UserSlot(byte)
        return None

    def _held(self, start: int, end: int) -> int:
        """Return how many of these slots are taken, by whomever."""
        found = sum(start <= byte < end for byte in self._taken)
        while start < end:
            with translated("look at user slots"):
                asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, end - start, 0)
                kind, _, at, length, _ = _FLOCK.unpack(fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, asked))
            if kind == fcntl.F_UNLCK:
                break
            found += min(at + length, end) - max(at, start)
            start = at + length
        return found

    def leave(self, slot: UserSlot) -> None:
        """Give a slot back."""
        self._taken.discard(slot.byte)
        self._lock(slot.byte, fcntl.F_UNLCK)

    def close(self) -> None:
        """Give all back."""
        os.close(self._fd)

    def _lock(self, byte: int, kind: int) -> bool:
        with translated("lock a user slot"):
            try:
                fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0))
            except (BlockingIOError, PermissionError):  # fcntl(2): EAGAIN or EACCES
                return False
        return True
