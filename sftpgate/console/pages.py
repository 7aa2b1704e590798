"""The pages, and where they are."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from sftpgate.web.ground import Ground


async def _first(_request: Request) -> Response:
    """Say what answers here."""
    return PlainTextResponse("This is sftpgate. Its API is described at /api/v1/openapi.json\n")


def routes(_ground: Ground) -> Sequence[BaseRoute]:
    """Return the routes of all pages."""
    return [Route("/", _first)]
