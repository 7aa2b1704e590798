"""Many clients of a real server, all of them in this process: hundreds of idle sessions with uploads beside them, and ten
thousand failed logins.

What was measured is printed, and kept as properties of the tests.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from statistics import median
from time import perf_counter

import asyncssh
import psutil
import pytest

from tests.harness.servers import Gate

IDLE, ACTIVE, WARM = 500, 100, 20
FILES = 3  # of each active session
CONTENT = b"some,line,of,a,file\n" * 5000  # 100 kB
MOST_BYTES_PER_SESSION = 256 * 1024  # measured: far less; a leak of a buffer per session is more
AT_A_TIME = 10  # logins: fewer than max_unauthenticated_per_address

CROWD = 60

FAILURES, KEYS, PASSWORDS = 10_000, 49, 1  # of each connection, together what max_auth_attempts allows
VALID = 9  # valid logins at each server
MOST_GROWN_BYTES = 16 * 1024 * 1024  # measured: 1 to 3 MB
SLOWER = 3.0  # a factor: what a machine is busy with else must not fail the test, a server that is busy with the past must

Record = Callable[[str, object], None]


@pytest.fixture
def gate(base: Path) -> Iterator[Gate]:
    """A server whose clients all come from one address and are a few users."""
    settings = {
        "TRUSTED_NETWORKS": "127.0.0.0/8",
        "MAX_AUTH_ATTEMPTS": str(KEYS + PASSWORDS),
        "MAX_CONNECTIONS_PER_USER": str(IDLE + ACTIVE + WARM),
        "MAX_SESSIONS_PER_USER": str(IDLE + ACTIVE + WARM),
        "IDLE_TIMEOUT": "1h",
    }
    with Gate(base, **settings) as made:
        made.start()
        yield made


@pytest.fixture
def fresh(base: Path) -> Iterator[Gate]:
    """A server that nobody has tried: what it takes is what the machine takes at that moment."""
    directory = base / "fresh"
    directory.mkdir()
    with Gate(directory) as made:
        made.start()
        yield made


async def connect(gate: Gate, user: str = "erp") -> asyncssh.SSHClientConnection:
    """A connection, by the quickest key exchange: hundreds are made."""
    return await gate.connect(user, kex_algs=["curve25519-sha256"])


def memory(gate: Gate) -> int:
    """Bytes that the processes which clients reach have for themselves, and their part of what they share."""
    return sum(psutil.Process(pid).memory_full_info().pss for pid in (gate.pid, *gate.workers()))


async def sessions(gate: Gate, count: int, user: str, stack: AsyncExitStack) -> list[asyncssh.SFTPClient]:
    """So many sessions, each in a connection of its own."""
    turn = asyncio.Semaphore(AT_A_TIME)

    async def one() -> asyncssh.SFTPClient:
        async with turn:
            connection = await stack.enter_async_context(await connect(gate, user))
            client = await stack.enter_async_context(connection.start_sftp_client())
            assert await client.realpath(".") == "/sync"
            return client

    return list(await asyncio.gather(*(one() for _ in range(count))))


async def send(client: asyncssh.SFTPClient, name: str) -> None:
    """One upload."""
    async with client.open(name, "wb") as file:
        await file.write(CONTENT)


@pytest.mark.timeout(300)
async def test_idle_and_active_sessions(gate: Gate, record_property: Record) -> None:
    """500 idle sessions cost little memory and hinder nobody: 100 others upload at the same time, and all files arrive."""
    async with AsyncExitStack() as stack:
        await sessions(gate, WARM, "other", stack)
        before = memory(gate)
        idle = await sessions(gate, IDLE, "other", stack)
        each = (memory(gate) - before) / IDLE
        active = await sessions(gate, ACTIVE, "erp", stack)
        started = perf_counter()
        names = [[f"{session}-{number}.csv" for number in range(FILES)] for session in range(ACTIVE)]
        for number in range(FILES):
            await asyncio.gather(*(send(client, mine[number]) for client, mine in zip(active, names, strict=True)))
        seconds = perf_counter() - started
        assert all(gate.in_store(name) == CONTENT for mine in names for name in mine)
        assert set(await asyncio.gather(*(client.realpath(".") for client in idle))) == {"/sync"}
    record_property("bytes_per_idle_session", round(each))
    record_property("uploads_per_second", round(ACTIVE * FILES / seconds, 1))
    assert each < MOST_BYTES_PER_SESSION


@pytest.mark.timeout(120)
async def test_sixty_clients_at_one_moment(base: Path) -> None:
    """With the settings as they are by default, sixty clients that connect at one moment from one address all get in, also beside
    connections of the same address that say nothing.
    """
    with Gate(base) as gate:
        gate.start()
        silent = [await asyncio.open_connection("127.0.0.1", gate.port) for _ in range(300)]

        async def one(number: int) -> None:
            async with await connect(gate) as connection, connection.start_sftp_client() as client:
                await send(client, f"{number}.csv")

        await asyncio.gather(*(one(number) for number in range(CROWD)))
        assert all(gate.in_store(f"{number}.csv") == CONTENT for number in range(CROWD))
        for _, writer in silent:
            writer.close()


class Guesser(asyncssh.SSHClient):
    """Tries a wrong key again and again, and some passwords at the end."""

    def __init__(self, key: asyncssh.SSHKey) -> None:
        [self._key] = asyncssh.load_keypairs([key])
        self.tried = 0

    def public_key_auth_requested(self) -> asyncssh.SSHKeyPair | None:
        """The same key once more."""
        if self.tried >= KEYS:
            return None
        self.tried += 1
        return self._key

    def password_auth_requested(self) -> str | None:
        """A password, until there were enough."""
        if self.tried == KEYS + PASSWORDS:
            return None
        self.tried += 1
        return f"wrong password {self.tried}"


async def guess(gate: Gate, key: asyncssh.SSHKey, number: int, turn: asyncio.Semaphore) -> int:
    """A connection that fails as often as it may; how often that was."""
    client = Guesser(key)
    async with turn:
        with suppress(asyncssh.DisconnectError, OSError):
            await asyncssh.connect(
                "127.0.0.1",
                gate.port,
                username="erp" if number % 2 else f"nobody{number}",
                client_factory=lambda: client,
                client_keys=None,
                known_hosts=None,
                config=None,
                agent_path=None,
                preferred_auth="publickey,password",
                kex_algs=["curve25519-sha256"],
            )
    return client.tried


async def valid_seconds(*gates: Gate) -> list[float]:
    """How long a login with a small upload takes at each server; by turns, so that a busy machine is as slow for all of them."""
    taken: list[list[float]] = [[] for _ in gates]
    for number in range(VALID):
        for gate, seconds in zip(gates, taken, strict=True):
            started = perf_counter()
            async with await connect(gate) as connection, connection.start_sftp_client() as client:
                await send(client, f"valid-{number}.csv")
            seconds.append(perf_counter() - started)
    return [median(seconds) for seconds in taken]


@pytest.mark.timeout(300)
async def test_ten_thousand_failed_logins(gate: Gate, fresh: Gate, record_property: Record) -> None:
    """They leave the server as fast for a valid login as one that has seen none, and as large as it was; the record has all of
    them, in few lines.
    """
    key = asyncssh.generate_private_key("ssh-ed25519")
    turn = asyncio.Semaphore(AT_A_TIME)
    rounds = range(FAILURES // (KEYS + PASSWORDS))
    await valid_seconds(gate, fresh)
    started = perf_counter()
    # the first ones fill the pool that checks passwords, which keeps its memory
    tried = sum(await asyncio.gather(*(guess(gate, key, number, turn) for number in rounds[:AT_A_TIME])))
    memory_before = memory(gate)
    tried += sum(await asyncio.gather(*(guess(gate, key, number, turn) for number in rounds[AT_A_TIME:])))
    seconds = perf_counter() - started
    memory_after = memory(gate)
    after, elsewhere = await valid_seconds(gate, fresh)
    assert tried == FAILURES
    assert gate.stop() == 0
    events = [json.loads(line) for line in gate.command("audit", "--event", "login.refused", "--format", "jsonl").splitlines()]
    assert sum(event["details"].get("times", 1) for event in events) == FAILURES
    assert len(events) < FAILURES / 10
    record_property("failures_per_second", round(FAILURES / seconds))
    record_property("valid_ms", (round(elsewhere * 1000, 1), round(after * 1000, 1)))
    record_property("records", len(events))
    record_property("grown_bytes", memory_after - memory_before)
    assert after < SLOWER * elsewhere, f"{elsewhere * 1000:.0f} ms at a fresh server, {after * 1000:.0f} ms after"
    assert memory_after - memory_before < MOST_GROWN_BYTES
