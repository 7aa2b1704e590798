"""Listening: the sockets of the gate's address, and the loop that accepts connections on them.

A listener belongs to one process for as long as the gate runs: connections that wait in the kernel's queue are not lost
when a worker dies or is replaced (docs/decisions). Nothing here blocks.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence

from sftpgate.errors import SettingsError
from sftpgate.logs import get_logger

log = get_logger("listening")

BACKLOG = 1024  # connections that the kernel keeps for us; it cuts this to net.core.somaxconn
ACCEPTS_PER_TURN = 16  # so that a flood of connections does not keep the loop from its other work
PAUSE_SECONDS = 1.0  # if the process is out of descriptors: trying at once again would only burn the processor
_OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

Take = Callable[[socket.socket], None]


def bind(host: str, port: int) -> list[socket.socket]:
    """Return sockets for every address of ``host``, bound and not listening yet; all have the same port, also if it is 0.

    Raises SettingsError if an address cannot be had.
    """
    bound: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            bound.append(listener)
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address[0], port or bound[0].getsockname()[1], *address[2:]))
    except OSError as error:
        for listener in bound:
            listener.close()
        reason = error.strerror or str(error)
        raise SettingsError(
            f"cannot listen on {host} port {port}: {reason}; stop what uses it, or choose another SFTPGATE_PORT"
        ) from error
    return bound


class Acceptor:
    """Accepts connections and hands each to ``take``, which owns the socket from then on."""

    def __init__(self, listeners: Sequence[socket.socket], take: Take) -> None:
        self._listeners = listeners
        self._take = take
        self._open = False

    @property
    def address(self) -> tuple[str, int]:
        """Address and port of the first listener."""
        host, port = self._listeners[0].getsockname()[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Listen. Raises SettingsError if another process took the port since it was bound."""
        self._open = True
        for listener in self._listeners:
            try:
                listener.listen(BACKLOG)
            except OSError as error:
                raise SettingsError(f"cannot listen on port {self.address[1]}: {error.strerror}") from error
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def close(self) -> None:
        """Listen no more; what was accepted goes on."""
        self._open = False
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if not self._open:
                return
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _OUT_OF_DESCRIPTORS:
                    self._pause(listener, error)
                    return
                log.warning("connection.not_accepted", reason=error.strerror)  # the peer's or the network's fault: the next one
                continue
            connection.setblocking(False)
            self._take(connection)

    def _pause(self, listener: socket.socket, error: OSError) -> None:
        log.error("listening.paused", reason=error.strerror, seconds=PAUSE_SECONDS)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        loop.call_later(PAUSE_SECONDS, self._resume, listener)

    def _resume(self, listener: socket.socket) -> None:
        if self._open:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)
