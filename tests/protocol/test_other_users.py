"""Nobody sees or touches another user's files, in any operation; what users share is the drop."""

from __future__ import annotations

import asyncssh
import pytest

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Open, Reply, Request
from sftpgate.policy.login import LoginRefusal
from tests.harness.credentials import refused, registry
from tests.harness.gates import Gate
from tests.harness.raw import Raw
from tests.protocol.operations import CHANGING, LOOKING, MAKING

FOREIGN = ("waiting.csv", "_ignored.csv", "partial.csv", "open.csv", "sub/waiting.csv")


async def fill(gate: Gate, raw: Raw) -> bytes:
    """Files of another user in each layer of the union; the handle of the open one."""
    await raw.mkdir("sub")
    for path in ("waiting.csv", "_ignored.csv", "sub/waiting.csv"):
        assert await raw.put(path, b"foreign\n") == Status.OK
    async with gate.raw("other") as broken:
        handle = await broken.open_file("partial.csv")
        await broken.write(handle, 0, b"foreign")
    await gate.until("upload.interrupted")
    handle = await raw.open_file("open.csv")
    await raw.write(handle, 0, b"foreign\n")
    return handle


@pytest.mark.promise("P6")
@pytest.mark.parametrize("operation", LOOKING)
async def test_looking(gate: Gate, operation: str) -> None:
    """The files of another user are not there for those who look, whatever their state is."""
    async with gate.raw("other") as other, gate.raw() as raw:
        await fill(gate, other)
        for path in FOREIGN:
            answer = await LOOKING[operation](raw, path)
            assert answer.status == Status.NO_SUCH_FILE, (path, answer)
            assert "other" not in answer.message


@pytest.mark.promise("P6")
@pytest.mark.parametrize("operation", [name for name in CHANGING if name not in MAKING])
async def test_changing(gate: Gate, operation: str) -> None:
    """Another user's files cannot be changed, renamed or removed, and stay as they are."""
    async with gate.raw("other") as other, gate.raw() as raw:
        handle = await fill(gate, other)
        assert await raw.put("own.csv", b"own\n") == Status.OK
        for path in FOREIGN:
            answer = await CHANGING[operation](raw, path)
            assert answer.status in (Status.NO_SUCH_FILE, Status.OP_UNSUPPORTED), (path, answer)
        assert await other.listing(".") == ["_ignored.csv", "open.csv", "partial.csv", "sub", "waiting.csv"]
        assert (await other.close(handle)).status == Status.OK
        expected = dict.fromkeys(("waiting.csv", "sub/waiting.csv", "open.csv"), b"foreign\n")
        assert gate.in_store() == expected | {"own.csv": b"own\n"}


@pytest.mark.promise("P3")
@pytest.mark.parametrize("operation", MAKING)
async def test_making(gate: Gate, operation: str) -> None:
    """A name that waits for a runner from another user cannot be taken, by any operation, and the refusal says so."""
    async with gate.raw("other") as other, gate.raw() as raw:
        await fill(gate, other)
        assert await raw.put("own.csv", b"own\n") == Status.OK
        for path in ("waiting.csv", "_ignored.csv", "sub/waiting.csv"):
            answer = await CHANGING[operation](raw, path)
            assert answer.status == Status.PERMISSION_DENIED, (path, answer)
            assert "another sender" in answer.message
        assert gate.in_store()["waiting.csv"] == b"foreign\n" and gate.in_store()["own.csv"] == b"own\n"


@pytest.mark.promise("P3")
async def test_uploads_of_one_name_by_two_users(gate: Gate) -> None:
    """Of two users who upload one name at the same time the first CLOSE has it; the other's fails and keeps its bytes."""
    async with gate.raw("other") as other, gate.raw() as raw:
        mine, theirs = await raw.open_file("a.csv"), await other.open_file("a.csv")
        await raw.write(mine, 0, b"mine\n")
        await other.write(theirs, 0, b"theirs\n")
        assert (await raw.close(mine)).status == Status.OK
        refused = await other.close(theirs)
        assert refused.status == Status.PERMISSION_DENIED and "another sender" in refused.message
        assert gate.in_store() == {"a.csv": b"mine\n"}
        assert [path.read_bytes() for path in gate.staged("other")] == [b"theirs\n"]


@pytest.mark.promise("P6")
async def test_listings(gate: Gate) -> None:
    """A listing shows the user's own files, shared directories, and what nobody sent."""
    (gate.drop / "local.csv").write_bytes(b"local\n")
    async with gate.raw("other") as other, gate.raw() as raw:
        await fill(gate, other)
        await raw.put("own.csv", b"own\n")
        assert await raw.listing(".") == ["local.csv", "own.csv", "sub"]
        assert await raw.listing("sub") == []
        assert await raw.get("local.csv") == b"local\n"


@pytest.mark.promise("P6")
async def test_a_directory_with_files_of_others(gate: Gate) -> None:
    """A directory that has files of another user is neither renamed nor removed with them."""
    async with gate.raw("other") as other, gate.raw() as raw:
        await raw.mkdir("sub")
        await other.put("sub/_draft.csv", b"foreign\n")
        await other.put("sub/a.csv", b"foreign\n")
        renamed = await raw.rename("sub", "mine")
        assert renamed.status == Status.PERMISSION_DENIED and "not yours" in renamed.message
        assert (await raw.on(Request.RMDIR, "sub")).status != Status.OK
        assert await other.listing("sub") == ["_draft.csv", "a.csv"]
        assert gate.in_store() == {"sub/a.csv": b"foreign\n"}


@pytest.mark.promise("P6")
async def test_a_directory_whose_only_file_waits_in_the_store(gate: Gate) -> None:
    """A directory in which another user's file waits (in the store) stays there for that user."""
    async with gate.raw("other") as other, gate.raw() as raw:
        await raw.mkdir("sub")
        await other.put("sub/a.csv", b"foreign\n")
        await raw.on(Request.RMDIR, "sub")
        assert gate.in_store() == {"sub/a.csv": b"foreign\n"}
        assert await other.get("sub/a.csv") == b"foreign\n"
        assert await other.listing("sub") == ["a.csv"]


@pytest.mark.promise("P6")
async def test_archives_and_reports_of_others(gate: Gate) -> None:
    """Each user reads what became of its own files, and of nobody else's."""
    async with gate.raw("other") as other, gate.raw() as raw:
        await other.put("a.csv", b"first\n")
        await other.put("a.csv", b"second\n")
        [name] = await other.listing("/archives")
        assert await other.get(f"/archives/{name}") == b"first\n"
        assert await raw.listing("/archives") == []
        for operation in LOOKING.values():
            assert (await operation(raw, f"/archives/{name}")).status == Status.NO_SUCH_FILE


@pytest.mark.promise("P6")
async def test_a_home(gate: Gate) -> None:
    """A user with a home sees that directory as the drop, and nothing outside it, by whatever path."""
    async with gate.raw() as raw, gate.raw("homed") as homed:
        await raw.put("outside.csv", b"outside\n")
        assert await homed.listing(".") == []
        assert await homed.put("a.csv", b"home\n") == Status.OK
        assert gate.in_store() == {"outside.csv": b"outside\n", "house/a.csv": b"home\n"}
        assert await homed.listing("/sync") == ["a.csv"]
        for path in ("../outside.csv", "/sync/../outside.csv", "outside.csv", "/sync/outside.csv", "house/a.csv"):
            assert (await homed.on(Request.STAT, path)).status == Status.NO_SUCH_FILE
        assert await raw.listing(".") == ["house", "outside.csv"]
        assert await raw.listing("house") == []


@pytest.mark.promise("P5")
async def test_sessions_of_one_user_see_each_other(gate: Gate) -> None:
    """Several connections of one user see the same files, open uploads included."""
    async with gate.raw() as one, gate.raw() as two:
        handle = await one.open_file("a.csv")
        await one.write(handle, 0, b"half")
        assert (await two.on(Request.STAT, "a.csv")).attrs.size == 4
        answer = await two.try_open("a.csv", Open.READ)
        assert answer.kind == Reply.HANDLE and (await two.read(answer.handle)).data == b"half"


@pytest.mark.promise("P6")
@pytest.mark.parametrize("home", ["../..", "/etc", "a/../../x", "archives", "~", "C:\\\\x"])
async def test_a_home_outside_the_drop(gate: Gate, home: str) -> None:
    """A user.toml whose home is no directory in the drop lets nobody in, whatever the server knew of the user before; what is
    there on the disk is not touched. A user who was served goes on in its former home.
    """
    text = f'home = "{home}"\n'
    registry(gate).add("strange", keys=registry(gate).load("homed").keys)
    (gate.directory / "keys/users/strange/user.toml").write_text(text)
    assert await refused(gate, "strange", client_keys=[str(gate.directory / "keys/id")]) == [LoginRefusal.UNKNOWN_USER]
    async with gate.raw("homed") as homed:
        assert await homed.put("before.csv", b"x\n") == Status.OK
        (gate.directory / "keys/users/homed/user.toml").write_text(text)
        assert await homed.put("after.csv", b"x\n") == Status.OK
    assert set(gate.in_store()) == {"house/before.csv", "house/after.csv"}


@pytest.mark.promise("P7")
async def test_a_home_with_the_name_of_a_batch_lock(gate: Gate) -> None:
    """A directory of that name would hold everybody's files; its user is told why it is not served, and nobody waits."""
    registry(gate).add("strange", keys=registry(gate).load("erp").keys, home="alock.txt")
    with pytest.raises(asyncssh.ChannelOpenError, match="rule: a batch lock is a file"):
        async with gate.raw("strange"):
            pass
    async with gate.raw() as raw:
        assert await raw.put("a.csv", b"x\n") == Status.OK
    assert gate.in_store() == {"a.csv": b"x\n"}
