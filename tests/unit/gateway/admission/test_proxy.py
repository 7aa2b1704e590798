"""PROXY headers: whose address they give, and what is none."""

from __future__ import annotations

import contextlib
import socket
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from proxyprotocol.result import ProxyResultIPv4, ProxyResultIPv6, ProxyResultLocal
from proxyprotocol.v2 import ProxyProtocolV2

from sftpgate.errors import BadMessage
from sftpgate.gateway.admission.proxy import MAX_V2_BYTES, client_of, read_header

V2 = b"\r\n\r\n\0\r\nQUIT\n"
CLIENT = (bytes([192, 0, 2, 7]), 4711)


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 22\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        (ProxyProtocolV2().pack(ProxyResultLocal()), None),
    ],
)
def test_headers(header: bytes, client: str | None) -> None:
    """What proxies send names the client, or says that there is none to name."""
    assert client_of(header) == client


def test_headers_of_version_2() -> None:
    """Addresses of both families are read, with whatever a proxy adds behind them."""
    from ipaddress import IPv4Address, IPv6Address

    four = ProxyResultIPv4((IPv4Address("192.0.2.7"), 4711), (IPv4Address("198.51.100.1"), 22), protocol=socket.SOCK_STREAM)
    six = ProxyResultIPv6((IPv6Address("2001:db8::7"), 4711), (IPv6Address("2001:db8::1"), 22), protocol=socket.SOCK_STREAM)
    assert client_of(ProxyProtocolV2().pack(four)) == "192.0.2.7"
    assert client_of(ProxyProtocolV2().pack(six)) == "2001:db8::7"


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 99999\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 4711 22\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 +4711 22\r\n",
        b"PROXY TCP4 192.0.2.7\r\n",
        b"PROXY TCP4 \x1b]0;x\x07 198.51.100.1 1 2\r\n",
        b"PROXY \r\n",
        V2 + b"\x21\x11\0\x01x",
        V2 + b"\x21\x11\0\0",
        V2 + b"\x31\x11\0\x0c" + bytes(12),
        V2 + b"\x2f\x11\0\x0c" + bytes(12),
    ],
)
def test_malformed_headers(header: bytes) -> None:
    """A header that is not exactly one is refused, never guessed."""
    with pytest.raises(BadMessage):
        client_of(header)


@given(
    st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda b: V2 + b), st.binary().map(lambda b: b"PROXY " + b))
)
@example(V2 + b"\x21\x31\0\xd8" + bytes([255]) * 216)
def test_no_header_breaks_the_reader(header: bytes) -> None:
    """Whatever comes is an address, none, or BadMessage."""
    with contextlib.suppress(BadMessage):
        client_of(header)


async def _read(sent: bytes, *, end: bool = True) -> tuple[str | None, bytes]:
    """What ``read_header`` finds in what a proxy sent, and what it leaves."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(sent)
        if end:
            theirs.shutdown(socket.SHUT_WR)
        client = await read_header(ours)
        return client, ours.recv(1000)


@pytest.mark.parametrize(
    "header", [b"PROXY TCP4 192.0.2.7 1.1.1.1 1 2\r\n", V2 + struct.pack(">BBH12s", 0x21, 0x11, 12, CLIENT[0] * 3)]
)
async def test_what_follows_the_header_is_the_clients(header: bytes) -> None:
    """Not a byte behind the header is read."""
    assert await _read(header + b"SSH-2.0-x\r\n") == ("192.0.2.7", b"SSH-2.0-x\r\n")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PROXY TCP4 192.0.2.7",
        b"PROXY " + b"x" * 200,
        V2,
        V2 + b"\x21\x11\xff\xff",
        V2 + struct.pack(">BBH", 0x21, 0x11, MAX_V2_BYTES + 1) + bytes(MAX_V2_BYTES + 1),
    ],
)
async def test_what_is_no_header(sent: bytes) -> None:
    """A client's own bytes, half a header, and one that is too long are refused."""
    with pytest.raises(BadMessage):
        await _read(sent)
