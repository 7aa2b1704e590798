"""SFTP packets of a hostile client, against a real gate on loopback; another client is served meanwhile.

The gate and the SSH connections live in an event loop that turns while an input is worked on, so that a fuzzer, which is
synchronous, sees everything that an input causes.
"""

from __future__ import annotations

import asyncio
import shutil
import struct
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import asyncssh

from sftpgate.gateway.sftp.wire import Request
from tests.harness.gates import Gate, make_keys, running
from tests.harness.raw import Raw, string, uint32

WAIT_SECONDS = 30.0
LOOK_EVERY = 50  # inputs after which the other client looks whether it is still served


def _request(kind: Request, *parts: bytes) -> bytes:
    body = bytes([kind]) + uint32(7) + b"".join(parts)
    return bytes([len(body)]) + body


_OPEN = _request(Request.OPEN, string("a.csv"), uint32(0x1A, 0))
_HANDLE = string(bytes(4))  # the first handle of a session

SEEDS = [
    _OPEN + _request(Request.WRITE, _HANDLE, bytes(8), string(b"abcde\n")) + _request(Request.CLOSE, _HANDLE),
    _OPEN + _request(Request.FSETSTAT, _HANDLE, uint32(0x9), bytes(16)) + _request(Request.FSTAT, _HANDLE),
    _request(Request.OPENDIR, string(".")) + _request(Request.READDIR, _HANDLE) * 2,
    _request(Request.EXTENDED, string("posix-rename@openssh.com"), string("a.csv"), string("b.csv")),
    _request(Request.EXTENDED, string("statvfs@openssh.com"), string(".")),
    _request(Request.RENAME, string("a.csv"), string("b.csv.tmp")) + _request(Request.REMOVE, string("b.csv.tmp")),
    b"".join(_request(kind, string("sub"), bytes(12)) for kind in Request if kind is not Request.INIT),
    bytes(1) + struct.pack(">IB", 2**31, 3),
]


class Hostile:
    """Sends what it is called with to a session of its own, which it ends then.

    Each packet is preceded by one byte with its length, so that a fuzzer reaches far into valid ones; behind a first byte of
    0 the rest is sent as it is.
    """

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="sftpgate-fuzz-"))
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self._gate: Gate
        self._connection: asyncssh.SSHClientConnection
        self._other: Raw
        self._count = 0

    def __enter__(self) -> Self:
        self._loop.run_until_complete(self._begin())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._stack.aclose())
        self._loop.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __call__(self, data: bytes) -> None:
        """One input."""
        self._loop.run_until_complete(self._send(data))

    async def _begin(self) -> None:
        keys = self._directory / "made"
        keys.mkdir()
        make_keys(keys)
        limits = {"max_upload_bytes": 2**20, "max_handles": 64, "max_pending_files": 100}
        self._gate = await self._stack.enter_async_context(running(self._directory / "gate", keys, **limits))
        self._connection = await self._stack.enter_async_context(self._gate.connection())
        self._other = await self._stack.enter_async_context(self._gate.raw("other"))
        await self._other.put("mine.csv", b"mine\n")

    async def _send(self, data: bytes) -> None:
        session = await Raw.open(self._connection)
        await session.begin(3 + self._count % 4)
        if data[:1] == b"\0":
            session.writer.write(data[1:])
        else:
            for packet in _packets(data):
                session.send_packet(packet)
        session.writer.write_eof()
        async with asyncio.timeout(WAIT_SECONDS):
            await session.reader.read()
        self._count += 1
        if self._count % LOOK_EVERY == 0:
            assert await self._other.get("mine.csv") == b"mine\n", "another client is no longer served"
        assert not self._gate.log.unforeseen, self._gate.log.unforeseen[0]
        self._gate.log.entries.clear()


def _packets(data: bytes) -> list[bytes]:
    found = []
    position = 0
    while position < len(data):
        length = data[position]
        found.append(data[position + 1 : position + 1 + length] or b"\0")
        position += 1 + length
    return found
