"""Nobody sees or touches another user's files, in any operation; what users share is the drop."""

from __future__ import annotations

import pytest

from sftpgate.gateway.status import Status
from sftpgate.gateway.wire import Open, Reply, Request
from tests.protocol.gates import Gate
from tests.protocol.operations import CHANGING, LOOKING, MAKING
from tests.protocol.raw import Raw

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


@pytest.mark.parametrize("operation", LOOKING)
async def test_looking(gate: Gate, operation: str) -> None:
    """P6: the files of another user are not there for those who look, whatever their state is."""
    async with gate.raw("other") as other, gate.raw() as raw:
        await fill(gate, other)
        for path in FOREIGN:
            answer = await LOOKING[operation](raw, path)
            assert answer.status == Status.NO_SUCH_FILE, (path, answer)
            assert "other" not in answer.message


@pytest.mark.parametrize("operation", [name for name in CHANGING if name not in MAKING])
async def test_changing(gate: Gate, operation: str) -> None:
    """P6: another user's files cannot be changed, renamed or removed, and stay as they are."""
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


@pytest.mark.parametrize("operation", MAKING)
async def test_making(gate: Gate, operation: str) -> None:
    """P3: a name that waits for a runner from another user cannot be taken, by any operation, and the refusal says so."""
    async with gate.raw("other") as other, gate.raw() as raw:
        await fill(gate, other)
        assert await raw.put("own.csv", b"own\n") == Status.OK
        for path in ("waiting.csv", "_ignored.csv", "sub/waiting.csv"):
            answer = await CHANGING[operation](raw, path)
            assert answer.status == Status.PERMISSION_DENIED, (path, answer)
            assert "another sender" in answer.message
        assert gate.in_store()["waiting.csv"] == b"foreign\n" and gate.in_store()["own.csv"] == b"own\n"


async def test_uploads_of_one_name_by_two_users(gate: Gate) -> None:
    """P3: of two users who upload one name at the same time the first CLOSE has it; the other's fails and keeps its bytes."""
    async with gate.raw("other") as other, gate.raw() as raw:
        mine, theirs = await raw.open_file("a.csv"), await other.open_file("a.csv")
        await raw.write(mine, 0, b"mine\n")
        await other.write(theirs, 0, b"theirs\n")
        assert (await raw.close(mine)).status == Status.OK
        refused = await other.close(theirs)
        assert refused.status == Status.PERMISSION_DENIED and "another sender" in refused.message
        assert gate.in_store() == {"a.csv": b"mine\n"}
        assert [path.read_bytes() for path in gate.staged("other")] == [b"theirs\n"]


async def test_listings(gate: Gate) -> None:
    """P6: a listing shows the user's own files, shared directories, and what nobody sent."""
    (gate.drop / "local.csv").write_bytes(b"local\n")
    async with gate.raw("other") as other, gate.raw() as raw:
        await fill(gate, other)
        await raw.put("own.csv", b"own\n")
        assert await raw.listing(".") == ["local.csv", "own.csv", "sub"]
        assert await raw.listing("sub") == []
        assert await raw.get("local.csv") == b"local\n"


async def test_a_directory_with_files_of_others(gate: Gate) -> None:
    """P6: a directory that has files of another user is neither renamed nor removed with them."""
    async with gate.raw("other") as other, gate.raw() as raw:
        await raw.mkdir("sub")
        await other.put("sub/_draft.csv", b"foreign\n")
        await other.put("sub/a.csv", b"foreign\n")
        renamed = await raw.rename("sub", "mine")
        assert renamed.status == Status.PERMISSION_DENIED and "not yours" in renamed.message
        assert (await raw.on(Request.RMDIR, "sub")).status != Status.OK
        assert await other.listing("sub") == ["_draft.csv", "a.csv"]
        assert gate.in_store() == {"sub/a.csv": b"foreign\n"}


async def test_a_directory_whose_only_file_waits_in_the_store(gate: Gate) -> None:
    """P6: a directory in which another user's file waits (in the store) stays there for that user."""
    async with gate.raw("other") as other, gate.raw() as raw:
        await raw.mkdir("sub")
        await other.put("sub/a.csv", b"foreign\n")
        await raw.on(Request.RMDIR, "sub")
        assert gate.in_store() == {"sub/a.csv": b"foreign\n"}
        assert await other.get("sub/a.csv") == b"foreign\n"
        assert await other.listing("sub") == ["a.csv"]


async def test_archives_and_reports_of_others(gate: Gate) -> None:
    """P6: each user reads what became of its own files, and of nobody else's."""
    async with gate.raw("other") as other, gate.raw() as raw:
        await other.put("a.csv", b"first\n")
        await other.put("a.csv", b"second\n")
        [name] = await other.listing("/archives")
        assert await other.get(f"/archives/{name}") == b"first\n"
        assert await raw.listing("/archives") == []
        for operation in LOOKING.values():
            assert (await operation(raw, f"/archives/{name}")).status == Status.NO_SUCH_FILE


async def test_a_home(gate: Gate) -> None:
    """P6: a user with a home sees that directory as the drop, and nothing outside it, by whatever path."""
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


async def test_sessions_of_one_user_see_each_other(gate: Gate) -> None:
    """P5: several connections of one user see the same files, open uploads included."""
    async with gate.raw() as one, gate.raw() as two:
        handle = await one.open_file("a.csv")
        await one.write(handle, 0, b"half")
        assert (await two.on(Request.STAT, "a.csv")).attrs.size == 4
        answer = await two.try_open("a.csv", Open.READ)
        assert answer.kind == Reply.HANDLE and (await two.read(answer.handle)).data == b"half"
