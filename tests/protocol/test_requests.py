"""Every request type in every version of SFTP, with the status of each error."""

from __future__ import annotations

import pytest

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Open, Reply, Request
from tests.harness.gates import Gate, Start
from tests.harness.raw import CREATE, RESUME, string, uint32, uint64

VERSIONS = (3, 4, 5, 6)

every_version = pytest.mark.parametrize("version", VERSIONS)


def since(first: int, code: Status, before: Status, version: int) -> Status:
    """``code`` where the version knows it, otherwise what an older client is told."""
    return code if version >= first else before


@pytest.mark.promise("P5")
@every_version
async def test_the_life_of_a_file(gate: Gate, version: int) -> None:
    """Open, write, read, fstat, fsetstat, close, stat, setstat, rename, list and remove work in every version."""
    async with gate.raw(version=version) as raw:
        assert raw.version == version
        handle = await raw.open_file("a.csv", CREATE | Open.READ)
        assert (await raw.write(handle, 0, b"a,b\n1,2\n")).status == Status.OK
        assert (await raw.read(handle, 4)).data == b"1,2\n"
        assert (await raw.request(Request.FSTAT, string(handle))).attrs.size == 8
        assert (await raw.fsetstat(handle, atime=1_000_000, mtime=1_000_000)).status == Status.OK
        assert gate.in_store() == {}
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store() == {"a.csv": b"a,b\n1,2\n"}
        found = (await raw.on(Request.STAT, "a.csv")).attrs
        assert (found.size, int(found.mtime or 0)) == (8, 1_000_000)
        assert (await raw.on(Request.LSTAT, "/sync/a.csv")).attrs.size == 8
        assert (await raw.setstat("a.csv", atime=2_000_000, mtime=2_000_000)).status == Status.OK
        assert int((await raw.on(Request.STAT, "a.csv")).attrs.mtime or 0) == 2_000_000
        assert (await raw.mkdir("sub")).status == Status.OK
        assert (await raw.rename("a.csv", "sub/b.csv")).status == Status.OK
        assert await raw.listing("sub") == ["b.csv"]
        assert await raw.get("sub/b.csv") == b"a,b\n1,2\n"
        assert (await raw.on(Request.REMOVE, "sub/b.csv")).status == Status.OK
        assert (await raw.on(Request.RMDIR, "sub")).status == Status.OK
        assert await raw.listing("/sync") == []
        assert gate.in_store() == {}


@pytest.mark.promise("P5")
@every_version
async def test_the_life_of_a_file_with_a_library(gate: Gate, version: int) -> None:
    """asyncssh's own client does the same, as the version of the protocol that it speaks."""
    async with gate.sftp(version=version) as sftp:
        assert sftp.version == version
        async with sftp.open("a.csv", "wb") as file:
            await file.write(b"a,b\n1,2\n")
        assert await sftp.getsize("a.csv") == 8
        await sftp.utime("a.csv", (5, 5))
        assert await sftp.getmtime("a.csv") == 5
        await sftp.chmod("a.csv", 0o777)
        await sftp.truncate("a.csv", 4)
        assert gate.in_store() == {"a.csv": b"a,b\n"}
        await sftp.mkdir("sub")
        await sftp.rename("a.csv", "sub/b.csv")
        assert await sftp.listdir("sub") == [".", "..", "b.csv"]
        assert await sftp.isdir("sub") and await sftp.isfile("sub/b.csv") and not await sftp.islink("sub/b.csv")
        async with sftp.open("sub/b.csv", "rb") as file:
            content: object = await file.read()
            assert content == b"a,b\n"
        await sftp.rmtree("sub")
        assert await sftp.listdir(".") == [".", ".."]


@pytest.mark.promise("P5")
@every_version
async def test_what_is_not_there(gate: Gate, version: int) -> None:
    """A path that does not exist is "no such file" in every operation that needs one."""
    async with gate.raw(version=version) as raw:
        for kind in (Request.STAT, Request.LSTAT, Request.OPENDIR, Request.REMOVE, Request.RMDIR):
            assert (await raw.on(kind, "none.csv")).status == Status.NO_SUCH_FILE
        assert (await raw.try_open("none.csv", Open.READ)).status == Status.NO_SUCH_FILE
        assert (await raw.try_open("none.csv", Open.WRITE)).status == Status.NO_SUCH_FILE
        assert (await raw.try_open("none/a.csv")).status == Status.NO_SUCH_FILE
        assert (await raw.setstat("none.csv", permissions=0o600)).status == Status.NO_SUCH_FILE
        assert (await raw.setstat("none.csv", atime=1, mtime=1)).status == Status.NO_SUCH_FILE
        assert (await raw.setstat("none.csv", size=0)).status == Status.NO_SUCH_FILE
        assert (await raw.rename("none.csv", "b.csv")).status == Status.NO_SUCH_FILE
        assert (await raw.posix_rename("none.csv", "b.csv")).status == Status.NO_SUCH_FILE
        assert (await raw.mkdir("none/sub")).status == Status.NO_SUCH_FILE
        await raw.put("a.csv", b"x\n")
        assert (await raw.rename("a.csv", "none/b.csv")).status == Status.NO_SUCH_FILE


@pytest.mark.promise("P3")
@every_version
async def test_what_is_there_already(gate: Gate, version: int) -> None:
    """Making something of a name that is taken fails, and the file that has it stays."""
    exists = since(4, Status.FILE_ALREADY_EXISTS, Status.FAILURE, version)
    async with gate.raw(version=version) as raw:
        await raw.put("a.csv", b"a\n")
        await raw.put("b.csv", b"b\n")
        await raw.mkdir("sub")
        assert (await raw.try_open("a.csv", CREATE | Open.EXCL)).status == exists
        assert (await raw.mkdir("sub")).status == exists
        assert (await raw.mkdir("a.csv")).status == exists
        assert (await raw.rename("a.csv", "b.csv")).status == exists
        assert (await raw.rename("sub", "b.csv")).status == exists
        assert gate.in_store() == {"a.csv": b"a\n", "b.csv": b"b\n"}


@pytest.mark.promise("P5")
@every_version
async def test_a_directory_is_not_a_file(gate: Gate, version: int) -> None:
    """Opening, removing and replacing a directory as if it were a file fails, and so does listing a file."""
    is_directory = since(6, Status.FILE_IS_A_DIRECTORY, Status.FAILURE, version)
    not_directory = since(6, Status.NOT_A_DIRECTORY, Status.NO_SUCH_FILE, version)
    not_empty = since(6, Status.DIR_NOT_EMPTY, Status.FAILURE, version)
    async with gate.raw(version=version) as raw:
        await raw.mkdir("sub")
        await raw.put("a.csv", b"a\n")
        await raw.put("sub/b.csv", b"b\n")
        assert (await raw.try_open("sub", Open.READ)).status == is_directory
        assert (await raw.try_open("sub")).status == is_directory
        assert (await raw.on(Request.REMOVE, "sub")).status == is_directory
        assert (await raw.rename("a.csv", "sub")).status == is_directory
        assert (await raw.posix_rename("a.csv", "sub")).status == is_directory
        assert (await raw.setstat("sub", size=0)).status == is_directory
        assert (await raw.on(Request.OPENDIR, "a.csv")).status == not_directory
        assert (await raw.on(Request.RMDIR, "a.csv")).status == not_directory
        assert (await raw.on(Request.RMDIR, "sub")).status == not_empty
        assert gate.in_store() == {"a.csv": b"a\n", "sub/b.csv": b"b\n"}


@pytest.mark.promise("P7")
@every_version
async def test_a_slash_at_the_end_means_a_directory(gate: Gate, version: int) -> None:
    """A file is neither made, found, changed nor removed under a path that ends in a slash, and the answer says why."""
    is_directory = since(6, Status.FILE_IS_A_DIRECTORY, Status.FAILURE, version)
    not_directory = since(6, Status.NOT_A_DIRECTORY, Status.NO_SUCH_FILE, version)
    async with gate.raw(version=version) as raw:
        await raw.put("a.csv", b"a\n")
        answer = await raw.try_open("missing/")
        assert answer.status == is_directory and "slash at its end" in answer.message
        assert (await raw.try_open("a.csv/")).status == is_directory
        assert (await raw.try_open("a.csv/", Open.READ)).status == not_directory
        for kind in (Request.STAT, Request.LSTAT, Request.OPENDIR, Request.REMOVE, Request.RMDIR):
            answer = await raw.on(kind, "a.csv/")
            assert answer.status == not_directory and "slash at its end" in answer.message
        assert (await raw.setstat("/sync/a.csv/", size=0)).status == not_directory
        assert (await raw.rename("a.csv/", "b.csv")).status == not_directory
        assert (await raw.rename("a.csv", "b.csv/")).status == not_directory
        assert (await raw.posix_rename("a.csv", "b.csv/")).status == not_directory
        assert gate.in_store() == {"a.csv": b"a\n"} and gate.in_drop() == {} and gate.staged() == []
        assert (await raw.mkdir("missing/")).status == Status.OK
        assert (await raw.rename("missing/", "made/")).status == Status.OK
        assert (await raw.on(Request.STAT, "made/")).kind == Reply.ATTRS
        assert (await raw.on(Request.RMDIR, "made/")).status == Status.OK


@pytest.mark.promise("P5")
async def test_a_slash_behind_an_archive(gate: Gate) -> None:
    """Files of /archives are not found under a path that ends in a slash, as those of the drop are not."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"1\n")
        await raw.put("a.csv", b"2\n")
        [name] = await raw.listing("/archives/")
        assert (await raw.on(Request.STAT, f"/archives/{name}")).kind == Reply.ATTRS
        assert (await raw.on(Request.STAT, f"/archives/{name}/")).status == Status.NO_SUCH_FILE
        assert (await raw.try_open(f"/archives/{name}/", Open.READ)).status == Status.NO_SUCH_FILE


@pytest.mark.promise("P3")
async def test_a_directory_replaces_an_empty_one(gate: Gate) -> None:
    """Posix-rename of a directory replaces an empty one, and no other: not one with files that the sender does not see."""
    async with gate.raw() as raw, gate.raw("other") as other:
        for name in ("full", "empty", "others"):
            await raw.mkdir(name)
        await raw.put("full/a.csv", b"a\n")
        await other.put("others/b.csv", b"b\n")
        assert (await raw.posix_rename("full", "others")).status == Status.FAILURE
        assert (await raw.posix_rename("empty", "full")).status == Status.FAILURE
        assert (await raw.posix_rename("full", "empty")).status == Status.OK
        assert sorted(await raw.listing(".")) == ["empty", "others"]
        assert gate.in_store() == {"empty/a.csv": b"a\n", "others/b.csv": b"b\n"}


@pytest.mark.promise("P5")
@every_version
async def test_handles_that_do_not_exist(gate: Gate, version: int) -> None:
    """A handle that was never given, or that is closed, is an invalid handle in every request that has one."""
    invalid = since(4, Status.INVALID_HANDLE, Status.FAILURE, version)
    async with gate.raw(version=version) as raw:
        closed = await raw.open_file("a.csv")
        assert (await raw.close(closed)).status == Status.OK
        for handle in (closed, b"", b"\0\0\0\x7f", b"x" * 256):
            assert (await raw.close(handle)).status == invalid
            assert (await raw.read(handle)).status == invalid
            assert (await raw.write(handle, 0, b"x")).status == invalid
            assert (await raw.request(Request.FSTAT, string(handle))).status == invalid
            assert (await raw.request(Request.READDIR, string(handle))).status == invalid
            assert (await raw.fsetstat(handle, size=1)).status == invalid
            assert (await raw.extended("fsync@openssh.com", string(handle))).status == invalid
            assert (await raw.extended("fstatvfs@openssh.com", string(handle))).status == invalid


@pytest.mark.promise("P6")
@every_version
async def test_links_are_refused(gate: Gate, version: int) -> None:
    """Symlink, link, readlink and the hardlink extension are not supported, and make nothing."""
    async with gate.raw(version=version) as raw:
        await raw.put("a.csv", b"a\n")
        answers = [
            await raw.request(Request.SYMLINK, string("a.csv"), string("b.csv")),
            await raw.request(Request.LINK, string("b.csv"), string("a.csv"), b"\1"),
            await raw.on(Request.READLINK, "a.csv"),
            await raw.extended("hardlink@openssh.com", string("a.csv"), string("b.csv")),
        ]
        for answer in answers:
            assert answer.status == Status.OP_UNSUPPORTED
            assert "links are refused" in answer.message
        assert gate.in_store() == {"a.csv": b"a\n"} and not gate.in_drop()


@pytest.mark.promise("P5")
@every_version
async def test_realpath(gate: Gate, version: int) -> None:
    """A connection starts in the drop, dots are resolved on the text, and no path climbs above the root."""
    expected = {
        ".": "/sync",
        "": "/sync",
        "a.csv": "/sync/a.csv",
        "..": "/",
        "../../..": "/",
        "/": "/",
        "//sync///a/./b/../c/": "/sync/a/c",
        "/etc/passwd": "/etc/passwd",
        "none/../x": "/sync/x",
    }
    async with gate.raw(version=version) as raw:
        for path, absolute in expected.items():
            [(name, _, _)] = (await raw.on(Request.REALPATH, path)).names
            assert name == absolute


@pytest.mark.promise("P5")
async def test_realpath_of_version_6(gate: Gate) -> None:
    """Version 6 composes paths, and looks whether the result exists only where it is asked to."""
    async with gate.raw(version=6) as raw:
        await raw.mkdir("sub")
        await raw.put("sub/a.csv", b"abc\n")
        composed = await raw.request(Request.REALPATH, string("sub"), b"\1", string("x"), string("../a.csv"))
        assert composed.names[0][0] == "/sync/sub/a.csv"
        there = await raw.request(Request.REALPATH, string("sub/a.csv"), b"\3")
        assert there.names[0][2].size == 4
        assert (await raw.request(Request.REALPATH, string("none"), b"\3")).status == Status.NO_SUCH_FILE
        assert (await raw.request(Request.REALPATH, string("none"), b"\2")).names[0][0] == "/sync/none"


@pytest.mark.promise("P3")
async def test_rename_flags_of_version_5(gate: Gate) -> None:
    """From version 5 RENAME replaces where it is told to, and what it replaces is kept in the archives."""
    async with gate.raw(version=5) as raw:
        await raw.put("a.csv", b"new\n")
        await raw.put("b.csv", b"old\n")
        plain = await raw.request(Request.RENAME, string("a.csv"), string("b.csv"), uint32(0))
        assert plain.status == Status.FILE_ALREADY_EXISTS
        assert (await raw.request(Request.RENAME, string("a.csv"), string("b.csv"), uint32(1))).status == Status.OK
        assert gate.in_store() == {"b.csv": b"new\n"} and gate.archived() == [b"old\n"]


@pytest.mark.promise("P3")
async def test_posix_rename_replaces(gate: Gate) -> None:
    """Posix-rename replaces an unclaimed file, whose content is kept in the archives."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"new\n")
        await raw.put("b.csv", b"old\n")
        assert (await raw.posix_rename("a.csv", "b.csv")).status == Status.OK
        assert await raw.listing(".") == ["b.csv"]
        assert gate.in_store() == {"b.csv": b"new\n"} and gate.archived() == [b"old\n"]


@pytest.mark.promise("P3")
async def test_rename_to_itself(gate: Gate) -> None:
    """A rename of a file to its own name changes nothing, by either request."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"a\n")
        assert (await raw.posix_rename("a.csv", "./a.csv")).status == Status.OK
        assert (await raw.rename("a.csv", "a.csv")).status in (Status.OK, Status.FAILURE)
        assert gate.in_store() == {"a.csv": b"a\n"} and gate.archived() == []


@pytest.mark.promise("P5")
async def test_dispositions_of_version_5(gate: Gate) -> None:
    """The five ways in which versions 5 and 6 open a file each do what the draft says."""
    new, truncate, existing, either, truncate_existing = range(5)
    async with gate.raw(version=6) as raw:

        async def opened(path: str, how: int) -> bytes | int:
            answer = await raw.request(Request.OPEN, string(path), uint32(3, how), raw.attributes())
            return answer.handle if answer.kind == Reply.HANDLE else answer.status

        assert await opened("none.csv", existing) == Status.NO_SUCH_FILE
        assert await opened("none.csv", truncate_existing) == Status.NO_SUCH_FILE
        for how in (new, truncate, either):
            handle = await opened(f"{how}.csv", how)
            assert isinstance(handle, bytes)
            await raw.write(handle, 0, b"old\n")
            assert (await raw.close(handle)).status == Status.OK
        assert await opened("0.csv", new) == Status.FILE_ALREADY_EXISTS
        for how, size in ((truncate, 0), (truncate_existing, 0), (existing, 4), (either, 4)):
            handle = await opened("0.csv", how)
            assert isinstance(handle, bytes)
            assert (await raw.request(Request.FSTAT, string(handle))).attrs.size == size
            await raw.write(handle, 0, b"new\n")
            assert (await raw.close(handle)).status == Status.OK


@pytest.mark.promise("P5")
async def test_versions_are_negotiated(gate: Gate) -> None:
    """The lower of both versions holds, and a client that asks for more than 6 or less than 3 gets one that exists."""
    for asked, given in ((0, 3), (1, 3), (2, 3), (3, 3), (6, 6), (7, 6), (2**32 - 1, 6)):
        async with gate.raw(version=asked) as raw:
            assert raw.version == given


@pytest.mark.promise("P5")
async def test_the_settings_limit_the_version(start: Start) -> None:
    """Without a setting the server speaks version 3, which every client knows."""
    async with start(sftp_version=3) as gate, gate.raw(version=6) as raw:
        assert raw.version == 3


@pytest.mark.promise("P5")
async def test_requests_that_do_not_exist(gate: Gate) -> None:
    """A request of an unknown type is answered with "unsupported", and the session goes on."""
    async with gate.raw(version=6) as raw:
        for kind in (0, 2, 24, 101, 199, 201, 255, Request.BLOCK, Request.UNBLOCK):
            assert (await raw.request(kind, uint64(0))).status == Status.OP_UNSUPPORTED
        assert await raw.put("a.csv", b"a\n") == Status.OK


@pytest.mark.promise("P5")
async def test_open_without_truncation_keeps_the_rest(gate: Gate) -> None:
    """A write in the middle of an unclaimed file changes those bytes, in a copy that takes its place at CLOSE."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"aaaa\nbbbb\n")
        handle = await raw.open_file("a.csv", RESUME)
        await raw.write(handle, 5, b"BB")
        assert gate.in_store() == {"a.csv": b"aaaa\nbbbb\n"}
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store() == {"a.csv": b"aaaa\nBBbb\n"} and gate.archived() == [b"aaaa\nbbbb\n"]
