"""Webhooks: a POST with a signed body, to an address that is looked at when it is connected to.

Name servers may answer one thing now and another one a moment later. So the address is not looked up and checked first: the check
stands where the socket is made, for each address that is tried. Redirects are not followed, proxies of the environment are not
used, cookies are not kept. An answer counts when its head is here; of its body a little is read, to be shown. All of it together
takes no longer than the timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

import aiohttp

from sftpgate.ids import Clock
from sftpgate.ledger.outbox.messages import Message
from sftpgate.policy.deliveries import Attempt, Verdict, of_status
from sftpgate.policy.reachable_addresses import Network, is_listed, is_reachable
from sftpgate.settings.notify import ReceiverSettings
from sftpgate.upkeep.notifications.cloud_events import CONTENT_TYPE, body_of
from sftpgate.upkeep.notifications.ways.signatures import signatures
from sftpgate.upkeep.notifications.ways.way import on_one_line

_SHOWN_BYTES = 300  # of an answer's body
_BODY_SECONDS = 2.0  # for that: what counts is the status
_MAX_HEAD = 16 * 1024  # of a line of its head, and of all of them


class AddressRefused(OSError):
    """The name of a webhook leads to an address that no webhook may be at."""


class Webhook:
    """One receiver. Used on one event loop."""

    def __init__(self, settings: ReceiverSettings, allowed: Sequence[Network], *, source: str, gate: str, clock: Clock) -> None:
        assert settings.url is not None
        self._url = settings.url.get_secret_value()
        self._keys = [key.get_secret_value() for key in settings.keys]
        self._is_plain = urlsplit(self._url).scheme == "http"
        self._settings = settings
        self._allowed = allowed
        self._source = source
        self._gate = gate
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def deliver(self, message: Message) -> Attempt:
        """POST it once."""
        body = body_of(message, self._source, self._gate)
        timestamp = int(self._clock().timestamp())
        headers = {
            "content-type": CONTENT_TYPE,
            "user-agent": "sftpgate",
            "webhook-id": message.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signatures(self._keys, message.id, timestamp, body),
        }
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await self._post(body, headers)
        except TimeoutError:
            return Attempt(verdict=Verdict.AWAY, said=f"no answer within {self._settings.timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Attempt(verdict=Verdict.AWAY, said=self._without_secrets(_why(error)))

    async def _post(self, body: bytes, headers: dict[str, str]) -> Attempt:
        session = self._opened()
        async with session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
            verdict, pause = of_status(answer.status, answer.headers.get("retry-after"), self._clock())
            text = ""
            if verdict is not Verdict.SENT:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with asyncio.timeout(_BODY_SECONDS):
                        text = (await answer.content.read(_SHOWN_BYTES)).decode("utf-8", "replace")
            if 300 <= answer.status < 400:
                text = "redirects are not followed: change the URL in the settings"
            said = f"{answer.status} {answer.reason or ''} {text}"
            return Attempt(verdict=verdict, said=self._without_secrets(said), retry_after=pause)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls = ssl.create_default_context(cafile=self._settings.ca_file)
            connector = aiohttp.TCPConnector(
                socket_factory=self._socket, ssl=tls, limit=4, use_dns_cache=False, enable_cleanup_closed=False
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout),
                max_line_size=_MAX_HEAD,
                max_field_size=_MAX_HEAD,
            )
        return self._session

    def _socket(self, where: aiohttp.AddrInfoType) -> socket.socket:
        """Return a socket to connect to ``where``. Raises AddressRefused."""
        family, kind, protocol, _, address = where
        host = str(address[0])
        if not is_reachable(host, self._allowed):
            raise AddressRefused(
                f"{host} is a private or special address: list its network in notify.allowed_networks if it is meant"
            )
        if self._is_plain and not is_listed(host, self._allowed):
            raise AddressRefused("http without TLS is for networks that notify.allowed_networks lists: use https")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    def _without_secrets(self, text: str) -> str:
        parts = urlsplit(self._url)
        return on_one_line(text, self._url, *(part for part in (parts.query, parts.path) if len(part) > 1), *self._keys)

    async def close(self) -> None:
        """Close the connections that are kept."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _why(error: BaseException) -> str:
    """Return what went wrong: what we refused, if we did."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AddressRefused):
            return str(cause)
        inner = getattr(cause, "os_error", None)
        if isinstance(cause, ExceptionGroup):
            inner = cause.exceptions[0]
        cause = inner or cause.__cause__ or cause.__context__
    return f"{error}" or type(error).__name__
