"""A small HTTP server for monitoring: a few pages by GET, made by functions, and nothing else.

Slow and hostile clients are bounded: so many connections at a time, so long for a request, so many bytes of it, one
request a connection. A page is made in a thread, by one client at a time, and kept for a moment, so that nobody can
make the machine work by asking often. It runs in a process of its own: whatever happens here, the gate serves.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

from sftpgate.logs import get_logger

log = get_logger("monitor")

MAX_CLIENTS = 16
MAX_REQUEST_BYTES = 8192
REQUEST_SECONDS = 5.0  # for the whole request, and again for the answer to be taken
PAGE_SECONDS = 8.0  # below the ten seconds that Prometheus waits
KEEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered."""

    status: HTTPStatus
    content_type: str
    body: bytes


Make = Callable[[], Page]


class _Kept:
    """A page that is made at most once in KEEP_SECONDS."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._lock = asyncio.Lock()
        self._page: Page | None = None
        self._made_at = 0.0

    async def get(self, pool: ThreadPoolExecutor) -> Page:
        async with self._lock:
            if self._page is None or time.monotonic() - self._made_at > KEEP_SECONDS:
                self._page = await asyncio.get_running_loop().run_in_executor(pool, self._make)
                self._made_at = time.monotonic()
            return self._page


class Server:
    """Serves ``pages`` (by path) on ``listeners`` until ``close``."""

    def __init__(self, pages: Mapping[str, Make]) -> None:
        self._pages = {path: _Kept(make) for path, make in pages.items()}
        self._pool = ThreadPoolExecutor(len(pages), thread_name_prefix="page")
        self._clients = 0
        self._servers: list[asyncio.Server] = []

    async def start(self, listeners: Sequence[socket.socket]) -> None:
        """Accept clients."""
        for listener in listeners:
            self._servers.append(await asyncio.start_server(self._serve, sock=listener, limit=MAX_REQUEST_BYTES))

    def close(self) -> None:
        """Accept no more."""
        for server in self._servers:
            server.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            if self._clients <= MAX_CLIENTS:
                await self._answer(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()  # the client's fault, and its loss
        except Exception as error:
            log.error("monitor.failed", exc_info=error)
            writer.transport.abort()
        finally:
            self._clients -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)  # so that drain waits for the last byte
        async with asyncio.timeout(REQUEST_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        page = await self._page(head.partition(b"\r\n")[0].decode("latin-1"))
        lines = [
            f"HTTP/1.1 {page.status.value} {page.status.phrase}",
            f"Content-Type: {page.content_type}",
            f"Content-Length: {len(page.body)}",
            "Cache-Control: no-store",
            "Connection: close",
        ]
        body = b"" if head.startswith(b"HEAD ") else page.body
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        async with asyncio.timeout(REQUEST_SECONDS):
            await writer.drain()

    async def _page(self, request: str) -> Page:
        method, _, rest = request.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method not in ("GET", "HEAD"):
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED, "only GET")
        kept = self._pages.get(path)
        if kept is None:
            return _plain(HTTPStatus.NOT_FOUND, f"there are {', '.join(sorted(self._pages))}")
        try:
            async with asyncio.timeout(PAGE_SECONDS):
                return await kept.get(self._pool)
        except TimeoutError:
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE, "the answer takes too long: the ledger or the disk does not react")


def _plain(status: HTTPStatus, text: str) -> Page:
    return Page(status, "text/plain; charset=utf-8", f"{text}\n".encode())
