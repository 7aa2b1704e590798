"""SFTP packets, versions 3 to 6 (draft-ietf-secsh-filexfer-02, -04, -05, -13): the numbers, and how requests and replies
are written.

Attributes and names are encoded by asyncssh, which knows their four forms. Only what is on the path of every byte is
written here by hand. Requests may have bytes left at their end: OpenSSH ignores them, and pkg/sftp (rclone and many
others) sends some after the data of its last WRITE.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum, IntFlag

from asyncssh import SFTPAttrs, SFTPLimits, SFTPName, SFTPVFSAttrs
from asyncssh.packet import SSHPacket, String, UInt16, UInt32

from sftpgate.policy.clients import LONGEST_OFFERED_WRITE

# What `limits@openssh.com` offers. OpenSSH takes min(server, 261120) as the length of its writes; 32 KiB, its default
# without the extension, halves its speed.
MAX_WRITE_BYTES = LONGEST_OFFERED_WRITE
MAX_READ_BYTES = 261120
# The longest request taken: above the longest WRITE (others than OpenSSH send up to 256 KiB of data and more), below
# what would let one session eat the memory.
MAX_PACKET_BYTES = 1024 * 1024 + 1024

HEADER = struct.Struct(">IBI")  # length, type, request id
_HANDLE_LENGTH = struct.Struct(">I")
_REQUEST_HEAD = struct.Struct(">II")  # behind the type: request id, length of the handle
_DATA_HEAD = struct.Struct(">IBII")
DATA_HEAD_BYTES = _DATA_HEAD.size
_WRITE = struct.Struct(">QI")
LONGEST_HEAD = 64  # of a READ or WRITE: our handles have four bytes, which makes 25
_OK = struct.Struct(">IBIIII2s")  # a STATUS whose message is empty: the answer to every WRITE


class Request(IntEnum):
    """Requests of a client."""

    INIT = 1
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    FSTAT = 8
    SETSTAT = 9
    FSETSTAT = 10
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    RMDIR = 15
    REALPATH = 16
    STAT = 17
    RENAME = 18
    READLINK = 19
    SYMLINK = 20
    LINK = 21
    BLOCK = 22
    UNBLOCK = 23
    EXTENDED = 200


class Reply(IntEnum):
    """Replies of the server."""

    VERSION = 2
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED_REPLY = 201


class Open(IntFlag):
    """How a file is opened, in versions 3 and 4."""

    READ = 0x01
    WRITE = 0x02
    APPEND = 0x04
    CREAT = 0x08
    TRUNC = 0x10
    EXCL = 0x20


_ACE4_READ_DATA, _ACE4_WRITE_DATA, _ACE4_APPEND_DATA = 0x01, 0x02, 0x04
_DISPOSITIONS = {  # the low three bits of the flags, in versions 5 and 6
    0: Open.CREAT | Open.EXCL,
    1: Open.CREAT | Open.TRUNC,
    2: Open(0),
    3: Open.CREAT,
    4: Open.TRUNC,
}
_APPEND_BITS = 0x08 | 0x10

RENAME_OVERWRITE_BITS = 0x01 | 0x02  # OVERWRITE and ATOMIC of version 5 and 6

# Extensions that we answer. Those that make links are left out: nobody should try.
EXTENSIONS: tuple[tuple[bytes, bytes], ...] = (
    (b"posix-rename@openssh.com", b"1"),
    (b"statvfs@openssh.com", b"2"),
    (b"fstatvfs@openssh.com", b"2"),
    (b"fsync@openssh.com", b"1"),
    (b"lsetstat@openssh.com", b"1"),
    (b"limits@openssh.com", b"1"),
    (b"copy-data", b"1"),
)
# Size, permissions, times and owner: what SETSTAT takes without an error.
_SUPPORTED_ATTRIBUTES = 0x01 | 0x04 | 0x08 | 0x20 | 0x80 | 0x100
_SUPPORTED_OPEN_FLAGS = 0x07 | _APPEND_BITS
_SUPPORTED_ACCESS = _ACE4_READ_DATA | _ACE4_WRITE_DATA | _ACE4_APPEND_DATA | 0x80 | 0x100


def open_flags_of_v5(access: int, flags: int) -> Open:
    """Return the flags of version 3 that mean what ``access`` and ``flags`` of versions 5 and 6 say."""
    found = _DISPOSITIONS.get(flags & 0x07, Open(0))
    if access & _ACE4_READ_DATA:
        found |= Open.READ
    if access & (_ACE4_WRITE_DATA | _ACE4_APPEND_DATA):
        found |= Open.WRITE
    if access & _ACE4_APPEND_DATA or flags & _APPEND_BITS:
        found |= Open.APPEND
    return found


def split_write(request: Sequence[memoryview]) -> tuple[bytes, int, Sequence[memoryview]]:
    """Return handle, offset and data of a WRITE that came in pieces. Raises struct.error if it is too short."""
    first = request[0]
    (length,) = _HANDLE_LENGTH.unpack_from(first, 5)
    if len(first) < 21 + length:  # a handle that is not one of ours
        first, request = memoryview(b"".join(request)), ()
    handle = bytes(first[9 : 9 + length])
    offset, size = _WRITE.unpack_from(first, 9 + length)
    pieces = (first[21 + length :], *request[1:])
    behind = sum(map(len, pieces)) - size
    if behind < 0:
        raise struct.error("the data of a WRITE is shorter than its length says")
    return handle, offset, (memoryview(b"".join(pieces))[:size],) if behind else pieces


def split_read(request: memoryview) -> tuple[int, bytes, int, int]:
    """Return number, handle, offset and length of a READ. Raises struct.error if it is too short."""
    number, length = _REQUEST_HEAD.unpack_from(request, 1)
    return number, bytes(request[9 : 9 + length]), *_WRITE.unpack_from(request, 9 + length)


def data_head(request: int, size: int) -> bytes:
    """Return what goes before ``size`` bytes in a DATA reply of version 3 to 5, and of 6 if more may follow."""
    return _DATA_HEAD.pack(9 + size, Reply.DATA, request, size)


def packet(kind: Reply, request: int, *parts: bytes) -> bytes:
    """Return a reply to the request with the id ``request``."""
    body = b"".join(parts)
    return HEADER.pack(5 + len(body), kind, request) + body


def status(request: int, code: int, message: str) -> bytes:
    """Return a STATUS reply."""
    return packet(Reply.STATUS, request, UInt32(code), String(message), String("en"))


def ok(request: int) -> bytes:
    """Return a STATUS reply that says OK."""
    return _OK.pack(17 + 2, Reply.STATUS, request, 0, 0, 2, b"en")


def version(number: int) -> bytes:
    """Return the VERSION packet: the version that holds, and the extensions."""
    names = b"".join(String(name) for name, _ in EXTENSIONS)
    pairs = list(EXTENSIONS)
    supported = b"".join(
        UInt32(bits) for bits in (_SUPPORTED_ATTRIBUTES, 0, _SUPPORTED_OPEN_FLAGS, _SUPPORTED_ACCESS, MAX_READ_BYTES)
    )
    if number >= 4:
        pairs.insert(0, (b"newline", b"\n"))
    if number == 5:
        pairs.insert(0, (b"supported", supported + names))
    elif number == 6:
        blocks = UInt16(1) + UInt16(1)  # no locking
        pairs.insert(0, (b"supported2", supported + blocks + UInt32(0) + UInt32(len(EXTENSIONS)) + names))
        pairs.insert(0, (b"acl-supported", UInt32(0)))
    body = UInt32(number) + b"".join(String(name) + String(data) for name, data in pairs)
    return struct.pack(">IB", 1 + len(body), Reply.VERSION) + body


def names(request: int, found: list[SFTPName], sftp_version: int, *, at_end: bool = False) -> bytes:
    """Return a NAME reply."""
    end = b"\1" if at_end and sftp_version >= 6 else b""
    return packet(Reply.NAME, request, UInt32(len(found)), *(name.encode(sftp_version) for name in found), end)


def attributes(request: int, found: SFTPAttrs, sftp_version: int) -> bytes:
    """Return an ATTRS reply."""
    return packet(Reply.ATTRS, request, found.encode(sftp_version))


def data(request: int, content: bytes, sftp_version: int, *, at_end: bool = False) -> bytes:
    """Return a DATA reply."""
    end = b"\1" if at_end and sftp_version >= 6 else b""
    return packet(Reply.DATA, request, String(content), end)


def handle(request: int, name: bytes) -> bytes:
    """Return a HANDLE reply."""
    return packet(Reply.HANDLE, request, String(name))


def filesystem(request: int, found: SFTPVFSAttrs, sftp_version: int) -> bytes:
    """Return the reply to ``statvfs@openssh.com``."""
    return packet(Reply.EXTENDED_REPLY, request, found.encode(sftp_version))


def limits(request: int, max_handles: int) -> bytes:
    """Return the reply to ``limits@openssh.com``."""
    found = SFTPLimits(MAX_PACKET_BYTES, MAX_READ_BYTES, MAX_WRITE_BYTES, max_handles)
    return packet(Reply.EXTENDED_REPLY, request, found.encode())


def body_of(content: bytes) -> SSHPacket:
    """Return a reader for the fields of a request."""
    return SSHPacket(content)
