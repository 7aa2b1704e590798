"""Which connections are dead, by what the kernel says of them."""

from __future__ import annotations

import socket
import struct

import pytest

from sftpgate.gateway.ssh.peers import is_dead, is_silent, probe


def info(*, data_ago: float, ack_ago: float, not_sent: int = 0) -> bytes:
    """A struct tcp_info, with times in seconds."""
    made = bytearray(148)
    struct.pack_into("=2I", made, 52, int(data_ago * 1000), int(ack_ago * 1000))
    struct.pack_into("=I", made, 144, not_sent)
    return bytes(made)


@pytest.mark.parametrize(
    ("said", "dead"),
    [
        (info(data_ago=1000, ack_ago=29), False),  # it is busy, and its machine answers the probes
        (info(data_ago=1, ack_ago=1000), False),  # it sends
        (info(data_ago=1000, ack_ago=119), False),
        (info(data_ago=1000, ack_ago=121), True),
        (info(data_ago=1000, ack_ago=121, not_sent=1), False),  # it has no room, and is asked every two minutes
        (info(data_ago=1000, ack_ago=151, not_sent=1), True),
    ],
)
def test_who_is_dead(said: bytes, dead: bool) -> None:
    """A machine that has acknowledged nothing for four intervals is gone, and one whose buffer is full is asked more seldom."""
    assert is_silent(said, 30.0) is dead


def test_a_connection_that_lives() -> None:
    """A fresh connection is alive, its kernel probes it, and what is no TCP is nobody's."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        probe(client, 30.0)
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        assert not is_dead(client, 30.0)
    one, other = socket.socketpair()
    with one, other:
        probe(one, 30.0)
        assert not is_dead(one, 30.0)
