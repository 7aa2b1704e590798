"""A disk or a ledger that takes its time: who waits for it, and who does not."""

from __future__ import annotations

import asyncio
import sqlite3
import struct
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager

import pytest

from sftpgate.app.serving.worker_process import THREADS_AT_ONCE
from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Open, Request
from sftpgate.store.disk import Disk
from tests.harness.gates import Gate, Start
from tests.harness.raw import WAIT_SECONDS, string, uint64


class Stall:
    """Holds back one kind of disk operation until it is let go."""

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._go_on = threading.Event()
        self._loop = asyncio.get_running_loop()
        self.reached = asyncio.Event()

    def __call__(self, disk: Disk, operation: str, *_: object) -> None:
        """In the place of ``Disk.step``."""
        if operation == self._operation:
            self._loop.call_soon_threadsafe(self.reached.set)
            self._go_on.wait(WAIT_SECONDS)

    def let_go(self) -> None:
        """Nothing is held back any more."""
        self._go_on.set()


@contextmanager
def stalled(monkeypatch: pytest.MonkeyPatch, operation: str) -> Iterator[Stall]:
    """The block has a disk that does not come back from an operation."""
    stall = Stall(operation)
    monkeypatch.setattr(Disk, "step", lambda disk, *what: stall(disk, *what))
    try:
        yield stall
    finally:
        stall.let_go()
        monkeypatch.undo()


@pytest.mark.promise("P2")
@pytest.mark.same_process
@pytest.mark.parametrize("operation", ["sync", "sync_dir"])
async def test_a_slow_flush_delays_those_who_close(start: Start, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    """While the disk flushes for one CLOSE, other sessions open, write, look and read; the CLOSE is answered afterwards,
    and so are those that came meanwhile.
    """
    async with start(durability="full") as gate, gate.raw() as slow, gate.raw() as other, gate.raw("other") as third:
        await other.put("there.csv", b"there\n")
        waiting = await slow.open_file("a.csv")
        with stalled(monkeypatch, operation) as stall:
            await slow.write(waiting, 0, b"a\n")
            close = asyncio.create_task(slow.close(waiting))
            async with asyncio.timeout(WAIT_SECONDS):
                await stall.reached.wait()
                writing = await other.open_file("b.csv")
                assert (await other.write(writing, 0, b"b\n")).status == Status.OK
                assert "there.csv" in await other.listing(".")
                reading = await other.open_file("there.csv", Open.READ)
                assert (await other.read(reading, 0, 100)).data == b"there\n"
                closes = [asyncio.create_task(other.close(writing)), asyncio.create_task(third.put("c.csv", b"c\n"))]
            assert not close.done()
            stall.let_go()
            async with asyncio.timeout(WAIT_SECONDS):
                assert (await close).status == Status.OK
                await asyncio.gather(*closes)
        assert gate.in_store() == {"there.csv": b"there\n", "a.csv": b"a\n", "b.csv": b"b\n", "c.csv": b"c\n"}


@pytest.mark.same_process
async def test_many_who_wait_for_the_disk_keep_nobody_from_working(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """More sessions wait for their fsync than threads work at a time: others open, write, look and close."""
    async with start(durability="relaxed") as gate, gate.raw("other") as other, AsyncExitStack() as stack:
        waiting = [await stack.enter_async_context(gate.raw()) for _ in range(THREADS_AT_ONCE + 1)]
        handles = [await session.open_file(f"{number}.csv") for number, session in enumerate(waiting)]
        for session, handle in zip(waiting, handles, strict=True):
            await session.write(handle, 0, b"a\n")
        with stalled(monkeypatch, "sync") as stall:
            fsyncs = [
                asyncio.create_task(session.extended("fsync@openssh.com", string(handle)))
                for session, handle in zip(waiting, handles, strict=True)
            ]
            async with asyncio.timeout(WAIT_SECONDS):
                await stall.reached.wait()
                assert await other.put("b.csv", b"b\n") == Status.OK
                assert "b.csv" in await other.listing(".")
            assert not any(fsync.done() for fsync in fsyncs)
            stall.let_go()
            async with asyncio.timeout(WAIT_SECONDS):
                assert {answer.status for answer in await asyncio.gather(*fsyncs)} == {Status.OK}


@pytest.mark.promise("P2")
async def test_a_locked_ledger_delays_a_close(gate: Gate) -> None:
    """While somebody else has the ledger locked, writes go on and a CLOSE waits; it is answered when the lock is gone."""
    async with gate.raw() as raw, gate.raw() as other:
        handle = await raw.open_file("a.csv")
        await raw.write(handle, 0, b"a\n")
        going_on = await other.open_file("b.csv")
        with closing(sqlite3.connect(gate.data / "ledger.db", isolation_level=None)) as locking:
            locking.execute("BEGIN IMMEDIATE")
            close = asyncio.create_task(raw.close(handle))
            async with asyncio.timeout(WAIT_SECONDS):
                for number in range(100):
                    assert (await other.write(going_on, 2 * number, b"b\n")).status == Status.OK
                assert "b.csv" in await other.listing(".")
            assert not close.done()
            locking.execute("ROLLBACK")
        async with asyncio.timeout(WAIT_SECONDS):
            assert (await close).status == Status.OK
            assert (await other.close(going_on)).status == Status.OK
    assert gate.in_store() == {"a.csv": b"a\n", "b.csv": b"b\n" * 100}


@pytest.mark.promise("P1")
async def test_a_client_that_sends_a_byte_at_a_time(gate: Gate) -> None:
    """An upload whose packets come byte by byte is whole, and another session is served between any two of them."""
    async with gate.raw() as slow, gate.raw() as other:
        handle = await slow.open_file("slow.csv")
        body = bytes([Request.WRITE]) + struct.pack(">I", 99) + string(handle) + uint64(0) + string(b"slow\n")
        packet = string(body)  # a packet begins with its length, as a string does
        for position in range(len(packet)):
            slow.writer.write(packet[position : position + 1])
            await other.put(f"{position}.csv", b"x\n")
        assert (await slow.answer()).status == Status.OK
        assert (await slow.close(handle)).status == Status.OK
    assert gate.in_store()["slow.csv"] == b"slow\n"
