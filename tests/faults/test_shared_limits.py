"""Limits hold over all workers: two of them on one port, one that is killed with what it counts, and old ones after a reload."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import asyncssh
import psutil
import pytest

from tests.harness.raw import Raw
from tests.harness.servers import Gate, until
from tests.harness.strangers import Stranger

pytestmark = pytest.mark.timeout(180)  # each starts several processes

WAIT_SECONDS = 30.0


@asynccontextmanager
async def serving(directory: Path, settings: str) -> AsyncIterator[Gate]:
    """A gate with two workers, and these settings in its file."""
    (directory / "sftpgate.toml").write_text(settings, encoding="ascii")
    with Gate(directory, WORKERS="2", SHUTDOWN_GRACE="5s") as gate:
        gate.start()
        until(lambda: gate.workers_seen() == 2, "two workers are ready")
        yield gate


async def reload(gate: Gate, settings: str) -> None:
    """Let new workers take the place of the old ones, which go on with the clients that they have."""
    before = gate.workers_seen()
    (gate.directory / "sftpgate.toml").write_text(settings, encoding="ascii")
    gate.hang_up()
    until(lambda: gate.has_logged("reload.done", "retiring") and gate.workers_seen() == before + 2, "two new workers are ready")


def has_nobody(worker: int) -> bool:
    """Whether a worker has no connection."""
    return not psutil.Process(worker).net_connections()


async def stranger(gate: Gate, stack: AsyncExitStack, address: str) -> Stranger:
    """A connection that says nothing after the first line, and was let in."""
    found = await stack.enter_async_context(await Stranger.connect(gate.port, address=address))
    assert (await found.banner()).startswith(b"SSH-")
    return found


async def is_in(one: Stranger) -> bool:
    """Whether the server still listens to it: it answers the first line of a client with its key exchange."""
    one.writer.write(b"SSH-2.0-stranger\r\n")
    async with asyncio.timeout(WAIT_SECONDS):
        return bool(await one.reader.read(1))


async def end_of(connection: asyncssh.SSHClientConnection) -> None:
    """Wait until the server has hung up."""
    async with asyncio.timeout(WAIT_SECONDS):
        await connection.wait_closed()


async def test_an_address_has_its_share_once(tmp_path: Path) -> None:
    """Of the logins that one address holds open, the newest ones stay, as many as the setting says, whichever worker has them."""
    async with serving(tmp_path, "max_unauthenticated_per_address = 3\n") as gate, AsyncExitStack() as stack:
        found = [await stranger(gate, stack, "127.0.0.2") for _ in range(8)]
        for one in found[:5]:
            await one.ended()
        assert [await is_in(one) for one in found[5:]] == [True] * 3


async def test_what_a_killed_worker_counted_is_free(tmp_path: Path) -> None:
    """Strangers of a killed worker take no places: as many new ones come in, and only the next one takes another's."""
    async with serving(tmp_path, "max_unauthenticated = 4\n") as gate, AsyncExitStack() as stack:
        first = [await stranger(gate, stack, f"127.0.0.{number}") for number in range(2, 6)]
        doomed = gate.workers()[0]
        lost = [one for one in first if gate.worker_of(one.writer.get_extra_info("sockname")[1]) == doomed]
        assert len(lost) == 2
        os.kill(doomed, signal.SIGKILL)
        for one in lost:
            await one.ended()
        until(lambda: gate.has_logged("worker.died", '"connections": 2'), "the death was noticed")
        kept = [one for one in first if one not in lost] + [await stranger(gate, stack, f"127.0.0.{n}") for n in (6, 7)]
        await stranger(gate, stack, "127.0.0.8")
        await kept[0].ended()
        assert [await is_in(one) for one in kept[1:]] == [True] * 3


async def test_connections_of_draining_workers_count(tmp_path: Path) -> None:
    """After a reload the old workers' connections count with the new ones', until they end; other limits hold at once."""
    async with serving(tmp_path, "max_connections = 2\n") as gate:
        one, _other = await gate.connect(), await gate.connect()
        old = gate.workers()
        async with await Stranger.connect(gate.port) as refused:
            assert await refused.banner() == b""
        await reload(gate, "max_connections = 3\n")
        third = await gate.connect()
        assert gate.worker_of(third.get_extra_info("sockname")[1]) not in old
        async with await Stranger.connect(gate.port) as refused:
            assert await refused.banner() == b""
        one.close()
        until(lambda: not set(old) <= set(gate.workers()), "an old worker has ended")
        (await gate.connect()).close()
        assert len(set(old) & set(gate.workers())) == 1
        assert gate.has_logged("connection.refused", "max_connections")


async def test_a_user_has_its_connections_and_sessions_once(tmp_path: Path) -> None:
    """Connections and sessions of one user are counted over workers, also old ones after a reload; those of a killed worker are
    free at once.
    """
    settings = "max_connections_per_user = 2\nmax_sessions_per_user = 2\n"
    async with serving(tmp_path, settings) as gate:
        one, other = await gate.connect(), await gate.connect()
        doomed = gate.worker_of(one.get_extra_info("sockname")[1])
        assert doomed != gate.worker_of(other.get_extra_info("sockname")[1])
        await one.start_sftp_client()
        await other.start_sftp_client()
        await reload(gate, settings)
        await end_of(await gate.connect())
        assert gate.has_logged("connection.ended", "max_connections_per_user")
        os.kill(doomed, signal.SIGKILL)
        await end_of(one)
        again = await gate.connect()
        await again.start_sftp_client()
        for connection in (again, other):
            try:
                await connection.start_sftp_client()
            except asyncssh.ChannelOpenError as error:
                assert "max_sessions_per_user" in error.reason
            else:
                raise AssertionError("a third session")
        again.close()
        other.close()


async def test_a_ban_holds_in_every_worker(tmp_path: Path) -> None:
    """An address that guesses a name in one worker is refused by the other one too, a second later at the latest."""
    async with serving(tmp_path, "ban_threshold = 2\n") as gate:
        async with AsyncExitStack() as stack:
            await stranger(gate, stack, "127.0.0.2")
        with pytest.raises(asyncssh.PermissionDenied):
            await gate.connect("nobody", local_addr=("127.0.0.2", 0))
        held: list[asyncssh.SSHClientConnection] = []
        for target in gate.workers():
            held += [await gate.connect() for _ in range(4)]
            for one in [one for one in held if gate.worker_of(one.get_extra_info("sockname")[1]) == target]:
                held.remove(one)
                one.close()
                await end_of(one)
            until(partial(has_nobody, target), "the next ones go to this worker")
            banner = b"none yet"
            while banner:
                async with await Stranger.connect(gate.port, address="127.0.0.2") as refused:
                    banner = await refused.banner()


PIECE = bytes(30_000)  # with its frame in one packet of SSH: the server has it all at once


async def use_bandwidth(connection: asyncssh.SSHClientConnection) -> None:
    """Send a PIECE in a session of its own: a WRITE to a handle that is none."""
    raw = await Raw.open(connection)
    init, write = struct.pack(">IBI", 5, 1, 3), struct.pack(">IBI4xQI", 21 + len(PIECE), 6, 1, 0, len(PIECE)) + PIECE
    raw.writer.write(init + write)


def debt(gate: Gate) -> float:
    """What the user has had too much."""
    state = gate.data / "store/.sftpgate/allowances/erp"
    left: float = struct.unpack("<dd", state.read_bytes())[0] if state.exists() else 0.0
    return -left


async def test_a_user_has_its_bandwidth_once(tmp_path: Path) -> None:
    """What a user has had in one worker is missing in the other one, also when the first one was killed, and in new workers after
    a reload.
    """
    async with serving(tmp_path, "max_bytes_per_second = 500\n") as gate:
        one, other = await gate.connect(), await gate.connect()
        doomed = gate.worker_of(one.get_extra_info("sockname")[1])
        assert doomed != gate.worker_of(other.get_extra_info("sockname")[1])
        await use_bandwidth(one)
        until(lambda: debt(gate) > 20_000, "the first worker has counted")
        os.kill(doomed, signal.SIGKILL)
        await end_of(one)
        await use_bandwidth(other)
        until(lambda: debt(gate) > 45_000, "the other worker has added its own")
        await reload(gate, "max_bytes_per_second = 500\n")
        third = await gate.connect()
        await use_bandwidth(third)
        until(lambda: debt(gate) > 70_000, "a new worker has added its own")
        for connection in (other, third):
            connection.abort()
