"""PROXY headers, version 1 and 2, as a load balancer sends them before the client's first byte (haproxy, proxy-protocol.txt).

Only connections of proxies that the admin named are asked for one; what others send is SSH or nothing. Not a byte behind
the header is read: it is the client's. A header is bounded in length, and its reader is given a time by the caller.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct

from proxyprotocol import ProxyProtocolIncompleteError
from proxyprotocol.result import ProxyResult, is_ipv4, is_ipv6
from proxyprotocol.v1 import ProxyProtocolV1
from proxyprotocol.v2 import ProxyProtocolV2

from sftpgate.errors import BadMessage

MAX_V1_BYTES = 107  # the longest line that the text of the protocol allows, its end included
MAX_V2_BYTES = 4096  # behind the fixed part: addresses, and what proxies add (certificates' names); the standard allows 64 KiB
_FIRST_BYTES = 8  # below the shortest header of both versions
_V2_FIXED_BYTES = 16
_V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V1_LINE = re.compile(rb"PROXY (UNKNOWN( [ -~]*)?|TCP[46] [0-9a-fA-F.:]+ [0-9a-fA-F.:]+ [0-9]{1,5} [0-9]{1,5})\r\n")


async def read_header(connection: socket.socket) -> str | None:
    """Return the client's address, as the proxy says it; None if the connection is the proxy's own (LOCAL: a health check) or
    it does not know the client's address.

    Raises BadMessage for anything that is no header, and if the connection ends before the header does.
    """
    first = await _exactly(connection, _FIRST_BYTES)
    if first.startswith(b"PROXY "):
        return client_of(first + await _line(connection, MAX_V1_BYTES - len(first)))
    if not _V2_SIGNATURE.startswith(first):
        raise BadMessage("the connection does not begin with a PROXY header")
    fixed = first + await _exactly(connection, _V2_FIXED_BYTES - len(first))
    length = int.from_bytes(fixed[-2:], "big")
    if length > MAX_V2_BYTES:
        raise BadMessage(f"the PROXY header has {length} bytes, more than {MAX_V2_BYTES}")
    return client_of(fixed + await _exactly(connection, length))


def client_of(header: bytes) -> str | None:
    """Return the client's address of a whole header; None and errors as ``read_header``."""
    try:
        if header.startswith(b"PROXY "):
            if not _V1_LINE.fullmatch(header):
                raise BadMessage("the PROXY header is malformed")
            found: ProxyResult = ProxyProtocolV1().unpack_line(header)
        else:
            found = ProxyProtocolV2().unpack(header)
    except (ValueError, struct.error, IndexError, KeyError, ProxyProtocolIncompleteError) as error:
        raise BadMessage("the PROXY header is malformed") from error
    if is_ipv4(found) or is_ipv6(found):
        return str(found.source[0])
    return None


async def _exactly(connection: socket.socket, length: int) -> bytes:
    loop = asyncio.get_running_loop()
    found = b""
    while len(found) < length:
        more = await loop.sock_recv(connection, length - len(found))
        if not more:
            raise BadMessage("the connection ended within the PROXY header")
        found += more
    return found


async def _line(connection: socket.socket, limit: int) -> bytes:
    """Return the rest of a line, byte by byte: a read of more would take what is the client's."""
    found = b""
    while not found.endswith(b"\n"):
        if len(found) >= limit:
            raise BadMessage(f"the PROXY header has more than {MAX_V1_BYTES} bytes")
        found += await _exactly(connection, 1)
    return found
