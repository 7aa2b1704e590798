"""The one application of API and console: the routes of both faces, and what holds for each request.

From the outside in: headers of every answer, forged requests, limits, then the routes. What no route knows how to answer is a
bug; it is logged, and its client is told no more than that.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sftpgate.errors import SftpgateError
from sftpgate.ledger.database.connection import Ledger
from sftpgate.logs import get_logger
from sftpgate.web.forgery import ForgeryGuard
from sftpgate.web.ground import Face, Ground
from sftpgate.web.headers import SecurityHeaders
from sftpgate.web.limits import RequestLimits

log = get_logger("console")

GUARDS = [Middleware(SecurityHeaders), Middleware(ForgeryGuard), Middleware(RequestLimits)]


def make_application(ground: Ground, faces: Sequence[Face]) -> Starlette:
    """Return the application with the routes of ``faces``, in their order: the first route that fits answers."""

    async def healthz(_request: Request) -> Response:
        """Answer 200 if pages can be served, 503 if the ledger is away. What the gate's health is, the monitor says."""
        try:
            await ground.run(_require_ledger, ground.site.ledger)
        except SftpgateError:
            return JSONResponse({"status": "not ready", "problem": "the ledger does not answer"}, 503)
        return JSONResponse({"status": "ready"})

    routes = [Route("/healthz", healthz), *(route for face in faces for route in face(ground))]
    return Starlette(routes=routes, middleware=GUARDS, exception_handlers={Exception: _unforeseen})


def _require_ledger(ledger: Ledger) -> None:
    ledger.require_in_place()
    ledger.require_version()


async def _unforeseen(request: Request, error: Exception) -> Response:
    log.error("request.failed", method=request.method, path=request.url.path, exc_info=error)
    return PlainTextResponse("This failed, and it is not your fault. The log of the gate says why.\n", 500)
