"""Who opens too much of something: strangers, users, and proxies that are none."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from contextlib import AsyncExitStack, suppress

import asyncssh
import pytest
from asyncssh.packet import Boolean, String

from sftpgate.gateway import gate as gate_module
from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.ssh.authentication import MAX_LOGIN_REQUESTS, MAX_REFUSED_CHANNELS
from tests.harness.gates import Start
from tests.harness.raw import WAIT_SECONDS, Raw
from tests.harness.strangers import Stranger, relay, strangers

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
        assert (await gate.said("address.banned"))[0]["reason"] == "no login in time"


async def test_a_user_has_a_number_of_connections(start: Start) -> None:
    """One more than max_connections_per_user is told so and ended; another user, and one after another's end, is not."""
    async with start(max_connections_per_user=2) as gate:
        async with gate.connection(), gate.connection() as second:
            third = await gate.connect()
            async with asyncio.timeout(WAIT_SECONDS):
                await third.wait_closed()
            assert "max_connections_per_user" in (await gate.said("connection.ended"))[0]["reason"]
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


@pytest.mark.promise("P7")
async def test_a_flood_of_channels_ends(start: Start) -> None:
    """Channels past the limit are refused by name, hundreds of refusals end the connection; others are served."""
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
        assert "were refused" in (await gate.said("connection.ended"))[0]["reason"]
        raw = await stack.enter_async_context(gate.raw())
        assert await raw.put("a.csv", b"a\n") == Status.OK


def _sockets() -> list[int]:
    """The descriptors of this process that are sockets. Only these may be copied: a copy of a locked file keeps its lock."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                found.append(int(fd))
    return found


async def test_who_never_reads_is_cut_off(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown requests whose answers nobody reads end the connection before they fill the memory; others are served."""
    monkeypatch.setattr(gate_module, "MAX_UNREAD_BYTES", 64 * 1024)
    async with start() as gate:
        for fd in _sockets():  # the kernel shall keep little for the client
            with socket.socket(fileno=os.dup(fd)) as found:
                if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and found.getsockname()[1] == gate.port:
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect(("127.0.0.1", gate.port))
        deaf = await gate.connect(sock=plain)
        transport = deaf._transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()
        async with asyncio.timeout(WAIT_SECONDS):
            while not gate.log.events("connection.ended"):
                for _ in range(500):
                    deaf._send_global_request(b"nonsense@example.org", want_reply=True)
                with suppress(TimeoutError):
                    await asyncio.wait_for(gate.log.news.wait(), 0.02)
        assert "wait for the client to read" in (await gate.said("connection.ended"))[0]["reason"]
        deaf.abort()
        async with gate.raw() as raw:
            assert await raw.put("a.csv", b"a\n") == Status.OK


class _Mute:
    """Takes what the server says of a login, and does nothing."""

    def process_packet(self, *_: object) -> bool:
        """A packet."""
        return True

    def log_received_packet(self, *_: object) -> None:
        """Says nothing of it."""

    def auth_failed(self) -> None:
        """The server said no."""

    def cancel(self) -> None:
        """The end."""


class _Asking(asyncssh.SSHClient):
    """Asks about a key again and again, and never signs."""

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Keep it."""
        self.connection = conn
        self._begun = False

    async def public_key_auth_requested(self) -> None:
        """Once the login begins, it is in our hands; each refusal has asyncssh ask for one more key."""
        if self._begun:
            await asyncio.Event().wait()
        self._begun = True
        self.connection._auth = _Mute()  # type: ignore[assignment]
        key = asyncssh.read_private_key(self.key)
        for _ in range(3 * MAX_LOGIN_REQUESTS):
            await self.connection.send_userauth_request(
                b"publickey", Boolean(False), String(key.algorithm), String(key.public_data), trivial=False
            )
        await asyncio.Event().wait()  # until the server hangs up

    key: str


@pytest.mark.parametrize("user", ["erp", "nobody"])
async def test_who_asks_for_ever_is_cut_off(start: Start, user: str) -> None:
    """A key that is accepted and never used is no failed attempt, and all the same nobody may ask about it without end."""
    async with start(max_auth_attempts=100, ban_threshold=0) as gate:

        class Asking(_Asking):
            key = str(gate.directory / "keys/id")

        with pytest.raises((asyncssh.Error, OSError)):
            await asyncssh.connect(
                "127.0.0.1", gate.port, username=user, known_hosts=None, config=None, client_factory=Asking, agent_path=None
            )
        assert "requests before the login" in (await gate.said("connection.ended"))[0]["reason"]
        assert not gate.log.events("login.accepted")


async def test_connections_without_a_session_end(start: Start) -> None:
    """One that has logged in and does nothing is idle too; one whose time is over ends whatever it does."""
    async with start(idle_timeout=0.2) as gate:
        connection = await gate.connect()
        async with asyncio.timeout(WAIT_SECONDS):
            await connection.wait_closed()
        assert "idle_timeout" in (await gate.said("connection.ended"))[0]["reason"]
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


@pytest.mark.promise("P8")
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
    """What the proxy says is what the log and the record have."""
    async with start(proxy_protocol_from=["127.0.0.0/8"]) as gate, relay(gate.port, header) as port:
        connection = await asyncssh.connect(
            "127.0.0.1", port, username="erp", client_keys=[str(gate.directory / "keys/id")], known_hosts=None, config=None
        )
        async with connection:
            raw = await Raw.open(connection)
            await raw.begin()
            assert await raw.put("a.csv", b"a\n") == Status.OK
        assert (await gate.said("login.accepted"))[0]["address"] == address
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
        assert [line["address"] for line in await gate.said("connection.refused")] == ["192.0.2.66"]
        async with await Stranger.connect(gate.port, good) as other:
            assert await other.banner() == b"SSH-2.0-sftpgate\r\n"


async def test_openssh_through_a_proxy(start: Start) -> None:
    """OpenSSH's own client behind a load balancer uploads as the client that the header names."""
    header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\n"
    async with start(proxy_protocol_from=["127.0.0.0/8"]) as gate, relay(gate.port, header) as port:
        (gate.directory / "keys/id").chmod(0o600)
        (gate.directory / "local.csv").write_text("a,1\n")
        words = [
            "sftp",
            "-q",
            "-b",
            "-",
            "-F",
            "none",
            "-P",
            str(port),
            "-i",
            str(gate.directory / "keys/id"),
            "-o",
            "BatchMode=yes",
        ]
        words += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "erp@127.0.0.1"]
        pipe = asyncio.subprocess.PIPE
        client = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe, cwd=gate.directory)
        async with asyncio.timeout(WAIT_SECONDS):
            _, said = await client.communicate(b"put local.csv a.csv\n")
        assert client.returncode == 0, said
        assert gate.arrivals("a.csv")[0].address == "192.0.2.7"


async def test_a_proxy_that_sends_half_a_header(start: Start) -> None:
    """It is hung up on when proxy_protocol_timeout is over, and the log says why; the next connection is served."""
    async with start(proxy_protocol_from=["127.0.0.1/32"], proxy_protocol_timeout=0.1) as gate:
        async with await Stranger.connect(gate.port, b"PROXY TCP4 192.0.2.7 ") as slow:
            assert await slow.banner() == b""
        reason = (await gate.said("connection.refused"))[0]["reason"]
        assert reason == "no PROXY header within 0.1 seconds (rule: proxy_protocol_timeout)"
        async with await Stranger.connect(gate.port, V2_LOCAL) as other:
            assert await other.banner() == b"SSH-2.0-sftpgate\r\n"


@pytest.mark.parametrize("sent", [b"SSH-2.0-x\r\n", b"PROXY " + b"x" * 200, b"PROXY TCP4 x y 1 2\r\n"])
async def test_what_a_proxy_must_not_send(start: Start, sent: bytes) -> None:
    """A connection from a proxy without a header, or with a bad one, is refused, and the log names the setting."""
    async with start(proxy_protocol_from=["127.0.0.1/32"]) as gate:
        async with await Stranger.connect(gate.port, sent) as stranger:
            assert await stranger.banner() == b""
        assert "rule: proxy_protocol_from" in (await gate.said("connection.refused"))[0]["reason"]


async def test_a_header_from_anybody_else_is_refused(start: Start) -> None:
    """Who is no proxy cannot choose its address: a header is no SSH, and ends the connection."""
    async with start(proxy_protocol_from=["127.0.0.9/32"]) as gate:
        async with await Stranger.connect(gate.port, b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n") as liar:
            await liar.banner()
            await liar.ended()
        assert (await gate.said("connection.closed"))[0]["address"] == "127.0.0.1"
