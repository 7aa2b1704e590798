"""An SFTP client that does what it is told, also what no client should do: packets by hand over asyncssh's channel."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh

from sftpgate.gateway.wire import Open, Reply, Request
from tests.faults.servers import WAIT_SECONDS, Gate

CREATE = Open.WRITE | Open.CREAT | Open.TRUNC
RESUME = Open.WRITE | Open.CREAT


class Raw:
    """One SFTP session of version 3."""

    def __init__(
        self, connection: asyncssh.SSHClientConnection, writer: asyncssh.SSHWriter[bytes], reader: asyncssh.SSHReader[bytes]
    ) -> None:
        self.connection = connection
        self.writer = writer
        self._reader = reader
        self._number = 0

    async def begin(self) -> None:
        """INIT."""
        self._send(Request.INIT, struct.pack(">I", 3))
        kind, _ = await self._packet()
        assert kind == Reply.VERSION

    async def request(self, kind: Request, *parts: bytes) -> tuple[int, bytes]:
        """A request and the kind and body of its answer."""
        self.send(kind, *parts)
        return await self.answer()

    def send(self, kind: Request, *parts: bytes) -> None:
        """A request, whose answer is read later or never."""
        self._number += 1
        self._send(kind, struct.pack(">I", self._number), *parts)

    async def answer(self) -> tuple[int, bytes]:
        """Kind and body of the next answer."""
        kind, body = await self._packet()
        return kind, body[4:]

    async def status(self, kind: Request, *parts: bytes) -> int:
        """A request that is answered with a status: its code."""
        return status_in(await self.request(kind, *parts))

    # -- requests ----------------------------------------------------------------------------------------------------

    async def open(self, path: str, flags: Open = CREATE, size: int | None = None) -> bytes:
        """OPEN; the handle. ``size`` is declared in the attributes."""
        attributes = struct.pack(">I", 0) if size is None else struct.pack(">IQ", 1, size)
        kind, body = await self.request(Request.OPEN, string(path.encode()), struct.pack(">I", flags), attributes)
        assert kind == Reply.HANDLE, body
        return body[4:]

    async def write(self, handle: bytes, offset: int, content: bytes) -> int:
        """WRITE; the status."""
        return await self.status(Request.WRITE, string(handle), struct.pack(">Q", offset), string(content))

    async def close(self, handle: bytes) -> int:
        """CLOSE; the status."""
        return await self.status(Request.CLOSE, string(handle))

    async def size(self, path: str) -> int | None:
        """The size that STAT tells, or None where there is no such file."""
        kind, body = await self.request(Request.STAT, string(path.encode()))
        if kind != Reply.ATTRS:
            return None
        flags, size = struct.unpack_from(">IQ", body)
        assert flags & 1
        return int(size)

    # -- packets -----------------------------------------------------------------------------------------------------

    def _send(self, kind: Request, *parts: bytes) -> None:
        body = bytes([kind]) + b"".join(parts)
        self.writer.write(struct.pack(">I", len(body)) + body)

    async def _packet(self) -> tuple[int, bytes]:
        async with asyncio.timeout(WAIT_SECONDS):
            (length,) = struct.unpack(">I", await self._reader.readexactly(4))
            body = await self._reader.readexactly(length)
        return body[0], body[1:]


def string(content: bytes) -> bytes:
    """A string of the protocol."""
    return struct.pack(">I", len(content)) + content


def status_in(answer: tuple[int, bytes]) -> int:
    """The code of an answer that must be a status."""
    kind, body = answer
    assert kind == Reply.STATUS, kind
    (code,) = struct.unpack_from(">I", body)
    return int(code)


@asynccontextmanager
async def session(gate: Gate, *, user: str = "erp") -> AsyncIterator[Raw]:
    """A connection with one SFTP session; at the end the connection is closed in order, where it still is."""
    connection = await gate.connect(user)
    try:
        writer, reader, _ = await connection.open_session(subsystem="sftp", encoding=None)
        raw = Raw(connection, writer, reader)
        await raw.begin()
        yield raw
    finally:
        connection.close()
        async with asyncio.timeout(WAIT_SECONDS):
            await connection.wait_closed()
