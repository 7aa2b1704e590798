"""The HTTP server of the monitor, and clients that mean harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus

import pytest

from sftpgate.gateway.workers.listening import bind
from sftpgate.monitor import http
from sftpgate.monitor.http import MAX_CLIENTS, MAX_REQUEST_BYTES, Page, Server

WAIT_SECONDS = 20.0


class Site:
    """A running server with one page, which counts how often it was made."""

    def __init__(self) -> None:
        self.made = 0
        listeners = bind("127.0.0.1", 0)
        self.port = listeners[0].getsockname()[1]
        self._listeners = listeners
        self.server = Server({"/page": self._page, "/large": lambda: Page(HTTPStatus.OK, "text/plain", b"x" * 3_000_000)})

    def _page(self) -> Page:
        self.made += 1
        return Page(HTTPStatus.OK, "text/plain", b"hello\n")

    async def start(self) -> None:
        """Serve."""
        await self.server.start(self._listeners)

    async def ask(self, request: bytes) -> bytes:
        """The whole answer to what is sent; empty where there is none."""
        async with asyncio.timeout(WAIT_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(request)
                return await reader.read(-1)
            except ConnectionError:
                return b""
            finally:
                writer.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A running server."""
    made = Site()
    await made.start()
    yield made
    made.server.close()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /page HTTP/1.1", 200),
        (b"GET /page?x=1 HTTP/1.0", 200),
        (b"GET /other HTTP/1.1", 404),
        (b"GET /../page HTTP/1.1", 404),
        (b"POST /page HTTP/1.1", 405),
        (b"\xff\xfe", 405),
    ],
)
async def test_answers(site: Site, request_line: bytes, status: int) -> None:
    """A page is answered by its exact path and by GET alone; whatever else is asked gets an error."""
    answer = await site.ask(request_line + b"\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)


async def test_head(site: Site) -> None:
    """HEAD says the length, and sends no body."""
    answer = await site.ask(b"HEAD /page HTTP/1.1\r\n\r\n")
    assert b"Content-Length: 6\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_a_large_page_arrives_whole(site: Site) -> None:
    """A page that is larger than all buffers arrives to its last byte."""
    answer = await site.ask(b"GET /large HTTP/1.1\r\n\r\n")
    assert len(answer.partition(b"\r\n\r\n")[2]) == 3_000_000


async def test_a_request_without_an_end(site: Site) -> None:
    """A client that sends more than a request may have is cut off."""
    assert await site.ask(b"GET /page HTTP/1.1\r\n" + b"X: y\r\n" * MAX_REQUEST_BYTES) == b""


async def test_asking_often_makes_no_work(site: Site) -> None:
    """Many requests within a moment are answered by one look."""
    answers = await asyncio.gather(*(site.ask(b"GET /page HTTP/1.1\r\n\r\n") for _ in range(MAX_CLIENTS)))
    assert {answer[-6:] for answer in answers} == {b"hello\n"}
    assert site.made <= 2


async def test_silent_clients(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that say nothing take all places for a bounded time only; then others are served."""
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.3)
    silent = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(MAX_CLIENTS)]
    async with asyncio.timeout(WAIT_SECONDS):
        for reader, _ in silent:
            assert await reader.read(-1) == b""
    assert (await site.ask(b"GET /page HTTP/1.1\r\n\r\n")).endswith(b"hello\n")
    for _, writer in silent:
        writer.close()
