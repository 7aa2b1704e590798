"""Interrupted uploads: kept for their user, never published by themselves, and resumed in every way that clients know."""

from __future__ import annotations

import asyncio

import pytest

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Open, Request
from tests.harness.gates import Gate, Start
from tests.harness.raw import RESUME, string

CONTENT = b"".join(b"%07d\n" % number for number in range(100))
HALF = 400


async def interrupt(gate: Gate, path: str = "a.csv", content: bytes = CONTENT[:HALF], user: str = "erp") -> None:
    """An upload whose connection dies."""
    async with gate.raw(user) as raw:
        handle = await raw.open_file(path)
        assert (await raw.write(handle, 0, content)).status == Status.OK
        raw.connection.abort()
        await gate.until("upload.interrupted", len(gate.log.events("upload.interrupted")) + 1)


@pytest.mark.promise("P1")
async def test_what_its_user_sees(gate: Gate) -> None:
    """An interrupted upload is in no store; its user sees its size, lists it, reads it, and no other user does."""
    await interrupt(gate)
    assert gate.in_store() == {} and gate.in_drop() == {} and gate.arrivals("a.csv") == []
    async with gate.raw() as raw, gate.raw("other") as other:
        assert (await raw.on(Request.STAT, "a.csv")).attrs.size == HALF
        assert await raw.listing(".") == ["a.csv"]
        assert await raw.get("a.csv") == CONTENT[:HALF]
        assert await other.listing(".") == []


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    ("flags", "offset", "why"),
    [
        (Open.WRITE, HALF, "no truncation, at the size that STAT told"),
        (RESUME, HALF, "the same with CREAT"),
        (RESUME | Open.APPEND, HALF, "APPEND with true offsets, as OpenSSH's reput sends them"),
        (RESUME | Open.APPEND, 0, "APPEND with offset 0, which leaves the place to the server"),
        (Open.WRITE | Open.APPEND, 0, "the same without CREAT"),
        (Open.WRITE | Open.READ, HALF, "opened for both"),
    ],
)
async def test_ways_to_resume(gate: Gate, flags: Open, offset: int, why: str) -> None:
    """Trap: the rest of an upload, sent in any of the ways that clients know, makes the whole file arrive."""
    await interrupt(gate)
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv", flags)
        for start in range(HALF, len(CONTENT), 100):
            at = start if offset else 0
            assert (await raw.write(handle, at, CONTENT[start : start + 100])).status == Status.OK
        assert gate.in_store() == {}
        assert (await raw.close(handle)).status == Status.OK
    assert gate.in_store() == {"a.csv": CONTENT} and gate.staged() == [], why
    [arrival] = gate.arrivals("a.csv")
    assert arrival.size == len(CONTENT)


@pytest.mark.promise("P5")
async def test_fstat_of_a_resumed_upload(gate: Gate) -> None:
    """Trap: a client that resumes by FSTAT after OPEN sees the size that it had."""
    await interrupt(gate)
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv", RESUME)
        assert (await raw.request(Request.FSTAT, string(handle))).attrs.size == HALF


@pytest.mark.promise("P1")
async def test_a_resumed_upload_that_breaks_again(gate: Gate) -> None:
    """An upload may break and be resumed as often as need be."""
    await interrupt(gate, content=CONTENT[:200])
    for end in (400, 600):
        async with gate.raw() as raw:
            handle = await raw.open_file("a.csv", RESUME)
            await raw.write(handle, end - 200, CONTENT[end - 200 : end])
            raw.connection.abort()
            await gate.until("upload.interrupted", end // 200)
    async with gate.raw() as raw:
        assert (await raw.on(Request.STAT, "a.csv")).attrs.size == 600
        handle = await raw.open_file("a.csv", RESUME)
        await raw.write(handle, 600, CONTENT[600:])
        assert (await raw.close(handle)).status == Status.OK
    assert gate.in_store() == {"a.csv": CONTENT}


@pytest.mark.promise("P1")
async def test_a_resume_behind_the_end(gate: Gate) -> None:
    """A resume that leaves bytes out fails at CLOSE and says which, and what was there stays."""
    await interrupt(gate)
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv", RESUME)
        await raw.write(handle, HALF + 8, CONTENT[HALF + 8 :])
        closed = await raw.close(handle)
        assert closed.status == Status.FAILURE and "from 400 to 408" in closed.message
        assert (await raw.on(Request.STAT, "a.csv")).attrs.size == HALF
    assert gate.in_store() == {}


@pytest.mark.promise("P1")
async def test_starting_afresh(gate: Gate) -> None:
    """An upload with truncation has nothing of the interrupted one, which is gone when it is published."""
    await interrupt(gate)
    async with gate.raw() as raw:
        assert await raw.put("a.csv", b"new\n") == Status.OK
    assert gate.in_store() == {"a.csv": b"new\n"} and gate.staged() == []


@pytest.mark.promise("P3")
async def test_an_interrupted_upload_hides_the_older_file(gate: Gate) -> None:
    """An interrupted upload over a waiting file leaves that file to the runners."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"old\n")
    await interrupt(gate)
    assert gate.in_store() == {"a.csv": b"old\n"}
    async with gate.raw() as raw:
        assert (await raw.on(Request.STAT, "a.csv")).attrs.size == HALF


@pytest.mark.promise("P1")
async def test_an_interrupted_upload_gets_no_final_name(gate: Gate) -> None:
    """A rename of an interrupted upload to a name that is taken is refused by the rule; to another name it works."""
    await interrupt(gate, "a.csv.tmp")
    async with gate.raw() as raw:
        for renamed in (await raw.rename("a.csv.tmp", "a.csv"), await raw.posix_rename("a.csv.tmp", "a.csv")):
            assert renamed.status == Status.PERMISSION_DENIED and "unfinished upload" in renamed.message
        assert (await raw.rename("a.csv.tmp", "b.csv.tmp")).status == Status.OK
        assert await raw.listing(".") == ["b.csv.tmp"]
        handle = await raw.open_file("b.csv.tmp", RESUME)
        await raw.write(handle, HALF, CONTENT[HALF:])
        assert (await raw.close(handle)).status == Status.OK
        assert (await raw.rename("b.csv.tmp", "b.csv")).status == Status.OK
    assert gate.in_store() == {"b.csv": CONTENT}


@pytest.mark.promise("P5")
async def test_remove_of_an_interrupted_upload(gate: Gate) -> None:
    """REMOVE forgets an interrupted upload, and its bytes are gone."""
    await interrupt(gate)
    async with gate.raw() as raw:
        assert (await raw.on(Request.REMOVE, "a.csv")).status == Status.OK
        assert await raw.listing(".") == [] and gate.staged() == []
        assert (await raw.on(Request.REMOVE, "a.csv")).status == Status.NO_SUCH_FILE


@pytest.mark.promise("P5")
async def test_times_of_an_interrupted_upload(gate: Gate) -> None:
    """Times may be set on an interrupted upload."""
    await interrupt(gate)
    async with gate.raw() as raw:
        assert (await raw.setstat("a.csv", atime=5, mtime=5)).status == Status.OK
        assert (await raw.on(Request.STAT, "a.csv")).attrs.mtime == 5


@pytest.mark.promise("P1")
async def test_an_upload_of_nothing_leaves_nothing(gate: Gate) -> None:
    """An upload that broke before its first byte leaves no trace."""
    async with gate.raw() as raw:
        await raw.open_file("a.csv")
        raw.connection.abort()
        await gate.until("upload.interrupted")
    assert gate.staged() == []


@pytest.mark.promise("P1")
async def test_takeover_while_the_old_handle_is_open(gate: Gate) -> None:
    """A client that comes back resumes on a copy while its dead connection still writes: the two never mix."""
    async with gate.raw() as old, gate.raw() as new:
        first = await old.open_file("a.csv")
        await old.write(first, 0, CONTENT[:HALF])
        second = await new.open_file("a.csv", RESUME)
        await old.write(first, HALF, b"X" * 100)
        await new.write(second, HALF, CONTENT[HALF:])
        await old.write(first, HALF + 100, b"X" * 1000)
        assert (await new.close(second)).status == Status.OK
        assert gate.in_store() == {"a.csv": CONTENT}
        old.connection.abort()
        await gate.until("upload.interrupted")
        assert gate.in_store() == {"a.csv": CONTENT}
        assert await new.listing(".") == ["a.csv"]
        assert (await new.on(Request.STAT, "a.csv")).attrs.size == len(CONTENT)
    assert gate.staged() == []


@pytest.mark.promise("P1", "P3")
async def test_takeover_where_the_old_one_closes_last(gate: Gate) -> None:
    """Where the old connection lives after all and closes later, it is told that another one has finished its file."""
    async with gate.raw() as old, gate.raw() as new:
        first = await old.open_file("a.csv")
        await old.write(first, 0, b"first half\n")
        second = await new.open_file("a.csv", RESUME)
        await new.write(second, 11, b"new half\n")
        assert (await new.close(second)).status == Status.OK
        await old.write(first, 11, b"old half\n")
        refused = await old.close(first)
        assert refused.status == Status.PERMISSION_DENIED and "one handle writes a whole file" in refused.message
    assert gate.in_store() == {"a.csv": b"first half\nnew half\n"}
    assert gate.archived() == []


@pytest.mark.promise("P1")
async def test_resume_after_a_restart(start: Start) -> None:
    """An interrupted upload can be resumed after the server was restarted, by its user and nobody else."""
    async with start() as gate:
        await interrupt(gate)
    async with start() as gate, gate.raw() as raw, gate.raw("other") as other:
        assert gate.in_store() == {}
        assert await other.listing(".") == []
        assert (await raw.on(Request.STAT, "a.csv")).attrs.size == HALF
        handle = await raw.open_file("a.csv", RESUME | Open.APPEND)
        await raw.write(handle, HALF, CONTENT[HALF:])
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store() == {"a.csv": CONTENT} and gate.staged() == []


@pytest.mark.promise("P1")
async def test_a_stop_with_an_open_upload(start: Start) -> None:
    """A stop of the server interrupts what is still open after the grace, and the upload goes on afterwards."""
    async with start() as gate:
        raw_session = gate.raw()
        raw = await raw_session.__aenter__()
        handle = await raw.open_file("a.csv")
        await raw.write(handle, 0, CONTENT[:HALF])
    await raw_session.__aexit__(None, None, None)
    assert gate.in_store() == {}
    async with start() as gate, gate.raw() as raw:
        handle = await raw.open_file("a.csv", RESUME)
        await raw.write(handle, HALF, CONTENT[HALF:])
        assert (await raw.close(handle)).status == Status.OK
    assert gate.in_store() == {"a.csv": CONTENT}


@pytest.mark.promise("P1")
async def test_a_stop_lets_uploads_finish(start: Start) -> None:
    """A stop waits for open uploads within the grace: those that close are published, and new ones are refused."""
    async with start(shutdown_grace=30) as gate, gate.raw() as raw:
        handle = await raw.open_file("a.csv")
        await raw.write(handle, 0, CONTENT[:HALF])
        gate.stop()
        await gate.until("gate.draining")
        refused = await raw.try_open("b.csv")
        assert refused.status == Status.FAILURE and "restarted" in refused.message
        await raw.write(handle, HALF, CONTENT[HALF:])
        assert (await raw.close(handle)).status == Status.OK
        await gate.until("session.closed")
    assert gate.in_store() == {"a.csv": CONTENT}


@pytest.mark.promise("P1")
async def test_a_copy_of_a_waiting_file(gate: Gate) -> None:
    """An append to a waiting file that breaks leaves the waiting file as it was."""
    async with gate.raw() as raw:
        await raw.put("a.csv", CONTENT[:HALF])
        handle = await raw.open_file("a.csv", RESUME | Open.APPEND)
        await raw.write(handle, 0, b"more")
        raw.connection.abort()
        await gate.until("upload.interrupted")
    assert gate.in_store() == {"a.csv": CONTENT[:HALF]}


@pytest.mark.promise("P1", "P2")
async def test_many_at_once(gate: Gate) -> None:
    """Uploads of several sessions that close at the same time are all whole."""

    async def send(number: int) -> None:
        async with gate.raw() as raw:
            for part in range(4):
                assert await raw.put(f"{number}-{part}.csv", b"%d,%d\n" % (number, part) * 1000) == Status.OK

    async with asyncio.TaskGroup() as tasks:
        for number in range(8):
            tasks.create_task(send(number))
    expected = {f"{number}-{part}.csv": b"%d,%d\n" % (number, part) * 1000 for number in range(8) for part in range(4)}
    assert gate.in_store() == expected
