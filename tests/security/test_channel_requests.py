"""What a client with an account asks of its connection besides SFTP: none of it is granted, and SFTP goes on."""

from __future__ import annotations

import os

import asyncssh
import pytest

from sftpgate.gateway.sftp.status import Status
from tests.harness.gates import Gate, Start
from tests.harness.raw import Raw, string, uint32
from tests.harness.strangers import Stranger

REQUESTS = {
    "env": string("LD_PRELOAD") + string("x.so"),
    "auth-agent-req@openssh.com": b"",
    "x11-req": b"\0" + string("MIT-MAGIC-COOKIE-1") + string("00" * 16) + uint32(0),
    "pty-req": string("xterm") + uint32(80, 24, 0, 0) + string(b"\0"),
    "shell": b"",
    "exec": string("id"),
    "subsystem": string("netconf"),
    "nothing@example.org": b"",
}


@pytest.mark.promise("P6")
@pytest.mark.parametrize("kind", REQUESTS)
async def test_requests_of_a_session(gate: Gate, kind: str) -> None:
    """A variable, an agent, X11, a terminal, a shell, a command and other subsystems are refused in a running session."""
    before = dict(os.environ)
    async with gate.connection() as connection:
        raw = await Raw.open(connection)
        await raw.begin()
        channel = raw.writer.channel
        assert not await channel._make_request(kind.encode(), REQUESTS[kind])
        assert await raw.put("a.csv", b"a\n") == Status.OK
    assert dict(os.environ) == before  # the gate is in this process


CHANNELS = {
    "tun@openssh.com": uint32(1, 0),
    "direct-tcpip": string("127.0.0.1") + uint32(22) + string("127.0.0.1") + uint32(22),
    "direct-streamlocal@openssh.com": string("/run/x") + string("") + uint32(0),
    "x11": string("127.0.0.1") + uint32(22),
    "auth-agent@openssh.com": b"",
    "nothing@example.org": b"",
}


@pytest.mark.promise("P6")
@pytest.mark.parametrize("kind", CHANNELS)
async def test_other_channels(gate: Gate, kind: str) -> None:
    """No tunnel, no port and no socket is opened; the connection stays."""
    async with gate.connection() as connection:
        channel: asyncssh.SSHTCPChannel[bytes] = asyncssh.SSHTCPChannel(
            connection, connection._loop, None, "strict", 65536, 32768
        )
        with pytest.raises(asyncssh.ChannelOpenError):
            await channel._open(kind.encode(), CHANNELS[kind])
        raw = await Raw.open(connection)
        await raw.begin()
        assert await raw.put("a.csv", b"a\n") == Status.OK


@pytest.mark.parametrize("asked", ["zlib@openssh.com", "zlib"])
async def test_nothing_is_inflated(gate: Gate, asked: str) -> None:
    """Who asks for compression does without, and works as ever; who insists on it is refused: a small packet can inflate to a
    thousand times its size.
    """
    async with gate.connection(compression_algs=[asked, "none"]) as connection:
        assert {connection.get_extra_info("send_compression"), connection.get_extra_info("recv_compression")} == {"none"}
        raw = await Raw.open(connection)
        await raw.begin()
        assert await raw.put("a.csv", b"a\n") == Status.OK
    with pytest.raises(asyncssh.KeyExchangeFailed, match="compression"):
        await gate.connect(compression_algs=[asked])


async def test_as_many_probes_as_an_hour_has_seconds(start: Start) -> None:
    """A monitor that connects each second and leaves is never banned: not even where its 3600 connections come at once."""
    async with start(ban_threshold=0.1, ban_half_life="1d") as gate:
        for _ in range(3600):
            async with await Stranger.connect(gate.port):
                pass
        assert not gate.log.events("address.banned") and not gate.log.events("connection.refused")
        async with gate.sftp() as client:
            assert await client.realpath(".") == "/sync"
