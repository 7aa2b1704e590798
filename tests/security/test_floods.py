"""Who opens too much of something: strangers, users, and proxies that are none."""

from __future__ import annotations

import asyncio
import struct
from contextlib import AsyncExitStack

import asyncssh
import pytest

from sftpgate.gateway.auth import MAX_REFUSED_CHANNELS
from sftpgate.gateway.status import Status
from tests.protocol.gates import WAIT_SECONDS, Start
from tests.protocol.raw import Raw
from tests.security.strangers import Stranger, relay, strangers

V2_CLIENT = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack(">BBH4s4sHH", 0x21, 0x11, 12, bytes([192, 0, 2, 7]), bytes(4), 4711, 22)
V2_LOCAL = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack(">BBH", 0x20, 0, 0)


async def test_a_flood_of_strangers_keeps_nobody_out(start: Start) -> None:
    """One address that holds all the places open loses its own; a user logs in at once, and again."""
    async with start(max_unauthenticated=8, max_unauthenticated_per_address=5) as gate:
        async with strangers(gate.port, 30, address="127.0.0.2") as many, strangers(gate.port, 30, address="127.0.0.3"):
            for _ in range(3):
                async with gate.sftp() as client:
                    assert await client.realpath(".") == "/sync"
            await many[0].ended()
        reasons = {str(line["reason"]).rpartition("rule: ")[2] for line in gate.log.events("connection.ended")}
        assert reasons == {"max_unauthenticated_per_address)", "max_unauthenticated)"}


async def test_a_slow_login_ends_in_time(start: Start) -> None:
    """A client that says nothing more after its version is hung up on when login_timeout is over, and that is on its score."""
    async with start(login_timeout=0.5, ban_threshold=0.5) as gate:
        async with await Stranger.connect(gate.port, b"SSH-2.0-slow\r\n", address="127.0.0.2") as slow:
            await slow.ended()
        await gate.until("address.banned")
        assert gate.log.events("address.banned")[0]["reason"] == "no login in time"


async def test_a_user_has_a_number_of_connections(start: Start) -> None:
    """One more than max_connections_per_user is told so and ended; another user, and one after another's end, is not."""
    async with start(max_connections_per_user=2) as gate:
        async with gate.connection(), gate.connection() as second:
            third = await gate.connect()
            async with asyncio.timeout(WAIT_SECONDS):
                await third.wait_closed()
            assert "max_connections_per_user" in gate.log.events("connection.ended")[0]["reason"]
            async with gate.sftp("other"):
                pass
            second.close()
            async with asyncio.timeout(WAIT_SECONDS):
                await second.wait_closed()
        async with gate.sftp():
            pass


async def test_a_user_has_a_number_of_sessions(start: Start) -> None:
    """Over all its connections; the refusal names the rule, and a session that ends makes room."""
    async with start(max_sessions_per_user=2) as gate, gate.connection() as one, gate.connection() as two:
        first, _ = await Raw.open(one), await Raw.open(two)
        with pytest.raises(asyncssh.ChannelOpenError, match="max_sessions_per_user"):
            await Raw.open(two)
        first.writer.close()
        await gate.until("session.closed")
        await (await Raw.open(two)).begin()


async def test_a_flood_of_channels_ends(start: Start) -> None:
    """P7: channels past the limit are refused by name, hundreds of refusals end the connection; others are served."""
    async with start(max_sessions_per_connection=3) as gate, AsyncExitStack() as stack:
        connection = await gate.connect()
        for _ in range(3):
            await Raw.open(connection)
        with pytest.raises(asyncssh.ChannelOpenError, match="max_sessions_per_connection"):
            await Raw.open(connection)
        for _ in range(2 * MAX_REFUSED_CHANNELS):
            with pytest.raises((asyncssh.Error, OSError)):
                await connection.open_connection("127.0.0.1", 1)
        async with asyncio.timeout(WAIT_SECONDS):
            await connection.wait_closed()
        assert "were refused" in gate.log.events("connection.ended")[0]["reason"]
        raw = await stack.enter_async_context(gate.raw())
        assert await raw.put("a.csv", b"a\n") == Status.OK


async def test_connections_without_a_session_end(start: Start) -> None:
    """One that has logged in and does nothing is idle too; one whose time is over ends whatever it does."""
    async with start(idle_timeout=0.2) as gate:
        connection = await gate.connect()
        async with asyncio.timeout(WAIT_SECONDS):
            await connection.wait_closed()
        assert "idle_timeout" in gate.log.events("connection.ended")[0]["reason"]
    async with start(connection_time_max=0.2) as gate:
        connection = await gate.connect()
        await Raw.open(connection)
        async with asyncio.timeout(WAIT_SECONDS):
            await connection.wait_closed()


async def test_bandwidth_is_bounded_and_nobody_else_waits(start: Start) -> None:
    """An upload of one and a half seconds' bytes takes its time, in the middle of which another user is served at once."""
    async with start(max_bytes_per_second=400_000) as gate, gate.raw() as slow, gate.raw("other") as other:
        loop = asyncio.get_running_loop()
        began = loop.time()
        putting = asyncio.create_task(_put(slow, 30, 32768))
        assert await other.put("b.csv", b"b\n") == Status.OK
        assert not putting.done()
        async with asyncio.timeout(WAIT_SECONDS):
            await putting
        assert loop.time() - began > 1.0  # (983,040 - 400,000) / 400,000 and more


async def _put(raw: Raw, writes: int, length: int) -> None:
    handle = await raw.open_file("a.csv")
    for number in range(writes):
        assert (await raw.write(handle, number * length, b"x" * length)).status == Status.OK
    assert (await raw.close(handle)).status == Status.OK


# -- PROXY -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 22\r\n", "2001:db8::7"),
        (V2_CLIENT, "192.0.2.7"),
        (V2_LOCAL, "127.0.0.1"),
    ],
)
async def test_the_clients_address_behind_a_proxy(start: Start, header: bytes, address: str) -> None:
    """P8: what the proxy says is what the log and the record have."""
    async with start(proxy_protocol_from=["127.0.0.0/8"]) as gate, relay(gate.port, header) as port:
        connection = await asyncssh.connect(
            "127.0.0.1", port, username="erp", client_keys=[str(gate.directory / "keys/id")], known_hosts=None, config=None
        )
        async with connection:
            raw = await Raw.open(connection)
            await raw.begin()
            assert await raw.put("a.csv", b"a\n") == Status.OK
        assert gate.log.events("login.accepted")[0]["address"] == address
        assert gate.arrivals("a.csv")[0].address == address


async def test_bans_see_through_a_proxy(start: Start) -> None:
    """The client behind the proxy is banned, and neither the proxy nor its other clients."""
    async with start(proxy_protocol_from=["127.0.0.1/32"], login_timeout=0.5, ban_threshold=0.5) as gate:
        bad, good = (f"PROXY TCP4 192.0.2.{number} 198.51.100.1 1 2\r\n".encode() for number in (66, 7))
        async with await Stranger.connect(gate.port, bad) as slow:
            await slow.ended()
        await gate.until("address.banned")
        async with strangers(gate.port, 1, bad) as [again]:
            await again.ended()
        assert [line["address"] for line in gate.log.events("connection.refused")] == ["192.0.2.66"]
        async with await Stranger.connect(gate.port, good) as other:
            assert await other.banner() == b"SSH-2.0-sftpgate\r\n"


@pytest.mark.parametrize("sent", [b"SSH-2.0-x\r\n", b"PROXY " + b"x" * 200, b"PROXY TCP4 x y 1 2\r\n"])
async def test_what_a_proxy_must_not_send(start: Start, sent: bytes) -> None:
    """A connection from a proxy without a header, or with a bad one, is refused, and the log names the setting."""
    async with start(proxy_protocol_from=["127.0.0.1/32"]) as gate:
        async with await Stranger.connect(gate.port, sent) as stranger:
            assert await stranger.banner() == b""
        assert "rule: proxy_protocol_from" in gate.log.events("connection.refused")[0]["reason"]


async def test_a_header_from_anybody_else_is_refused(start: Start) -> None:
    """Who is no proxy cannot choose its address: a header is no SSH, and ends the connection."""
    async with start(proxy_protocol_from=["127.0.0.9/32"]) as gate:
        async with await Stranger.connect(gate.port, b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n") as liar:
            await liar.banner()
            await liar.ended()
        await gate.until("connection.closed")
        assert gate.log.events("connection.closed")[0]["address"] == "127.0.0.1"
