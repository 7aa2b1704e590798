"""The quick way for a connection's bytes: everything that needs asyncssh's private parts for speed is in this module.

It stands between the transport and asyncssh's connection (``transport.set_protocol``). Packets of channel data that are
encrypted by AES-GCM go straight to the session and from it; **every other packet is given to asyncssh as it came**, so that
logins, key exchanges, channel requests and all their checks are asyncssh's own. Where anything is not as expected (another
cipher, compression, a paused channel, a key exchange under way), the data packets go that way too.

- Receiving is done into one buffer of the process, and costs one copy (decryption). ``TCP_QUICKACK`` is set after every read
  until the session is under way: delayed acknowledgements are most of the time of a login.
- A client that offers AES-GCM is offered nothing else: clients choose by their own order, and what they put first costs us
  twice the time. So our KEXINIT waits for the client's; one that waits for ours gets it after ``KEXINIT_WAIT_SECONDS``. The
  exchange hash covers both offers (RFC 4253 §8).
- The receive window is credited early, no MSG_IGNORE is sent before packets (asyncssh's guard of CBC, which keeps it), and a
  client that does not read stops the session (``pause_writing``) by what lies in the transport, too.
- One connection takes one buffer in a turn of the event loop, a smaller one where many are busy.

``install`` does nothing on a release of asyncssh that the tests have not seen (``TESTED``) or where the setting ``fast_path`` is
off: then asyncssh's public way is taken, with the same result. Nothing here blocks, and a crash leaves nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import asyncssh
from asyncssh.encryption import GCMEncryption
from asyncssh.packet import String, UInt32

from sftpgate.gateway import algorithms
from sftpgate.gateway.gcm import TAG_BYTES, CachedGcm

# ruff: noqa: SLF001 - that is what this module is for
# mypy: disable-error-code="attr-defined, method-assign, assignment, index"

TESTED = frozenset({"2.24.1"})

READ_BYTES = 256 * 1024  # about 0.3 ms of work; a larger one gained nothing
LEAST_READ_BYTES = 32 * 1024
TURN_BYTES = 4 * 1024 * 1024  # what all connections together may take in a turn of the loop: some 5 ms
MAX_FAST_PACKET = 128 * 1024  # above any that a client may send us (a channel's packets have 32 KiB of data)
CREDIT_BYTES = 256 * 1024  # of the 4 MiB of the window: asyncssh waits for the half, which halves an upload over 50 ms
PENDING_HIGH, PENDING_LOW = 256 * 1024, 64 * 1024  # replies that wait for the client to read, where the session stops
TRANSPORT_HIGH = 1024 * 1024  # what may wait for the socket
KEXINIT_WAIT_SECONDS = 0.3
ACKNOWLEDGED_READS = 16  # of a session, with TCP_QUICKACK: its first requests wait for each other

_MSG_IGNORE, _MSG_CHANNEL_DATA = 2, 94
_KEXINIT_BYTES = 64 * 1024
_DATA = struct.Struct(">BBII")  # padding length, type, channel, length of the data
_SEQUENCE = 0xFFFFFFFF
_BLOCK = 16

_Keys = tuple[object, CachedGcm | None]  # asyncssh's object, and ours in it where it is for AES-GCM


def install(connection: asyncssh.SSHServerConnection, ciphers: Sequence[str]) -> None:
    """Take the bytes of a connection that was just made; ``ciphers`` are those of the profile."""
    transport = connection._transport
    if asyncssh.__version__ not in TESTED or transport is None or hasattr(connection, "fastpath"):
        return
    front = Front(connection, transport, ciphers)
    connection.fastpath = front
    transport.set_protocol(front)


def lane_for(channel: asyncssh.SSHServerChannel[bytes], session: asyncssh.SSHServerSession[bytes]) -> Lane | None:
    """The quick way of a channel that was just opened; None where its connection has none."""
    front = getattr(channel.get_connection(), "fastpath", None)
    return front.add(channel, session) if isinstance(front, Front) else None


class _Turns:
    """The receive buffer of the process, and how large a part of it a connection gets in this turn of the loop."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(READ_BYTES + MAX_FAST_PACKET))
        self._reads = 0
        self._busy = 1

    def share(self) -> int:
        """Bytes that a connection may read at a time."""
        return max(LEAST_READ_BYTES, min(READ_BYTES, TURN_BYTES // self._busy))

    def note_read(self) -> None:
        """A connection has read."""
        if not self._reads:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._reads += 1

    def _next_turn(self) -> None:
        self._busy, self._reads = max(1, self._reads), 0


_turns = _Turns()


class Front(asyncio.BufferedProtocol):
    """One connection, as the transport sees it."""

    __slots__ = (
        "_ciphers",
        "_connection",
        "_hello",
        "_lanes",
        "_left",
        "_quick_reads",
        "_receiving",
        "_send_kexinit",
        "_send_packet",
        "_sending",
        "_socket",
        "_timer",
        "_transport",
        "transport_full",
    )

    def __init__(self, connection: asyncssh.SSHServerConnection, transport: asyncio.Transport, ciphers: Sequence[str]) -> None:
        self._connection = connection
        self._transport = transport
        self._socket: socket.socket | None = transport.get_extra_info("socket")
        self._left = b""  # the beginning of a packet whose rest has not come
        self._quick_reads = -1  # how many more are acknowledged at once; -1: all
        self._lanes: dict[int, Lane] = {}
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
        """Where to put what comes: behind what is left."""
        left = len(self._left)
        if left:
            _turns.buffer[:left] = self._left
        return _turns.buffer[left : left + _turns.share()]

    def buffer_updated(self, count: int) -> None:
        """Bytes have come."""
        _turns.note_read()
        if count == _turns.share():  # there is more: others first
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_on)
        end = len(self._left) + count
        self._left = b""
        if self._quick_reads:
            self._acknowledge()
        view = _turns.buffer[:end]
        if self._hello is not None:
            self._hello(view)
        else:
            self._connection._reset_keepalive_timer()
            self._take(self._reclaimed(view))

    def _read_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _acknowledge(self) -> None:
        self._quick_reads -= self._quick_reads > 0
        with suppress(OSError, AttributeError):  # not TCP
            if self._socket is not None:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def eof_received(self) -> None:
        """The client sends no more."""
        self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
        self._lanes.clear()
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read."""
        self.transport_full = True
        for lane in self._lanes.values():
            lane.tell()

    def resume_writing(self) -> None:
        """It reads again."""
        self.transport_full = False
        for lane in list(self._lanes.values()):
            lane.flush()

    # -- the first two packets ---------------------------------------------------------------------------------------

    def _take_version(self, view: memoryview) -> None:
        """The client's version line, and then ours of what we have to offer: not before the client's."""
        data = bytes(view)
        end = data.find(b"\n") + 1 or len(data)
        self._connection.data_received(data[:end])
        if end < len(data):
            if self._hello is not None:
                self._hello(view[end:])
            else:
                self._take(view[end:])

    def _hold_kexinit(self) -> None:
        """asyncssh has the client's version and wants to send its KEXINIT."""
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
        """The client's KEXINIT: what it offers decides what we do."""
        whole = 4 + int.from_bytes(view[:4], "big")
        if len(view) < 4 or len(view) < whole <= _KEXINIT_BYTES:
            self._left = bytes(view)
            return
        self._connection._enc_algs = [
            name.encode() for name in algorithms.quickest(self._ciphers, bytes(view[5:whole] if whole <= _KEXINIT_BYTES else b""))
        ]
        self._release_kexinit()
        self._take(view)

    # -- receiving ---------------------------------------------------------------------------------------------------

    def _is_ready(self) -> bool:
        """True while asyncssh expects the beginning of a packet and has nothing left to do."""
        connection = self._connection
        return not connection._inpbuf and connection._recv_handler == connection._recv_pkthdr

    def _gcm(self, *, sending: bool) -> CachedGcm | None:
        """Our object for a direction, where the keys in use are for AES-GCM; new keys come with each key exchange."""
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
        """What came, behind the beginning of a packet that asyncssh has: it got everything while it was busy."""
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

    def _take(self, view: memoryview) -> None:
        """Deal with all whole packets, and keep the rest."""
        position, end = 0, len(view)
        while end - position >= 4:
            gcm = self._gcm(sending=False) if self._is_ready() else None
            length = int.from_bytes(view[position : position + 4], "big")
            if gcm is None or self._connection._decompressor or length > MAX_FAST_PACKET - 4 - TAG_BYTES:
                self._connection.data_received(bytes(view[position:]))
                return
            following = position + 4 + length + TAG_BYTES
            if following > end:
                break
            raw = view[position:following]
            plain = gcm.open(raw)
            position = following
            if plain is None or not self._deliver(plain):
                gcm.put_back(plain)
                self._connection.data_received(bytes(raw))
                if self._connection._transport is None:
                    return
        self._left = bytes(view[position:])

    def _deliver(self, plain: bytes) -> bool:
        """Give the data of a packet to its session; False where it is not such a packet, or not the time for it."""
        if len(plain) < _DATA.size:
            return False
        padding, kind, number, size = _DATA.unpack_from(plain)
        lane = self._lanes.get(number) if kind == _MSG_CHANNEL_DATA else None
        if lane is None or not size or _DATA.size + size + padding != len(plain) or not lane.accept(size):
            return False
        self._connection._recv_seq = (self._connection._recv_seq + 1) & _SEQUENCE
        lane.deliver(memoryview(plain)[_DATA.size : _DATA.size + size])
        return True

    # -- sending -----------------------------------------------------------------------------------------------------

    def _without_ignore(self, pkttype: int, *args: bytes, handler: object = None) -> None:
        """asyncssh's way to send a packet, without the empty one before it, which only CBC needs (RFC 4251 §9.3.1)."""
        self._gcm(sending=True)
        if pkttype == _MSG_IGNORE and not self._connection._enc_alg_sc.endswith(b"-cbc"):
            return
        self._send_packet(pkttype, *args, handler=handler)

    def send_data(self, channel: int, data: memoryview) -> bool:
        """Send a packet of channel data; False where only asyncssh can, because new keys are due or another cipher is in use."""
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
        padding = -(_DATA.size + len(data)) % _BLOCK
        if padding < 4:
            padding += _BLOCK
        packet = b"".join((_DATA.pack(padding, _MSG_CHANNEL_DATA, channel, len(data)), data, os.urandom(padding)))
        header = len(packet).to_bytes(4, "big")
        self._transport.writelines((header, gcm.seal(header, packet)))
        connection._send_seq = (connection._send_seq + 1) & _SEQUENCE
        connection._rekey_bytes_sent += len(packet)
        return True

    def add(self, channel: asyncssh.SSHServerChannel[bytes], session: asyncssh.SSHServerSession[bytes]) -> Lane:
        """The lane of a channel."""
        self._quick_reads = ACKNOWLEDGED_READS
        connection = self._connection
        if connection._kex_complete and connection._kex is None:  # 3 KiB that the next key exchange makes anew
            connection._client_kexinit = connection._server_kexinit = b""
        lane = self._lanes[channel._recv_chan] = Lane(self, channel, session)
        return lane

    def remove(self, channel: int) -> None:
        """The channel is gone: its number may be given again."""
        self._lanes.pop(channel, None)


class Lane:
    """The quick way of one channel."""

    __slots__ = (
        "_channel",
        "_flush_channel",
        "_front",
        "_number",
        "_pending",
        "_pending_bytes",
        "_session",
        "_told_full",
    )

    def __init__(
        self, front: Front, channel: asyncssh.SSHServerChannel[bytes], session: asyncssh.SSHServerSession[bytes]
    ) -> None:
        self._front = front
        self._channel = channel
        self._session = session
        self._number: int = channel._recv_chan
        self._pending: list[memoryview] = []  # what the client's window or the transport does not take yet: a reply or a few
        self._pending_bytes = 0
        self._told_full = False
        self._flush_channel: Callable[[], None] = channel._flush_send_buf
        channel._flush_send_buf = self._flush_all

    def close(self) -> None:
        """The session has been told that its channel is gone."""
        self._pending.clear()
        self._front.remove(self._number)

    # -- receiving ---------------------------------------------------------------------------------------------------

    def accept(self, size: int) -> bool:
        """Count data that the client may send now; False where asyncssh has to deal with it."""
        channel = self._channel
        if channel._recv_state != "open" or channel._send_state != "open" or channel._recv_paused or channel._recv_buf:
            return False
        if size > channel._recv_window:
            return False
        channel._recv_window -= size
        return True

    def deliver(self, data: memoryview) -> None:
        """Give data to the session, and the client room for more."""
        channel = self._channel
        self._session.data_received(data, None)  # type: ignore[arg-type]
        used = channel._init_recv_window - channel._recv_window
        if used >= CREDIT_BYTES and not channel._recv_paused:
            channel._recv_window += used
            channel.send_packet(asyncssh.constants.MSG_CHANNEL_WINDOW_ADJUST, UInt32(used))

    # -- sending -----------------------------------------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> None:
        """Send data now as far as the client takes it, and the rest later. The data may be changed afterwards."""
        rest = self._send(memoryview(data)) if not self._pending else memoryview(data)
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
        """asyncssh may send: ours goes first, and what ends the channel comes after all of it."""
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
