"""The link between the supervisor and one worker: small messages, and accepted connections as descriptors.

A Unix socket that keeps messages apart (SOCK_SEQPACKET). Neither end ever waits for the other: what does not fit into
the kernel's buffer waits in a queue here. The end of the link is the end of the other process, however it died.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

MAX_MESSAGE_BYTES = 4096
_MESSAGES_PER_TURN = 64


class MessageKind(StrEnum):
    """What a message says."""

    # to a worker
    CONNECTION = "connection"  # serve this client: the message carries its socket
    RETIRE = "retire"  # take no more, and end when the last client has left
    STOP = "stop"  # let uploads in flight finish, then end
    ANSWER = "answer"  # to ENTER: the text is the reason why the visitor may not come in, empty if it may
    HANG_UP = "hang up"  # this visitor has to make room: the text is the reason

    # from a worker
    READY = "ready"
    ALIVE = "alive"
    ENTER = "enter"  # a visitor asks to come in: the text is its address
    PROGRESS = "progress"  # a visitor has made a step towards its login: the text is its stage
    LOGGED_IN = "logged in"
    CLOSED = "closed"
    SANDBOX_STALE = "stale sandbox"  # its sandbox keeps it from what it should reach: only a new process can


@dataclass(frozen=True, slots=True)
class WorkerMessage:
    """One message. ``connection`` is the supervisor's number of a client's connection, 0 if it speaks of none. ``named``: its
    address is one that the admin named.
    """

    kind: MessageKind
    connection: int = 0
    text: str = ""
    named: bool = False

    def encode(self) -> bytes:
        """Return what goes over the link."""
        return json.dumps([self.kind, self.connection, self.text, self.named]).encode()

    @classmethod
    def decode(cls, raw: bytes) -> WorkerMessage:
        """Return the message that ``encode`` made ``raw`` of."""
        kind, connection, text, named = json.loads(raw)
        return cls(MessageKind(kind), int(connection), str(text), bool(named))


Received = Callable[[WorkerMessage, socket.socket | None], None]


class WorkerLink:
    """One end of a link. ``received`` gets each message, with the socket that it carries; ``ended`` is called once."""

    def __init__(self, sock: socket.socket, received: Received, ended: Callable[[], None]) -> None:
        self._socket = sock
        self._received = received
        self._ended = ended
        self._queue: deque[tuple[bytes, socket.socket | None]] = deque()
        self._open = True
        sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)

    @staticmethod
    def pair() -> tuple[socket.socket, socket.socket]:
        """Return both ends of a new link, as sockets: one is inherited by the worker."""
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def send(self, message: WorkerMessage, carrying: socket.socket | None = None) -> None:
        """Send a message; the socket that it carries is closed here when it is on its way. Nothing happens if the other
        end is gone.
        """
        if not self._open:
            if carrying is not None:
                carrying.close()
            return
        self._queue.append((message.encode(), carrying))
        if len(self._queue) == 1:
            self._writable()

    def close(self) -> None:
        """End the link; ``ended`` is not called by this."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            for _, carried in self._queue:
                if carried is not None:
                    carried.close()
            self._queue.clear()

    def _writable(self) -> None:
        while self._queue:
            raw, carried = self._queue[0]
            try:
                socket.send_fds(self._socket, [raw], [] if carried is None else [carried.fileno()])
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._writable)
                return
            except OSError:
                self._end()
                return
            self._queue.popleft()
            if carried is not None:
                carried.close()
        self._loop.remove_writer(self._socket)

    def _readable(self) -> None:
        for _ in range(_MESSAGES_PER_TURN):
            if not self._open:
                return
            try:
                raw, descriptors, _, _ = socket.recv_fds(self._socket, MAX_MESSAGE_BYTES, 1)
            except BlockingIOError:
                return
            except OSError:
                raw, descriptors = b"", []
            if not raw:
                self._end()
                return
            self._received(WorkerMessage.decode(raw), _socket_of(descriptors))

    def _end(self) -> None:
        self.close()
        self._ended()


def _socket_of(descriptors: list[int]) -> socket.socket | None:
    if not descriptors:
        return None
    os.set_inheritable(descriptors[0], False)
    return socket.socket(fileno=descriptors[0])
