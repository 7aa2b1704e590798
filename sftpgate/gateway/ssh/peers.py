"""Whether the machine of a client is still there, as TCP knows it.

A client that computes for minutes between two writes answers no keepalive of SSH: libssh2 and others read only when they are
called. Its machine acknowledges what it gets all the same, and probes of TCP if it gets nothing (SO_KEEPALIVE). So a client
is dead when its machine has acknowledged nothing for some probes, and not when it says nothing.

TCP_USER_TIMEOUT would end the connection of a client that is alive and has no room to receive for so long (Linux, tcp_timer.c):
the state of the connection is looked at instead. Nothing here blocks.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

UNANSWERED_PROBES = 4
LEAST_PROBE_SECONDS = 1.0  # the kernel's unit
# A machine that has no room to receive is asked at growing intervals, of up to 120 s (Linux: TCP_RTO_MAX)
FULL_PEER_SECONDS = 150.0

_KERNEL_PROBES = 2 * UNANSWERED_PROBES  # the kernel would end it by itself, later than we do
_MOST_PROBE_SECONDS = 32767  # MAX_TCP_KEEPIDLE
_INFO_BYTES = 148  # struct tcp_info up to tcpi_notsent_bytes, since Linux 4.6
_LAST_RECEIVED = struct.Struct("=2I")  # tcpi_last_data_recv, tcpi_last_ack_recv: milliseconds since then
_LAST_RECEIVED_AT = 52
_NOT_SENT = struct.Struct("=I")
_NOT_SENT_AT = 144


def probe(connection: socket.socket, interval_seconds: float) -> None:
    """Have the kernel ask the other machine whether it is there, after each such time in which nothing came from it."""
    seconds = min(round(_probe_seconds(interval_seconds)), _MOST_PROBE_SECONDS)
    with suppress(OSError):  # no TCP, or gone already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KERNEL_PROBES)


def is_dead(connection: socket.socket, interval_seconds: float) -> bool:
    """Return whether the other machine left all probes of that interval unanswered. False if the kernel does not tell."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except OSError:
        return False
    return len(info) >= _INFO_BYTES and is_silent(info, interval_seconds)


def is_silent(info: bytes, interval_seconds: float) -> bool:
    """Return the same, by what the kernel says of the connection (struct tcp_info, linux/tcp.h)."""
    silent_ms: int = min(_LAST_RECEIVED.unpack_from(info, _LAST_RECEIVED_AT))
    limit = UNANSWERED_PROBES * _probe_seconds(interval_seconds)
    if _NOT_SENT.unpack_from(info, _NOT_SENT_AT)[0]:
        limit = max(limit, FULL_PEER_SECONDS)
    return silent_ms > limit * 1000


def _probe_seconds(interval_seconds: float) -> float:
    return max(interval_seconds, LEAST_PROBE_SECONDS)
