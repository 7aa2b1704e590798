"""The buffers through which all connections of the process read, and how much each of them may take in a turn of the loop.

``cipher`` has what came from a socket, ``plain`` what was decrypted of it. Both are used again for the next read, whoever's it
is: whoever needs something for longer copies it. One exception saves a copy: the beginning of a packet whose rest has not come
stays in ``cipher`` for its connection (``leave``) until another one reads. Nothing here blocks.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

# What one connection may take in a read, some 1.5 ms of work. With 256 KiB an upload costs a fifth more: requests are of 255 KiB,
# and half a request is left behind each read on the average. 2 MiB gain nothing.
READ_BYTES = 1024 * 1024
LEAST_READ_BYTES = 32 * 1024
TURN_BYTES = 4 * 1024 * 1024  # what all of them together may take in a turn: some 5 ms


class Holder(Protocol):
    """A connection that has left the beginning of a packet."""

    def take_away(self, left: bytes) -> None:
        """Keep this: another connection needs the buffer."""


class ReadBuffer:
    """``turn`` is the number of this turn of the loop, ``share`` what a connection may take in it, ``allowance`` in one read."""

    __slots__ = ("_busy", "_holder", "_left", "allowance", "cipher", "plain", "share", "turn")

    def __init__(self, longest_packet_bytes: int) -> None:
        self.cipher = memoryview(bytearray(READ_BYTES + longest_packet_bytes))
        self.plain = memoryview(bytearray(READ_BYTES + longest_packet_bytes))
        self.share = TURN_BYTES
        self.allowance = READ_BYTES
        self.turn = 0
        self._busy = 0  # connections that have read in this turn
        self._holder: Holder | None = None
        self._left = 0

    def begin(self, holder: Holder, left: bytes) -> memoryview:
        """Return where ``holder`` reads to: behind what it has left here, or else behind ``left``."""
        if self._holder is not holder:
            if self._holder is not None:
                self._holder.take_away(bytes(self.cipher[: self._left]))
            self._holder = holder
            self._left = len(left)
            self.cipher[: self._left] = left
        return self.cipher[self._left : self._left + self.allowance]

    def end(self, count: int) -> memoryview:
        """Return what there is to deal with after ``count`` bytes have come."""
        view = self.cipher[: self._left + count]
        self._left = 0
        return view

    def leave(self, rest: memoryview) -> None:
        """Let the beginning of a packet stay for the connection that has just read."""
        self._left = len(rest)
        self.cipher[: self._left] = rest

    def release(self, holder: Holder) -> None:
        """Forget what a connection has left that is gone."""
        if self._holder is holder:
            self._holder, self._left = None, 0

    def note_reader(self) -> None:
        """Count a connection that reads for the first time in this turn."""
        if not self._busy:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._busy += 1

    def _next_turn(self) -> None:
        self.share = max(LEAST_READ_BYTES, TURN_BYTES // self._busy)
        self.allowance = min(READ_BYTES, self.share)
        self.turn += 1
        self._busy = 0
