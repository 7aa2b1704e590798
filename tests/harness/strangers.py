"""Connections that do not log in, by sockets; and a relay in front of a gate, as a load balancer is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.harness.raw import WAIT_SECONDS

PIECE_BYTES = 65536


@dataclass
class Stranger:
    """A connection that speaks by hand."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def connect(cls, port: int, sent: bytes = b"", *, address: str = "127.0.0.1") -> Self:
        """A connection from ``address``, one of the loopback network, with its first bytes sent."""
        stranger = cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0)))
        stranger.writer.write(sent)
        return stranger

    async def banner(self) -> bytes:
        """The server's first line; empty where it hung up instead."""
        async with asyncio.timeout(WAIT_SECONDS):
            with suppress(ConnectionError):
                return await self.reader.readline()
        return b""

    async def ended(self) -> None:
        """Wait until the server has hung up."""
        async with asyncio.timeout(WAIT_SECONDS):
            with suppress(ConnectionError):
                while await self.reader.read(PIECE_BYTES):
                    pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: BaseException | type[BaseException] | TracebackType | None) -> None:
        """Hang up."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def strangers(port: int, count: int, sent: bytes = b"", *, address: str = "127.0.0.1") -> AsyncIterator[list[Stranger]]:
    """So many of them, which have seen the server's banner or its back."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(count):
            one = await stack.enter_async_context(await Stranger.connect(port, sent, address=address))
            await one.banner()
            found.append(one)
        yield found


@asynccontextmanager
async def relay(port: int, header: bytes) -> AsyncIterator[int]:
    """The port of a proxy that sends a header before what its client says."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(PIECE_BYTES):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
        behind_writer.write(header)
        await asyncio.gather(copy(reader, behind_writer), copy(behind_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
