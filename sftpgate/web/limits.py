"""RequestLimits of what one request may take: bytes of its body, and time to send it and to take the answer.

A body is read as somebody asks for it; whoever wants a larger one than most says so first (``allow_body``). A client that is
slow is given as long as its bytes take at the slowest pace that we wait for. How many connections there are at a time is
limited where they are accepted (``process``).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1024 * 1024  # a form, or a document of JSON
BODY_SECONDS = 20.0  # for a body that is small
SLOWEST_BYTES_PER_SECOND = 8 * 1024  # for the rest of it
ANSWER_SECONDS = 60.0  # without any byte of the answer being taken
_KEY = "sftpgate.body"


@dataclass(slots=True)
class _Body:
    """What is known of the body of one request."""

    most_bytes: int
    declared: int | None
    begun_at: float
    read: int = 0

    def require(self) -> None:
        """Raise HTTPException (413) if it is larger than it may be, by what its client says or by what came."""
        if max(self.declared or 0, self.read) > self.most_bytes:
            raise HTTPException(413, f"the body is larger than {self.most_bytes} bytes")

    def seconds_left(self, now: float) -> float:
        """Return how long the next part may take."""
        return self.begun_at + BODY_SECONDS + self.read / SLOWEST_BYTES_PER_SECOND - now


def allow_body(request: HTTPConnection, most_bytes: int) -> None:
    """Let the body of this request be larger than most. Called before it is read."""
    body: _Body = request.scope[_KEY]
    body.most_bytes = most_bytes


class RequestLimits:
    """Holds the requests of an application to the limits."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, held to the limits."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        body = scope[_KEY] = _Body(MAX_BODY_BYTES, _declared(scope), loop.time())
        ended = False

        async def bounded_receive() -> Message:
            nonlocal ended
            if ended:
                return await receive()  # who waits here waits for the client to go away
            body.require()
            try:
                async with asyncio.timeout(max(0.0, body.seconds_left(loop.time()))):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, "the body took too long") from error
            body.read += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            body.require()
            return message

        async def bounded_send(message: Message) -> None:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await send(message)
            except TimeoutError as error:
                raise _NotTakenError from error

        try:
            await self._app(scope, bounded_receive, bounded_send)
        except _NotTakenError:
            return  # the server cuts off who is not answered to the end


class _NotTakenError(Exception):
    """The client does not take the answer."""


def _declared(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 20 else None
    return None
