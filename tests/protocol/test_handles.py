"""Handles: what can be done with one, with several, after an error, and after its file is gone."""

from __future__ import annotations

import pytest

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Open, Reply, Request
from tests.harness.gates import Gate, Start
from tests.harness.raw import CREATE, RESUME, string, uint64


@pytest.mark.promise("P5")
async def test_read_past_the_end(gate: Gate) -> None:
    """READ gives what there is, and the end of file where there is nothing, however far behind the end."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"0123456789")
        handle = await raw.open_file("a.csv", Open.READ)
        assert (await raw.read(handle, 8, 100)).data == b"89"
        for offset in (10, 11, 2**40, 2**62):
            assert (await raw.read(handle, offset, 100)).status == Status.EOF
        assert (await raw.read(handle, 0, 4)).data == b"0123"


@pytest.mark.parametrize("offset", [2**63 - 1, 2**63, 2**64 - 1])
async def test_read_where_no_file_can_be(gate: Gate, offset: int) -> None:
    """An offset that the disk cannot have is an error or the end of file, and the session goes on."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"0123456789")
        handle = await raw.open_file("a.csv", Open.READ)
        assert (await raw.read(handle, offset, 100)).status in (Status.EOF, Status.FAILURE, Status.BAD_MESSAGE)
        assert (await raw.read(handle, 0, 4)).data == b"0123"


async def test_a_read_of_many_bytes_gives_fewer(gate: Gate) -> None:
    """A READ of more than the limit gives as much as the limit, as the draft allows."""
    async with gate.raw() as raw:
        content = b"x" * 300_000
        await raw.put("a.bin", content)
        handle = await raw.open_file("a.bin", Open.READ)
        assert len((await raw.read(handle, 0, 2**32 - 1)).data) == 261120


@pytest.mark.promise("P1")
async def test_close_twice(gate: Gate) -> None:
    """The second CLOSE of a handle fails, and publishes nothing twice."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv")
        await raw.write(handle, 0, b"a\n")
        assert (await raw.close(handle)).status == Status.OK
        assert (await raw.close(handle)).status == Status.FAILURE
    assert len(gate.arrivals("a.csv")) == 1


@pytest.mark.promise("P6")
async def test_the_wrong_kind_of_handle(gate: Gate) -> None:
    """A handle for reading takes no writes, one for writing gives no content, and a directory's does neither."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"a\n")
        reading = await raw.open_file("a.csv", Open.READ)
        writing = await raw.open_file("b.csv")
        listing = (await raw.on(Request.OPENDIR, ".")).handle
        assert (await raw.write(reading, 0, b"x")).status == Status.PERMISSION_DENIED
        assert (await raw.fsetstat(reading, size=0)).status == Status.PERMISSION_DENIED
        assert (await raw.read(writing)).status == Status.PERMISSION_DENIED
        assert (await raw.request(Request.READDIR, string(writing))).status == Status.FAILURE
        assert (await raw.request(Request.READDIR, string(reading))).status == Status.FAILURE
        assert (await raw.write(listing, 0, b"x")).status != Status.OK
        assert (await raw.read(listing)).status != Status.OK
        assert (await raw.request(Request.FSTAT, string(listing))).status == Status.FAILURE
        assert (await raw.close(writing)).status == Status.OK
        assert gate.in_store() == {"a.csv": b"a\n", "b.csv": b""}


@pytest.mark.promise("P7")
async def test_the_limit_of_handles(start: Start) -> None:
    """More handles than the limit are refused by the rule's name, and there is room again after a CLOSE."""
    async with start(max_handles=8) as gate, gate.raw() as raw:
        handles = [await raw.open_file(f"{number}.csv") for number in range(8)]
        refused = await raw.try_open("9.csv")
        assert refused.status == Status.FAILURE and "max_handles" in refused.message
        assert (await raw.try_open("0.csv", Open.READ)).status == Status.FAILURE
        for number, handle in enumerate(handles):
            await raw.write(handle, 0, f"{number}\n".encode())
            assert (await raw.close(handle)).status == Status.OK
        assert await raw.put("9.csv", b"9\n") == Status.OK
        assert len(gate.in_store()) == 9


@pytest.mark.promise("P7")
async def test_the_limit_counts_directories(start: Start) -> None:
    """Open directories count as handles."""
    async with start(max_handles=8) as gate, gate.raw() as raw:
        handles = [(await raw.on(Request.OPENDIR, ".")).handle for _ in range(8)]
        refused = await raw.on(Request.OPENDIR, ".")
        assert refused.status == Status.FAILURE and "max_handles" in refused.message
        assert (await raw.close(handles[0])).status == Status.OK
        assert len((await raw.on(Request.OPENDIR, ".")).handle) > 0


@pytest.mark.promise("P1")
async def test_a_thousand_handles(gate: Gate) -> None:
    """As many uploads as the settings allow are open at once in one session; those that are closed are published."""
    async with gate.raw() as raw:
        count = 1024
        for number in range(count):
            raw.send(Request.OPEN, raw.open_parts(f"{number:04}.csv", CREATE))
        handles = [(await raw.answer()).handle for _ in range(count)]
        assert len(set(handles)) == count
        for number, handle in enumerate(handles[:50]):
            raw.send(Request.WRITE, string(handle), uint64(0), string(f"{number}\n"))
            raw.send(Request.CLOSE, string(handle))
        assert {(await raw.answer()).status for _ in range(100)} == {Status.OK}
        assert gate.in_store() == {f"{number:04}.csv": f"{number}\n".encode() for number in range(50)}


@pytest.mark.promise("P1")
async def test_a_failed_write_is_for_good(start: Start) -> None:
    """After a write that failed, writes and the CLOSE of that handle fail too, and nothing is published."""
    async with start(max_upload_bytes=1000) as gate, gate.raw() as raw:
        handle = await raw.open_file("a.csv")
        assert (await raw.write(handle, 0, b"x" * 900 + b"\n")).status == Status.OK
        refused = await raw.write(handle, 901, b"x" * 900)
        assert refused.status == Status.FAILURE and "max_upload_bytes" in refused.message
        again = await raw.write(handle, 901, b"x")
        assert again.status == Status.FAILURE and "max_upload_bytes" in again.message
        closed = await raw.close(handle)
        assert closed.status == Status.FAILURE and "max_upload_bytes" in closed.message
        assert gate.in_store() == {} and gate.arrivals("a.csv") == []
        assert await raw.put("a.csv", b"small\n") == Status.OK
        assert gate.in_store() == {"a.csv": b"small\n"}


@pytest.mark.promise("P7")
async def test_a_declared_size_above_the_limit(start: Start) -> None:
    """An upload that declares more than the limit is refused when it is opened."""
    async with start(max_upload_bytes=1000) as gate, gate.raw() as raw:
        refused = await raw.try_open("a.csv", CREATE, raw.attributes(size=1001))
        assert refused.status == Status.FAILURE and "max_upload_bytes" in refused.message
        assert gate.staged() == []


@pytest.mark.promise("P7")
async def test_a_size_above_the_limit(start: Start) -> None:
    """Setting a size above the limit is refused, by path and by handle, and so is one beyond all disks."""
    async with start(max_upload_bytes=1000) as gate, gate.raw(version=6) as raw:
        await raw.put("a.csv", b"a\n")
        handle = await raw.open_file("b.csv")
        for size in (1001, 2**62, 2**63, 2**64 - 1):
            assert (await raw.fsetstat(handle, size=size)).status == Status.QUOTA_EXCEEDED
            assert (await raw.setstat("b.csv", size=size)).status == Status.QUOTA_EXCEEDED
            assert (await raw.setstat("a.csv", size=size)).status in (Status.QUOTA_EXCEEDED, Status.PERMISSION_DENIED)
        await raw.write(handle, 0, b"b\n")
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store() == {"a.csv": b"a\n", "b.csv": b"b\n"}


@pytest.mark.promise("P7")
async def test_quota_of_files(start: Start) -> None:
    """A user that has as many files waiting as it may gets the rule's name, and room again when one is gone."""
    async with start(max_pending_files=3) as gate, gate.raw(version=6) as raw:
        for number in range(3):
            assert await raw.put(f"{number}.csv", b"x\n") == Status.OK
        refused = await raw.try_open("3.csv")
        assert refused.status == Status.QUOTA_EXCEEDED and "max_pending_files" in refused.message
        assert (await raw.on(Request.REMOVE, "0.csv")).status == Status.OK
        assert await raw.put("3.csv", b"x\n") == Status.OK


@pytest.mark.promise("P1")
async def test_a_gap_is_no_upload(gate: Gate) -> None:
    """An upload with a hole that no write covered fails at CLOSE, which says where the hole is."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv")
        await raw.write(handle, 0, b"0123456789")
        await raw.write(handle, 20, b"0123456789\n")
        closed = await raw.close(handle)
        assert closed.status == Status.FAILURE and "from 10 to 20" in closed.message
    assert gate.in_store() == {} and gate.arrivals("a.csv") == []


@pytest.mark.promise("P1")
async def test_a_size_that_grows_is_a_gap(gate: Gate) -> None:
    """Bytes that FSETSTAT made and no write filled are missing ones."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv")
        await raw.write(handle, 0, b"ab\n")
        assert (await raw.fsetstat(handle, size=100)).status == Status.OK
        assert (await raw.close(handle)).status == Status.FAILURE
    assert gate.in_store() == {}


@pytest.mark.promise("P1")
async def test_remove_of_an_open_upload(gate: Gate) -> None:
    """An upload that its user removes while it is open is never published; the handle fails, and nothing stays."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv")
        await raw.write(handle, 0, b"a\n")
        assert (await raw.on(Request.REMOVE, "a.csv")).status == Status.OK
        assert (await raw.on(Request.STAT, "a.csv")).status == Status.NO_SUCH_FILE
        assert (await raw.write(handle, 2, b"b\n")).status == Status.FAILURE
        assert (await raw.close(handle)).status == Status.FAILURE
        assert gate.in_store() == {} and gate.staged() == []


@pytest.mark.promise("P5")
async def test_remove_of_an_open_upload_over_an_older_file(gate: Gate) -> None:
    """REMOVE of a name removes the file and the upload that has it open, as the name means both."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"old\n")
        handle = await raw.open_file("a.csv")
        await raw.write(handle, 0, b"new\n")
        assert (await raw.on(Request.REMOVE, "a.csv")).status == Status.OK
        assert (await raw.close(handle)).status == Status.FAILURE
        assert await raw.listing(".") == [] and gate.in_store() == {}


@pytest.mark.promise("P1")
async def test_rename_of_an_open_upload(gate: Gate) -> None:
    """An open upload gets no final name by a rename, and can get another name that is never taken."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv.tmp")
        await raw.write(handle, 0, b"a\n")
        refused = await raw.rename("a.csv.tmp", "a.csv")
        assert refused.status == Status.PERMISSION_DENIED and "unfinished upload" in refused.message
        assert (await raw.rename("a.csv.tmp", "b.csv.tmp")).status == Status.OK
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store() == {} and gate.in_drop() == {"b.csv.tmp": b"a\n"}
        assert (await raw.rename("b.csv.tmp", "b.csv")).status == Status.OK
        assert gate.in_store() == {"b.csv": b"a\n"}


@pytest.mark.promise("P5")
async def test_a_reader_keeps_its_version(gate: Gate) -> None:
    """A file that is open for reading stays readable whole while a new one takes its name or it is removed."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"old\n")
        handle = await raw.open_file("a.csv", Open.READ)
        await raw.put("a.csv", b"newer\n")
        assert (await raw.read(handle)).data == b"old\n"
        assert (await raw.on(Request.REMOVE, "a.csv")).status == Status.OK
        assert (await raw.read(handle)).data == b"old\n"
        assert (await raw.request(Request.FSTAT, string(handle))).attrs.size == 4
        assert (await raw.close(handle)).status == Status.OK


@pytest.mark.promise("P3")
async def test_two_uploads_of_one_name(gate: Gate) -> None:
    """Two open uploads of one name never mix; each is whole, and the one that closes last has the name."""
    async with gate.raw() as one, gate.raw() as two:
        first, second = await one.open_file("a.csv"), await two.open_file("a.csv")
        await one.write(first, 0, b"first ")
        await two.write(second, 0, b"second\n")
        await one.write(first, 6, b"one\n")
        assert (await two.close(second)).status == Status.OK
        assert gate.in_store() == {"a.csv": b"second\n"}
        assert (await one.close(first)).status == Status.OK
        assert gate.in_store() == {"a.csv": b"first one\n"} and gate.archived() == [b"second\n"]


@pytest.mark.promise("P5")
async def test_append_goes_to_the_end(gate: Gate) -> None:
    """Writes of a handle opened with APPEND go to the end where the client leaves the offset at 0."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"one\n")
        handle = await raw.open_file("a.csv", RESUME | Open.APPEND)
        await raw.write(handle, 0, b"two\n")
        await raw.write(handle, 0, b"three\n")
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store() == {"a.csv": b"one\ntwo\nthree\n"}


@pytest.mark.promise("P1")
@pytest.mark.parametrize("first", [0, 10])
async def test_appends_of_several_writes(gate: Gate, first: int) -> None:
    """Writes of a handle opened with APPEND, sent without waiting, follow what waits, counted from 0 or as true offsets."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"012345678\n")
        handle = await raw.open_file("a.csv", RESUME | Open.APPEND)
        for number in range(50):
            raw.send(Request.WRITE, string(handle), uint64(first + 100 * number), string(b"%099d\n" % number))
        assert {(await raw.answer()).status for _ in range(50)} == {Status.OK}
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store() == {"a.csv": b"012345678\n" + b"".join(b"%099d\n" % number for number in range(50))}


@pytest.mark.promise("P7")
async def test_an_append_that_would_change_what_is_there(gate: Gate) -> None:
    """An append into the middle is refused at its WRITE and its CLOSE by the rule, and the file that waits stays."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"012345678\n")
        handle = await raw.open_file("a.csv", RESUME | Open.APPEND)
        refused = await raw.write(handle, 4, b"x\n")
        assert refused.status == Status.PERMISSION_DENIED and "an append goes to the end" in refused.message
        closed = await raw.close(handle)
        assert closed.status == Status.FAILURE and "an append goes to the end" in closed.message
        assert gate.in_store() == {"a.csv": b"012345678\n"}


@pytest.mark.promise("P5")
async def test_read_while_writing(gate: Gate) -> None:
    """A handle that was opened for both gives back what was written, and the name shows its size."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv", CREATE | Open.READ)
        await raw.write(handle, 0, b"0123")
        assert (await raw.read(handle, 2)).data == b"23"
        assert (await raw.read(handle, 4)).status == Status.EOF
        assert (await raw.on(Request.STAT, "a.csv")).attrs.size == 4
        other = await raw.open_file("a.csv", Open.READ)
        assert (await raw.read(other)).data == b"0123"


@pytest.mark.promise("P7")
async def test_ten_thousand_opens(gate: Gate) -> None:
    """Of 10,000 handles that a client asks for without waiting, those beyond the limit are refused by the rule's name, each
    request is answered, and the session goes on.
    """
    async with gate.raw() as raw:
        await raw.put("a.csv", b"a\n")
        for _ in range(10_000):
            raw.send(Request.OPEN, raw.open_parts("a.csv", Open.READ))
        answers = [await raw.answer() for _ in range(10_000)]
        assert [answer.kind for answer in answers[:1024]] == [Reply.HANDLE] * 1024
        assert {answer.status for answer in answers[1024:]} == {Status.FAILURE}
        assert "max_handles" in answers[-1].message
        assert [answer.number for answer in answers] == list(range(answers[0].number, answers[0].number + 10_000))
        assert (await raw.read(answers[0].handle, 0, 10)).data == b"a\n"
        assert (await raw.close(answers[0].handle)).status == Status.OK
        assert await raw.put("b.csv", b"b\n") == Status.OK


@pytest.mark.promise("P7")
@pytest.mark.same_process
async def test_a_session_leaves_handles_to_others(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process can open few files, a session that has many opens no more, and another still can."""
    monkeypatch.setattr("sftpgate.app.serving.worker_process.raise_limit", lambda: 200)
    async with start() as gate, gate.raw() as greedy, gate.raw("other") as modest:
        await greedy.put("a.csv", b"a\n")
        refused = None
        while refused is None:
            answer = await greedy.try_open("a.csv", Open.READ)
            refused = None if answer.kind == Reply.HANDLE else answer
        assert refused.status == Status.FAILURE
        assert "open files" in refused.message
        assert await modest.put("b.csv", b"b\n") == Status.OK
