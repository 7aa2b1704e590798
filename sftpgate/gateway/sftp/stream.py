"""Cutting the client's stream into requests, without putting its bytes together.

A WRITE of 255 KiB comes in several pieces, which go to the disk as they are (``os.pwritev``). Pieces are kept as they were
given until ``keep``, which makes copies: whoever gives them must not change them before. Small ones are collected, so that a
client that sends single bytes costs no more memory than it sends. Nothing here blocks.
"""

from __future__ import annotations

from sftpgate.errors import BadMessage
from sftpgate.gateway.sftp import wire

SMALL_BYTES = 4096  # pieces below this are put together: each costs an object of about 200 bytes

Piece = bytes | memoryview


class RequestStream:
    """The requests of one session, in their order."""

    __slots__ = ("_have", "_kept", "_length", "_pieces", "_small")

    def __init__(self) -> None:
        self._pieces: list[memoryview] = []
        self._kept = 0  # so many of them, the first ones, are our copies
        self._small = bytearray()  # what came last, while it is small
        self._have = 0
        self._length = -1  # of the request that has begun; -1: not known

    def add(self, data: Piece) -> None:
        """Add bytes that have come."""
        self._have += len(data)
        if len(data) < SMALL_BYTES and (self._small or self._pieces):
            self._small += data
            return
        self._settle()
        self._pieces.append(memoryview(data))

    def _settle(self) -> None:
        if self._small:
            self._pieces.append(memoryview(bytes(self._small)))
            self._small.clear()

    def keep(self) -> None:
        """Copy what was not taken: what it was given in may be changed from now on."""
        pieces, kept = self._pieces, self._kept
        if len(pieces) > kept:
            pieces[kept:] = [memoryview(b"".join(pieces[kept:]))]
            self._kept = kept + 1

    def next(self) -> list[memoryview] | None:
        """Return the pieces of the next whole request, without its length; None if it has not come yet.

        Raises BadMessage if its length cannot be true: nothing after that can be understood.
        """
        if self._length < 0:
            if self._have < 4:
                return None
            self._length = int.from_bytes(b"".join(self._cut(4)), "big")
            if not 1 <= self._length <= wire.MAX_PACKET_BYTES:
                raise BadMessage(f"a request of {self._length} bytes")
        if self._have < self._length:
            return None
        request = self._cut(self._length)
        self._length = -1
        return request

    def _cut(self, size: int) -> list[memoryview]:
        """Take the first ``size`` bytes, which are there."""
        self._settle()
        self._have -= size
        pieces = self._pieces
        taken = []
        while size:
            piece = pieces[0]
            if len(piece) > size:
                taken.append(piece[:size])
                pieces[0] = piece[size:]
                break
            taken.append(pieces.pop(0))
            self._kept -= self._kept > 0
            size -= len(piece)
        return taken
