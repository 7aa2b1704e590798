"""Only the drop is writable, no path leads out of it, and symbolic links on the disk lead nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Open, Reply, Request
from sftpgate.policy.access import RECEIPTS
from sftpgate.policy.managed import RESERVED_NAMES
from tests.harness.gates import Gate, Start
from tests.harness.raw import Answer
from tests.protocol.operations import CHANGING, EVERY, LOOKING

OUTSIDE = (
    "/etc/passwd",
    "/x",
    "/sync/../x",
    "../x",
    "../../../../etc/passwd",
    "sub/../../etc/passwd",
    "/../etc/passwd",
    "//etc//passwd",
    "/sync/./../etc/passwd",
    "/sync/sub/../../x",
)
READ_ONLY = (*(f"/{name}/x" for name in RESERVED_NAMES), "../reports/x", "/archives/sub/x", "/receipts/x", "/receipts/sub/x")
RESERVED = (
    *(f"{name}/x" for name in RESERVED_NAMES),
    "/sync/archives/x",
    "/sync/Reports/x",
    "ARCHIVES",
    "reports/x.csv",
    "sub/../archives/x",
    "Archives ./x",
    "ａrchives/x",
    ".sftpgate/x",
    "/sync/.sftpgate/staging/erp/x",
    ".SFTPGATE/x",
    "sub/.sftpgate/x",
    ".sftpgate-x",
)

# what each of our sentences ends with, where a rule refuses
REFUSALS = ("rule:", "links are refused")
NO_PLACE = (Status.NO_SUCH_FILE, Status.PERMISSION_DENIED, Status.OP_UNSUPPORTED)


def disk(gate: Gate) -> dict[str, bytes]:
    """Everything that is on the disk of a gate, but for its ledger and keys, and for what a sweep writes by itself."""
    files = {
        str(path.relative_to(gate.directory)): path.read_bytes()
        for top in (gate.store, gate.drop)
        for path in top.rglob("*")
        if path.is_file() and path.name not in ("lock", "sweep.lock", "seal", "seal.new", "followers.lock")
    }
    directories = {str(path.relative_to(gate.directory)): b"" for path in gate.data.rglob("*") if path.is_dir()}
    return files | directories


def check_message(gate: Gate, answer: Answer) -> None:
    """A client is told nothing of the local disk and nothing of Python."""
    if answer.kind == Reply.STATUS:
        assert str(gate.directory) not in answer.message
        assert "Uncaught" not in answer.message and "Error" not in answer.message and "Errno" not in answer.message


@pytest.mark.promise("P6")
@pytest.mark.parametrize("operation", EVERY)
async def test_no_path_leads_outside(gate: Gate, operation: str) -> None:
    """A path that climbs, or that names something outside the drop, reaches nothing in any operation."""
    async with gate.raw() as raw:
        await raw.mkdir("sub")
        await raw.put("own.csv", b"own\n")
        before = disk(gate)
        for path in OUTSIDE:
            answer = await EVERY[operation](raw, path)
            assert answer.status in NO_PLACE, (path, answer)
            check_message(gate, answer)
            if operation in CHANGING:
                assert any(word in answer.message for word in REFUSALS), (path, answer.message)
        assert disk(gate) == before
    assert not Path("/x").exists()


@pytest.mark.promise("P6", "P7")
@pytest.mark.parametrize("operation", CHANGING)
async def test_what_is_managed_is_not_writable(gate: Gate, operation: str) -> None:
    """Archives and reports, and our own names, are refused in any spelling, by the rule's name, and nothing is left."""
    async with gate.raw() as raw:
        await raw.mkdir("sub")
        await raw.put("own.csv", b"own\n")
        before = disk(gate)
        for path in (*READ_ONLY, *RESERVED):
            answer = await CHANGING[operation](raw, path)
            assert answer.status in (Status.PERMISSION_DENIED, Status.OP_UNSUPPORTED), (path, answer)
            assert any(word in answer.message for word in REFUSALS), (path, answer.message)
            check_message(gate, answer)
        assert disk(gate) == before


@pytest.mark.promise("P6")
@pytest.mark.parametrize("operation", LOOKING)
async def test_what_is_managed_is_not_seen(gate: Gate, operation: str) -> None:
    """What is the system's own in the drop and the store cannot be looked at."""
    async with gate.raw() as raw:
        await raw.put("own.csv", b"own\n")
        for path in RESERVED:
            answer = await LOOKING[operation](raw, path)
            assert answer.status == Status.NO_SUCH_FILE, (path, answer)
            check_message(gate, answer)


@pytest.mark.promise("P6")
@pytest.mark.parametrize("operation", CHANGING)
async def test_the_drop_itself_stays(gate: Gate, operation: str) -> None:
    """The root, the drop and the two read-only directories cannot be removed, renamed, replaced or opened."""
    async with gate.raw() as raw:
        await raw.put("own.csv", b"own\n")
        before = disk(gate)
        for path in ("/", "/sync", ".", "..", "/archives", "/reports", ""):
            answer = await CHANGING[operation](raw, path)
            check_message(gate, answer)
            if operation in ("setstat of times", "setstat of the mode", "lsetstat", "setstat of the size"):
                assert path != "/" or answer.status == Status.PERMISSION_DENIED
            else:
                assert answer.status != Status.OK, (path, answer)
        assert disk(gate) == before


@pytest.mark.promise("P6")
async def test_what_is_listed(gate: Gate) -> None:
    """The root lists the drop, archives and reports, and nothing else; the drop shows none of our own names."""
    assert (gate.drop / ".sftpgate").is_dir()
    (gate.drop / ".sftpgate-x").write_bytes(b"x")
    (gate.drop / "Archives").mkdir()
    async with gate.raw() as raw:
        await raw.put("a.csv", b"a\n")
        assert sorted(await raw.listing("/")) == sorted([*RESERVED_NAMES, RECEIPTS, "sync"])
        assert await raw.listing("/sync") == ["a.csv"]
        assert await raw.listing("/archives") == [] == await raw.listing("/reports")


async def test_mkdir_of_what_is_there(gate: Gate) -> None:
    """Trap: some clients MKDIR / and /sync, and want "already exists"."""
    async with gate.raw(version=6) as raw:
        for path in ("/", "/sync", "/sync/", ".", "/archives", "/reports"):
            assert (await raw.mkdir(path)).status == Status.FILE_ALREADY_EXISTS
        assert (await raw.mkdir("/other")).status == Status.PERMISSION_DENIED


@pytest.mark.promise("P6")
async def test_a_deep_mount(start: Start) -> None:
    """The drop may be mounted deeper, as scripts with absolute paths need it, and the directories above are read-only."""
    async with start(drop_mount="/var/moodledata/sync") as gate, gate.raw() as raw:
        assert (await raw.on(Request.REALPATH, ".")).names[0][0] == "/var/moodledata/sync"
        assert await raw.put("/var/moodledata/sync/a.csv", b"a\n") == Status.OK
        assert sorted(await raw.listing("/")) == ["archives", "receipts", "reports", "var"]
        assert await raw.listing("/var") == ["moodledata"]
        assert await raw.listing("/var/moodledata") == ["sync"]
        for path in ("/var/x", "/var/moodledata/x", "/sync/x", "../x"):
            refused = await raw.try_open(path)
            assert refused.status == Status.PERMISSION_DENIED and "/var/moodledata/sync" in refused.message
        for path in ("/var", "/var/moodledata", "/var/moodledata/sync"):
            assert (await raw.mkdir(path)).status == Status.FAILURE
            assert (await raw.on(Request.RMDIR, path)).status == Status.PERMISSION_DENIED
        assert gate.in_store() == {"a.csv": b"a\n"}


# -- symbolic links --------------------------------------------------------------------------------------------------


@pytest.fixture
def secret(base: Path) -> Path:
    """A directory that is none of ours, with a file."""
    directory = base / "secret"
    directory.mkdir()
    (directory / "file").write_bytes(b"secret\n")
    (directory / "x").write_bytes(b"secret too\n")
    return directory


def plant(top: Path, secret: Path) -> None:
    """Links to a file, to a directory, to nothing and to themselves."""
    (top / "file").symlink_to(secret / "file")
    (top / "dir").symlink_to(secret)
    (top / "dangling").symlink_to(secret / "new")
    (top / "loop").symlink_to("loop")


LINKS = ("file", "dir", "dangling", "loop", "dir/x", "dir/new", "dir/.", "loop/x")


@pytest.mark.promise("P6")
@pytest.mark.parametrize("operation", EVERY)
async def test_links_in_the_drop_lead_nowhere(gate: Gate, secret: Path, operation: str) -> None:
    """A symbolic link that somebody puts into the drop is never followed, listed, read, or written through."""
    plant(gate.drop, secret)
    async with gate.raw() as raw:
        await raw.put("own.csv", b"own\n")
        for path in LINKS:
            answer = await EVERY[operation](raw, path)
            check_message(gate, answer)
            assert answer.kind not in (Reply.ATTRS, Reply.NAME, Reply.EXTENDED_REPLY), (path, answer)
            assert answer.kind != Reply.HANDLE or operation != "open for reading"
            if answer.kind == Reply.HANDLE:
                await raw.write(answer.handle, 0, b"changed\n")
                await raw.close(answer.handle)
        assert all(name in ("own.csv", "moved.csv", *LINKS) for name in await raw.listing("."))
    assert {path.name: path.read_bytes() for path in secret.iterdir()} == {"file": b"secret\n", "x": b"secret too\n"}


@pytest.mark.promise("P6")
async def test_a_link_in_the_drop_is_not_shown(gate: Gate, secret: Path) -> None:
    """A listing shows no links."""
    plant(gate.drop, secret)
    async with gate.raw() as raw:
        assert await raw.listing(".") == []


@pytest.mark.promise("P6")
async def test_links_in_the_store_lead_nowhere(gate: Gate, secret: Path) -> None:
    """A link in the store is replaced by an upload of its name, and an upload below a link to a directory fails."""
    plant(gate.store, secret)
    async with gate.raw() as raw:
        assert (await raw.on(Request.STAT, "file")).status == Status.NO_SUCH_FILE
        assert (await raw.try_open("file", Open.READ)).status == Status.NO_SUCH_FILE
        for name in ("file", "dangling", "loop"):
            assert await raw.put(name, b"new\n") == Status.OK
            assert not (gate.store / name).is_symlink() and (gate.store / name).read_bytes() == b"new\n"
            assert await raw.get(name) == b"new\n"
        (gate.drop / "dir").mkdir()
        handle = await raw.open_file("dir/y.csv")
        await raw.write(handle, 0, b"new\n")
        answer = await raw.close(handle)
        assert answer.status != Status.OK
        check_message(gate, answer)
    assert {path.name: path.read_bytes() for path in secret.iterdir()} == {"file": b"secret\n", "x": b"secret too\n"}


@pytest.mark.promise("P6")
async def test_a_waiting_file_that_became_a_link(gate: Gate, secret: Path) -> None:
    """Where somebody replaces a waiting file by a link, the sender reads nothing through it."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"a\n")
        (gate.store / "a.csv").unlink()
        (gate.store / "a.csv").symlink_to(secret / "file")
        answer = await raw.try_open("a.csv", Open.READ)
        assert answer.status == Status.NO_SUCH_FILE
        await raw.setstat("a.csv", atime=1, mtime=1)
        await raw.setstat("a.csv", size=0)
    assert (secret / "file").read_bytes() == b"secret\n" and (secret / "file").stat().st_mtime != 1


@pytest.mark.promise("P6")
async def test_special_files_are_not_shown(gate: Gate) -> None:
    """A FIFO in the drop is not listed, and looking at it neither blocks nor opens it."""
    os.mkfifo(gate.drop / "fifo")
    async with gate.raw() as raw:
        assert await raw.listing(".") == []
        assert (await raw.on(Request.STAT, "fifo")).status == Status.NO_SUCH_FILE
        assert (await raw.try_open("fifo", Open.READ)).status == Status.NO_SUCH_FILE
