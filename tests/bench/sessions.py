"""Workloads of many sessions at a time, with asyncssh's client in this process."""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncssh

from tests.bench.contenders import HOST, Server, Sftpgate

IDLE_SESSIONS = 200
LATENCY_SESSIONS = 20
FILES_PER_SECOND = 100
ACTIVE_SESSIONS = 200
ACTIVE_FILES = 40  # each, so that it takes some ten seconds: the lag is sampled 20 times a second
ACTIVE_BYTES = 64 * 1024


@asynccontextmanager
async def clients(server: Server, count: int) -> AsyncIterator[list[asyncssh.SFTPClient]]:
    """So many connections, each with a session."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(count):
            connection = await asyncssh.connect(
                HOST,
                server.port,
                username=server.user,
                client_keys=[str(server.key)],
                known_hosts=None,
                config=None,
                agent_path=None,
                kex_algs=["curve25519-sha256"],
            )
            await stack.enter_async_context(connection)
            found.append(await stack.enter_async_context(connection.start_sftp_client()))
        yield found


async def idle_bytes(server: Server) -> float:
    """Memory of the server for each idle session."""
    async with clients(server, 5):
        before = server.memory_bytes()
        async with clients(server, IDLE_SESSIONS):
            return (server.memory_bytes() - before) / IDLE_SESSIONS


async def latency(server: Server, seconds: float) -> list[float]:
    """Seconds from the answer to the last WRITE to the answer to CLOSE, when the file can be claimed, for small files at a
    fixed rate over several sessions.
    """
    async with clients(server, LATENCY_SESSIONS) as sessions:
        took: list[float] = []

        async def send(session: asyncssh.SFTPClient, number: int) -> None:
            file = await session.open(f"{server.target}/latency-{number}.csv", "wb")
            await file.write(b"a,b\n" * 256)
            written = time.perf_counter()
            await file.close()
            took.append(time.perf_counter() - written)

        async with asyncio.TaskGroup() as tasks:
            start = time.perf_counter()
            for number in range(int(seconds * FILES_PER_SECOND)):
                due = start + number / FILES_PER_SECOND
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                tasks.create_task(send(sessions[number % LATENCY_SESSIONS], number))
    return took


def quantile(before: Mapping[float, float], after: Mapping[float, float], part: float) -> float:
    """Of what was counted in between: the counts say how many values were up to each bound. Linear within a bound."""
    counts = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    wanted = part * counts[math.inf]
    low_bound = low = 0.0
    for bound, count in counts.items():
        if count >= wanted:
            break
        low_bound, low = bound, count
    return low_bound if math.isinf(bound) else low_bound + (bound - low_bound) * (wanted - low) / (count - low)


def summary(values: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    return statistics.median(values), statistics.quantiles(values, n=100)[98]


@dataclass(frozen=True, slots=True)
class Crowd:
    """Many active sessions: how much longer the slowest one takes than the median one; the 99th percentile of the event loop's
    lag, and how long a request that needs nothing is under way, in seconds.
    """

    unfairness: float
    lag: float
    waits: Sequence[float]


async def crowd(server: Sftpgate) -> Crowd:
    """All of them send files, one after the other, once they have logged in."""
    async with clients(server, ACTIVE_SESSIONS) as sessions:
        content = b"0123456789abcde\n" * (ACTIVE_BYTES // 16)

        async def work(session: asyncssh.SFTPClient, number: int) -> float:
            start = time.perf_counter()
            for file in range(ACTIVE_FILES):
                async with session.open(f"{server.target}/active-{number}-{file}.csv", "wb") as opened:
                    await opened.write(content)
            return time.perf_counter() - start

        words = ["-m", "tests.bench.probe", str(server.port), server.user, str(server.key), server.target]
        probe = await asyncio.create_subprocess_exec(sys.executable, *words, stdin=PIPE, stdout=PIPE)
        assert probe.stdout is not None
        await probe.stdout.readline()
        before = server.lags()
        took = await asyncio.gather(*(work(session, number) for number, session in enumerate(sessions)))
        lag = quantile(before, server.lags(), 0.99)
        output, _ = await probe.communicate(b"")
    return Crowd(max(took) / statistics.median(took), lag, json.loads(output))
