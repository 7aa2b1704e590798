"""Refuses requests that another site's page made a browser send: by what browsers themselves say about a request.

Current browsers send ``Sec-Fetch-Site`` to every trustworthy address (https, and this machine), and ``Origin`` with everything
but GET and HEAD. Neither can be written by a page. A request without either is not a browser's; it is let through if it has
no cookie, since then nobody lends it a login. No token is bound to an address or kept anywhere: a client whose address
changes, and two gates behind a balancer, see no difference.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

SAFE = {"GET", "HEAD", "OPTIONS"}  # RFC 9110, section 9.2.1; no route of ours changes anything by these
OURS = {"same-origin", "none"}  # none: typed into the address bar, or from a bookmark
_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_forged(method: str, headers: Headers, scheme: str) -> bool:
    """Return whether a request that may change something comes from a page that is not ours, as far as can be known."""
    if method in SAFE:
        return False
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site not in OURS
    if origin is not None:
        return not _is_same(origin, headers.get("host", ""), scheme)
    return "cookie" in headers


def _is_same(origin: str, host: str, scheme: str) -> bool:
    """Return whether ``origin`` names the host that was asked. Its scheme is not compared: a proxy may have taken TLS off."""
    try:
        there, here = urlsplit(origin), urlsplit(f"{scheme}://{host}")
        ports = [each.port or _DEFAULT_PORTS.get(there.scheme) for each in (there, here)]
    except ValueError:
        return False
    return there.hostname is not None and there.hostname == here.hostname and ports[0] == ports[1]


class ForgeryGuard:
    """Answers 403 to forged requests, before anything reads them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless it is forged."""
        if scope["type"] == "http" and is_forged(scope["method"], Headers(scope=scope), scope["scheme"]):
            text = "This request came from a page of another site, and was refused: nothing was changed.\n"
            await PlainTextResponse(text, 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)
