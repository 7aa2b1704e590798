"""Connections that say nothing, or too slowly, end; as many as one address may have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from sftpgate.web import connections
from sftpgate.web.connections import Addresses, protocol_class


@asynccontextmanager
async def _server(proxies: tuple[str, ...] = ()) -> AsyncIterator[int]:
    """A server of this loop, and its port."""
    config = uvicorn.Config(PlainTextResponse("here"), http=protocol_class(Addresses(proxies)), ws="none", lifespan="off")
    config.load()
    state = uvicorn.server.ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: config.http_protocol_class(config=config, server_state=state, app_state={}),  # type: ignore[call-arg]
        "127.0.0.1",
        0,
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n"])
async def test_headers_have_a_time(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    """A connection that says nothing, or does not come to the end of its headers, is cut off."""
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.05)
    async with _server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


async def test_a_connection_that_is_used_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests one after the other on one connection are all answered, however long it takes to send them all."""
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.2)
    async with _server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while loop.time() - begun < 0.5:
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readuntil(b"here")).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_an_address_has_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more connection of an address than it may have is cut off; those of a proxy, which are everybody's, are not counted."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS_PER_ADDRESS", 2)
    for proxies, is_served in (((), False), (("127.0.0.0/8",), True)):
        async with _server(proxies) as port:
            ends = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            ends[2][1].write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            if is_served:
                assert await ends[2][0].readuntil(b"here")
            else:
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await ends[2][0].readexactly(1)
            for _, writer in ends:
                writer.close()
