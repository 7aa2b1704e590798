"""HTTP connections, bounded: how many there are of one address, and how long one may take to say what it wants.

The library bounds the number of all connections and the time between two requests, but not the time that headers take. So
whoever opens connections and says nothing, or one byte a second, would have all of them. Uses the library's protocol in pure
Python: its parser is the strictest that there is, and what it costs is nothing beside a query.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from ipaddress import ip_address, ip_network

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS_PER_ADDRESS = 100
HEADER_SECONDS = 10.0  # from the connection, or the first byte of a further request, to the end of its headers


class Addresses:
    """How many connections each address has. Those of ``proxies`` are not counted: all clients come from there."""

    def __init__(self, proxies: Iterable[str]) -> None:
        self._proxies = [ip_network(each) for each in proxies]
        self._open: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Count one more connection; return whether the address may have it."""
        self._open[address] += 1
        return self._open[address] <= MAX_CONNECTIONS_PER_ADDRESS or self._is_proxy(address)

    def leave(self, address: str) -> None:
        """Count one less."""
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    def _is_proxy(self, address: str) -> bool:
        return any(ip_address(address) in network for network in self._proxies)


def protocol_class(addresses: Addresses) -> type[asyncio.Protocol]:
    """Return the protocol of one server."""

    class Bounded(H11Protocol):
        """A connection that has a time for its headers, and counts for its address."""

        _header_timer: asyncio.TimerHandle | None = None
        _address: str | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if self.client is not None:
                self._address = self.client[0]
                if not addresses.enter(self._address):
                    transport.abort()
                    return
            self._expect_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            if self._address is not None:
                addresses.leave(self._address)
                self._address = None
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is h11.IDLE:
                self._expect_headers()
            else:
                self._stop_timer()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
                self._expect_headers()

        def _expect_headers(self) -> None:
            if self._header_timer is None:
                self._header_timer = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

        def _stop_timer(self) -> None:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

    return Bounded
