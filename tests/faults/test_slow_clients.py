"""Clients that do not read, that send byte by byte, and that ask for much at once: the server's memory stays what it was, and
others go on.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from sftpgate.gateway.sftp.wire import Open, Reply, Request
from tests.harness.raw import Raw, string
from tests.harness.servers import Gate

MIB = 1024 * 1024
READS = 300  # of 255 KiB: 75 MiB of answers
MOST_GROWTH_BYTES = 24 * MIB
BOTH_WAYS = pytest.mark.parametrize("fast", ["true", "false"], ids=["fast", "public"])


@asynccontextmanager
async def session(gate: Gate, user: str = "erp", **options: Any) -> AsyncIterator[Raw]:
    """A session after INIT; ``options`` of its channel."""
    connection = await gate.connect(user)
    try:
        writer, reader, _ = await connection.open_session(subsystem="sftp", encoding=None, **options)
        raw = Raw(connection, writer, reader)
        await raw.begin()
        yield raw
    finally:
        connection.abort()


def memory(gate: Gate) -> int:
    """Memory of the processes that clients reach; what follows the record beside them is still coming up."""
    return sum(psutil.Process(pid).memory_info().rss for pid in (gate.pid, *gate.workers()))


async def put(raw: Raw, path: str, content: bytes) -> None:
    """A whole upload, which must succeed."""
    handle = await raw.open_file(path)
    assert (await raw.write(handle, 0, content)).status == 0
    assert (await raw.close(handle)).status == 0


async def test_a_client_that_does_not_read(base: Path) -> None:
    """A client that asks for 75 MiB, has room for all of it by its window, and reads nothing, costs little memory and keeps
    nobody waiting; when it reads again, it gets every answer.
    """
    with Gate(base) as gate:
        gate.start()
        async with session(gate, window=2**31 - 1) as lazy, session(gate, "other") as busy:
            await put(lazy, "big.bin", bytes(MIB))
            handle = await lazy.open_file("big.bin", Open.READ)
            before = memory(gate)
            transport: Any = lazy.connection.__dict__["_transport"]  # asyncssh reads whatever comes
            transport.pause_reading()
            for _ in range(READS):
                lazy.send(Request.READ, string(handle), struct.pack(">QI", 0, 261120))
            for number in range(30):
                await put(busy, f"{number}.csv", b"a,b\n")
            assert memory(gate) - before < MOST_GROWTH_BYTES
            transport.resume_reading()
            for _ in range(READS):
                answer = await lazy.answer()
                assert (answer.kind, len(answer.data)) == (Reply.DATA, 261120)


@pytest.mark.promise("P1")
@BOTH_WAYS
async def test_a_request_in_single_bytes(base: Path, fast: str) -> None:
    """A WRITE that comes byte by byte, each in a packet of its own, is taken whole; nothing of it before."""
    with Gate(base, FAST_PATH=fast) as gate:
        gate.start()
        async with session(gate) as drip, session(gate, "other") as busy:
            handle = await drip.open_file("drip.csv")
            before = memory(gate)
            content = b"a,b\n" * 100
            body = bytes([Request.WRITE]) + struct.pack(">I", 99) + string(handle) + struct.pack(">Q", 0) + string(content)
            for byte in struct.pack(">I", len(body)) + body:
                drip.writer.write(bytes([byte]))
            await put(busy, "b.csv", b"a,b\n")
            assert (await drip.answer()).kind == Reply.STATUS
            assert (await drip.close(handle)).status == 0
            assert memory(gate) - before < MOST_GROWTH_BYTES
        assert gate.in_store("drip.csv") == content


@BOTH_WAYS
async def test_many_requests_at_once(base: Path, fast: str) -> None:
    """A client that sends 10,000 requests without waiting gets every answer in order, in bounded memory, and others go on."""
    with Gate(base, FAST_PATH=fast) as gate:
        gate.start()
        async with session(gate, window=64 * MIB) as greedy, session(gate, "other") as busy:
            handle = await greedy.open_file("x.csv")
            before = memory(gate)
            for _ in range(10_000):
                greedy.send(Request.FSTAT, string(handle))
            for number in range(10):
                await put(busy, f"{number}.csv", b"a,b\n")
            assert memory(gate) - before < MOST_GROWTH_BYTES
            for _ in range(10_000):
                assert (await greedy.answer()).kind == Reply.ATTRS
