"""What one request may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sftpgate.web import limits
from sftpgate.web.limits import MAX_BODY_BYTES, RequestLimits, allow_body


async def _read(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def _read_more(request: Request) -> Response:
    allow_body(request, 2 * MAX_BODY_BYTES)
    return await _read(request)


APP = Starlette(
    routes=[Route("/small", _read, methods=["POST"]), Route("/large", _read_more, methods=["POST"])],
    middleware=[Middleware(RequestLimits)],
)


async def _status(path: str, body: bytes | AsyncIterator[bytes]) -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(APP), base_url="http://gate") as client:
        return (await client.post(path, content=body)).status_code


async def _parts(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize(("path", "most"), [("/small", MAX_BODY_BYTES), ("/large", 2 * MAX_BODY_BYTES)])
async def test_a_body_may_be_so_large(path: str, most: int) -> None:
    """A body of the largest size is read, and one of a byte more is refused: by what is declared, or by what comes."""
    assert await _status(path, bytes(most)) == 200
    assert await _status(path, bytes(most + 1)) == 413
    assert await _status(path, _parts([bytes(most), b"x"])) == 413


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends a part of a body, and then nothing, is answered 408 when its time is over."""
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.01)

    async def stalls() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    assert await _status("/small", stalls()) == 408


async def test_who_does_not_take_the_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that reads nothing of an answer holds nothing for ever."""
    monkeypatch.setattr(limits, "ANSWER_SECONDS", 0.01)

    async def never(_message: object) -> None:
        await asyncio.Event().wait()

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "POST", "path": "/small", "headers": [], "query_string": b"", "root_path": ""}
    await APP(scope, receive, never)
