"""Packets that are not well formed, in odd pieces, or in odd order; and how sessions end."""

from __future__ import annotations

import hashlib
import struct

import pytest

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import MAX_PACKET_BYTES, Open, Reply, Request
from tests.harness.gates import Gate
from tests.harness.raw import CREATE, Raw, string, uint32, uint64

FIELDS = {  # requests of version 3 that are cut off after some of their fields
    "open without flags": (Request.OPEN, string("a.csv")),
    "open without attributes": (Request.OPEN, string("a.csv") + uint32(CREATE)),
    "open with attributes cut off": (Request.OPEN, string("a.csv") + uint32(CREATE, 1) + b"\0\0"),
    "open with a string longer than the packet": (Request.OPEN, uint32(1000) + b"a.csv"),
    "open with a string of four gigabytes": (Request.OPEN, uint32(2**32 - 1)),
    "close without a handle": (Request.CLOSE, b""),
    "read without a length": (Request.READ, string("x") + uint64(0)),
    "write without data": (Request.WRITE, string("x") + uint64(0)),
    "write with less data than it says": (Request.WRITE, string("x") + uint64(0) + uint32(10) + b"abc"),
    "write with a handle longer than the packet": (Request.WRITE, uint32(2**32 - 1) + uint64(0)),
    "stat without a path": (Request.STAT, b""),
    "setstat without attributes": (Request.SETSTAT, string("a.csv")),
    "fsetstat without attributes": (Request.FSETSTAT, string("x")),
    "rename without a new name": (Request.RENAME, string("a.csv")),
    "realpath without a path": (Request.REALPATH, b"\0"),
    "extended without a name": (Request.EXTENDED, b""),
    "posix-rename without a new name": (Request.EXTENDED, string("posix-rename@openssh.com") + string("a")),
    "copy-data without a target": (Request.EXTENDED, string("copy-data") + string("x") + uint64(0, 0)),
}


@pytest.mark.promise("P1")
@pytest.mark.parametrize("version", [3, 6])
async def test_malformed_requests(gate: Gate, version: int) -> None:
    """A request that is cut off is a bad message, and the session and its open upload go on."""
    async with gate.raw(version=version) as raw:
        handle = await raw.open_file("a.csv")
        for what, (kind, body) in FIELDS.items():
            answer = await raw.request(kind, body)
            assert answer.status == Status.BAD_MESSAGE, (what, answer)
            assert "not well formed" in answer.message
        await raw.write(handle, 0, b"a\n")
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store() == {"a.csv": b"a\n"}


async def test_a_packet_without_a_number(gate: Gate) -> None:
    """A packet of a type and nothing else is answered as a bad message, and the session goes on."""
    async with gate.raw() as raw:
        for length in range(4):
            raw.send_packet(bytes([Request.STAT]) + b"\0" * length)
            assert (await raw.answer()).status == Status.BAD_MESSAGE
        assert await raw.put("a.csv", b"a\n") == Status.OK


@pytest.mark.promise("P1")
@pytest.mark.parametrize("length", [0, MAX_PACKET_BYTES + 1, 2**31, 2**32 - 1])
async def test_packets_of_impossible_length(gate: Gate, length: int) -> None:
    """A packet that is empty or larger than the limit ends the session, and its open upload stays unpublished."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv")
        await raw.write(handle, 0, b"half")
        raw.writer.write(struct.pack(">I", length) + b"x" * 64)
        assert await raw.at_end() == b""
        assert await raw.exit_status() == 1
        await gate.until("upload.interrupted")
    assert gate.in_store() == {}


async def test_the_longest_packet(gate: Gate) -> None:
    """A request of exactly the longest length is done."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.bin")
        overhead = 1 + 4 + 4 + len(handle) + 8 + 4
        content = b"\0" * (MAX_PACKET_BYTES - overhead)
        assert (await raw.write(handle, 0, content)).status == Status.OK
        assert (await raw.close(handle)).status == Status.OK
        assert len(gate.in_store()["a.bin"]) == len(content)


@pytest.mark.promise("P1")
async def test_the_first_packet_is_not_init(gate: Gate) -> None:
    """Requests before INIT are bad messages that do nothing, and INIT may still come."""
    async with gate.connection() as connection:
        raw = await Raw.open(connection)
        raw.send(Request.OPEN, raw.open_parts("a.csv", CREATE))
        assert (await raw.answer()).status == Status.BAD_MESSAGE
        await raw.begin(3)
        assert await raw.put("a.csv", b"a\n") == Status.OK
    assert gate.in_store() == {"a.csv": b"a\n"}


async def test_a_second_init(gate: Gate) -> None:
    """A second INIT is no request of a session that has begun."""
    async with gate.raw() as raw:
        raw.send_packet(bytes([Request.INIT]) + uint32(3))
        assert (await raw.answer()).status in (Status.BAD_MESSAGE, Status.OP_UNSUPPORTED)
        assert await raw.put("a.csv", b"a\n") == Status.OK


@pytest.mark.promise("P6")
async def test_what_is_offered(gate: Gate) -> None:
    """VERSION offers the extensions that work, and none that makes links."""
    async with gate.connection() as connection:
        names = [name for name, _ in await (await Raw.open(connection)).begin(3)]
    assert b"posix-rename@openssh.com" in names and b"limits@openssh.com" in names
    assert not [name for name in names if b"link" in name]


async def test_bytes_behind_a_request_are_ignored(gate: Gate) -> None:
    """Trap: pkg/sftp leaves bytes behind the data of its last WRITE; they are ignored, behind every request."""
    junk = b"left over"
    async with gate.raw() as raw:
        handle = (await raw.request(Request.OPEN, raw.open_parts("a.csv", CREATE), junk)).handle
        assert (await raw.request(Request.WRITE, string(handle), uint64(0), string("a,b\n"), junk)).status == Status.OK
        assert (await raw.request(Request.FSTAT, string(handle), junk)).attrs.size == 4
        assert (await raw.request(Request.FSETSTAT, string(handle), raw.attributes(permissions=0o600), junk)).status == Status.OK
        assert (await raw.request(Request.CLOSE, string(handle), junk)).status == Status.OK
        assert (await raw.request(Request.STAT, string("a.csv"), junk)).attrs.size == 4
        assert (await raw.request(Request.SETSTAT, string("a.csv"), raw.attributes(atime=1, mtime=1), junk)).status == Status.OK
        assert (await raw.request(Request.RENAME, string("a.csv"), string("b.csv"), junk)).status == Status.OK
        reading = (await raw.request(Request.OPEN, raw.open_parts("b.csv", Open.READ), junk)).handle
        assert (await raw.request(Request.READ, string(reading), uint64(0), uint32(100), junk)).data == b"a,b\n"
        assert (await raw.request(Request.MKDIR, string("sub"), raw.attributes(), junk)).status == Status.OK
        assert (await raw.request(Request.RMDIR, string("sub"), junk)).status == Status.OK
        listing = (await raw.request(Request.OPENDIR, string("."), junk)).handle
        assert (await raw.request(Request.READDIR, string(listing), junk)).kind == Reply.NAME
        assert (await raw.extended("fsync@openssh.com", string(reading), junk)).status == Status.OK
        assert (await raw.request(Request.REMOVE, string("b.csv"), junk)).status == Status.OK
        assert gate.in_store() == {}


@pytest.mark.promise("P1")
async def test_pieces_of_any_size(gate: Gate) -> None:
    """Packets may come in pieces as small as a byte, and many of them in one."""
    async with gate.raw() as raw:
        body = bytes([Request.OPEN]) + uint32(7) + raw.open_parts("a.csv", CREATE)
        for byte in struct.pack(">I", len(body)) + body:
            raw.writer.write(bytes([byte]))
        handle = (await raw.answer()).handle
        packets = []
        for number, content in enumerate((b"one\n", b"two\n", b"six\n")):
            body = bytes([Request.WRITE]) + uint32(number) + string(handle) + uint64(4 * number) + string(content)
            packets.append(struct.pack(">I", len(body)) + body)
        raw.writer.write(b"".join(packets))
        assert [(await raw.answer()).number for _ in packets] == [0, 1, 2]
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store() == {"a.csv": b"one\ntwo\nsix\n"}


@pytest.mark.promise("P1")
async def test_pipelined_requests_are_answered_in_order(gate: Gate) -> None:
    """Requests sent without waiting are done in their order, whatever they need, and each answer bears its number."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv")
        sent = []
        for block in range(50):
            sent.append(raw.send(Request.WRITE, string(handle), uint64(8 * block), string(f"{block:07}\n")))
            sent.append(raw.send(Request.STAT, string("a.csv")))
        sent.append(raw.send(Request.CLOSE, string(handle)))
        sent.append(raw.send(Request.STAT, string("a.csv")))
        answers = [await raw.answer() for _ in sent]
        assert [answer.number for answer in answers] == sent
        assert [answer.attrs.size for answer in answers[1:100:2]] == [8 * (block + 1) for block in range(50)]
        assert answers[-2].status == Status.OK and answers[-1].attrs.size == 400
        assert len(gate.in_store()["a.csv"]) == 400


async def test_numbers_are_the_clients(gate: Gate) -> None:
    """Request numbers come back as they were sent, also twice the same, and in any order."""
    async with gate.raw() as raw:
        for number in (2**32 - 1, 5, 5, 0, 4):
            raw.send(Request.STAT, string("."), number=number)
        assert [(await raw.answer()).number for _ in range(5)] == [2**32 - 1, 5, 5, 0, 4]


@pytest.mark.promise("P1")
async def test_writes_out_of_order(gate: Gate) -> None:
    """The blocks of a file may come in any order, as long as no byte is missing at CLOSE."""
    blocks = [bytes([65 + number]) * 100 for number in range(20)]
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv")
        for number in sorted(range(20), key=lambda number: number * 7 % 20):
            assert (await raw.write(handle, 100 * number, blocks[number])).status == Status.OK
        assert gate.in_store() == {}
        assert (await raw.close(handle)).status == Status.OK
    assert gate.in_store() == {"a.csv": b"".join(blocks)}
    [arrival] = gate.arrivals("a.csv")
    assert arrival.sha256 == hashlib.sha256(b"".join(blocks)).hexdigest()


async def test_the_session_ends_with_status_0(gate: Gate) -> None:
    """Trap: OpenSSH's scp exits 1 after a good upload where the server sends no exit status; at the end of file it gets 0."""
    async with gate.raw() as raw:
        assert await raw.put("a.csv", b"a\n") == Status.OK
        raw.writer.write_eof()
        assert await raw.at_end() == b""
        assert await raw.exit_status() == 0


@pytest.mark.promise("P1")
async def test_close_and_hang_up(gate: Gate) -> None:
    """Requests that came whole before the end of file are still done: a client may send CLOSE and hang up."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv")
        raw.send(Request.WRITE, string(handle), uint64(0), string("a\n"))
        number = raw.send(Request.CLOSE, string(handle))
        raw.writer.write_eof()
        assert (await raw.answer()).status == Status.OK
        assert (await raw.answer()).number == number
        assert await raw.exit_status() == 0
    assert gate.in_store() == {"a.csv": b"a\n"}


@pytest.mark.promise("P1")
@pytest.mark.parametrize("end", ["end of file", "channel", "connection"])
async def test_an_end_without_close(gate: Gate, end: str) -> None:
    """Trap: a session that ends with an open handle, in whatever way, publishes nothing of it."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv")
        assert (await raw.write(handle, 0, b"a,b\n1,2\n")).status == Status.OK
        match end:
            case "end of file":
                raw.writer.write_eof()
            case "channel":
                raw.writer.channel.abort()
            case _:
                raw.connection.abort()
        await gate.until("upload.interrupted")
        await gate.until("session.closed")
    assert gate.in_store() == {} and gate.arrivals("a.csv") == [] and len(gate.staged()) == 1


@pytest.mark.promise("P1")
async def test_half_a_packet_at_the_end(gate: Gate) -> None:
    """A CLOSE of which half arrived is none."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv")
        await raw.write(handle, 0, b"a\n")
        body = bytes([Request.CLOSE]) + uint32(9) + string(handle)
        raw.writer.write((struct.pack(">I", len(body)) + body)[:-1])
        raw.writer.write_eof()
        assert await raw.exit_status() == 0
    assert gate.in_store() == {}


async def test_a_client_that_reads_no_answers(gate: Gate) -> None:
    """A client that sends many requests and reads nothing slows down itself only."""
    async with gate.raw() as slow, gate.raw() as other:
        count = 3000
        for _ in range(count):
            slow.send(Request.STAT, string("."))
        assert await other.put("a.csv", b"a\n") == Status.OK
        assert [(await slow.answer()).kind for _ in range(count)] == [Reply.ATTRS] * count
