"""Packets: what is read out of requests, and how replies are made."""

from __future__ import annotations

import struct

import pytest
from asyncssh import SFTPAttrs
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.view import times_of
from sftpgate.gateway.sftp.wire import Open, Reply, Request, body_of, open_flags_of_v5, packet, split_write, status, version


@given(
    handle=st.binary(max_size=300), offset=st.integers(0, 2**64 - 1), content=st.binary(max_size=300), rest=st.binary(max_size=20)
)
def test_writes_are_split(handle: bytes, offset: int, content: bytes, rest: bytes) -> None:
    """Trap: a WRITE is split into its fields, whatever is left behind them."""
    body = struct.pack(">BII", Request.WRITE, 7, len(handle)) + handle + struct.pack(">QI", offset, len(content)) + content + rest
    for cut in (9, len(body) // 2, len(body)):
        found = split_write([memoryview(body[: max(cut, 9)]), memoryview(body[max(cut, 9) :])])
        assert (found[0], found[1], b"".join(found[2])) == (handle, offset, content)


@pytest.mark.promise("P1")
@given(st.binary(max_size=60))
def test_any_bytes_are_split_or_refused(body: bytes) -> None:
    """Bytes that are no WRITE raise struct.error and nothing else."""
    try:
        _, _, content = split_write([memoryview(body)])
    except struct.error:
        return
    assert len(content) <= len(body)


def test_replies_have_their_length() -> None:
    """A reply begins with its length, its type and the number of its request."""
    reply = status(7, Status.FAILURE, "é")
    assert struct.unpack_from(">IBI", reply) == (len(reply) - 4, Reply.STATUS, 7)
    fields = body_of(reply[9:])
    assert (fields.get_uint32(), fields.get_string().decode(), fields.get_string()) == (4, "é", b"en")
    assert packet(Reply.DATA, 1, b"ab", b"c") == b"\0\0\0\x08\x67\0\0\0\1abc"


@pytest.mark.promise("P6")
@pytest.mark.parametrize("number", [3, 4, 5, 6])
def test_the_version_packet(number: int) -> None:
    """Each version offers its extensions, and none that makes links."""
    fields = body_of(version(number)[5:])
    assert fields.get_uint32() == number
    names = []
    while fields:
        names.append(fields.get_string())
        fields.get_string()
    assert b"posix-rename@openssh.com" in names and not [name for name in names if b"link" in name]
    assert (b"supported2" in names) is (number == 6) and (b"supported" in names) is (number == 5)


@pytest.mark.promise("P5")
@pytest.mark.parametrize(
    ("access", "flags", "expected"),
    [
        (1, 2, Open.READ),
        (2, 1, Open.WRITE | Open.CREAT | Open.TRUNC),
        (2, 0, Open.WRITE | Open.CREAT | Open.EXCL),
        (3, 3, Open.READ | Open.WRITE | Open.CREAT),
        (2, 4, Open.WRITE | Open.TRUNC),
        (4, 3, Open.WRITE | Open.APPEND | Open.CREAT),
        (2, 3 | 0x08, Open.WRITE | Open.APPEND | Open.CREAT),
        (2, 3 | 0x10, Open.WRITE | Open.APPEND | Open.CREAT),
        (0, 2, Open(0)),
        (0, 7, Open(0)),
    ],
)
def test_flags_of_version_5(access: int, flags: int, expected: Open) -> None:
    """Access and disposition of versions 5 and 6 mean the flags of version 3."""
    assert open_flags_of_v5(access, flags) == expected


@pytest.mark.promise("P5")
def test_times_of_a_request() -> None:
    """A request without times sets none; with one of both it keeps the other; they are in nanoseconds."""
    now = (30, 40)
    assert times_of(SFTPAttrs(permissions=0o600), now) is None
    assert times_of(SFTPAttrs(atime=1, mtime=2), now) == (1_000_000_000, 2_000_000_000)
    assert times_of(SFTPAttrs(atime=1, atime_ns=5, mtime=2, mtime_ns=6), now) == (1_000_000_005, 2_000_000_006)
    assert times_of(SFTPAttrs(atime=1), now) == (1_000_000_000, 40)
    assert times_of(SFTPAttrs(mtime=2), now) == (30, 2_000_000_000)
