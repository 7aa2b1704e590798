"""AES-GCM of one direction of a connection (RFC 5647), in the place of asyncssh's own object for it.

One cipher object for many packets and a counter; asyncssh makes a new one for each packet. A packet can be opened
before it is known who deals with it: ``put_back`` keeps what came out, and the next ``verify_and_decrypt``, which must be
for the same packet, returns that. So each nonce is used once, whoever asks. Nothing here blocks.

A cipher object takes 2.5 KiB, which idle sessions need not have: the process keeps the last ``OBJECTS`` that were made, and the
others are made anew from their key when they are needed.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TAG_BYTES = 16
OBJECTS = 128  # two for each connection; if more are busy, one in some packets costs 4 µs more
PADDING_BYTES = 4096  # asked of the kernel at a time
_COUNTER_MASK = 2**64 - 1
_NOTHING: Final = object()


class CachedGcm:
    """The state of one direction; ``key`` and ``iv`` are what the key exchange gave."""

    __slots__ = ("_aes", "_counter", "_fixed", "_kept", "_key")

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._key = key
        self._aes: AESGCM | None = None
        self._fixed = iv[:4]
        self._counter = int.from_bytes(iv[4:], "big")
        self._kept: object = _NOTHING

    def _cipher(self) -> AESGCM:
        if self._aes is None:
            self._aes = AESGCM(self._key)
            _with_objects.append(self)
            if len(_with_objects) > OBJECTS:
                _with_objects.popleft().rest()
        return self._aes

    def rest(self) -> None:
        """Do without the cipher object until the next packet."""
        self._aes = None

    def _nonce(self) -> bytes:
        counter = self._counter
        self._counter = (counter + 1) & _COUNTER_MASK
        return self._fixed + counter.to_bytes(8, "big")

    def seal(self, header: bytes, packet: bytes | memoryview) -> bytes:
        """Return the packet encrypted, with its tag; ``header`` goes before it in clear."""
        return self._cipher().encrypt(self._nonce(), packet, header)

    def open(self, raw: memoryview, plain: memoryview) -> bool:
        """Decrypt a whole packet, header and tag included, into ``plain``, which must be as long as what is in it. False if
        its tag is wrong.
        """
        try:
            self._cipher().decrypt_into(self._nonce(), raw[4:], raw[:4], plain)
        except InvalidTag:
            return False
        return True

    def put_back(self, plain: bytes | None) -> None:
        """Keep what ``open`` gave for whoever asks for this packet next."""
        self._kept = plain

    # -- as asyncssh's object has it ---------------------------------------------------------------------------------

    def encrypt_and_sign(self, header: bytes, data: bytes) -> tuple[bytes, bytes]:
        """Return header and encrypted data, and the tag."""
        sealed = self.seal(header, data)
        return header + sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]

    def verify_and_decrypt(self, header: bytes, data: bytes, mac: bytes) -> bytes | None:
        """Return the data; None if the tag is wrong."""
        kept, self._kept = self._kept, _NOTHING
        if kept is _NOTHING:
            plain = bytearray(len(data))
            return bytes(plain) if self.open(memoryview(header + data + mac), memoryview(plain)) else None
        assert kept is None or isinstance(kept, bytes)
        return kept


_with_objects: deque[CachedGcm] = deque()


class Paddings:
    """Random bytes to pad packets with (RFC 4253 §6): asking the kernel for a few takes as long as for thousands."""

    def __init__(self) -> None:
        self._bytes = b""
        self._used = 0

    def take(self, count: int) -> bytes:
        """Return so many bytes that nobody had before."""
        start = self._used
        if start + count > len(self._bytes):
            self._bytes, start = os.urandom(PADDING_BYTES), 0
        self._used = start + count
        return self._bytes[start : self._used]
