"""One SFTP session: its channel, its parser, its handles (on asyncssh's public session API).

Requests are answered in their order, one after the other. What is on the path of every byte (WRITE, and READ from the
page cache) is done where it arrives; everything else is done by one task of the session, in a thread. While that task
works, requests queue up, and past a bound the channel stops reading.

**Only a CLOSE request from the client completes an upload** (promise P1). A session that ends otherwise (connection
lost, channel closed, end of file) interrupts what is still open. Requests that had arrived whole before the end are
still carried out: a client may send CLOSE and hang up.

Why not asyncssh's own SFTPServer: it calls one ``close`` for both ends of a handle, refuses bytes behind a request,
words errors with local paths, and sends no exit status (docs/decisions).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

import asyncssh
from asyncssh import SFTPAttrs, SFTPName
from asyncssh.packet import PacketDecodeError, SSHPacket

from sftpgate.errors import (
    BadMessage,
    InvalidHandle,
    PlaceRefused,
    Refused,
    SftpgateError,
    ShuttingDown,
    StorageError,
    TooMany,
    Unsupported,
    UploadFailed,
    UploadIncomplete,
)
from sftpgate.gateway import wire
from sftpgate.gateway.status import Status, status_of
from sftpgate.gateway.view import View, times_of
from sftpgate.gateway.wire import Open, Request
from sftpgate.intake.edits import OpenMode
from sftpgate.intake.hops import Hops
from sftpgate.intake.publish import Publisher
from sftpgate.intake.register import OpenUploads
from sftpgate.intake.staging import Staging
from sftpgate.intake.uploads import Upload
from sftpgate.logs import Logger, printable
from sftpgate.store.disk import Disk
from sftpgate.store.spots import translated

QUEUE_BYTES = 4 * 1024 * 1024  # requests that may wait while one is being done; one receive window of the default size
NAMES_PER_REPLY = 100  # about 20 KiB a NAME reply: well below what every client takes
SPACE_CHECK_BYTES = 64 * 1024 * 1024  # free space is looked at again after so much was written
COPY_BYTES = 1024 * 1024
MAX_OFFSET = 2**63 - 1 - wire.MAX_READ_BYTES  # where a file can have bytes: off_t is signed
REFUSALS_TOLD = 20  # lines on stderr a session, for clients that show them


# What a client's user can act on; that a file is or is not there, the client says itself.
_TOLD = (Refused, StorageError, UploadFailed, UploadIncomplete)

Spawn = Callable[[Coroutine[object, object, None]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What sessions need of the running gate; one set per process."""

    disk: Disk
    staging: Staging
    publisher: Publisher
    register: OpenUploads
    hops: Hops
    require_free_space: Callable[[], None]
    is_stopping: Callable[[], bool]
    spawn: Spawn
    max_handles: int
    max_sftp_version: int


@dataclass(slots=True, eq=False)
class Writing:
    """A handle opened for writing."""

    upload: Upload
    readable: bool
    unchecked_bytes: int = 0
    hashing: bool = False


@dataclass(slots=True, eq=False)
class Reading:
    """A handle opened for reading."""

    fd: int


@dataclass(slots=True, eq=False)
class Listing:
    """A directory handle."""

    entries: Iterator[SFTPName]


Handle = Writing | Reading | Listing


class SftpSession(asyncssh.SSHServerSession[bytes]):
    """An SSH session channel that speaks SFTP and nothing else."""

    def __init__(self, services: Services, view: View, log: Logger, *, tell_refusals: bool, on_end: Callable[[], None]) -> None:
        self._services = services
        self._view = view
        self._log = log
        self._tell_refusals = REFUSALS_TOLD if tell_refusals else 0
        self._told_last = ""
        self._on_end = on_end
        self._channel: asyncssh.SSHServerChannel[bytes]
        self._buffer = bytearray()
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._reading_paused = False
        self._working = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = False
        self._finished = False
        self._version = 0
        self._handles: dict[bytes, Handle] = {}
        self._next_handle = 0
        self.counts = {"requests": 0, "uploads": 0, "received_bytes": 0, "sent_bytes": 0}
        self.last_request_at = asyncio.get_running_loop().time()

    # -- asyncssh's callbacks ----------------------------------------------------------------------------------------

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """The channel is open."""
        self._channel = chan

    def shell_requested(self) -> bool:
        """No shell."""
        return False

    def exec_requested(self, command: str) -> bool:
        """No commands: some clients try one first and go on with SFTP."""
        return False

    def pty_requested(self, *_: object) -> bool:
        """No terminal."""
        return False

    def subsystem_requested(self, subsystem: str) -> bool:
        """SFTP, and nothing else."""
        return subsystem == "sftp"

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Bytes of the client's stream: take the whole packets out of them."""
        self._buffer += data
        position = 0
        buffer = self._buffer
        while len(buffer) - position >= 4:
            (length,) = struct.unpack_from(">I", buffer, position)
            if not 1 <= length <= wire.MAX_PACKET_BYTES:
                self._log.warning("session.bad_packet", length=length)
                self._channel.exit(1)
                self._ended = True
                self._wake()
                return
            if len(buffer) - position < 4 + length:
                break
            self._accept(bytes(memoryview(buffer)[position + 4 : position + 4 + length]))
            position += 4 + length
        del buffer[:position]

    def eof_received(self) -> bool:
        """The client has sent everything; what it asked for is still done. True keeps our side open for the answers."""
        self._ended = True
        self._wake()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone, with or without its connection."""
        self._ended = True
        self._writable.set()
        self._wake()

    def pause_writing(self) -> None:
        """The client does not read its answers: stop producing them."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writable.set()

    def end(self, reason: str) -> None:
        """End the session from our side."""
        if not self._ended:
            self._log.info("session.ending", reason=reason)
            self._ended = True
            self._writable.set()
            self._wake()

    # -- taking requests ---------------------------------------------------------------------------------------------

    def _accept(self, request: bytes) -> None:
        self.last_request_at = asyncio.get_running_loop().time()
        if not self._working and self._writable.is_set() and self._at_once(request):
            return
        self._queue.append(request)
        self._queued_bytes += len(request)
        if self._queued_bytes > QUEUE_BYTES and not self._reading_paused:
            self._reading_paused = True
            self._channel.pause_reading()
        self._wake()

    def _at_once(self, request: bytes) -> bool:
        """Do what needs no thread; False where it does."""
        if request[0] != Request.WRITE or len(request) < 9:
            return False
        number = int.from_bytes(request[1:5], "big")
        try:
            self._write(number, memoryview(request)[5:])
        except struct.error as error:
            self._answer_error(number, _malformed(error))
        except Exception as error:  # noqa: BLE001 - every request gets an answer, and the session goes on
            self._answer_error(number, error)
        self.counts["requests"] += 1
        return True

    def _wake(self) -> None:
        if not self._working and not self._finished:
            self._working = True
            self._services.spawn(self._work())

    async def _work(self) -> None:
        """Do the queued requests; at the end of the session, end what is open."""
        try:
            while self._queue:
                request = self._queue.popleft()
                self._queued_bytes -= len(request)
                if self._reading_paused and self._queued_bytes <= QUEUE_BYTES // 2:
                    self._reading_paused = False
                    self._channel.resume_reading()
                await self._writable.wait()
                if not self._at_once(request):
                    await self._answer(request)
        finally:
            self._working = False
        if self._ended and not self._finished:
            self._finished = True
            await self._finish()

    async def _finish(self) -> None:
        """Interrupt what was not closed. The exit status is what OpenSSH's scp waits for."""
        for handle in list(self._handles.values()):
            await self._abandon(handle)
        self._handles.clear()
        with contextlib.suppress(OSError):
            self._channel.exit(0)
        self._on_end()

    async def _answer(self, request: bytes) -> None:
        self.counts["requests"] += 1
        number = 0
        try:
            packet = wire.body_of(request)
            kind = packet.get_byte()
            if self._version == 0:
                self._init(kind, packet)
                return
            number = packet.get_uint32()
            await self._dispatch(kind, number, packet)
        except (PacketDecodeError, struct.error) as error:
            self._answer_error(number, _malformed(error))
        except Exception as error:  # noqa: BLE001 - every request gets an answer, and the session goes on
            self._answer_error(number, error)

    def _init(self, kind: int, packet: SSHPacket) -> None:
        if kind != Request.INIT:
            raise BadMessage("the first request must be INIT")
        self._version = max(3, min(packet.get_uint32(), self._services.max_sftp_version))
        self._send(wire.version(self._version))

    def _send(self, reply: bytes) -> None:
        if not self._channel.is_closing():
            self.counts["sent_bytes"] += len(reply)
            self._channel.write(reply)

    def _ok(self, number: int) -> None:
        self._send(wire.status(number, Status.OK, ""))

    def _answer_error(self, number: int, error: Exception) -> None:
        if isinstance(error, asyncssh.SFTPError):
            error = BadMessage(error.reason)
        code, message = status_of(error, self._version)
        if not isinstance(error, SftpgateError):
            self._log.error("request.failed", exc_info=error)
        elif error.local:
            self._log.error("request.failed", reason=error.message)
        elif isinstance(error, _TOLD):
            self._log.info("request.refused", reason=error.message)
            self._tell(error)
        self._send(wire.status(number, code, message))

    def _tell(self, error: SftpgateError) -> None:
        """OpenSSH's clients show only the status, not its sentence, but they pass our stderr on to their user."""
        if self._tell_refusals and error.message != self._told_last and not self._channel.is_closing():
            self._tell_refusals -= 1
            self._told_last = error.message
            self._channel.write_stderr(f"sftpgate: {error.message}\r\n".encode())

    # -- the path of every byte --------------------------------------------------------------------------------------

    def _write(self, number: int, body: memoryview) -> None:
        name, offset, content = wire.split_write(body)
        handle = self._handles.get(name)
        if not isinstance(handle, Writing):
            raise InvalidHandle() if handle is None else PlaceRefused("this file was opened for reading only")
        services, upload = self._services, handle.upload
        handle.unchecked_bytes += len(content)
        if handle.unchecked_bytes >= SPACE_CHECK_BYTES:
            handle.unchecked_bytes = 0
            upload.require(services.require_free_space)
        upload.write(services.disk, offset, content)
        self.counts["received_bytes"] += len(content)
        if services.register.needs_note(upload):
            services.register.note_lingering([upload])
        if upload.digest.is_behind and not handle.hashing:
            handle.hashing = True
            services.spawn(self._hash(handle))
        self._ok(number)

    async def _hash(self, handle: Writing) -> None:
        """Hash what was written, behind the writer."""
        try:
            while handle.upload.digest.is_behind:
                await self._services.hops.run(handle.upload.hash_behind)
        finally:
            handle.hashing = False

    async def _read(self, number: int, packet: SSHPacket) -> None:
        name, offset, length = packet.get_string(), packet.get_uint64(), packet.get_uint32()
        handle = self._handles.get(name)
        length = min(length, wire.MAX_READ_BYTES)
        if offset > MAX_OFFSET and handle is not None:
            content = b""
        elif isinstance(handle, Reading):
            content = await self._read_file(handle.fd, offset, length)
        elif isinstance(handle, Writing) and handle.readable:
            content = handle.upload.read(offset, length)
        else:
            raise InvalidHandle() if handle is None else PlaceRefused("this handle was not opened for reading")
        if content:
            self._send(wire.data(number, content, self._version))
        else:
            self._send(wire.status(number, Status.EOF, "end of file"))

    async def _read_file(self, fd: int, offset: int, length: int) -> bytes:
        """Bytes of a file: at once where they are in the page cache, in a thread where the disk must be waited for."""
        buffer = bytearray(length)
        try:
            done = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
        except OSError:
            with translated("read"):
                return await self._services.hops.run(os.pread, fd, length, offset)
        return bytes(memoryview(buffer)[:done])

    # -- requests ----------------------------------------------------------------------------------------------------

    async def _dispatch(self, kind: int, number: int, packet: SSHPacket) -> None:
        hop = self._services.hops.run
        match kind:
            case Request.OPEN:
                await self._open(number, packet)
            case Request.CLOSE:
                await self._close(packet.get_string())
                self._ok(number)
            case Request.READ:
                await self._read(number, packet)
            case Request.STAT | Request.LSTAT:
                attrs = await hop(self._view.attributes, packet.get_string())
                self._send(wire.attributes(number, attrs, self._version))
            case Request.FSTAT:
                self._send(wire.attributes(number, self._fstat(packet.get_string()), self._version))
            case Request.SETSTAT:
                path, attrs = packet.get_string(), SFTPAttrs.decode(packet, self._version)
                await hop(self._view.set_attributes, path, attrs)
                self._ok(number)
            case Request.FSETSTAT:
                self._fsetstat(packet.get_string(), SFTPAttrs.decode(packet, self._version))
                self._ok(number)
            case Request.OPENDIR:
                self._require_handle()
                entries = await hop(self._view.entries, packet.get_string())
                self._send(wire.handle(number, self._register(Listing(entries))))
            case Request.READDIR:
                await self._readdir(number, packet.get_string())
            case Request.REMOVE:
                await self._act(number, self._view.remove, packet.get_string())
            case Request.MKDIR:
                await self._act(number, self._view.make_directory, packet.get_string())
            case Request.RMDIR:
                await self._act(number, self._view.remove_directory, packet.get_string())
            case Request.REALPATH:
                await self._realpath(number, packet)
            case Request.RENAME:
                old, new = packet.get_string(), packet.get_string()
                flags = packet.get_uint32() if self._version >= 5 else 0
                await self._act(number, partial(self._view.rename, replacing=bool(flags & wire.RENAME_OVERWRITE_BITS)), old, new)
            case Request.READLINK | Request.SYMLINK | Request.LINK:
                self._view.refuse_link()
            case Request.EXTENDED:
                await self._extended(number, packet)
            case _:
                raise Unsupported(f"request {kind} is not supported")

    async def _act(self, number: int, act: Callable[..., None], *paths: bytes) -> None:
        await self._services.hops.run(act, *paths)
        self._ok(number)

    async def _open(self, number: int, packet: SSHPacket) -> None:
        path = packet.get_string()
        if self._version >= 5:
            access, raw_flags = packet.get_uint32(), packet.get_uint32()
            flags = wire.open_flags_of_v5(access, raw_flags)
        else:
            flags = Open(packet.get_uint32() & 0x3F)
        attrs = SFTPAttrs.decode(packet, self._version)
        self._require_handle()
        if not flags & (Open.WRITE | Open.APPEND):
            fd = await self._services.hops.run(self._view.open_for_reading, path)
            self._send(wire.handle(number, self._register(Reading(fd))))
            return
        if self._services.is_stopping():
            raise ShuttingDown()
        mode = OpenMode(
            create=bool(flags & Open.CREAT),
            truncate=bool(flags & Open.TRUNC),
            exclusive=bool(flags & Open.EXCL),
            append=bool(flags & Open.APPEND),
            declared_size=attrs.size,
        )
        upload = await self._services.hops.run(self._view.open_for_writing, path, mode)
        self._services.register.add(upload)
        upload.times_ns = times_of(attrs, upload.current_times_ns)
        self._send(wire.handle(number, self._register(Writing(upload, readable=bool(flags & Open.READ)))))

    def _require_handle(self) -> None:
        if len(self._handles) >= self._services.max_handles:
            raise TooMany(f"{len(self._handles)} handles are open in this session, the limit is reached (rule: max_handles)")

    def _register(self, handle: Handle) -> bytes:
        name = self._next_handle.to_bytes(4, "big")
        self._next_handle += 1
        self._handles[name] = handle
        return name

    def _handle(self, name: bytes) -> Handle:
        handle = self._handles.get(name)
        if handle is None:
            raise InvalidHandle()
        return handle

    async def _close(self, name: bytes) -> None:
        handle = self._handles.pop(name, None)
        match handle:
            case Writing(upload=upload):
                await self._publish(upload)
            case Reading(fd=fd):
                os.close(fd)
            case Listing():
                pass
            case None:
                raise InvalidHandle()

    async def _publish(self, upload: Upload) -> None:
        """The client's CLOSE: the upload becomes an arrival, or stays as interrupted where that fails."""
        try:
            arrival = await self._services.publisher.publish(upload)
        except Exception as error:
            await self._interrupt(upload, error.message if isinstance(error, SftpgateError) else repr(error))
            raise
        self._services.register.supersede(upload)
        self._services.register.remove(upload)
        self.counts["uploads"] += 1
        self._log.info(
            "upload.published",
            arrival=arrival.id,
            path=arrival.path,
            size=arrival.size,
            sha256=arrival.sha256,
            grade=arrival.grade,
            state=arrival.state,
            reason=arrival.hold_reason,
        )

    async def _interrupt(self, upload: Upload, reason: str) -> None:
        self._services.register.remove(upload)
        try:
            await self._services.hops.run(self._services.staging.interrupt, upload)
        except SftpgateError as error:
            self._log.error("upload.lost", path=upload.path, reason=error.message)
        self._log.warning("upload.interrupted", path=upload.path, size=upload.size, reason=reason)

    async def _abandon(self, handle: Handle) -> None:
        match handle:
            case Writing(upload=upload):
                await self._interrupt(upload, "the session ended without a CLOSE")
            case Reading(fd=fd):
                os.close(fd)
            case Listing():
                pass

    def _fstat(self, name: bytes) -> SFTPAttrs:
        match self._handle(name):
            case Writing(upload=upload):
                return self._view.of_upload(upload)
            case Reading(fd=fd):
                return self._view.of_descriptor(fd)
            case Listing():
                raise InvalidHandle("this handle is a directory's")

    def _fsetstat(self, name: bytes, attrs: SFTPAttrs) -> None:
        match self._handle(name):
            case Writing(upload=upload):
                if attrs.size is not None:
                    upload.truncate(self._services.disk, attrs.size)
                upload.times_ns = times_of(attrs, upload.current_times_ns) or upload.times_ns
            case Reading():
                if attrs.size is not None:
                    raise PlaceRefused("this file was opened for reading only")
            case Listing():
                pass

    async def _readdir(self, number: int, name: bytes) -> None:
        handle = self._handle(name)
        if not isinstance(handle, Listing):
            raise InvalidHandle("this handle is a file's")
        found = await self._services.hops.run(_take, handle.entries, NAMES_PER_REPLY)
        if found:
            self._send(wire.names(number, found, self._version))
        else:
            self._send(wire.status(number, Status.EOF, "end of directory"))

    async def _realpath(self, number: int, packet: SSHPacket) -> None:
        raw = packet.get_string()
        control = packet.get_byte() if self._version >= 6 and packet else 0
        base = b""
        while packet:
            base, raw = self._view.normalise(raw, base).encode(), packet.get_string()
        path = self._view.normalise(raw, base)
        attrs = SFTPAttrs()
        if control > 1:
            try:
                attrs = await self._services.hops.run(self._view.attributes, path.encode())
            except SftpgateError:
                if control > 2:
                    raise
        self._send(wire.names(number, [SFTPName(path.encode(), path.encode(), attrs)], self._version))

    async def _extended(self, number: int, packet: SSHPacket) -> None:
        hop = self._services.hops.run
        match packet.get_string():
            case b"posix-rename@openssh.com":
                old, new = packet.get_string(), packet.get_string()
                await self._act(number, partial(self._view.rename, replacing=True), old, new)
            case b"statvfs@openssh.com":
                found = await hop(self._view.filesystem, packet.get_string())
                self._send(wire.filesystem(number, found, self._version))
            case b"fstatvfs@openssh.com":
                self._handle(packet.get_string())
                found = await hop(self._view.filesystem, b".")
                self._send(wire.filesystem(number, found, self._version))
            case b"fsync@openssh.com":
                handle = self._handle(packet.get_string())
                if isinstance(handle, Writing):
                    await hop(self._services.disk.sync, handle.upload.fd)
                self._ok(number)
            case b"lsetstat@openssh.com":
                path, attrs = packet.get_string(), SFTPAttrs.decode(packet, self._version)
                await hop(self._view.set_attributes, path, attrs)
                self._ok(number)
            case b"limits@openssh.com":
                self._send(wire.limits(number, self._services.max_handles))
            case b"copy-data":
                await self._copy_data(packet)
                self._ok(number)
            case b"hardlink@openssh.com":
                self._view.refuse_link()
            case name:
                raise Unsupported(f"the extension {printable(name.decode('utf-8', 'backslashreplace'))} is not supported")

    async def _copy_data(self, packet: SSHPacket) -> None:
        """Copy between two handles (draft-ietf-secsh-filexfer-extensions-00 §7); a length of 0 means to the end."""
        source_name, source_offset, length = packet.get_string(), packet.get_uint64(), packet.get_uint64()
        target_name, target_offset = packet.get_string(), packet.get_uint64()
        source, target = self._handle(source_name), self._handle(target_name)
        if not isinstance(source, Reading) or not isinstance(target, Writing):
            raise UploadFailed("copy-data needs a handle for reading and one for writing")
        done = 0
        while not length or done < length:
            want = min(COPY_BYTES, length - done) if length else COPY_BYTES
            content = await self._read_file(source.fd, source_offset + done, want)
            if not content:
                return
            await self._services.hops.run(target.upload.write, self._services.disk, target_offset + done, content)
            done += len(content)


def _malformed(error: Exception) -> BadMessage:
    return BadMessage(f"the request is not well formed: {error}")


def _take(entries: Iterator[SFTPName], count: int) -> list[SFTPName]:
    """The next ``count`` names, fewer at the end."""
    return list(islice(entries, count))
