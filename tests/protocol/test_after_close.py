"""After CLOSE the file that was taken into the store is there for its sender, until a runner claims it."""

from __future__ import annotations

import hashlib

import pytest

from sftpgate.app.composition import build, utc_now
from sftpgate.app.runs.claims import make_claims
from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Open, Reply, Request
from sftpgate.ledger.audit.actor import sender
from sftpgate.runners.claims import Claim
from sftpgate.settings.tree import Settings
from tests.harness.gates import Gate, Start
from tests.harness.raw import CREATE, string
from tests.protocol.operations import CHANGING, LOOKING

TOOLS: dict[str, object] = {"tools": {"a": {"file": "a.csv", "command": ["true"]}}}
QUEUE: dict[str, object] = {"tools": {"a": {"file": "a.csv", "command": ["true"], "arrivals": "queue"}}}


async def claim(gate: Gate, settings: dict[str, object]) -> Claim:
    """A runner takes the next file of the tool ``a``, in this process."""
    values: dict[str, object] = {"data_dir": gate.data, "keys_dir": gate.directory / "keys", "durability": "relaxed"}
    system = build(Settings.model_validate(values | settings))
    try:
        found = make_claims(system).take("a", live=False)
        assert found is not None
        return found
    finally:
        system.close()


@pytest.mark.promise("P5")
@pytest.mark.parametrize("version", [3, 4, 5, 6])
async def test_what_clients_do_after_close(gate: Gate, version: int) -> None:
    """Trap: stat by path and of the directory, times, mode, owner, size, listing, reading and renaming all work."""
    content = b"a,b\n1,2\n"
    async with gate.raw(version=version) as raw:
        assert await raw.put("a.csv", content) == Status.OK
        for kind in (Request.STAT, Request.LSTAT):
            assert (await raw.on(kind, "/sync/a.csv")).attrs.size == len(content)
        assert (await raw.on(Request.STAT, ".")).attrs.permissions is not None
        assert (await raw.setstat("a.csv", atime=1_000, mtime=1_000)).status == Status.OK
        assert (await raw.setstat("a.csv", permissions=0o777)).status == Status.OK
        if version == 3:
            assert (await raw.setstat("a.csv", uid=0, gid=0)).status == Status.OK
            everything = await raw.setstat("a.csv", uid=0, gid=0, permissions=0o600, atime=2_000, mtime=2_000)
            assert everything.status == Status.OK
        assert (await raw.setstat("a.csv", size=len(content))).status == Status.OK
        assert (await raw.setstat(".", atime=1, mtime=1)).status == Status.OK
        assert (await raw.on(Request.REALPATH, "a.csv")).names[0][0] == "/sync/a.csv"
        assert await raw.listing("/sync") == ["a.csv"]
        assert await raw.get("a.csv") == content
        assert (await raw.rename("a.csv", "b.csv")).status == Status.OK
        assert (await raw.posix_rename("b.csv", "c.csv")).status == Status.OK
        assert (await raw.on(Request.STAT, "c.csv")).attrs.size == len(content)
        assert (await raw.on(Request.STAT, "a.csv")).status == Status.NO_SUCH_FILE
        assert gate.in_store() == {"c.csv": content}
        assert (await raw.on(Request.REMOVE, "c.csv")).status == Status.OK
        assert gate.in_store() == {}
    assert [arrival.state for arrival in gate.arrivals("c.csv")] == ["withdrawn"]


@pytest.mark.promise("P5")
async def test_modes_of_clients_have_no_effect(gate: Gate) -> None:
    """Permissions and owner are accepted, by path and by handle, and the store's file keeps the configured mode."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv", CREATE, raw.attributes(permissions=0o4777))
        await raw.write(handle, 0, b"a\n")
        assert (await raw.fsetstat(handle, permissions=0o777, uid=0, gid=0)).status == Status.OK
        assert (await raw.close(handle)).status == Status.OK
        assert (await raw.setstat("a.csv", permissions=0)).status == Status.OK
        assert (gate.store / "a.csv").stat().st_mode & 0o7777 == 0o640
        assert (await raw.mkdir("sub")).status == Status.OK
        assert (await raw.setstat("sub", permissions=0)).status == Status.OK
        assert (gate.store / "sub").stat().st_mode & 0o7777 == 0o750


@pytest.mark.promise("P5")
async def test_times_set_before_close(gate: Gate) -> None:
    """Times that are set while the handle is open, by handle or by path, are the file's after CLOSE."""
    async with gate.raw() as raw:
        for name, by_path in (("a.csv", False), ("b.csv", True)):
            handle = await raw.open_file(name)
            await raw.write(handle, 0, b"a\n")
            setting = raw.setstat(name, atime=7, mtime=9) if by_path else raw.fsetstat(handle, atime=7, mtime=9)
            assert (await setting).status == Status.OK
            assert (await raw.on(Request.STAT, name)).attrs.mtime == 9
            await raw.write(handle, 2, b"b\n")
            assert (await raw.close(handle)).status == Status.OK
            found = (await raw.on(Request.STAT, name)).attrs
            assert (found.atime, found.mtime) == (7, 9)
            assert (gate.store / name).stat().st_mtime == 9


@pytest.mark.promise("P5")
async def test_times_of_open(gate: Gate) -> None:
    """Times that OPEN brings are the file's after CLOSE."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv", CREATE, raw.attributes(atime=7, mtime=9))
        await raw.write(handle, 0, b"a\n")
        assert (await raw.close(handle)).status == Status.OK
        assert (gate.store / "a.csv").stat().st_mtime == 9


@pytest.mark.promise("P5")
async def test_times_of_later_versions(gate: Gate) -> None:
    """From version 4 times have nanoseconds, and one of both may be set alone."""
    async with gate.raw(version=6) as raw:
        await raw.put("a.csv", b"a\n")
        attrs = raw.attributes(mtime=1_000, mtime_ns=500_000_000)
        assert (await raw.request(Request.SETSTAT, string("a.csv"), attrs)).status == Status.OK
        assert (gate.store / "a.csv").stat().st_mtime == pytest.approx(1000, abs=1)
        assert (await raw.setstat("a.csv", atime=5)).status == Status.OK


@pytest.mark.promise("P5")
async def test_setting_one_time_keeps_the_other(gate: Gate) -> None:
    """From version 4 a client may set the access time alone; the modification time stays as it is."""
    async with gate.raw(version=6) as raw:
        await raw.put("a.csv", b"a\n")
        await raw.setstat("a.csv", atime=1_000, mtime=2_000)
        assert (await raw.setstat("a.csv", atime=5_000)).status == Status.OK
        assert (gate.store / "a.csv").stat().st_mtime == 2_000


@pytest.mark.promise("P5")
async def test_setting_one_time_after_the_other(gate: Gate) -> None:
    """On an open upload a time that was set stays when the other one is set, by handle and by path."""
    async with gate.raw(version=6) as raw:
        handle = await raw.open_file("a.csv")
        await raw.write(handle, 0, b"a\n")
        assert (await raw.fsetstat(handle, mtime=2_000)).status == Status.OK
        assert (await raw.fsetstat(handle, atime=5_000)).status == Status.OK
        assert (await raw.setstat("a.csv", atime=6_000)).status == Status.OK
        assert (await raw.close(handle)).status == Status.OK
        found = (await raw.on(Request.STAT, "a.csv")).attrs
        assert (int(found.atime or 0), int(found.mtime or 0)) == (6_000, 2_000)


@pytest.mark.promise("P1")
async def test_a_size_set_before_close(gate: Gate) -> None:
    """Trap: scp opens without TRUNC, writes, and sets the size before CLOSE: a shorter upload has its own size."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"a much longer old file\n")
        handle = await raw.open_file("a.csv", Open.WRITE | Open.CREAT)
        await raw.write(handle, 0, b"new\n")
        assert (await raw.fsetstat(handle, size=4)).status == Status.OK
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store() == {"a.csv": b"new\n"}
    assert gate.arrivals("a.csv")[-1].grade == "plausible"


@pytest.mark.promise("P1")
async def test_a_declared_size_that_does_not_match(gate: Gate) -> None:
    """An upload of another size than it declared is held as "incomplete?", and stays visible to its sender."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv", CREATE, raw.attributes(size=100))
        await raw.write(handle, 0, b"short\n")
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store() == {}
        assert (await raw.on(Request.STAT, "a.csv")).attrs.size == 6
        assert await raw.listing(".") == ["a.csv"]
        [arrival] = gate.arrivals("a.csv")
        assert (arrival.state, arrival.hold_reason) == ("held", "incomplete?")
        assert await raw.put("a.csv", b"the whole of it\n") == Status.OK
        assert gate.in_store() == {"a.csv": b"the whole of it\n"} and gate.archived() == [b"short\n"]


@pytest.mark.promise("P1")
async def test_an_interrupted_client_that_closes(gate: Gate) -> None:
    """Trap: OpenSSH's sftp sends CLOSE after Ctrl-C: full writes only, cut in a line, are held and not published."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv")
        for block in range(3):
            await raw.write(handle, 32768 * block, b"x,y\n" * 8191 + b"x,yz")
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store() == {}
        assert [arrival.hold_reason for arrival in gate.arrivals("a.csv")] == ["incomplete?"]


@pytest.mark.promise("P1")
async def test_a_rename_completes(gate: Gate) -> None:
    """A temporary name stays in the drop, and the rename to the final one publishes it as proven."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv.filepart")
        await raw.write(handle, 0, b"x" * 32768)
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store() == {}
        assert (await raw.rename("a.csv.filepart", "a.csv")).status == Status.OK
        assert gate.in_store() == {"a.csv": b"x" * 32768} and gate.in_drop() == {}
    assert [arrival.grade for arrival in gate.arrivals("a.csv")] == ["proven"]


@pytest.mark.promise("P5")
async def test_a_rename_to_a_name_that_is_never_taken(gate: Gate) -> None:
    """Renaming a waiting file to an ignored name takes it out of the store."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"a\n")
        assert (await raw.rename("a.csv", "_a.csv")).status == Status.OK
        assert gate.in_store() == {} and gate.in_drop() == {"_a.csv": b"a\n"}
        assert await raw.listing(".") == ["_a.csv"]


@pytest.mark.promise("P5")
async def test_directories(gate: Gate) -> None:
    """Directories are mirrored into the store, and a rename moves everything that is in them."""
    async with gate.raw() as raw:
        for path in ("one", "one/two", "one/two/three", "empty"):
            assert (await raw.mkdir(path)).status == Status.OK
            assert (gate.store / path).is_dir()
        await raw.put("one/a.csv", b"a\n")
        await raw.put("one/two/_b.csv", b"b\n")
        await raw.put("one/two/three/c.csv", b"c\n")
        assert (await raw.rename("one", "empty/one")).status == Status.OK
        assert gate.in_store() == {"empty/one/a.csv": b"a\n", "empty/one/two/three/c.csv": b"c\n"}
        assert gate.in_drop() == {"empty/one/two/_b.csv": b"b\n"}
        assert await raw.listing("empty/one") == ["a.csv", "two"]
        assert (await raw.on(Request.STAT, "one")).status == Status.NO_SUCH_FILE
        assert (await raw.rename("empty", "empty/one/below")).status == Status.PERMISSION_DENIED
        assert (await raw.on(Request.RMDIR, "empty")).status == Status.FAILURE


@pytest.mark.promise("P5")
async def test_a_directory_is_removed_with_its_mirror(gate: Gate) -> None:
    """RMDIR removes the directory of the drop and its mirror, and it can be made again."""
    async with gate.raw() as raw:
        await raw.mkdir("sub")
        assert (await raw.on(Request.RMDIR, "sub")).status == Status.OK
        assert not (gate.store / "sub").exists() and not (gate.drop / "sub").exists()
        assert (await raw.mkdir("sub")).status == Status.OK


@pytest.mark.promise("P5")
async def test_truncation_of_a_waiting_file(gate: Gate) -> None:
    """SETSTAT makes the user's own waiting file shorter, in a copy; it never makes it longer."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"one\ntwo\n")
        assert (await raw.setstat("a.csv", size=4)).status == Status.OK
        assert gate.in_store() == {"a.csv": b"one\n"} and gate.archived() == [b"one\ntwo\n"]
        refused = await raw.setstat("a.csv", size=100)
        assert refused.status == Status.PERMISSION_DENIED and "rule:" in refused.message
        assert gate.in_store() == {"a.csv": b"one\n"}


@pytest.mark.promise("P3")
async def test_a_new_upload_hides_nothing_until_it_closes(gate: Gate) -> None:
    """While a new upload of a waiting name is open, runners still find the old one, and its sender sees the new one."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"the old one\n")
        handle = await raw.open_file("a.csv")
        await raw.write(handle, 0, b"new\n")
        assert gate.in_store() == {"a.csv": b"the old one\n"}
        assert (await raw.on(Request.STAT, "a.csv")).attrs.size == 4
        assert await raw.listing(".") == ["a.csv"]
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store() == {"a.csv": b"new\n"} and gate.archived() == [b"the old one\n"]


@pytest.mark.promise("P4", "P5")
async def test_a_claimed_file_is_gone(start: Start) -> None:
    """What a runner has claimed is gone for its sender, in every operation, and stays the runner's."""
    async with start(**TOOLS) as gate, gate.raw() as raw:
        await raw.put("a.csv", b"a\n")
        await raw.put("own.csv", b"own\n")
        found = await claim(gate, TOOLS)
        assert await raw.listing(".") == ["own.csv"]
        for name, operation in LOOKING.items():
            assert (await operation(raw, "a.csv")).status == Status.NO_SUCH_FILE, name
        for name in ("remove", "rename from", "posix-rename from", "setstat of times", "setstat of the size", "rmdir"):
            assert (await CHANGING[name](raw, "a.csv")).status == Status.NO_SUCH_FILE, name
        assert await raw.put("a.csv", b"next\n") == Status.OK
        assert gate.in_store() == {"a.csv": b"next\n", "own.csv": b"own\n"}
        assert found.path.read_bytes() == b"a\n"


@pytest.mark.promise("P5")
async def test_readdir_while_files_are_taken(start: Start) -> None:
    """A listing that is under way ends well while files are claimed, removed and added, each name at most once."""
    async with start(**TOOLS) as gate, gate.raw() as raw, gate.raw() as second:
        names = [f"{number:03}.csv" for number in range(250)]
        for name in names:
            await raw.put(name, b"x\n")
        await raw.put("a.csv", b"a\n")
        handle = (await raw.on(Request.OPENDIR, ".")).handle
        seen = [name for name, _, _ in (await raw.request(Request.READDIR, string(handle))).names]
        await claim(gate, TOOLS)
        for name in names[::2]:
            assert (await second.on(Request.REMOVE, name)).status == Status.OK
        await second.put("z.csv", b"z\n")
        while (answer := await raw.request(Request.READDIR, string(handle))).kind == Reply.NAME:
            seen += [name for name, _, _ in answer.names]
        assert answer.status == Status.EOF
        assert len(seen) == len(set(seen)) and set(names[1::2]) <= set(seen)
        assert await raw.listing(".") == [*names[1::2], "z.csv"]


@pytest.mark.promise("P3")
async def test_the_same_name_again_in_a_queue(start: Start) -> None:
    """For a tool that wants every arrival, files of one name wait for each other, and the sender sees the newest."""
    async with start(**QUEUE) as gate, gate.raw() as raw:
        for number in range(3):
            assert await raw.put("a.csv", b"x" * number + b"\n") == Status.OK
        assert gate.in_store() == {"a.csv": b"\n"} and gate.archived() == []
        assert (await raw.on(Request.STAT, "a.csv")).attrs.size == 3
        assert await raw.listing(".") == ["a.csv"]
        assert (await claim(gate, QUEUE)).path.read_bytes() == b"\n"
        assert (await raw.on(Request.STAT, "a.csv")).attrs.size == 3


@pytest.mark.promise("P1")
async def test_batch_lock(gate: Gate) -> None:
    """While alock.txt is there nothing is taken; its removal releases the set, in the order of arrival."""
    async with gate.raw() as raw:
        await raw.put("alock.txt", b"")
        for name in ("b.csv", "a.csv"):
            assert await raw.put(name, b"x\n") == Status.OK
        assert gate.in_store() == {}
        assert await raw.listing(".") == ["a.csv", "alock.txt", "b.csv"]
        assert [gate.arrivals(name)[0].hold_reason for name in ("a.csv", "b.csv")] == ["batch-lock"] * 2
        assert (await raw.on(Request.REMOVE, "alock.txt")).status == Status.OK
        assert gate.in_store() == {"a.csv": b"x\n", "b.csv": b"x\n"}
        assert await raw.listing(".") == ["a.csv", "b.csv"]
        released = [(gate.history(gate.arrivals(name)[0])[-1].event, name) for name in ("b.csv", "a.csv")]
        assert released == [("arrival.published", "b.csv"), ("arrival.published", "a.csv")]


@pytest.mark.promise("P5")
@pytest.mark.parametrize("version", [3, 6])
async def test_files_that_are_held(gate: Gate, version: int) -> None:
    """What a batch lock holds is read, listed, given times, renamed and removed like any file, and stays held."""
    async with gate.raw(version=version) as raw:
        await raw.put("alock.txt", b"")
        for name in ("a.csv", "b.csv", "c.csv"):
            await raw.put(name, name.encode() + b"\n")
        assert await raw.get("a.csv") == b"a.csv\n"
        assert (await raw.setstat("a.csv", atime=9, mtime=9)).status == Status.OK
        assert (await raw.rename("a.csv", "d.csv")).status == Status.OK
        assert (await raw.posix_rename("b.csv", "d.csv")).status == Status.OK
        assert (await raw.on(Request.REMOVE, "c.csv")).status == Status.OK
        assert await raw.listing(".") == ["alock.txt", "d.csv"]
        assert gate.in_store() == {}
        assert (await raw.on(Request.REMOVE, "alock.txt")).status == Status.OK
        assert gate.in_store() == {"d.csv": b"b.csv\n"} and gate.archived() == [b"a.csv\n"]


@pytest.mark.promise("P1")
async def test_ways_to_lock_and_unlock(gate: Gate) -> None:
    """A batch lock that comes by a rename holds, and one that is renamed away releases, like one that is removed."""
    async with gate.raw() as raw:
        await raw.put("lock.tmp", b"")
        assert (await raw.rename("lock.tmp", "alock.txt")).status == Status.OK
        await raw.put("a.csv", b"a\n")
        assert gate.in_store() == {}
        assert (await raw.rename("alock.txt", "_alock.txt")).status == Status.OK
        assert gate.in_store() == {"a.csv": b"a\n"}


@pytest.mark.promise("P5")
async def test_two_senders_of_a_home_with_a_lock_each(gate: Gate) -> None:
    """Each of two senders of one directory sees, and removes, its own alock.txt only, and it holds its own files only."""
    async with gate.raw("homed") as one, gate.raw("neighbour") as two:
        assert await one.put("alock.txt", b"one") == Status.OK
        assert (await two.on(Request.STAT, "alock.txt")).status == Status.NO_SUCH_FILE
        assert (await two.on(Request.REMOVE, "alock.txt")).status == Status.NO_SUCH_FILE
        await two.put("free.csv", b"x\n")
        assert gate.in_store() == {"house/free.csv": b"x\n"}
        assert await two.put("alock.txt", b"second") == Status.OK
        assert (await two.setstat("alock.txt", atime=9, mtime=9)).status == Status.OK
        for raw, name in ((one, "a.csv"), (two, "b.csv")):
            assert await raw.put(name, b"x\n") == Status.OK
        assert (await one.get("alock.txt"), await two.get("alock.txt")) == (b"one", b"second")
        assert await two.listing(".") == ["alock.txt", "b.csv", "free.csv"]
        assert (await one.on(Request.REMOVE, "alock.txt")).status == Status.OK
        assert gate.in_store() == {"house/free.csv": b"x\n", "house/a.csv": b"x\n"}
        assert (await two.on(Request.STAT, "alock.txt")).attrs.size == 6
        assert (await two.on(Request.REMOVE, "alock.txt")).status == Status.OK
        assert "house/b.csv" in gate.in_store()
        answer = await two.mkdir("alock.txt")
        assert answer.status != Status.OK and "a batch lock is a file" in answer.message


@pytest.mark.promise("P5")
async def test_a_directory_with_an_open_upload(gate: Gate) -> None:
    """Where a directory is renamed while an upload below it is open, that upload is found after its CLOSE."""
    async with gate.raw() as raw:
        await raw.mkdir("old")
        handle = await raw.open_file("old/a.csv")
        await raw.write(handle, 0, b"a\n")
        renamed = await raw.rename("old", "new")
        closed = await raw.close(handle)
        directory = "new" if renamed.status == Status.OK else "old"
        if closed.status == Status.OK:
            assert await raw.listing(directory) == ["a.csv"]
            assert gate.in_store() == {f"{directory}/a.csv": b"a\n"}
        else:
            assert gate.in_store() == {}


@pytest.mark.promise("P1")
async def test_a_directory_with_an_interrupted_upload(gate: Gate) -> None:
    """Where a directory is renamed, an interrupted upload below it can still be found and resumed, or the rename fails."""
    async with gate.raw() as raw:
        await raw.mkdir("old")
        handle = await raw.open_file("old/a.csv")
        await raw.write(handle, 0, b"half")
        raw.connection.abort()
        await gate.until("upload.interrupted")
    async with gate.raw() as raw:
        assert (await raw.on(Request.RMDIR, "old")).status == Status.FAILURE
        renamed = await raw.rename("old", "new")
        directory = "new" if renamed.status == Status.OK else "old"
        assert await raw.listing(directory) == ["a.csv"]


@pytest.mark.promise("P7")
async def test_a_directory_of_the_admin_in_the_store(gate: Gate) -> None:
    """A name that is a directory in the store, which its sender does not see, is refused in words at OPEN and RENAME."""
    (gate.store / "a.csv").mkdir()
    async with gate.raw(version=6) as raw:
        await raw.put("_b.csv", b"b\n")
        for answer in (
            await raw.try_open("a.csv"),
            await raw.rename("_b.csv", "a.csv"),
            await raw.posix_rename("_b.csv", "a.csv"),
        ):
            assert answer.status == Status.FILE_IS_A_DIRECTORY and "rule:" in answer.message
        assert gate.staged() == []


@pytest.mark.promise("P3", "P6")
async def test_a_file_of_the_admin_in_the_store(gate: Gate) -> None:
    """A file that the admin put into the store is not seen by senders, and kept in the archives when its name comes."""
    (gate.store / "a.csv").write_bytes(b"of the admin\n")
    async with gate.raw() as raw:
        assert (await raw.on(Request.STAT, "a.csv")).status == Status.NO_SUCH_FILE
        assert await raw.put("a.csv", b"sent\n") == Status.OK
        assert gate.in_store() == {"a.csv": b"sent\n"} and gate.archived() == [b"of the admin\n"]
        assert await raw.listing("/archives") == []


@pytest.mark.promise("P1")
async def test_companions(gate: Gate) -> None:
    """A checksum beside a file that does not match holds it, whichever comes first, and one that matches releases it."""
    right, wrong = hashlib.sha256(b"a\n").hexdigest().encode(), b"0" * 64
    async with gate.raw() as raw:
        await raw.put("a.csv", b"a\n")
        await raw.put("a.csv.sha256", wrong + b"  a.csv\n")
        assert gate.in_store() == {}
        assert await raw.listing(".") == ["a.csv", "a.csv.sha256"]
        await raw.put("a.csv.sha256", right + b"  a.csv\n")
        assert gate.in_store() == {"a.csv": b"a\n"}
        assert (await raw.on(Request.REMOVE, "a.csv.sha256")).status == Status.OK
        await raw.put("b.csv.sha256", wrong)
        await raw.put("b.csv", b"a\n")
        assert "b.csv" not in gate.in_store()
        assert (await raw.on(Request.REMOVE, "b.csv.sha256")).status == Status.OK
        assert gate.in_store()["b.csv"] == b"a\n"


@pytest.mark.promise("P8")
async def test_the_record(gate: Gate) -> None:
    """The record of an arrival says who sent it, from where, with which key and client, its size, hash and history."""
    before = utc_now()
    async with gate.raw() as raw:
        await raw.put("a.csv", b"a,b\n")
        await raw.rename("a.csv", "b.csv")
    [arrival] = gate.arrivals("b.csv")
    assert (arrival.owner, arrival.address, arrival.source, arrival.size) == ("erp", "127.0.0.1", "sftp", 4)
    assert arrival.sha256 == hashlib.sha256(b"a,b\n").hexdigest()
    assert arrival.login is not None and arrival.login.startswith("SHA256:")
    assert arrival.client is not None and "AsyncSSH" in arrival.client
    assert before <= arrival.received_at <= utc_now()
    events = gate.history(arrival)
    assert [event.event for event in events] == ["arrival.received", "arrival.published"]
    assert {(event.actor, event.address) for event in events} == {(sender("erp"), "127.0.0.1")}
