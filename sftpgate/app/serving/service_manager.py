"""What a service manager wants to know (sd_notify(3)): ready, stopping, and alive as long as the event loop is.

Without a manager (no ``NOTIFY_SOCKET``) all of it does nothing. The variables are taken out of the environment, so that
workers and commands do not speak for us. Nothing here blocks: a manager that does not listen misses a message.
"""

from __future__ import annotations

import asyncio
import os

from sdnotify import SystemdNotifier  # type: ignore[import-untyped]

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
BEATS = 3  # in one interval of the watchdog: a beat may be late


class ServiceManager:
    """The service manager that started this process, if there is one. Used on the event loop."""

    def __init__(self) -> None:
        pid = str(os.getpid())
        self._notifier = _connected()
        meant = os.environ.get("WATCHDOG_PID", pid) == pid
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        self.watchdog_seconds = int(microseconds) / 1_000_000 if meant and microseconds.isdecimal() else 0.0
        for name in _VARIABLES:
            os.environ.pop(name, None)

    def ready(self, status: str) -> None:
        """Say that the port is open."""
        self._tell(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        """Say that there are no new connections, and that uploads in flight end."""
        self._tell("STOPPING=1\nSTATUS=waiting for uploads in flight")

    async def beat(self) -> None:
        """Say that the event loop is alive, until cancelled; does nothing if nobody watches."""
        if not self.watchdog_seconds:
            return
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / BEATS)

    def close(self) -> None:
        """Say nothing more."""
        if self._notifier is not None:
            self._notifier.socket.close()
            self._notifier = None

    def _tell(self, message: str) -> None:
        if self._notifier is not None:
            self._notifier.notify(message)


def _connected() -> SystemdNotifier | None:
    if not os.environ.get("NOTIFY_SOCKET"):
        return None
    notifier = SystemdNotifier()
    if notifier.socket is None:
        return None
    notifier.socket.setblocking(False)
    return notifier
