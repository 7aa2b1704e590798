"""The SHA-256 of an upload, computed behind its writes.

Writes in order are hashed from the page cache in a thread, some MiB behind the writer, so that the event loop never
waits for them and CLOSE has only the tail left to do. Where bytes that were hashed are written again, or cut off, the
hash is made anew from the file: the content decides, not the history.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from threading import Lock, local

from sftpgate.store.spots import translated

# Hash in steps of this size: large enough that a thread hop costs little, small enough to stay in the page cache and to
# leave little for CLOSE.
STEP_BYTES = 4 * 1024 * 1024
_READ_BYTES = 256 * 1024  # stays in the processor's cache between the read and the hash
_threads = local()


class Digest:
    """A running SHA-256. ``written`` and ``truncated`` are called on the event loop; ``advance`` and ``finish`` in threads."""

    __slots__ = ("_ended", "_hash", "_hashed", "_lock", "_next", "_stale")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._next = 0  # the bytes from 0 to here were written in order
        self._stale = False
        self._ended = False
        self._lock = Lock()

    def written(self, start: int, end: int) -> None:
        """Note that the bytes from ``start`` to ``end`` were written."""
        if start == self._next:
            self._next = end
        elif start < self._next:
            self._stale = True

    def truncated(self, size: int) -> None:
        """Note that what lies behind ``size`` was cut off."""
        if size < self._next:
            self._stale = True

    @property
    def in_order_bytes(self) -> int:
        """How many bytes from the start were written one after the other."""
        return self._next

    @property
    def is_behind(self) -> bool:
        """True where ``advance`` has a step to do."""
        return not self._stale and not self._ended and self._next - self._hashed >= STEP_BYTES

    def advance(self, fd: int, then: Callable[[int, int], None] | None = None) -> None:
        """Hash what was written in order so far; nothing after the end. ``then`` is called with where that begins and its
        length, while the file is sure to be open.
        """
        with self._lock:
            if not self._ended:
                start = self._hashed
                self._read(fd, self._next)
                if then is not None:
                    then(start, self._hashed - start)

    def end(self) -> None:
        """From when this returns, no thread reads the file any more: it can be closed."""
        with self._lock:
            self._ended = True

    def finish(self, fd: int, size: int) -> str:
        """The SHA-256 of the first ``size`` bytes of the file, in hex."""
        with self._lock:
            if self._stale or self._next > size:
                self._hash = hashlib.sha256()
                self._hashed = 0
            self._read(fd, size)
            return self._hash.hexdigest()

    def _read(self, fd: int, end: int) -> None:
        with translated("read back"):
            buffer = _buffer()
            while self._hashed < end and (size := os.preadv(fd, [buffer[: end - self._hashed]], self._hashed)):
                self._hash.update(buffer[:size])
                self._hashed += size


def _buffer() -> memoryview:
    """Where this thread reads to: memory that is new for each read costs as much as the read."""
    found: memoryview | None = getattr(_threads, "buffer", None)
    if found is None:
        found = _threads.buffer = memoryview(bytearray(_READ_BYTES))
    return found


def sha256_of(fd: int) -> str:
    """The SHA-256 of an open file, in hex."""
    digest = Digest()
    return digest.finish(fd, os.fstat(fd).st_size)
