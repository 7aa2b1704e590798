"""One SFTP session: its channel, its parser, and its queue of requests (on asyncssh's public session API).

Requests are answered in their order, one after the other. What is on the path of every byte (WRITE) is done if it
arrives; everything else is done by one task of the session. While that task works, requests queue up, and past a bound
the channel stops reading.

**Only a CLOSE request from the client completes an upload** (promise P1). A session that ends otherwise (connection
lost, channel closed, end of file) interrupts what is still open. Requests that had arrived whole before the end are
still carried out: a client may send CLOSE and hang up.

Why not asyncssh's own SFTPServer: it calls one ``close`` for both ends of a handle, refuses bytes behind a request,
words errors with local paths, and sends no exit status (docs/decisions).
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable

import asyncssh
from asyncssh.packet import PacketDecodeError, SSHPacket

from sftpgate.errors import (
    BadMessage,
    LedgerFull,
    Refused,
    SftpgateError,
    StorageError,
    UploadFailed,
    UploadIncomplete,
)
from sftpgate.gateway.sftp import wire
from sftpgate.gateway.sftp.counts import SessionCounts
from sftpgate.gateway.sftp.failures import facts_of, hands_over, rule_of
from sftpgate.gateway.sftp.handles import Handles
from sftpgate.gateway.sftp.requests import Requests
from sftpgate.gateway.sftp.status import Status, status_of
from sftpgate.gateway.sftp.stream import RequestStream
from sftpgate.gateway.sftp.view import View
from sftpgate.gateway.sftp.wire import Request
from sftpgate.gateway.shared import Shared
from sftpgate.gateway.ssh.fast_path import ChannelLane, lane_for
from sftpgate.logs import Logger

QUEUE_BYTES = 4 * 1024 * 1024  # requests that may wait while one is being done; one receive window of the default size
QUEUE_REQUESTS = 1024  # the same for small ones, each of which costs more memory than its bytes
QUICK_REQUESTS = 32  # done at a stretch before others have their turn: half a millisecond of single bytes, some of large ones
REFUSALS_TOLD = 20  # lines on stderr a session, for clients that show them

_QUICK = frozenset({Request.READ, Request.WRITE})
_LEAST_BYTES = 9  # type, number, length of a handle
_reply = memoryview(bytearray(wire.DATA_HEAD_BYTES + wire.MAX_READ_BYTES))

# What a client's user can act on; that a file is or is not there, the client says itself.
_TOLD = (Refused, StorageError, LedgerFull, UploadFailed, UploadIncomplete)


class SftpSession(asyncssh.SSHServerSession[bytes]):
    """An SSH session channel that speaks SFTP and nothing else."""

    def __init__(self, shared: Shared, view: View, log: Logger, *, tell_refusals: bool, on_end: Callable[[], None]) -> None:
        self._shared = shared
        self._view = view
        self._log = log
        self._tell_refusals = REFUSALS_TOLD if tell_refusals else 0
        self._told_last = ""
        self._on_end = on_end
        self._channel: asyncssh.SSHServerChannel[bytes]
        self._lane: ChannelLane | None = None
        self._stream = RequestStream()
        self._queue: list[list[memoryview]] = []
        self._queued_bytes = 0
        self._reading_paused = False
        self._working = False
        self._readable_again: asyncio.Event | None = None  # there is one while the client does not read its answers
        self._ended = False
        self._finished = False
        self._version = 0
        self.counts = SessionCounts()
        self._handles = Handles(shared, view, log, self.counts)
        self._requests: Requests
        self._quick_left = 0
        self._loop = asyncio.get_running_loop()
        self.last_request_at = self._loop.time()

    # -- asyncssh's callbacks ----------------------------------------------------------------------------------------

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """Begin: the channel is open."""
        self._channel = chan
        self._lane = lane_for(chan, self)

    def shell_requested(self) -> bool:
        """Refuse a shell."""
        return False

    def exec_requested(self, command: str) -> bool:
        """Refuse commands: some clients try one first and go on with SFTP."""
        return False

    def pty_requested(self, *_: object) -> bool:
        """Refuse a terminal."""
        return False

    def subsystem_requested(self, subsystem: str) -> bool:
        """Accept SFTP, and nothing else."""
        return subsystem == "sftp"

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Take the whole requests out of bytes of the client's stream."""
        if self._ended:
            return
        self._stream.add(data)
        self._quick_left = QUICK_REQUESTS
        try:
            while (request := self._stream.next()) is not None:
                self._accept(request)
        except BadMessage as error:
            self._log.warning("session.bad_packet", reason=error.message)
            self._channel.exit(1)
            self._ended = True
            self._wake()

    def keep(self) -> None:
        """Copy what is still needed of what was received: its buffer is about to be used again."""
        self._stream.keep()

    def eof_received(self) -> bool:
        """Do what the client asked for, though it sends no more. True keeps our side open for the answers."""
        self._ended = True
        self._wake()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """End: the channel is gone, with or without its connection."""
        if self._lane is not None:
            self._lane.close()
        self._ended = True
        self.resume_writing()
        self._wake()

    def pause_writing(self) -> None:
        """Stop producing answers: the client does not read them."""
        if self._readable_again is None:
            self._readable_again = asyncio.Event()

    def resume_writing(self) -> None:
        """Go on producing answers: the client reads again."""
        waiting, self._readable_again = self._readable_again, None
        if waiting is not None:
            waiting.set()

    def end(self, reason: str) -> None:
        """End the session from our side."""
        if not self._ended:
            self._log.info("session.ending", reason=reason)
            self._ended = True
            self.resume_writing()
            self._wake()

    # -- taking requests ---------------------------------------------------------------------------------------------

    def _accept(self, request: list[memoryview]) -> None:
        self.last_request_at = self._loop.time()
        if not self._working and self._quick_left and self._readable_again is None and self._at_once(request):
            self._quick_left -= 1
            return
        self._queue.append([memoryview(b"".join(request))])
        self._queued_bytes += sum(map(len, request))
        if not self._reading_paused and (self._queued_bytes > QUEUE_BYTES or len(self._queue) > QUEUE_REQUESTS):
            self._reading_paused = True
            self._channel.pause_reading()
        self._wake()

    def _at_once(self, request: list[memoryview]) -> bool:
        """Do what needs no thread; False if it does."""
        kind = request[0][0]
        if kind not in _QUICK or not self._version:
            return False
        if len(request) > 1 and len(request[0]) < wire.LONGEST_HEAD:
            request = [memoryview(b"".join(request))]
        if len(request[0]) < _LEAST_BYTES:
            return False
        number = int.from_bytes(request[0][1:5], "big")
        try:
            if kind == Request.READ:
                return self._read_at_once(request[0])
            self._handles.write(*wire.split_write(request))
            self._send(wire.ok(number))
        except struct.error as error:
            self._answer_error(number, _malformed(error), b"".join(request))
        except Exception as error:  # noqa: BLE001 - every request gets an answer, and the session goes on
            self._answer_error(number, error, b"".join(request))
        self.counts.requests += 1
        return True

    def _read_at_once(self, request: memoryview) -> bool:
        """Answer a READ of what is in the page cache, by way of the process's one buffer: what is sent leaves it at once."""
        number, name, offset, length = wire.split_read(request)
        end = wire.DATA_HEAD_BYTES + min(length, wire.MAX_READ_BYTES)
        size = self._handles.read_at_once(name, offset, _reply[wire.DATA_HEAD_BYTES : end])
        if size is None:
            return False
        _reply[: wire.DATA_HEAD_BYTES] = wire.data_head(number, size)
        self._send(_reply[: wire.DATA_HEAD_BYTES + size])
        self.counts.requests += 1
        return True

    def _wake(self) -> None:
        if not self._working and not self._finished:
            self._working = True
            self._shared.tasks.spawn(self._work())

    async def _work(self) -> None:
        """Do the queued requests; at the end of the session, end what is open."""
        turn = 0
        try:
            while self._queue:
                request = self._queue.pop(0)
                self._queued_bytes -= sum(map(len, request))
                self._resume_reading()
                turn += 1
                if turn % QUICK_REQUESTS == 0:
                    await asyncio.sleep(0)  # others first
                while self._readable_again is not None:
                    await self._readable_again.wait()
                if not self._at_once(request):
                    await self._answer(b"".join(request))
        finally:
            self._working = False
        if self._ended and not self._finished:
            self._finished = True
            await self._finish()

    def _resume_reading(self) -> None:
        if self._reading_paused and self._queued_bytes <= QUEUE_BYTES // 2 and len(self._queue) <= QUEUE_REQUESTS // 2:
            self._reading_paused = False
            self._channel.resume_reading()

    async def _finish(self) -> None:
        """Interrupt what was not closed. The exit status is what OpenSSH's scp waits for."""
        await self._handles.abandon_all()
        with contextlib.suppress(OSError):
            self._channel.exit(0)
        self._on_end()

    async def _answer(self, request: bytes) -> None:
        self.counts.requests += 1
        number = 0
        try:
            packet = wire.body_of(request)
            kind = packet.get_byte()
            if self._version == 0:
                self._init(kind, packet)
                return
            number = packet.get_uint32()
            self._send(await self._requests.answer(kind, number, packet))
        except (PacketDecodeError, struct.error) as error:
            self._answer_error(number, _malformed(error), request)
        except Exception as error:  # noqa: BLE001 - every request gets an answer, and the session goes on
            self._answer_error(number, error, request)

    def _init(self, kind: int, packet: SSHPacket) -> None:
        if kind != Request.INIT:
            raise BadMessage("the first request must be INIT")
        self._version = max(3, min(packet.get_uint32(), self._shared.site.settings.sftp_version))
        self._requests = Requests(self._shared, self._view, self._handles, self._version, self._log)
        self._send(wire.version(self._version))

    def _send(self, reply: bytes | memoryview) -> None:
        """Send a reply; it may be changed afterwards."""
        if self._channel.is_closing():
            return
        self.counts.sent_bytes += len(reply)
        if self._lane is not None:
            self._lane.write(reply)
        else:
            self._channel.write(bytes(reply))

    def _answer_error(self, number: int, error: Exception, request: bytes = b"") -> None:
        if isinstance(error, asyncssh.SFTPError):
            error = BadMessage(error.reason)
        code, message = status_of(error, self._version)
        self._say(error, request, code)
        self._send(wire.status(number, code, message))

    def _say(self, error: Exception, request: bytes, code: Status) -> None:
        """Say in log and record what failed, of which path, and by which rule. What nobody needs to know is left out: a client
        that looks whether a file is there.
        """
        facts = facts_of(request, self._handles, self._view, self._version) if request else {}
        facts |= {"code": code.name.lower()}
        if not isinstance(error, SftpgateError):
            self._log.error("request.failed", exc_info=error, reason=type(error).__name__, **facts)
            return
        if rule := rule_of(error):
            facts |= {"rule": rule}
        if error.local:
            self._log.error("request.failed", reason=error.message, **facts)
        elif isinstance(error, StorageError | LedgerFull):  # no disk space: somebody must see to it
            self._log.error("request.refused", reason=error.message, **facts)
        elif isinstance(error, _TOLD) or hands_over(facts):
            self._log.info("request.refused", reason=error.message, **facts)
        if isinstance(error, _TOLD) and not error.local:
            self._tell(error)

    def _tell(self, error: SftpgateError) -> None:
        """Send a refusal's sentence to stderr: OpenSSH's clients pass that on to their user, but show only the status."""
        if self._tell_refusals and error.message != self._told_last and not self._channel.is_closing():
            self._tell_refusals -= 1
            self._told_last = error.message
            self._channel.write_stderr(f"sftpgate: {error.message}\r\n".encode())


def _malformed(error: Exception) -> BadMessage:
    return BadMessage(f"the request is not well formed: {error}")
