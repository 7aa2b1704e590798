"""The handles of one SFTP session: files open for writing, files open for reading, directories.

Writing, and reading from the page cache, are done on the event loop; what waits for the disk or the ledger, in a thread.

**Only ``close``, for a CLOSE request of the client, completes an upload** (promise P1). ``abandon_all``, for every other end of
a session, interrupts what is open and keeps it for its user to resume. A crash leaves staging files (see ``uploads.upload``).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from asyncssh import SFTPAttrs, SFTPName

from sftpgate.errors import InvalidHandle, IsADirectory, PlaceRefused, SftpgateError, TooMany, UploadFailed
from sftpgate.gateway.sftp import wire
from sftpgate.gateway.sftp.counts import SessionCounts
from sftpgate.gateway.sftp.view import View, times_of
from sftpgate.gateway.shared import Shared
from sftpgate.ledger.arrivals import Arrival
from sftpgate.logs import Logger
from sftpgate.policy.lifecycle import UploadState
from sftpgate.store.disk_paths import translated
from sftpgate.uploads.upload import Upload

NAMES_PER_REPLY = 100  # about 20 KiB a NAME reply: well below what every client takes
# Free space is looked at again after all uploads of this process have grown by so much, and quotas after one has.
SPACE_CHECK_BYTES = 64 * 1024 * 1024
COPY_BYTES = 1024 * 1024
MAX_OFFSET = 2**63 - 1 - wire.MAX_READ_BYTES  # where a file can have bytes: off_t is signed


@dataclass(slots=True, eq=False)
class Writing:
    """A handle opened for writing."""

    upload: Upload
    readable: bool
    unchecked_bytes: int = 0
    writing_behind: bool = False


@dataclass(slots=True, eq=False)
class ReadHandle:
    """A handle opened for reading."""

    fd: int


@dataclass(slots=True, eq=False)
class DirectoryHandle:
    """A directory handle."""

    entries: Iterator[SFTPName]


Handle = Writing | ReadHandle | DirectoryHandle


class Handles:
    """The open handles of a session, by the names that the client has for them."""

    def __init__(self, shared: Shared, view: View, log: Logger, counts: SessionCounts) -> None:
        self._shared = shared
        self._disk = shared.site.disk
        self._view = view
        self._log = log
        self._counts = counts
        self._open: dict[bytes, Handle] = {}
        self._paths: dict[bytes, bytes] = {}  # of files and directories that are read: an upload knows its own
        self._closed: tuple[bytes, str] = (b"", "")  # the last handle that was closed, and its path
        self._next = 0

    # -- opening and finding -----------------------------------------------------------------------------------------

    def require_room(self) -> None:
        """Raise TooMany if the session may not open one more."""
        if len(self._open) >= self._shared.site.settings.max_handles:
            raise TooMany(f"{len(self._open)} handles are open in this session, the limit is reached (rule: max_handles)")
        self._shared.descriptors.require(len(self._open))

    def add(self, handle: Handle, path: bytes = b"") -> bytes:
        """Return the name of a new handle; names are never used again. ``path``: of what is read, as the client gave it."""
        name = self._next.to_bytes(4, "big")
        self._next += 1
        self._open[name] = handle
        if path:
            self._paths[name] = path
        self._shared.descriptors.used += 1
        return name

    def find(self, name: bytes) -> Handle:
        """Return the handle of a name; raises InvalidHandle."""
        handle = self._open.get(name)
        if handle is None:
            raise InvalidHandle()
        return handle

    def path_of(self, name: bytes) -> str:
        """Return the path, as the client sees it, of an open handle or of the one that was closed last; empty for others."""
        handle = self._open.get(name)
        if isinstance(handle, Writing):
            return self._view.virtual_path(handle.upload.path)
        if name in self._paths:
            return self._view.normalise(self._paths[name])
        return self._closed[1] if name == self._closed[0] else ""

    # -- content -----------------------------------------------------------------------------------------------------

    def write(self, name: bytes, offset: int, pieces: Sequence[memoryview]) -> None:
        """Take one WRITE, on the event loop; the disk begins with it behind it, in a thread."""
        handle = self._open.get(name)
        if not isinstance(handle, Writing):
            raise InvalidHandle() if handle is None else PlaceRefused("this file was opened for reading only")
        shared, upload = self._shared, handle.upload
        size = sum(map(len, pieces))
        self._admit(handle, size)
        upload.write(self._disk, offset, *pieces)
        self._counts.received_bytes += size
        if shared.open_uploads.needs_note(upload):
            shared.open_uploads.note_lingering([upload])
        if upload.seems_whole:
            shared.publisher.flush_ahead(upload)
        if shared.site.resources.durable and upload.is_behind and not handle.writing_behind:
            handle.writing_behind = True
            shared.tasks.spawn(self._write_behind(handle))

    def _admit(self, handle: Writing, size: int) -> None:
        """Let an upload take so many bytes more, whichever request brings them: now and then the floor of the disk and the quotas
        are looked at anew (``Upload.write`` and ``Upload.truncate`` have what is left of the quotas). Raises NoSpace.
        """
        shared, upload = self._shared, handle.upload
        shared.unchecked.bytes += size
        if shared.unchecked.bytes >= SPACE_CHECK_BYTES:
            shared.unchecked.bytes = 0
            upload.require(shared.acts.limits.require_free_space)
        handle.unchecked_bytes += size
        if handle.unchecked_bytes >= SPACE_CHECK_BYTES:
            handle.unchecked_bytes = 0
            shared.tasks.spawn(self._look_at_quotas(upload))

    async def _look_at_quotas(self, upload: Upload) -> None:
        """See what is left of the user's quotas, behind the writer; if that fails, the upload goes on as it was allowed to."""
        try:
            await self._shared.threads.run(self._shared.acts.limits.look_again, upload)
        except SftpgateError as error:
            self._log.warning("quota.unknown", path=upload.path, reason=error.message)

    async def _write_behind(self, handle: Writing) -> None:
        """Let the disk begin with what was written, behind the writer."""
        shared, upload = self._shared, handle.upload
        try:
            while upload.is_behind:
                await shared.threads.run(upload.write_behind, self._disk)
        finally:
            handle.writing_behind = False

    def read_at_once(self, name: bytes, offset: int, buffer: memoryview) -> int | None:
        """Read as many bytes as there is room for, if they are in the page cache; None if they are not, or if there is
        more to say than what was read.
        """
        handle = self._open.get(name)
        if not isinstance(handle, ReadHandle) or offset > MAX_OFFSET:
            return None
        try:
            return os.preadv(handle.fd, [buffer], offset, os.RWF_NOWAIT) or None
        except OSError:
            return None

    async def read(self, name: bytes, offset: int, length: int) -> bytes:
        """Return the bytes that a READ asks for; empty at the end of the file."""
        handle = self._open.get(name)
        length = min(length, wire.MAX_READ_BYTES)
        if offset > MAX_OFFSET and handle is not None:
            return b""
        if isinstance(handle, ReadHandle):
            return await self._read_file(handle.fd, offset, length)
        if isinstance(handle, Writing) and handle.readable:
            return handle.upload.read(offset, length)
        raise InvalidHandle() if handle is None else PlaceRefused("this handle was not opened for reading")

    async def _read_file(self, fd: int, offset: int, length: int) -> bytes:
        """Return bytes of a file: at once if they are in the page cache, in a thread if the disk must be waited for."""
        buffer = bytearray(length)
        try:
            done = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
        except OSError:
            with translated("read"):
                return await self._shared.threads.run(os.pread, fd, length, offset)
        return bytes(memoryview(buffer)[:done])

    async def copy(self, source_name: bytes, source_offset: int, length: int, target_name: bytes, target_offset: int) -> None:
        """Copy between two handles (draft-ietf-secsh-filexfer-extensions-00 §7); a length of 0 means to the end."""
        source, target = self.find(source_name), self.find(target_name)
        if not isinstance(source, ReadHandle) or not isinstance(target, Writing):
            raise UploadFailed("copy-data needs a handle for reading and one for writing")
        done = 0
        while not length or done < length:
            want = min(COPY_BYTES, length - done) if length else COPY_BYTES
            content = await self._read_file(source.fd, source_offset + done, want)
            if not content:
                return
            self._admit(target, len(content))
            await self._shared.threads.run(target.upload.write, self._disk, target_offset + done, content)
            done += len(content)

    async def sync(self, name: bytes) -> None:
        """Flush what was written to a handle."""
        handle = self.find(name)
        if isinstance(handle, Writing):
            await self._shared.threads.run(handle.upload.flush, self._disk)

    async def names(self, name: bytes) -> list[SFTPName]:
        """Return the next names of a directory; none at its end."""
        handle = self.find(name)
        if not isinstance(handle, DirectoryHandle):
            raise InvalidHandle("this handle is a file's")
        return await self._shared.threads.run(_take, handle.entries, NAMES_PER_REPLY)

    # -- attributes --------------------------------------------------------------------------------------------------

    def attributes(self, name: bytes) -> SFTPAttrs:
        """Return what FSTAT answers."""
        match self.find(name):
            case Writing(upload=upload):
                return self._view.of_upload(upload)
            case ReadHandle(fd=fd):
                return self._view.of_descriptor(fd)
            case DirectoryHandle():
                raise InvalidHandle("this handle is a directory's")

    def set_attributes(self, name: bytes, attrs: SFTPAttrs) -> None:
        """Answer FSETSTAT: times are set, size truncates, the rest has no effect."""
        match self.find(name):
            case Writing(upload=upload):
                if attrs.size is not None:
                    upload.truncate(self._disk, attrs.size)
                if times := times_of(attrs, upload.current_times_ns):
                    upload.set_times(times)
            case ReadHandle():
                if attrs.size is not None:
                    raise PlaceRefused("this file was opened for reading only")
            case DirectoryHandle():
                if attrs.size is not None:
                    raise IsADirectory()

    # -- ends --------------------------------------------------------------------------------------------------------

    async def close(self, name: bytes) -> None:
        """Answer the client's CLOSE: an upload becomes an arrival, or stays as interrupted if that fails."""
        self._closed = (name, self.path_of(name))
        handle = self._open.pop(name, None)
        self._paths.pop(name, None)
        self._shared.descriptors.used -= handle is not None
        match handle:
            case Writing(upload=upload):
                await self._publish(upload)
            case ReadHandle(fd=fd):
                os.close(fd)
            case DirectoryHandle():
                pass
            case None:
                raise InvalidHandle()

    async def _publish(self, upload: Upload) -> None:
        clock = asyncio.get_running_loop().time
        asked_at = clock()
        upload.fate.close_asked(asked_at)
        try:
            arrival = await self._shared.publisher.publish(upload)
        except Exception as error:
            await self._interrupt(upload, error.message if isinstance(error, SftpgateError) else repr(error))
            raise
        self._shared.open_uploads.remove(upload)
        if upload.state is not UploadState.PUBLISHED:
            self._log.info("upload.unchanged", arrival=arrival.id, path=upload.path, size=upload.size)
            return
        self._shared.open_uploads.supersede(upload)
        self._counts.uploads += 1
        asyncio.get_running_loop().call_soon(partial(self._say_published, arrival, upload.fate.why, clock() - asked_at))
        await self._shared.close_verdicts.require(arrival)

    def _say_published(self, arrival: Arrival, why: str, seconds: float) -> None:
        """Log it, after the answer, which the client waits for."""
        self._log.info(
            "upload.published",
            arrival=arrival.id,
            path=arrival.path,
            size=arrival.size,
            sha256=arrival.sha256,
            grade=arrival.grade,
            why=why,
            state=arrival.state,
            reason=arrival.hold_reason,
            seconds=round(seconds, 6),
        )

    async def _interrupt(self, upload: Upload, reason: str) -> None:
        self._shared.open_uploads.remove(upload)
        try:
            await self._shared.threads.run(self._shared.site.staging.interrupt, upload)
        except SftpgateError as error:
            self._log.error("upload.lost", path=upload.path, reason=error.message)
        self._log.warning("upload.interrupted", path=upload.path, size=upload.size, reason=reason)

    async def abandon_all(self) -> None:
        """Interrupt what was not closed, at the end of the session."""
        self._shared.descriptors.used -= len(self._open)
        for handle in list(self._open.values()):
            match handle:
                case Writing(upload=upload):
                    await self._interrupt(upload, "the session ended without a CLOSE")
                case ReadHandle(fd=fd):
                    os.close(fd)
                case DirectoryHandle():
                    pass
        self._open.clear()


def _take(entries: Iterator[SFTPName], count: int) -> list[SFTPName]:
    """Return the next ``count`` names, fewer at the end."""
    return list(islice(entries, count))
