"""The SHA-256 of an upload, computed as its bytes come.

Writes in order are hashed where they are, in the buffer that they came in, while the processor still has it in its cache. A
thread that reads them back from the page cache costs a quarter more, and takes that from the client or from another upload
on a machine of two cores. If bytes that were hashed are written again or cut off, and if writes come out of order, the
rest is made from the file at the end: the content decides, not the history.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from threading import local

from sftpgate.store.disk_paths import translated

_READ_BYTES = 256 * 1024  # stays in the processor's cache between the read and the hash
_threads = local()


class Digest:
    """A running SHA-256. ``written`` and ``truncated`` are called in the order of the writes, ``finish`` after the last one, in a
    thread: it reads what was not hashed.
    """

    __slots__ = ("_hash", "_next", "_stale")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._next = 0  # the bytes from 0 to here were written in order
        self._stale = False

    def written(self, start: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Take what was written from ``start`` on: about 0.6 ms for each MiB."""
        if start == self._next:
            for piece in pieces:
                self._next += len(piece)
                if not self._stale:
                    self._hash.update(piece)
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

    def finish(self, fd: int, size: int) -> str:
        """Return the SHA-256 of the first ``size`` bytes of the file, in hex."""
        if self._stale or self._next > size:
            return _continued(hashlib.sha256(), fd, 0, size)
        return _continued(self._hash.copy(), fd, self._next, size)


def _continued(digest: hashlib._Hash, fd: int, start: int, end: int) -> str:
    """Return the hash when the bytes of the file from ``start`` to ``end`` are added."""
    with translated("read back"):
        buffer = _buffer() if start < end else memoryview(b"")
        while start < end and (size := os.preadv(fd, [buffer[: end - start]], start)):
            digest.update(buffer[:size])
            start += size
    return digest.hexdigest()


def _buffer() -> memoryview:
    """Return where this thread reads to: memory that is new for each read costs as much as the read."""
    found: memoryview | None = getattr(_threads, "buffer", None)
    if found is None:
        found = _threads.buffer = memoryview(bytearray(_READ_BYTES))
    return found


def sha256_of(fd: int) -> str:
    """Return the SHA-256 of an open file, in hex."""
    return Digest().finish(fd, os.fstat(fd).st_size)
