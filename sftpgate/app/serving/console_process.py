"""Keeps the process of API and console running beside the supervisor, which owns its sockets. Imports neither.

What the two are made of is an extra. A gate without it serves SFTP, and says that there are no pages.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from importlib.util import find_spec
from ipaddress import ip_address

from sftpgate.app.serving.side_process import SideProcess
from sftpgate.errors import SettingsError
from sftpgate.gateway.workers.listening import bind
from sftpgate.logs import get_logger
from sftpgate.settings.tree import Settings

log = get_logger("gate")

PARTS = ("argon2", "authlib", "babel", "fastapi", "httpx", "jinja2", "pyotp", "python_multipart", "segno", "uvicorn", "webauthn")
WHAT_TO_DO = "pip install 'sftpgate[console]'"


def missing_parts() -> Sequence[str]:
    """Return the packages of the extra that are not installed."""
    return [name for name in PARTS if find_spec(name) is None]


class ConsoleProcess:
    """The process, and its sockets. ``listen`` is called while the gate may still have any port, ``start`` when it is ready."""

    def __init__(self) -> None:
        self._listeners: Sequence[socket.socket] = ()
        self.process: SideProcess | None = None

    def listen(self, settings: Settings) -> None:
        """Take the port, if the settings want API and console, and what they are made of is installed.

        Raises SettingsError if the port cannot be had.
        """
        if settings.console_port is None:
            return
        if missing := missing_parts():
            log.error("console.not_installed", missing=", ".join(missing), what_to_do=WHAT_TO_DO)
            return
        try:
            self._listeners = bind(settings.console_host, settings.console_port)
        except SettingsError as error:
            what = error.message.partition(";")[0]
            raise SettingsError(f"console_port: {what}; stop what uses it, or choose another SFTPGATE_CONSOLE_PORT") from error
        if settings.console_tls_certificate is None and not _is_loopback(self._listeners):
            log.warning(
                "console.not_encrypted",
                address=settings.console_host,
                what_to_do="set console_tls_certificate and console_tls_key, or console_host to 127.0.0.1 with a proxy in front",
            )
        numbers = [listener.fileno() for listener in self._listeners]
        self.process = SideProcess("console", ["console", "--parent", str(os.getpid()), *map(str, numbers)], pass_fds=numbers)

    def start(self) -> None:
        """Start the process, if there is to be one."""
        if self.process is not None:
            self.process.start()

    async def stop(self) -> None:
        """End it, and close its sockets."""
        if self.process is not None:
            await self.process.stop()
        for listener in self._listeners:
            listener.close()


def _is_loopback(listeners: Sequence[socket.socket]) -> bool:
    return all(ip_address(listener.getsockname()[0]).is_loopback for listener in listeners)
