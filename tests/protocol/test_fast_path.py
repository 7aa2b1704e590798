"""The quick way through asyncssh against its public one: the same result with every cipher, through key exchanges, and for
clients that do things in their own order.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import asyncssh
import paramiko  # type: ignore[import-untyped]
import pytest

from sftpgate.gateway import gate as gate_module
from sftpgate.gateway.sftp.wire import Reply, Request
from sftpgate.gateway.ssh import fast_path
from sftpgate.gateway.ssh.algorithms import offer
from sftpgate.gateway.ssh.fast_path import Front
from sftpgate.gateway.ssh.round_trips import SAMPLES
from sftpgate.settings.choices import Algorithms
from tests.harness.gates import Gate, Start
from tests.harness.raw import Raw, string

CONTENT = os.urandom(1_500_000) + b"\n"
REKEY_BYTES = 200_000  # some key exchanges in each transfer of CONTENT
BOTH_WAYS = pytest.mark.parametrize("fast", [True, False], ids=["fast", "public"])
DEFAULT, LEGACY = offer(Algorithms.DEFAULT), offer(Algorithms.LEGACY)


async def put_and_get(connection: asyncssh.SSHClientConnection, gate: Gate, name: str) -> None:
    """Upload CONTENT, and read it back by another handle while it waits in the store."""
    async with connection.start_sftp_client() as client:
        async with client.open(f"/sync/{name}", "wb") as file:
            await file.write(CONTENT)
        assert hashlib.sha256((gate.store / name).read_bytes()).digest() == hashlib.sha256(CONTENT).digest()
        async with client.open(f"/sync/{name}", "rb") as file:
            back: object = await file.read()
            assert back == CONTENT


@asynccontextmanager
async def connected(gate: Gate, **options: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection with options of asyncssh's client."""
    async with gate.connection(**options) as connection:
        yield connection


def receiving_keys(connection: Any) -> object:
    """What the client decrypts with; another object after each key exchange."""
    return connection._recv_encryption


def spoil_sending_keys(connection: Any) -> None:
    """Let the client encrypt what nobody can decrypt."""
    cipher = connection._send_encryption._cipher
    cipher._iv = bytes(len(cipher._iv))


def combinations() -> Iterator[dict[str, list[str]]]:
    """Each cipher, and each MAC with a cipher that needs one."""
    for cipher in LEGACY.encryption_algs:
        yield {"encryption_algs": [cipher]}
    for mac in LEGACY.mac_algs:
        yield {"encryption_algs": ["aes128-ctr"], "mac_algs": [mac]}
    yield {"compression_algs": ["zlib@openssh.com", "zlib", "none"]}


@pytest.mark.promise("P1")
@BOTH_WAYS
@pytest.mark.timeout(120)
async def test_every_cipher(start: Start, fast: bool) -> None:
    """With each cipher and MAC of all profiles, compression asked for or not, content arrives and comes back as it was."""
    async with start(fast_path=fast, algorithms="legacy") as gate:
        for number, options in enumerate(combinations()):
            async with connected(gate, **options) as connection:
                await put_and_get(connection, gate, f"{number}.bin")


@pytest.mark.promise("P1")
@pytest.mark.same_process
@BOTH_WAYS
async def test_new_keys_in_mid_transfer(start: Start, monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    """Key exchanges that server and client begin in the middle of uploads and downloads cost no byte, with each cipher."""
    monkeypatch.setattr(gate_module, "REKEY_BYTES", REKEY_BYTES)
    async with start(fast_path=fast) as gate:
        for cipher in DEFAULT.encryption_algs:
            async with connected(gate, encryption_algs=[cipher], rekey_bytes=REKEY_BYTES) as connection:
                keys = receiving_keys(connection)
                await put_and_get(connection, gate, f"{cipher}.bin")
                assert receiving_keys(connection) is not keys


@pytest.mark.promise("P1")
@pytest.mark.same_process
@BOTH_WAYS
async def test_large_packets(start: Start, monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    """A client that may send packets of 128 KiB gets its content through, with each cipher and with new keys in between."""
    monkeypatch.setattr(gate_module, "REKEY_BYTES", 4 * REKEY_BYTES)
    async with start(fast_path=fast) as gate:
        for cipher in DEFAULT.encryption_algs:
            async with connected(gate, encryption_algs=[cipher], client_version="OpenSSH_9.9") as connection:
                writer, _, _ = await connection.open_session(subsystem="sftp", encoding=None)
                assert writer.channel._send_pktsize == fast_path.MAX_PACKET_DATA
                await put_and_get(connection, gate, f"{cipher}.bin")


@pytest.mark.same_process
async def test_the_window_of_a_client_that_is_far_away(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is long in following an answer may send more at a time, as long as there are not too many such clients."""
    monkeypatch.setattr(fast_path, "WIDE_LANES", 1)
    widened = []
    for shortest in (3600.0, 0.0):
        monkeypatch.setattr(fast_path, "LONG_LINE_SECONDS", shortest)
        for _ in range(2):
            async with gate.raw() as first, gate.raw() as second:
                for raw in (first, second):
                    for _ in range(SAMPLES + 2):
                        assert (await raw.request(Request.STAT, string("/sync"))).kind == Reply.ATTRS
                    widened.append(raw.writer.channel._send_window > gate_module.WINDOW_BYTES)
                    assert await raw.put(f"{len(widened)}.bin", CONTENT[-900_000:]) == 0
    assert widened == [False] * 4 + [True, False] * 2
    assert {path.read_bytes() for path in gate.store.glob("*.bin")} == {CONTENT[-900_000:]}


@pytest.mark.promise("P1")
async def test_requests_that_wait_in_line_keep_their_bytes(gate: Gate) -> None:
    """What a client sends behind a CLOSE waits for it, and is what it was, though others send through the same buffer."""
    async with AsyncExitStack() as stack:
        raws = [await stack.enter_async_context(gate.raw()) for _ in range(4)]
        contents = [os.urandom(149_999) for _ in raws]  # the last write is shorter: none looks interrupted
        for turn in range(5):
            for number, raw in enumerate(raws):
                first, second = [await raw.open_file(f"{number}-{turn}-{which}.bin") for which in "ab"]
                for handle in (first, second):
                    for offset in range(0, len(contents[number]), 30_000):
                        piece = contents[number][offset : offset + 30_000]
                        raw.send(Request.WRITE, string(handle), offset.to_bytes(8, "big"), string(piece))
                    raw.send(Request.CLOSE, string(handle))
            for raw in raws:
                assert [(await raw.answer()).status for _ in range(12)] == [0] * 12
    found = {path.name: path.read_bytes() for path in gate.store.glob("*.bin")}
    assert found == {f"{number}-{turn}-{w}.bin": contents[number] for number in range(4) for turn in range(5) for w in "ab"}


@pytest.mark.promise("P1")
@BOTH_WAYS
async def test_sessions_of_one_connection(start: Start, fast: bool) -> None:
    """What comes in one read for several sessions, in packets of all sizes with other packets in between, gets to each of
    them, whole and in its order.
    """
    lengths = [1, 7, 4096, 32_700, 3, 250_000, 20, 60_000]
    async with start(fast_path=fast) as gate, gate.connection() as connection, AsyncExitStack() as stack:
        raws = [await Raw.open(connection) for _ in range(3)]
        for raw in raws:
            stack.callback(raw.writer.close)
            await raw.begin()
        contents = [os.urandom(sum(lengths)) for _ in raws]
        handles = [await raw.open_file(f"{number}.bin") for number, raw in enumerate(raws)]
        offset = 0
        for turn, length in enumerate(lengths):
            for raw, handle, content in zip(raws, handles, contents, strict=True):
                raw.send(Request.WRITE, string(handle), offset.to_bytes(8, "big"), string(content[offset : offset + length]))
                if turn % 2:
                    connection.send_debug("in between")
            offset += length
        for raw, handle in zip(raws, handles, strict=True):
            assert [(await raw.answer()).status for _ in lengths] == [0] * len(lengths)
            assert (await raw.close(handle)).status == 0
    assert gate.in_store() == {f"{number}.bin": content for number, content in enumerate(contents)}


@pytest.mark.promise("P1")
@BOTH_WAYS
async def test_new_keys_for_openssh(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fast: bool) -> None:
    """OpenSSH's client renews keys every MiB, against a server that does too."""
    monkeypatch.setattr(gate_module, "REKEY_BYTES", 1_000_000)
    local = tmp_path / "local.bin"
    local.write_bytes(CONTENT * 5)
    async with start(fast_path=fast) as gate:
        (gate.directory / "keys/id").chmod(0o600)
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "RekeyLimit=1M", "-F", "none"]
        process = await asyncio.create_subprocess_exec(
            *("sftp", "-b", "-", "-P", str(gate.port), "-i", str(gate.directory / "keys/id"), *options, "erp@127.0.0.1"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate(f"put {local} new.bin\nget new.bin {tmp_path}/back.bin\n".encode())
        assert process.returncode == 0, said
        assert (gate.store / "new.bin").read_bytes() == CONTENT * 5 == (tmp_path / "back.bin").read_bytes()


@pytest.mark.promise("P1")
@BOTH_WAYS
async def test_new_keys_for_paramiko(start: Start, monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    """paramiko asks for new keys in the middle of an upload."""
    monkeypatch.setattr(paramiko.packet.Packetizer, "REKEY_BYTES", 400_000)

    def work(port: int, key: str) -> bytes:
        with paramiko.Transport(("127.0.0.1", port)) as transport:
            transport.connect(username="erp", pkey=paramiko.Ed25519Key.from_private_key_file(key))
            with closing(paramiko.SFTPClient.from_transport(transport)) as sftp:
                with sftp.open("/sync/p.bin", "wb") as file:
                    file.set_pipelined(True)
                    file.write(CONTENT)
                with sftp.open("/sync/p.bin", "rb") as file:
                    return bytes(file.read())

    async with start(fast_path=fast) as gate:
        assert await asyncio.to_thread(work, gate.port, str(gate.directory / "keys/id")) == CONTENT


async def test_a_client_that_has_gcm_gets_it(gate: Gate) -> None:
    """A client that prefers another cipher but has AES-GCM is offered that alone; one that has none gets what it prefers."""
    for ours, chosen in (
        (["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com"], "aes256-gcm@openssh.com"),
        (["chacha20-poly1305@openssh.com", "aes128-ctr"], "chacha20-poly1305@openssh.com"),
    ):
        async with connected(gate, encryption_algs=ours) as connection:
            assert {connection.get_extra_info("send_cipher"), connection.get_extra_info("recv_cipher")} == {chosen}


async def test_a_client_that_waits_for_our_offer(gate: Gate) -> None:
    """A client that sends nothing but its version until it has our KEXINIT gets it, with every cipher."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(b"SSH-2.0-slow\r\n")
    async with asyncio.timeout(30):
        await reader.readuntil(b"\n")
        offered = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
    writer.close()
    assert all(cipher.encode() in offered for cipher in DEFAULT.encryption_algs)


async def test_a_kexinit_in_single_bytes(gate: Gate) -> None:
    """A client whose KEXINIT comes in pieces is answered when it is whole, by what it offers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    lists = [b"curve25519-sha256", b"ssh-ed25519", *[b"aes128-ctr,aes128-gcm@openssh.com"] * 2, *[b"hmac-sha2-256"] * 2]
    lists += [b"none", b"none", b"", b""]
    content = bytes([20]) + bytes(16) + b"".join(len(names).to_bytes(4, "big") + names for names in lists) + bytes(5)
    padding = 16 - (5 + len(content)) % 8
    packet = (1 + len(content) + padding).to_bytes(4, "big") + bytes([padding]) + content + bytes(padding)
    for byte in b"SSH-2.0-drip\r\n" + packet:
        writer.write(bytes([byte]))
        await writer.drain()
    async with asyncio.timeout(30):
        await reader.readuntil(b"\n")
        offered = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
    writer.close()
    assert b"aes128-gcm@openssh.com" in offered
    assert b"aes128-ctr" not in offered


@pytest.mark.promise("P1")
async def test_an_altered_packet_ends_the_connection(gate: Gate) -> None:
    """A packet whose tag does not fit ends the connection, and the upload that it belonged to is interrupted."""
    async with gate.raw() as raw:
        handle = await raw.open_file("x.csv")
        assert (await raw.write(handle, 0, b"a,b\n")).status == 0
        spoil_sending_keys(raw.connection)
        raw.send(Request.CLOSE, string(handle))
        await gate.until("upload.interrupted")
    assert gate.in_store() == {}


async def test_the_version_of_asyncssh_is_one_that_was_tested() -> None:
    """The quick way is taken with the release that is installed; on another one it would be switched off without a word."""
    assert asyncssh.__version__ in fast_path.TESTED


@pytest.mark.same_process
async def test_the_setting_is_obeyed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """``fast_path = false`` takes asyncssh's public way for everything."""
    made: list[Front] = []
    begin = Front.__init__

    def noted(self: Front, *arguments: Any) -> None:
        made.append(self)
        begin(self, *arguments)

    monkeypatch.setattr(Front, "__init__", noted)
    for fast in (False, True):
        async with start(fast_path=fast) as gate, gate.sftp() as client:
            await client.stat("/sync")
        assert bool(made) is fast
