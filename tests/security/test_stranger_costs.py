"""What a stranger may cost: key exchanges, packets, names and passwords before a login, and how it is counted."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable
from contextlib import suppress

import asyncssh
import pytest
from asyncssh.packet import Boolean, String

from sftpgate.gateway.ssh import key_exchanges
from sftpgate.gateway.ssh.login_hooks import MAX_LOGIN_NAME_BYTES, MAX_LOGIN_PACKET_BYTES, MAX_LOGIN_PACKETS, MAX_WAITING_BYTES
from sftpgate.policy.exchanges import Rate
from sftpgate.users import passwords
from tests.harness.gates import Gate, Start
from tests.harness.raw import WAIT_SECONDS
from tests.harness.strangers import Stranger
from tests.security.test_bans import ban, fail

BOTH_WAYS = pytest.mark.parametrize("fast", [True, False])
_KEXINIT, _KEX_INIT, _KEX_REPLY, _IGNORE, _USERAUTH_REQUEST = 20, 30, 31, 2, 50
_CURVE_BYTES = 32


def packet(payload: bytes) -> bytes:
    """A packet before keys are exchanged (RFC 4253 §6)."""
    padding = 8 - (len(payload) + 5) % 8
    padding += 8 if padding < 4 else 0
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


def offer() -> bytes:
    """A version and a KEXINIT."""
    names = [b"curve25519-sha256", b"ssh-ed25519,rsa-sha2-256,ecdsa-sha2-nistp256", *[b"aes128-ctr"] * 2, *[b"hmac-sha2-256"] * 2]
    lists = b"".join(map(String, [*names, b"none", b"none", b"", b""]))
    return b"SSH-2.0-x\r\n" + packet(bytes([_KEXINIT]) + os.urandom(16) + lists + bytes(5))


async def exchange(port: int, address: str) -> Stranger:
    """A connection that asks for a key exchange, which costs it a random number."""
    half = packet(bytes([_KEX_INIT]) + String(os.urandom(_CURVE_BYTES)))
    return await Stranger.connect(port, offer() + half, address=address)


async def is_answered(stranger: Stranger) -> bool:
    """Wait until the server has sent its half, or has hung up."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        await stranger.banner()
        while True:
            (length,) = struct.unpack(">I", await stranger.reader.readexactly(4))
            if (await stranger.reader.readexactly(length))[1] == _KEX_REPLY:
                return True
    return False


@pytest.mark.same_process
@BOTH_WAYS
async def test_a_flood_of_key_exchanges(start: Start, monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    """A source that has used its allowance up waits, and is banned if it goes on; other sources are served meanwhile, and who is
    logged in exchanges new keys.
    """
    monkeypatch.setattr(key_exchanges, "PAYER", Rate(share=1e-6, most_seconds=1e-6))
    async with start(fast_path=fast, ban_threshold=0.1) as gate, gate.connection() as inside:
        first = await exchange(gate.port, "127.0.0.2")
        assert await is_answered(first)
        flood = [await exchange(gate.port, "127.0.0.2") for _ in range(5)]
        async with gate.connection("other", local_addr=("127.0.0.3", 0)) as other, other.start_sftp_client() as client:
            assert await client.realpath(".") == "/sync"
        async with inside.start_sftp_client() as client:
            inside._send_kexinit()
            inside._kexinit_sent = True
            assert await client.realpath(".") == "/sync"
        assert not any(await asyncio.gather(*map(is_answered, flood)))  # they are hung up on
        [banned] = await gate.said("address.banned")
        assert (banned["source"], banned["reason"]) == ("127.0.0.2", "too many key exchanges")
        for stranger in (first, *flood):
            stranger.writer.close()


class _ByHand(asyncssh.SSHClient):
    """Sends what it is told to once the login begins, and nothing else."""

    def __init__(self, send: Callable[[asyncssh.SSHClientConnection], None]) -> None:
        self._send = send

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Keep it."""
        self._connection = conn

    async def password_auth_requested(self) -> None:
        """The login has begun."""
        self._send(self._connection)
        await asyncio.Event().wait()


async def by_hand(gate: Gate, send: Callable[[asyncssh.SSHClientConnection], None]) -> None:
    """A connection from another address that sends by hand, until it has ended."""
    with suppress(asyncssh.Error, OSError):
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncssh.connect(
                "127.0.0.1",
                gate.port,
                username="erp",
                known_hosts=None,
                config=None,
                agent_path=None,
                client_keys=None,
                client_factory=lambda: _ByHand(send),
                local_addr=("127.0.0.2", 0),
                kex_algs=["curve25519-sha256"],
            )


def request(connection: asyncssh.SSHClientConnection, name: bytes, password: bytes) -> None:
    """Ask to log in with a password, without preparing anything."""
    words = String(name), String(b"ssh-connection"), String(b"password"), Boolean(False), String(password)
    connection.send_packet(_USERAUTH_REQUEST, *words)


@BOTH_WAYS
async def test_a_long_password_is_not_looked_at(start: Start, fast: bool) -> None:
    """A password longer than any can be is a failed login at once, known user or not: preparing it would hold up everybody."""
    async with start(fast_path=fast, max_auth_attempts=2, ban_threshold=0) as gate:

        def send(connection: asyncssh.SSHClientConnection) -> None:
            request(connection, b"erp", b"x" * 30_000)
            request(connection, b"nobody", b"x" * 30_000)

        await by_hand(gate, send)
        refused = await gate.said("login.refused", 2)
        assert [line["reason"].partition(",")[0] for line in refused] == ["password that is too long"] * 2


@BOTH_WAYS
@pytest.mark.parametrize("kind", ["long packet", "long name", "many packets", "bytes"])
async def test_what_ends_a_connection_before_its_login(start: Start, kind: str, fast: bool) -> None:
    """Packets that are too long or too many, and names that nobody has, end it; what is sent is not kept for it."""

    def send(connection: asyncssh.SSHClientConnection) -> None:
        match kind:
            case "long packet":
                request(connection, b"erp", bytes(MAX_LOGIN_PACKET_BYTES))
            case "long name":
                request(connection, b"n" * (MAX_LOGIN_NAME_BYTES + 1), b"x")
            case "many packets":
                for _ in range(MAX_LOGIN_PACKETS):
                    connection.send_packet(_IGNORE, String(b""))
            case _:
                for _ in range(1 + MAX_WAITING_BYTES // 30_000):
                    request(connection, b"erp", b"x" * 30_000)

    async with start(fast_path=fast, ban_threshold=0) as gate:
        await by_hand(gate, send)
        async with gate.sftp() as client:
            assert await client.realpath(".") == "/sync"
        assert not gate.log.events("login.refused") or kind == "bytes"


@pytest.mark.same_process
async def test_a_client_that_does_not_wait_for_the_answer_has_tried(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that are sent without waiting are checked one after the other and counted, also when the client hangs up."""
    async with start(max_auth_attempts=3, ban_threshold=0) as gate:

        def send(connection: asyncssh.SSHClientConnection) -> None:
            for number in range(3):
                request(connection, b"erp", b"wrong %d" % number)

        await by_hand(gate, send)
        assert len(await gate.said("login.refused", 3)) == 3

        loop, check = asyncio.get_running_loop(), passwords.verify

        def leave(connection: asyncssh.SSHClientConnection) -> None:
            def hang_up_and_check(password_hash: str | None, password: str) -> bool:
                loop.call_soon_threadsafe(connection.abort)
                return check(password_hash, password)

            monkeypatch.setattr(passwords, "verify", hang_up_and_check)
            request(connection, b"erp", b"wrong")

        await by_hand(gate, leave)
        assert (await gate.said("login.refused", 4))[3]["reason"] == "wrong password"


async def test_lines_before_the_version(start: Start) -> None:
    """A flood of empty lines is no version: it ends the connection, and nothing else."""
    async with start() as gate:
        async with await Stranger.connect(gate.port, b"\n" * 100_000) as stranger:
            await stranger.ended()
        async with gate.sftp() as client:
            assert await client.realpath(".") == "/sync"


async def test_a_ban_ends_what_is_open(start: Start) -> None:
    """Strangers of a banned address lose their connections; who has logged in from there stays, until an admin bans it."""
    async with start() as gate, gate.connection(local_addr=("127.0.0.2", 0)) as user, user.start_sftp_client() as client:
        async with await Stranger.connect(gate.port, b"SSH-2.0-slow\r\n", address="127.0.0.2") as open_one:
            await open_one.banner()
            await fail(gate, "nobody", 6)
            await open_one.ended()
        assert await client.realpath(".") == "/sync"
        await ban(gate, "add", "127.0.0.2", "--reason", "stolen laptop")
        async with asyncio.timeout(WAIT_SECONDS):
            await user.wait_closed()
        reasons = [line["reason"] for line in await gate.said("connection.ended", 2)]
        assert reasons == ["its address was banned: unknown user", "its address was banned: stolen laptop"]
