"""Several handles and sessions of one account on one file, as clients have them, and files with holes."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import asyncssh
import pytest

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Open, Request
from tests.harness.gates import Gate, Start
from tests.harness.raw import RESUME

CHUNK = 40_000
WHOLE = b"".join(b"%07d\n" % number for number in range(3 * CHUNK // 8))


@pytest.mark.promise("P1", "P7")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
async def test_chunks_over_several_connections(gate: Gate, order: tuple[int, ...]) -> None:
    """A file that is made and truncated once and written in chunks by three connections is not published in part; each
    CLOSE says so, and the whole file by one handle is taken right after.
    """
    async with AsyncExitStack() as stack:
        raws = [await stack.enter_async_context(gate.raw()) for _ in range(3)]
        await raws[0].close(await raws[0].open_file("a.csv"))
        handles = [await raw.open_file("a.csv", RESUME) for raw in raws]
        for number, raw in enumerate(raws):
            await raw.write(handles[number], number * CHUNK, WHOLE[number * CHUNK : (number + 1) * CHUNK])
        for number in order:
            refused = await raws[number].close(handles[number])
            assert refused.status in (Status.PERMISSION_DENIED, Status.FAILURE)
            assert "one handle writes a whole file" in refused.message or "never written" in refused.message
            assert gate.in_store() == {"a.csv": b""}
        assert await raws[0].put("a.csv", WHOLE) == Status.OK
    assert gate.in_store() == {"a.csv": WHOLE} and gate.staged() == []


@pytest.mark.promise("P4")
async def test_a_reopening_that_changes_nothing(gate: Gate) -> None:
    """A resume of a file that is complete writes nothing, and its CLOSE is answered with OK: there is one arrival."""
    async with gate.raw() as raw:
        await raw.put("a.csv", WHOLE)
        for flags in (Open.WRITE, RESUME, RESUME | Open.APPEND):
            handle = await raw.open_file("a.csv", flags)
            assert (await raw.fsetstat(handle, size=len(WHOLE))).status == Status.OK
            assert (await raw.fsetstat(handle, atime=5, mtime=5)).status == Status.OK
            assert (await raw.close(handle)).status == Status.OK
        assert (await raw.on(Request.STAT, "a.csv")).attrs.mtime == 5
    assert len(gate.arrivals("a.csv")) == 1 and gate.archived() == [] and gate.staged() == []
    assert len(gate.log.events("upload.unchanged")) == 3


@pytest.mark.promise("P3", "P7")
async def test_two_sessions_append(gate: Gate) -> None:
    """Of two appends at a time the first to close is in the file, and the other one's CLOSE says what to do."""
    async with gate.raw() as one, gate.raw() as two:
        await one.put("a.csv", b"start\n")
        first, second = [await raw.open_file("a.csv", RESUME | Open.APPEND) for raw in (one, two)]
        await one.write(first, 0, b"one\n")
        await two.write(second, 0, b"two\n")
        assert (await two.close(second)).status == Status.OK
        refused = await one.close(first)
        assert refused.status == Status.PERMISSION_DENIED and "send what is new again" in refused.message
        assert gate.in_store() == {"a.csv": b"start\ntwo\n"}
        assert (await one.on(Request.STAT, "a.csv")).attrs.size == 10


@pytest.mark.promise("P1", "P7")
async def test_an_append_to_what_was_just_taken(start: Start) -> None:
    """It is refused at OPEN, with the rule; the same name without APPEND is a new file."""
    async with start(tools={"all": {"file": "a.csv", "command": ["true"]}}) as gate, gate.raw() as raw:
        await raw.put("a.csv", b"start\n")
        (gate.data / "store/a.csv").unlink()
        refused = await raw.try_open("a.csv", RESUME | Open.APPEND)
        assert refused.status == Status.PERMISSION_DENIED and "without its beginning" in refused.message
        assert await raw.put("a.csv", b"new\n") == Status.OK


@pytest.mark.promise("P8")
async def test_sessions_that_change_an_open_upload(gate: Gate) -> None:
    """Size, times and name that another session sets while a file is written are in it, and the record has its hash."""
    async with gate.raw() as one, gate.raw() as two:
        handle = await one.open_file("a.tmp")
        for number in range(50):
            await one.write(handle, 10 * number, b"012345678\n")
            assert (await two.setstat("a.tmp", size=10 * number + 10, mtime=5, atime=5)).status == Status.OK
        assert (await two.rename("a.tmp", "b.tmp")).status == Status.OK
        assert (await one.close(handle)).status == Status.OK
        assert (await one.rename("b.tmp", "b.csv")).status == Status.OK
    [arrival] = gate.arrivals("b.csv")
    assert (arrival.size, gate.in_store()) == (500, {"b.csv": b"012345678\n" * 50})
    assert arrival.mtime_ns == 5 * 10**9


@pytest.mark.promise("P1", "P7")
async def test_a_finished_file_does_not_grow_by_its_size(gate: Gate) -> None:
    """SETSTAT of a larger size is refused by the rule, whoever waits for the answer, and the file stays as it was."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"start\n")
        refused = await raw.setstat("a.csv", size=100)
        assert refused.status == Status.PERMISSION_DENIED and "a file has no gaps" in refused.message
    assert gate.in_store() == {"a.csv": b"start\n"} and len(gate.arrivals("a.csv")) == 1


@pytest.mark.promise("P1", "P7")
async def test_sparse_files_of_asyncssh(gate: Gate, tmp_path: Path) -> None:
    """``put`` of a file with a hole in its middle raises what the CLOSE was answered with; ``sparse=False`` sends it."""
    file = tmp_path / "sparse.bin"
    with file.open("wb") as sparse:
        sparse.write(b"head\n")
        sparse.seek(1 << 20)
        sparse.write(b"tail\n")
    async with gate.raw() as raw, raw.connection.start_sftp_client() as sftp:
        if file.stat().st_blocks * 512 < 1 << 20:  # elsewhere the filesystem has no holes
            with pytest.raises(asyncssh.SFTPError, match="no gap"):
                await sftp.put(str(file), "a.bin")
            assert gate.in_store() == {}
        await sftp.put(str(file), "a.bin", sparse=False)
    assert gate.in_store() == {"a.bin": file.read_bytes()}
