"""A TCP relay that stops in the middle of an upload, so that an interruption is an event and not a matter of timing.

It forwards until it has passed ``stop_after`` bytes from the client to the server; there it holds the rest back and says so. The
test then kills the client and cuts the line, or interrupts the client and lets the bytes go on. Bytes are those on the wire: at
the stop the server has about as much of the file, in order.
"""

from __future__ import annotations

import socket
import threading
from types import TracebackType

WAIT_SECONDS = 60.0
_CHUNK = 16384


class Relay:
    """One relay, for any number of connections, which share the count."""

    def __init__(self, host: str, port: int, *, stop_after: int) -> None:
        self._target = (host, port)
        self._left = stop_after
        self.passed = 0  # bytes from client to server
        self._broken = False
        self._lock = threading.Lock()
        self._stalled = threading.Event()
        self._go_on = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Relay:
        self._acceptor.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cut()

    def wait_until_stopped(self) -> None:
        """Return when the relay holds back the first byte."""
        assert self._stalled.wait(WAIT_SECONDS), "the client did not send enough to be interrupted"

    def go_on(self) -> None:
        """Forward everything from now on."""
        self._go_on.set()

    def cut(self) -> None:
        """Drop what was held back, break every connection, and return when the server has closed its side too."""
        self._broken = True
        _shut(self._listener)
        self._acceptor.join(WAIT_SECONDS)
        for end in self._sockets[::2]:
            _shut(end)
        self._go_on.set()
        for thread in self._threads:
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive(), "the server did not close a broken connection"
        for end in (*self._sockets, self._listener):
            end.close()
        self._sockets.clear()
        self._threads.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:  # the server is gone: the client sees it as a broken connection
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += [client, server]
            for pump in (self._up, self._down):
                thread = threading.Thread(target=pump, args=(client, server), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        """Client to server, up to the stop."""
        try:
            while data := client.recv(_CHUNK):
                if not self._may_pass(len(data)):
                    self._stalled.set()
                    self._go_on.wait(2 * WAIT_SECONDS)
                    if self._broken:
                        break
                server.sendall(data)
                self.passed += len(data)
        except OSError:
            pass
        _shut(server, socket.SHUT_WR)

    def _may_pass(self, size: int) -> bool:
        with self._lock:
            self._left = max(self._left - size, 0)
            return self._left > 0 or self._go_on.is_set()

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        """Server to client, until the server closes."""
        reachable = True
        try:
            while data := server.recv(_CHUNK):
                if reachable:
                    try:
                        client.sendall(data)
                    except OSError:
                        reachable = False
        except OSError:
            pass
        _shut(client)


def _shut(end: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    try:
        end.shutdown(how)
    except OSError:
        pass
