"""Bandwidth: how many bytes a second one user may send and fetch, by not reading from those who had more.

A token bucket of one second for each user, shared by the user's sessions in this process. A session that is in debt stops
reading its channel until the debt is paid; nobody else waits for it, and nothing sleeps. What a client has on the way then fills
its window and its sockets, and it waits too. The answer to a READ is paid for before the next request is read.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import asyncssh

from sftpgate.gateway.session import SftpSession

LONGEST_PAUSE_SECONDS = 5.0  # a client that hears nothing for longer may give up; the debt stays


@dataclass(slots=True)
class Bucket:
    """What a user may use. ``spend`` is told the time, in seconds of any clock that goes forward."""

    bytes_per_second: int
    _left: float = field(init=False)
    _at: float = 0.0

    def __post_init__(self) -> None:
        self._left = float(self.bytes_per_second)

    def spend(self, count: int, now: float) -> float:
        """Use ``count`` bytes. Returns the seconds until more may be used, 0 for at once."""
        gained = max(0.0, now - self._at) * self.bytes_per_second
        self._left = min(float(self.bytes_per_second), self._left + gained) - count
        self._at = now
        return max(0.0, -self._left / self.bytes_per_second)


class PacedSession(SftpSession):
    """An SFTP session whose user's bandwidth is limited."""

    bucket: Bucket
    _counted_bytes = 0
    _pausing = False

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Take requests, then pause where the user has had more than its share."""
        super().data_received(data, datatype)
        sent_bytes = self.counts.sent_bytes
        used, self._counted_bytes = len(data) + sent_bytes - self._counted_bytes, sent_bytes
        loop = asyncio.get_running_loop()
        seconds = self.bucket.spend(used, loop.time())
        if seconds and not self._pausing and not self._ended:
            self._pausing = True
            self._channel.pause_reading()
            loop.call_later(min(seconds, LONGEST_PAUSE_SECONDS), self._go_on)

    def _go_on(self) -> None:
        self._pausing = False
        if not self._reading_paused and not self._ended:
            self._channel.resume_reading()
