"""Bandwidth: how many bytes a second one user may send and fetch, by not reading from those who had more.

The user's sessions of all processes share one allowance. A session that finds it in debt stops reading its channel until the debt
is paid; nobody else waits for it, and nothing sleeps. What a client has on the way then fills its window and its sockets, and it
waits too. The answer to a READ is paid for before the next request is read.
"""

from __future__ import annotations

import asyncio

import asyncssh

from sftpgate.gateway.sftp.session import SftpSession
from sftpgate.store.shared.allowance import Allowance

LONGEST_PAUSE_SECONDS = 5.0  # a client that hears nothing for longer may give up; the debt stays


class PacedSession(SftpSession):
    """An SFTP session whose user's bandwidth is limited."""

    allowance: Allowance
    _counted_bytes = 0
    _pausing = False

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Take requests, then pause if the user has had more than its share."""
        super().data_received(data, datatype)
        seconds = self.allowance.spend(len(data) + self._newly_sent())
        if seconds and not self._pausing and not self._ended:
            self._pausing = True
            self._channel.pause_reading()
            asyncio.get_running_loop().call_later(min(seconds, LONGEST_PAUSE_SECONDS), self._go_on)

    def pay_up(self) -> None:
        """Pay for what was sent last."""
        self.allowance.spend(self._newly_sent())
        self.allowance.close()

    def _newly_sent(self) -> int:
        newly, self._counted_bytes = self.counts.sent_bytes - self._counted_bytes, self.counts.sent_bytes
        return newly

    def _go_on(self) -> None:
        self._pausing = False
        if self._reading_paused:
            self._resume_reading()
        elif not self._ended:
            self._channel.resume_reading()

    def _resume_reading(self) -> None:
        """Read on when what was queued is done, unless there is a debt."""
        if not self._pausing:
            super()._resume_reading()
