"""The quick way for a connection's bytes: everything that needs asyncssh's private parts for speed is in this module.

It stands between the transport and asyncssh's connection (``transport.set_protocol``). Packets of channel data that are
encrypted by AES-GCM go straight to the session and from it; **every other packet is given to asyncssh as it came**, so that
logins, key exchanges, channel requests and all their checks are asyncssh's own. If anything is not as expected (another
cipher, compression, a paused channel, a key exchange under way), the data packets go that way too.

- Receiving is done into one buffer of the process, and costs one copy (decryption into another one, see ``read_buffer``): what a
  session needs beyond the read, it copies when it is told to (``keep``). ``TCP_QUICKACK`` is set after every read until the
  session is under way: delayed acknowledgements are most of the time of a login.
- A client that offers AES-GCM is offered nothing else: clients choose by their own order, and what they put first costs us
  twice the time. So our KEXINIT waits for the client's; one that waits for ours gets it after ``KEXINIT_WAIT_SECONDS``. The
  exchange hash covers both offers (RFC 4253 §8).
- What a read gives rise to is sent in one write to the socket: replies, and the credit of the receive window, which is given
  early; that of a client that is far away is widened. No MSG_IGNORE is sent before packets (asyncssh's guard of CBC, which
  keeps it). A client that does not read stops the session (``pause_writing``) by what lies in the transport, too.
- One connection takes a bounded number of bytes in a turn of the event loop, a smaller one if many are busy.

``install`` does nothing on a release of asyncssh that the tests have not seen (``TESTED``) or if the setting ``fast_path`` is
off: then asyncssh's public way is taken, with the same result. Nothing here blocks, and a crash leaves nothing.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import asyncssh
from asyncssh.encryption import GCMEncryption
from asyncssh.packet import String, UInt32

from sftpgate.gateway.ssh import algorithms
from sftpgate.gateway.ssh.gcm import TAG_BYTES, CachedGcm, Paddings
from sftpgate.gateway.ssh.read_buffer import ReadBuffer
from sftpgate.gateway.ssh.round_trips import RoundTrips

# ruff: noqa: SLF001 - that is what this module is for
# mypy: disable-error-code="attr-defined, method-assign, assignment, index"

TESTED = frozenset({"2.24.1"})

MAX_PACKET_DATA = 128 * 1024  # in a packet that OpenSSH may send us: with 32 KiB, uploads cost 7 % more
MAX_FAST_PACKET = MAX_PACKET_DATA + 1024
CREDIT_BYTES = 256 * 1024  # of the 4 MiB of the window: asyncssh waits for the half, which halves an upload over 50 ms
GATHERED_BYTES = 64 * 1024  # so much waits at most for what else comes up in the same read
DELIVERED_BYTES = 256 * 1024  # at a time: a request of OpenSSH's, and no more small ones than a session may have waiting
SMALL_REPLY_BYTES = 1024  # replies below this share a packet with those that come up in the same read
# The window over a long line. 4 MiB in 10 ms are more than a client encrypts; over 50 ms, they hold it back. Clients on short
# lines must not have it: their buffers grow with it, and OpenSSH's is slower by half then.
LONG_LINE_SECONDS = 0.01
WIDE_WINDOW_BYTES = 16 * 1024 * 1024  # all that OpenSSH's sftp has on its way: 64 requests
WIDE_LANES = 32  # at a time: a client that does not wait for its CLOSE can have so much kept for it in memory
PENDING_HIGH, PENDING_LOW = 256 * 1024, 64 * 1024  # replies that wait for the client to read, if the session stops
TRANSPORT_HIGH = 1024 * 1024  # what may wait for the socket
KEXINIT_WAIT_SECONDS = 0.3
KEEPALIVE_SECONDS = 1.0  # how seldom asyncssh's timer is set anew
ACKNOWLEDGED_READS = 16  # of a session, with TCP_QUICKACK: its first requests wait for each other

_MSG_IGNORE, _MSG_CHANNEL_WINDOW_ADJUST, _MSG_CHANNEL_DATA = 2, 93, 94
_KEXINIT_BYTES = 64 * 1024
_LENGTH = struct.Struct(">I")
_HEAD = struct.Struct(">BBII")  # padding length, type, channel; and the length of the data, or what is added to a window
_HEAD_BYTES = _HEAD.size
_SEQUENCE = 0xFFFFFFFF
_BLOCK = 16

_Keys = tuple[object, CachedGcm | None]  # asyncssh's object, and ours in it if it is for AES-GCM


def install(connection: asyncssh.SSHServerConnection, ciphers: Sequence[str]) -> None:
    """Take the bytes of a connection that was just made; ``ciphers`` are those of the profile."""
    transport = connection._transport
    if asyncssh.__version__ not in TESTED or transport is None or hasattr(connection, "fastpath"):
        return
    front = Front(connection, transport, ciphers)
    connection.fastpath = front
    transport.set_protocol(front)


def lane_for(channel: asyncssh.SSHServerChannel[bytes], session: BufferReceiver) -> ChannelLane | None:
    """Return the quick way of a channel that was just opened; None if its connection has none."""
    front = getattr(channel.get_connection(), "fastpath", None)
    return front.add(channel, session) if isinstance(front, Front) else None


class BufferReceiver(Protocol):
    """A session that takes its data in a buffer that is used again, and is told when."""

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Take bytes of the client's, in the buffer."""

    def keep(self) -> None:
        """Copy what is still needed of the buffer, which is about to be used again."""

    def pause_writing(self) -> None:
        """Stop sending: the client does not read."""

    def resume_writing(self) -> None:
        """Go on sending: it reads again."""


_buffer = ReadBuffer(MAX_FAST_PACKET)
_paddings = Paddings()


class Front(asyncio.BufferedProtocol):
    """One connection, as the transport sees it."""

    __slots__ = (
        "_asked",
        "_ciphers",
        "_connection",
        "_fed",
        "_gathered",
        "_gathered_bytes",
        "_hello",
        "_keepalive_at",
        "_lanes",
        "_left",
        "_quick_reads",
        "_receiving",
        "_send_kexinit",
        "_send_packet",
        "_sending",
        "_socket",
        "_taken",
        "_timer",
        "_transport",
        "_turn",
        "gathering",
        "transport_full",
    )

    def __init__(self, connection: asyncssh.SSHServerConnection, transport: asyncio.Transport, ciphers: Sequence[str]) -> None:
        self._connection = connection
        self._transport = transport
        self._socket: socket.socket | None = transport.get_extra_info("socket")
        self._left = b""  # the beginning of a packet whose rest has not come, if it is not in the buffer
        self._asked = self._taken = 0  # bytes: the room for this read, and what was read in this turn
        self._turn = -1
        self._keepalive_at = 0.0
        self._fed: list[ChannelLane] = []  # those that have something to do at the end of this read
        self.gathering = False
        self._gathered: list[bytes] = []  # packets that wait for the end of the read
        self._gathered_bytes = 0
        self._quick_reads = -1  # how many more are acknowledged at once; -1: all
        self._lanes: dict[int, ChannelLane] = {}
        self._sending: _Keys = (None, None)
        self._receiving: _Keys = (None, None)
        self.transport_full = False
        transport.set_write_buffer_limits(TRANSPORT_HIGH)
        self._hello: Callable[[memoryview], None] | None = self._take_version
        self._ciphers = ciphers
        self._timer: asyncio.TimerHandle | None = None
        self._send_kexinit: Callable[[], None] = connection._send_kexinit
        connection._send_kexinit = self._hold_kexinit
        self._send_packet: Callable[..., None] = connection.send_packet
        connection.send_packet = self._without_ignore

    # -- the transport's callbacks -----------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to put what comes: behind what is left."""
        room = _buffer.begin(self, self._left)
        self._asked = len(room)
        return room

    def take_away(self, left: bytes) -> None:
        """Keep the beginning of the packet: another connection reads."""
        self._left = left

    def buffer_updated(self, count: int) -> None:
        """Deal with bytes that have come."""
        self._count(count)
        view = _buffer.end(count)
        self._left = b""
        if self._quick_reads:
            self._acknowledge()
        self.gathering = True
        try:
            if self._hello is not None:
                self._hello(view)
            else:
                self._note_life()
                self._take(self._reclaimed(view))
        finally:
            self._end_read()

    def _count(self, count: int) -> None:
        """Let others go first if this connection has had its share of the turn, and there is more."""
        if self._turn != _buffer.turn:
            self._turn, self._taken = _buffer.turn, 0
            _buffer.note_reader()
        self._taken += count
        if count == self._asked and self._taken >= _buffer.share:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_on)

    def _note_life(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._keepalive_at:
            self._keepalive_at = now + KEEPALIVE_SECONDS
            self._connection._reset_keepalive_timer()

    def _end_read(self) -> None:
        """Send what the read gave rise to. The buffer may be used again."""
        for lane in self._fed:
            lane.end_read()
        self._fed.clear()
        self.gathering = False
        self._send_gathered()

    def _read_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _acknowledge(self) -> None:
        self._quick_reads -= self._quick_reads > 0
        with suppress(OSError, AttributeError):  # not TCP
            if self._socket is not None:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def eof_received(self) -> None:
        """Tell asyncssh that the client sends no more."""
        self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop everything: the connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
        self._lanes.clear()
        _buffer.release(self)
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Stop sending: the client does not read."""
        self.transport_full = True
        for lane in self._lanes.values():
            lane.tell()

    def resume_writing(self) -> None:
        """Go on sending: it reads again."""
        self.transport_full = False
        for lane in list(self._lanes.values()):
            lane.flush()

    # -- the first two packets ---------------------------------------------------------------------------------------

    def _take_version(self, view: memoryview) -> None:
        """Take the client's version line, and only then say what we have to offer."""
        data = bytes(view)
        end = data.find(b"\n") + 1 or len(data)
        self._connection.data_received(data[:end])
        if end < len(data) and self._connection._transport is not None:
            if self._hello is not None:
                self._hello(view[end:])
            else:
                self._take(view[end:])

    def _hold_kexinit(self) -> None:
        """Hold asyncssh's KEXINIT back: it has the client's version and wants to send it."""
        self._hello = self._take_kexinit
        self._timer = asyncio.get_running_loop().call_later(KEXINIT_WAIT_SECONDS, self._release_kexinit)

    def _release_kexinit(self) -> None:
        del self._connection._send_kexinit  # asyncssh's own, from now on
        self._hello = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connection._transport is not None:
            self._send_kexinit()

    def _take_kexinit(self, view: memoryview) -> None:
        """Take the client's KEXINIT: what it offers decides what we do."""
        whole = 4 + int.from_bytes(view[:4], "big")
        if len(view) < 4 or len(view) < whole <= _KEXINIT_BYTES:
            _buffer.leave(view)
            return
        self._connection._enc_algs = [
            name.encode() for name in algorithms.quickest(self._ciphers, bytes(view[5:whole] if whole <= _KEXINIT_BYTES else b""))
        ]
        self._release_kexinit()
        self._take(view)

    # -- receiving ---------------------------------------------------------------------------------------------------

    def _is_ready(self) -> bool:
        """Return True while asyncssh expects the beginning of a packet and has nothing left to do."""
        connection = self._connection
        return not connection._inpbuf and connection._recv_handler == connection._recv_pkthdr

    def _gcm(self, *, sending: bool) -> CachedGcm | None:
        """Return our object for a direction, if the keys in use are for AES-GCM; new keys come with each key exchange."""
        connection = self._connection
        encryption = connection._send_encryption if sending else connection._recv_encryption
        known, gcm = self._sending if sending else self._receiving
        if encryption is not known:
            gcm = None
            if type(encryption) is GCMEncryption:
                gcm = CachedGcm(encryption._cipher._key, encryption._cipher._iv)
                encryption._cipher = gcm
            if sending:
                self._sending = (encryption, gcm)
            else:
                self._receiving = (encryption, gcm)
        return gcm

    def _reclaimed(self, view: memoryview) -> memoryview:
        """Return what came, behind the beginning of a packet that asyncssh has: it got everything while it was busy."""
        connection = self._connection
        if self._is_ready() or self._gcm(sending=False) is None:
            return view
        if connection._recv_handler == connection._recv_packet:  # AES-GCM leaves the first block as it is
            left = connection._packet + connection._inpbuf
        elif connection._recv_handler == connection._recv_pkthdr:
            left = connection._inpbuf
        else:
            return view
        connection._packet = connection._inpbuf = b""
        connection._recv_handler = connection._recv_pkthdr
        return memoryview(left + bytes(view))

    def _receiver(self) -> CachedGcm | None:
        """Return what opens the next packet; None if only asyncssh can deal with it."""
        return self._gcm(sending=False) if self._is_ready() and not self._connection._decompressor else None

    def _take(self, view: memoryview) -> None:
        """Deal with all whole packets, and keep the rest.

        What follows each other in one channel is put together in the buffer: a packet is decrypted so that its content comes
        right behind that of the one before, whose last bytes are put back when its head was read.
        """
        position, end, plain = 0, len(view), _buffer.plain
        lane: ChannelLane | None = None  # whose data lie between ``start`` and ``fill``, to be delivered
        start = fill = _HEAD_BYTES
        gcm = self._receiver()
        while end - position >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(view, position)
            if gcm is None or length > MAX_FAST_PACKET - _LENGTH.size - TAG_BYTES:
                self._deliver(lane, start, fill)
                self._connection.data_received(bytes(view[position:]))
                return
            following = position + _LENGTH.size + length + TAG_BYTES
            if following > end:
                break
            if fill + length > len(plain):
                self._deliver(lane, start, fill)
                self._keep()
                lane, start, fill = None, _HEAD_BYTES, _HEAD_BYTES
            head = fill - _HEAD_BYTES
            before, raw, packet = bytes(plain[head:fill]), view[position:following], plain[head : head + length]
            position = following
            opened = gcm.open(raw, packet)
            found = self._data_of(packet) if opened else None
            kept = bytes(packet) if opened and found is None else None
            plain[head:fill] = before
            if found is None:
                self._deliver(lane, start, fill)
                lane, start = None, fill
                gcm.put_back(kept)
                self._connection.data_received(bytes(raw))
                if self._connection._transport is None:
                    return
                gcm = self._receiver()
                continue
            receiver, size = found
            if receiver is not lane or fill - start >= DELIVERED_BYTES:
                self._deliver(lane, start, fill)
                lane, start = receiver, fill
            fill += size
        self._deliver(lane, start, fill)
        _buffer.leave(view[position:])

    def _data_of(self, packet: memoryview) -> tuple[ChannelLane, int] | None:
        """Return whose channel data a packet has, and how many bytes; None if it is not such a packet, or not the time for it."""
        if len(packet) < _HEAD_BYTES:
            return None
        padding, kind, number, size = _HEAD.unpack_from(packet)
        lane = self._lanes.get(number) if kind == _MSG_CHANNEL_DATA else None
        if lane is None or not size or _HEAD_BYTES + size + padding != len(packet) or not lane.accept(size):
            return None
        self._connection._recv_seq = (self._connection._recv_seq + 1) & _SEQUENCE
        return lane, size

    def _deliver(self, lane: ChannelLane | None, start: int, end: int) -> None:
        """Give what was decrypted to its session."""
        if lane is not None:
            self.note(lane)
            lane.deliver(_buffer.plain[start:end])

    def note(self, lane: ChannelLane) -> None:
        """Note that the lane has something to do at the end of this read."""
        if lane not in self._fed:
            self._fed.append(lane)

    def _keep(self) -> None:
        for lane in self._fed:
            lane.keep()

    # -- sending -----------------------------------------------------------------------------------------------------

    def _without_ignore(self, pkttype: int, *args: bytes, handler: object = None) -> None:
        """Send a packet in asyncssh's way, without the empty one before it, which only CBC needs (RFC 4251 §9.3.1)."""
        self._gcm(sending=True)
        for lane in self._fed:
            lane.send_replies()
        self._send_gathered()  # which was encrypted before
        if pkttype == _MSG_IGNORE and not self._connection._enc_alg_sc.endswith(b"-cbc"):
            return
        self._send_packet(pkttype, *args, handler=handler)

    def send_data(self, channel: int, data: memoryview) -> bool:
        """Send a packet of channel data; False if only asyncssh can."""
        return self._send(_MSG_CHANNEL_DATA, channel, len(data), data)

    def send_credit(self, channel: int, count: int) -> bool:
        """Let the client send so many bytes more; False if only asyncssh can."""
        return self._send(_MSG_CHANNEL_WINDOW_ADJUST, channel, count, b"")

    def _send(self, kind: int, channel: int, number: int, data: bytes | memoryview) -> bool:
        """Send a packet; False if only asyncssh can, because new keys are due or another cipher is in use."""
        connection = self._connection
        gcm = self._gcm(sending=True)
        if (
            gcm is None
            or not connection._kex_complete
            or connection._compressor
            or connection._rekey_bytes_sent >= connection._rekey_bytes
            or (connection._rekey_seconds and time.monotonic() >= connection._rekey_time)
            or connection._transport is None
        ):
            return False
        padding = -(_HEAD_BYTES + len(data)) % _BLOCK
        if padding < 4:
            padding += _BLOCK
        packet = b"".join((_HEAD.pack(padding, kind, channel, number), data, _paddings.take(padding)))
        header = _LENGTH.pack(len(packet))
        self._gathered += (header, gcm.seal(header, packet))
        self._gathered_bytes += len(packet)
        if not self.gathering or self._gathered_bytes >= GATHERED_BYTES:
            self._send_gathered()
        connection._send_seq = (connection._send_seq + 1) & _SEQUENCE
        connection._rekey_bytes_sent += len(packet)
        return True

    def _send_gathered(self) -> None:
        if self._gathered:
            gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
            self._transport.writelines(gathered)

    def add(self, channel: asyncssh.SSHServerChannel[bytes], session: BufferReceiver) -> ChannelLane:
        """Return the lane of a channel."""
        self._quick_reads = ACKNOWLEDGED_READS
        connection = self._connection
        if connection._kex_complete and connection._kex is None:  # 3 KiB that the next key exchange makes anew
            connection._client_kexinit = connection._server_kexinit = b""
        lane = self._lanes[channel._recv_chan] = ChannelLane(self, channel, session)
        return lane

    def remove(self, channel: int) -> None:
        """Forget a channel that is gone: its number may be given again."""
        self._lanes.pop(channel, None)


class ChannelLane:
    """The quick way of one channel."""

    __slots__ = (
        "_channel",
        "_flush_channel",
        "_front",
        "_number",
        "_pending",
        "_pending_bytes",
        "_replies",
        "_round_trips",
        "_session",
        "_told_full",
    )

    def __init__(self, front: Front, channel: asyncssh.SSHServerChannel[bytes], session: BufferReceiver) -> None:
        self._front = front
        self._channel = channel
        self._session = session
        self._number: int = channel._recv_chan
        self._pending: list[memoryview] = []  # what the client's window or the transport does not take yet: a reply or a few
        self._pending_bytes = 0
        self._replies = bytearray()  # small ones that came up in this read
        self._told_full = False
        self._round_trips: RoundTrips | None = RoundTrips()  # until they are known
        self._flush_channel: Callable[[], None] = channel._flush_send_buf
        channel._flush_send_buf = self._flush_all

    def close(self) -> None:
        """Drop what waits to be sent and give the channel number back. Called when the channel is gone."""
        self._pending.clear()
        self._replies.clear()
        self._front.remove(self._number)
        _wide.discard(self)

    # -- receiving ---------------------------------------------------------------------------------------------------

    def accept(self, size: int) -> bool:
        """Count data that the client may send now; False if asyncssh has to deal with it."""
        channel = self._channel
        if channel._recv_state != "open" or channel._send_state != "open" or channel._recv_paused or channel._recv_buf:
            return False
        if size > channel._recv_window:
            return False
        channel._recv_window -= size
        return True

    def deliver(self, data: memoryview) -> None:
        """Give data to the session, which may use the buffer until ``keep``."""
        if self._round_trips is not None:
            self._measure(self._round_trips)
        self._session.data_received(data, None)  # type: ignore[arg-type]

    def _measure(self, round_trips: RoundTrips) -> None:
        """Widen the window of a client that is far away."""
        shortest = round_trips.asked(time.monotonic())
        if shortest is not None:
            self._round_trips = None
            if shortest >= LONG_LINE_SECONDS and len(_wide) < WIDE_LANES:
                _wide.add(self)
                self._channel._init_recv_window = WIDE_WINDOW_BYTES  # what is missing is credited at the end of the read

    def keep(self) -> None:
        """Have the session copy what it needs: the buffer is about to be used again."""
        self._session.keep()

    def end_read(self) -> None:
        """Send what a read gave rise to, and give the client room for more. All of the read was delivered."""
        self._session.keep()
        self.send_replies()
        channel = self._channel
        used = channel._init_recv_window - channel._recv_window
        if used >= CREDIT_BYTES and not channel._recv_paused and channel._send_chan is not None:
            channel._recv_window += used
            if not self._front.send_credit(channel._send_chan, used):
                channel.send_packet(_MSG_CHANNEL_WINDOW_ADJUST, UInt32(used))

    # -- sending -----------------------------------------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> None:
        """Send data now as far as the client takes it, and the rest later. The data may be changed afterwards."""
        if self._round_trips is not None:
            self._round_trips.answered(time.monotonic())
        if self._front.gathering and len(data) <= SMALL_REPLY_BYTES and len(self._replies) < GATHERED_BYTES:
            self._front.note(self)  # its data may have come through asyncssh
            self._replies += data
            return
        self.send_replies()
        self._write(memoryview(data))

    def send_replies(self) -> None:
        """Send the small replies of this read."""
        if self._replies:
            replies, self._replies = self._replies, bytearray()
            self._write(memoryview(replies))

    def _write(self, data: memoryview) -> None:
        rest = self._send(data) if not self._pending else data
        if rest:
            self._pending.append(memoryview(bytes(rest)))
            self._pending_bytes += len(rest)
            self.tell()

    def _send(self, data: memoryview) -> memoryview:
        """Send what can be sent; what cannot."""
        channel, front = self._channel, self._front
        while data and channel._send_window and not front.transport_full and channel._send_chan is not None:
            piece = data[: min(channel._send_window, channel._send_pktsize)]
            channel._send_window -= len(piece)
            if not front.send_data(channel._send_chan, piece):
                channel.send_packet(_MSG_CHANNEL_DATA, String(bytes(piece)))
            data = data[len(piece) :]
        return data

    def flush(self) -> None:
        """Send what waits."""
        while self._pending:
            before = self._pending.pop(0)
            self._pending_bytes -= len(before)
            if rest := self._send(before):
                self._pending.insert(0, rest)
                self._pending_bytes += len(rest)
                break
        self.tell()

    def _flush_all(self) -> None:
        """Send ours first when asyncssh may send; what ends the channel comes after all of it."""
        self.flush()
        if not self._pending:
            self._flush_channel()

    def tell(self) -> None:
        """Tell the session to stop producing, or to go on."""
        full = self._front.transport_full or self._pending_bytes > (PENDING_LOW if self._told_full else PENDING_HIGH)
        if full != self._told_full:
            self._told_full = full
            if full:
                self._session.pause_writing()
            else:
                self._session.resume_writing()


_wide: set[ChannelLane] = set()
