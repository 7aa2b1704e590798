"""The requests of SFTP: what each of them asks for, and its reply.

One method per kind, chosen by ``answer``. Fields are read here, acts are done by ``view`` (paths) and ``handles``; errors are
left to the session, which answers them by one table (``status``). What blocks is done in a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from asyncssh import SFTPAttrs, SFTPName
from asyncssh.packet import SSHPacket

from sftpgate.drop.opening import OpenMode
from sftpgate.errors import SftpgateError, ShuttingDown, Unsupported
from sftpgate.gateway.sftp import wire
from sftpgate.gateway.sftp.handles import DirectoryHandle, Handles, ReadHandle, Writing
from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.view import View, times_of
from sftpgate.gateway.sftp.wire import Open, Request
from sftpgate.gateway.shared import Shared
from sftpgate.logs import Logger, printable

T = TypeVar("T")


class Requests:
    """Answers the requests of one session that speaks ``sftp_version``."""

    def __init__(self, shared: Shared, view: View, handles: Handles, sftp_version: int, log: Logger) -> None:
        self._shared = shared
        self._view = view
        self._handles = handles
        self._version = sftp_version
        self._log = log

    async def answer(self, kind: int, number: int, packet: SSHPacket) -> bytes:
        """Return the reply to a request whose fields are in ``packet``."""
        match kind:
            case Request.READ:
                return await self._read(number, packet)
            case Request.OPEN:
                return wire.handle(number, await self._open(packet))
            case Request.OPENDIR:
                return wire.handle(number, await self._open_directory(packet))
            case Request.READDIR:
                return await self._read_directory(number, packet)
            case Request.STAT | Request.LSTAT:
                attrs = await self._hop(self._view.attributes, packet.get_string())
                return wire.attributes(number, attrs, self._version)
            case Request.FSTAT:
                return wire.attributes(number, self._handles.attributes(packet.get_string()), self._version)
            case Request.REALPATH:
                return await self._realpath(number, packet)
            case Request.EXTENDED:
                return await self._extended(number, packet)
            case _:
                await self._act(kind, packet)
                return wire.ok(number)

    async def _act(self, kind: int, packet: SSHPacket) -> None:
        """Do the requests that are answered by a status alone."""
        match kind:
            case Request.CLOSE:
                await self._handles.close(packet.get_string())
            case Request.SETSTAT:
                await self._set_attributes(packet)
            case Request.FSETSTAT:
                self._handles.set_attributes(packet.get_string(), SFTPAttrs.decode(packet, self._version))
            case Request.REMOVE:
                await self._change("remove", self._view.remove, packet.get_string())
            case Request.MKDIR:
                await self._change("mkdir", self._view.make_directory, packet.get_string())
            case Request.RMDIR:
                await self._change("rmdir", self._view.remove_directory, packet.get_string())
            case Request.RENAME:
                old, new = packet.get_string(), packet.get_string()
                flags = packet.get_uint32() if self._version >= 5 else 0
                await self._rename(old, new, replacing=bool(flags & wire.RENAME_OVERWRITE_BITS))
            case Request.READLINK | Request.SYMLINK | Request.LINK:
                self._view.refuse_link()
            case _:
                raise Unsupported(f"request {kind} is not supported")

    async def _hop(self, act: Callable[..., T], *arguments: object) -> T:
        return await self._shared.threads.run(act, *arguments)

    async def _rename(self, old: bytes, new: bytes, *, replacing: bool) -> None:
        moved = await self._change("rename", partial(self._view.rename, replacing=replacing), old, new)
        if moved is not None:
            await self._shared.close_verdicts.require(moved)

    async def _set_attributes(self, packet: SSHPacket) -> None:
        path, attrs = packet.get_string(), SFTPAttrs.decode(packet, self._version)
        if attrs.size is None:
            await self._hop(self._view.set_attributes, path, attrs)
        else:
            act = partial(self._view.set_attributes, attrs=attrs)
            await self._change(f"set size {attrs.size}", act, path)

    async def _change(self, what: str, act: Callable[..., T], path: bytes, *to: bytes) -> T:
        """Do what changes a name or a file by its path, and say so; return what the act returns."""
        done = await self._shared.change_threads.run(act, path, *to)
        self._log.info("request.done", request=what, path=_shown(path), to=_shown(to[0]) if to else None)
        return done

    # -- files and directories ---------------------------------------------------------------------------------------

    async def _read(self, number: int, packet: SSHPacket) -> bytes:
        handle, offset, length = packet.get_string(), packet.get_uint64(), packet.get_uint32()
        content = await self._handles.read(handle, offset, length)
        if content or not length:  # who asks for nothing is not at the end
            return wire.data(number, content, self._version)
        return wire.status(number, Status.EOF, "end of file")

    async def _open(self, packet: SSHPacket) -> bytes:
        path, flags = packet.get_string(), self._open_flags(packet)
        attrs = SFTPAttrs.decode(packet, self._version)
        self._handles.require_room()
        if not flags & (Open.WRITE | Open.APPEND):
            new = bool(flags & Open.CREAT and flags & Open.EXCL)
            return self._handles.add(ReadHandle(await self._hop(partial(self._view.open_for_reading, path, new=new))), path)
        if self._shared.tasks.stopping.is_set():
            raise ShuttingDown()
        mode = OpenMode(
            create=bool(flags & Open.CREAT),
            truncate=bool(flags & Open.TRUNC),
            exclusive=bool(flags & Open.EXCL),
            append=bool(flags & Open.APPEND),
            declared_size=attrs.size or None,  # some libraries send a size of 0 always: it declares nothing
        )
        upload = await self._hop(self._view.open_for_writing, path, mode)
        self._shared.open_uploads.add(upload)
        if times := times_of(attrs, upload.current_times_ns):
            upload.set_times(times)
        return self._handles.add(Writing(upload, readable=bool(flags & Open.READ)))

    def _open_flags(self, packet: SSHPacket) -> Open:
        if self._version >= 5:
            return wire.open_flags_of_v5(packet.get_uint32(), packet.get_uint32())
        return Open(packet.get_uint32() & 0x3F)

    async def _open_directory(self, packet: SSHPacket) -> bytes:
        self._handles.require_room()
        path = packet.get_string()
        return self._handles.add(DirectoryHandle(await self._hop(self._view.entries, path)), path)

    async def _read_directory(self, number: int, packet: SSHPacket) -> bytes:
        found = await self._handles.names(packet.get_string())
        if found:
            return wire.names(number, found, self._version)
        return wire.status(number, Status.EOF, "end of directory")

    async def _realpath(self, number: int, packet: SSHPacket) -> bytes:
        raw = packet.get_string()
        control = packet.get_byte() if self._version >= 6 and packet else 0
        base = b""
        while packet:
            base, raw = self._view.normalise(raw, base).encode(), packet.get_string()
        path = self._view.normalise(raw, base)
        attrs = SFTPAttrs()
        if control > 1:
            try:
                attrs = await self._hop(self._view.attributes, path.encode())
            except SftpgateError:
                if control > 2:
                    raise
        return wire.names(number, [SFTPName(path.encode(), path.encode(), attrs)], self._version)

    # -- extensions --------------------------------------------------------------------------------------------------

    async def _extended(self, number: int, packet: SSHPacket) -> bytes:
        match packet.get_string():
            case b"statvfs@openssh.com":
                return await self._filesystem(number, packet.get_string())
            case b"fstatvfs@openssh.com":
                self._handles.find(packet.get_string())
                return await self._filesystem(number, b".")
            case b"limits@openssh.com":
                self._view.trace.asked_limits = True
                return wire.limits(number, self._shared.site.settings.max_handles)
            case name:
                await self._act_extended(name, packet)
                return wire.ok(number)

    async def _filesystem(self, number: int, path: bytes) -> bytes:
        return wire.filesystem(number, await self._hop(self._view.filesystem, path), self._version)

    async def _act_extended(self, name: bytes, packet: SSHPacket) -> None:
        match name:
            case b"posix-rename@openssh.com":
                await self._rename(packet.get_string(), packet.get_string(), replacing=True)
            case b"fsync@openssh.com":
                await self._handles.sync(packet.get_string())
            case b"lsetstat@openssh.com":
                await self._set_attributes(packet)
            case b"copy-data":
                source, source_offset, length = packet.get_string(), packet.get_uint64(), packet.get_uint64()
                await self._handles.copy(source, source_offset, length, packet.get_string(), packet.get_uint64())
            case b"hardlink@openssh.com":
                self._view.refuse_link()
            case _:
                raise Unsupported(f"the extension {printable(_shown(name))} is not supported")


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
