"""An SFTP client that sends what it is told: packets by hand, over a channel of asyncssh."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import Self

import asyncssh
from asyncssh import SFTPAttrs
from asyncssh.packet import SSHPacket

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Open, Reply, Request

WAIT_SECONDS = 30.0
CREATE = Open.WRITE | Open.CREAT | Open.TRUNC
RESUME = Open.WRITE | Open.CREAT

# version 5 and 6: access, and the dispositions CREATE_TRUNCATE and OPEN_OR_CREATE (filexfer-13 §8.1.1)
_READ_DATA, _WRITE_DATA = 1, 2
_NEW, _CREATE_TRUNCATE, _OPEN_EXISTING, _OPEN_OR_CREATE = 0, 1, 2, 3


@dataclass(frozen=True)
class Answer:
    """One reply."""

    kind: int
    number: int
    body: bytes
    version: int

    @property
    def status(self) -> int:
        """The code; the reply must be a status."""
        assert self.kind == Reply.STATUS, self
        return int.from_bytes(self.body[:4], "big")

    @property
    def message(self) -> str:
        """The sentence of a status."""
        packet = SSHPacket(self.body)
        packet.get_uint32()
        return packet.get_string().decode()

    @property
    def handle(self) -> bytes:
        """The handle; the reply must be one."""
        assert self.kind == Reply.HANDLE, self
        return SSHPacket(self.body).get_string()

    @property
    def data(self) -> bytes:
        """The content; the reply must be data."""
        assert self.kind == Reply.DATA, self
        return SSHPacket(self.body).get_string()

    @property
    def attrs(self) -> SFTPAttrs:
        """The attributes; the reply must be some."""
        assert self.kind == Reply.ATTRS, self
        return SFTPAttrs.decode(SSHPacket(self.body), self.version)

    @property
    def names(self) -> list[tuple[str, str, SFTPAttrs]]:
        """Name, long name (empty from version 4) and attributes; the reply must be names."""
        assert self.kind == Reply.NAME, self
        packet = SSHPacket(self.body)
        found = []
        for _ in range(packet.get_uint32()):
            name = packet.get_string().decode()
            longname = packet.get_string().decode() if self.version == 3 else ""
            found.append((name, longname, SFTPAttrs.decode(packet, self.version)))
        return found


class Raw:
    """One SFTP session."""

    def __init__(
        self, connection: asyncssh.SSHClientConnection, writer: asyncssh.SSHWriter[bytes], reader: asyncssh.SSHReader[bytes]
    ) -> None:
        self.connection = connection
        self.writer = writer
        self.reader = reader
        self.version = 3
        self._number = 0

    @classmethod
    async def open(cls, connection: asyncssh.SSHClientConnection) -> Self:
        """A session before INIT."""
        writer, reader, _ = await connection.open_session(subsystem="sftp", encoding=None)
        return cls(connection, writer, reader)

    async def begin(self, version: int = 3) -> list[tuple[bytes, bytes]]:
        """INIT; the extensions that the server has."""
        self.send_packet(bytes([Request.INIT]) + struct.pack(">I", version))
        packet = SSHPacket(await self.packet())
        assert packet.get_byte() == Reply.VERSION
        self.version = packet.get_uint32()
        found = []
        while packet:
            found.append((packet.get_string(), packet.get_string()))
        return found

    # -- packets -----------------------------------------------------------------------------------------------------

    def send(self, kind: int, *parts: bytes, number: int | None = None) -> int:
        """A request, whose answer is read later or never; its number."""
        if number is None:
            self._number += 1
            number = self._number
        self.send_packet(bytes([kind]) + struct.pack(">I", number) + b"".join(parts))
        return number

    def send_packet(self, body: bytes) -> None:
        """A packet of any content."""
        self.writer.write(struct.pack(">I", len(body)) + body)

    async def packet(self) -> bytes:
        """The next packet of the server, without its length."""
        async with asyncio.timeout(WAIT_SECONDS):
            (length,) = struct.unpack(">I", await self.reader.readexactly(4))
            return await self.reader.readexactly(length)

    async def answer(self) -> Answer:
        """The next reply."""
        body = await self.packet()
        return Answer(body[0], int.from_bytes(body[1:5], "big"), body[5:], self.version)

    async def request(self, kind: int, *parts: bytes) -> Answer:
        """A request and its reply, which must bear its number."""
        number = self.send(kind, *parts)
        answer = await self.answer()
        assert answer.number == number
        return answer

    async def at_end(self) -> bytes:
        """What the server still sends until it closes its side."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.reader.read()

    async def exit_status(self) -> int | None:
        """The exit status of the channel, when it is closed."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self.writer.channel.wait_closed()
        channel = self.writer.channel
        assert isinstance(channel, asyncssh.SSHClientChannel)
        return channel.get_exit_status()

    # -- requests that most tests need -------------------------------------------------------------------------------

    def open_parts(self, path: str | bytes, flags: Open, attrs: bytes | None = None) -> bytes:
        """The body of an OPEN in the session's version."""
        return string(path) + self._flags(flags) + (attrs if attrs is not None else self.attributes())

    def _flags(self, flags: Open) -> bytes:
        if self.version < 5:
            return struct.pack(">I", flags)
        access = (_READ_DATA if flags & Open.READ else 0) | (_WRITE_DATA if flags & Open.WRITE else 0)
        if flags & Open.EXCL:
            how = _NEW
        elif flags & Open.TRUNC:
            how = _CREATE_TRUNCATE
        else:
            how = _OPEN_OR_CREATE if flags & Open.CREAT else _OPEN_EXISTING
        return struct.pack(">II", access, how | (0x08 if flags & Open.APPEND else 0))

    def attributes(self, **values: int) -> bytes:
        """Attributes in the session's version."""
        kind = {} if self.version == 3 else {"type": 1}
        return SFTPAttrs(**kind, **values).encode(self.version)

    async def try_open(self, path: str | bytes, flags: Open = CREATE, attrs: bytes | None = None) -> Answer:
        """OPEN; whatever the answer is."""
        return await self.request(Request.OPEN, self.open_parts(path, flags, attrs))

    async def open_file(self, path: str | bytes, flags: Open = CREATE, attrs: bytes | None = None) -> bytes:
        """OPEN; the handle."""
        return (await self.try_open(path, flags, attrs)).handle

    async def write(self, handle: bytes, offset: int, content: bytes) -> Answer:
        """WRITE."""
        return await self.request(Request.WRITE, string(handle), struct.pack(">Q", offset), string(content))

    async def size(self, path: str | bytes) -> int | None:
        """The size that STAT tells; None if there is no such file."""
        answer = await self.on(Request.STAT, path)
        return answer.attrs.size if answer.kind == Reply.ATTRS else None

    async def read(self, handle: bytes, offset: int = 0, length: int = 32768) -> Answer:
        """READ."""
        return await self.request(Request.READ, string(handle), struct.pack(">QI", offset, length))

    async def close(self, handle: bytes) -> Answer:
        """CLOSE."""
        return await self.request(Request.CLOSE, string(handle))

    async def put(self, path: str | bytes, content: bytes) -> int:
        """A whole upload in one write; the status of its CLOSE."""
        handle = await self.open_file(path)
        if content:
            assert (await self.write(handle, 0, content)).status == Status.OK
        return (await self.close(handle)).status

    async def get(self, path: str | bytes) -> bytes:
        """The content of a small file."""
        handle = await self.open_file(path, Open.READ)
        answer = await self.read(handle)
        assert (await self.close(handle)).status == Status.OK
        return b"" if answer.kind == Reply.STATUS else answer.data

    async def on(self, kind: int, path: str | bytes) -> Answer:
        """A request that has one path and nothing else."""
        return await self.request(kind, string(path))

    async def setstat(self, path: str | bytes, **values: int) -> Answer:
        """SETSTAT."""
        return await self.request(Request.SETSTAT, string(path), self.attributes(**values))

    async def fsetstat(self, handle: bytes, **values: int) -> Answer:
        """FSETSTAT."""
        return await self.request(Request.FSETSTAT, string(handle), self.attributes(**values))

    async def rename(self, old: str | bytes, new: str | bytes) -> Answer:
        """RENAME, which replaces nothing."""
        flags = struct.pack(">I", 0) if self.version >= 5 else b""
        return await self.request(Request.RENAME, string(old), string(new), flags)

    async def mkdir(self, path: str | bytes) -> Answer:
        """MKDIR."""
        return await self.request(Request.MKDIR, string(path), self.attributes())

    async def extended(self, name: str, *parts: bytes) -> Answer:
        """An extension request."""
        return await self.request(Request.EXTENDED, string(name), *parts)

    async def posix_rename(self, old: str | bytes, new: str | bytes) -> Answer:
        """The rename that replaces."""
        return await self.extended("posix-rename@openssh.com", string(old), string(new))

    async def listing(self, path: str | bytes) -> list[str]:
        """The names in a directory, without the dots."""
        return [name for name, _, _ in await self.rows(path) if name not in (".", "..")]

    async def rows(self, path: str | bytes) -> list[tuple[str, str, SFTPAttrs]]:
        """Everything that READDIR says of a directory."""
        handle = (await self.on(Request.OPENDIR, path)).handle
        found = []
        while (answer := await self.request(Request.READDIR, string(handle))).kind == Reply.NAME:
            found += answer.names
        assert answer.status == Status.EOF
        assert (await self.close(handle)).status == Status.OK
        return found


def string(content: str | bytes) -> bytes:
    """A string of the protocol."""
    raw = content.encode() if isinstance(content, str) else content
    return struct.pack(">I", len(raw)) + raw


def uint32(*numbers: int) -> bytes:
    """Numbers of four bytes."""
    return struct.pack(f">{len(numbers)}I", *numbers)


def uint64(*numbers: int) -> bytes:
    """Numbers of eight bytes."""
    return struct.pack(f">{len(numbers)}Q", *numbers)
