"""Whatever makes a file grow stops at the same bounds."""

from __future__ import annotations

import pytest

from sftpgate.gateway.sftp import handles
from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Open
from sftpgate.store.disk import Disk
from tests.harness.gates import Start
from tests.harness.raw import Answer, Raw, string, uint64

CHECK, ROOM = 64 * 1024, 1024 * 1024  # bytes: between two looks at the disk, and above its floor


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that has ROOM bytes above the floor, but for what lies in the store."""

    def free_bytes(_disk: Disk, root: object) -> int:
        return ROOM - sum(file.stat().st_size for file in (root / ".sftpgate/staging").glob("*/*"))  # type: ignore[operator]

    monkeypatch.setattr(Disk, "free_bytes", free_bytes)
    monkeypatch.setattr(handles, "SPACE_CHECK_BYTES", CHECK)


async def copy(raw: Raw, target: bytes, at: int) -> Answer:
    """Copy the whole of source.csv to ``at``."""
    source = await raw.open_file("source.csv", Open.READ)
    answer = await raw.extended("copy-data", string(source), uint64(0, 0), string(target), uint64(at))
    await raw.close(source)
    return answer


async def write(raw: Raw, target: bytes, at: int) -> Answer:
    """Write as much."""
    return await raw.write(target, at, b"x" * CHECK)


@pytest.mark.promise("P7")
@pytest.mark.same_process
@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("grow", [write, copy])
async def test_the_floor_of_the_disk_holds(start: Start, grow: object) -> None:
    """By WRITE and by copy-data, by one handle and by several, uploads stop at the floor of the disk, and are
    told the rule.
    """
    async with start(free_space_floor=0) as gate, gate.raw() as raw:
        await raw.put("source.csv", b"x" * CHECK)
        targets = [await raw.open_file(f"t{number}.csv") for number in range(4)]
        refused = None
        for step in range(2 * ROOM // CHECK):
            answer = await grow(raw, targets[step % 4], step // 4 * CHECK)  # type: ignore[operator]
            if answer.status != Status.OK:
                refused = answer
                break
        assert refused is not None and "(rule: free_space_floor)" in refused.message
        assert step * CHECK <= ROOM + 4 * CHECK
        for target in targets:
            await raw.close(target)


@pytest.mark.promise("P7")
@pytest.mark.same_process
@pytest.mark.parametrize(
    "limits", [{"max_upload_bytes": CHECK}, {"max_daily_bytes": 2 * CHECK}, {"max_pending_bytes": 2 * CHECK}]
)
async def test_copies_count_as_writes_do(start: Start, limits: dict[str, int]) -> None:
    """Copy-data passes no limit of an upload, of the day or of what waits."""
    async with start(**limits) as gate, gate.raw() as raw:
        await raw.put("source.csv", b"x" * CHECK)
        target = await raw.open_file("target.csv")
        assert (await copy(raw, target, 0)).status == Status.OK
        answer = await copy(raw, target, CHECK)
        assert answer.status == Status.FAILURE
        assert f"(rule: {next(iter(limits))})" in answer.message
        await raw.close(target)
        assert gate.arrivals("target.csv") == []


@pytest.mark.promise("P7")
@pytest.mark.same_process
@pytest.mark.usefixtures("small_disk")
async def test_a_private_copy_needs_room(start: Start) -> None:
    """What is opened without truncation, or cut by its path, is copied: refused below the floor, and the file stays."""
    async with start(free_space_floor=0) as gate, gate.raw() as raw:
        content = b"a\n" * CHECK
        assert await raw.put("a.csv", content) == Status.OK
        filler = await raw.open_file("b.csv")
        for number in range((ROOM - CHECK) // CHECK):
            assert (await write(raw, filler, number * CHECK)).status == Status.OK
        for refused in (await raw.try_open("a.csv", Open.WRITE), await raw.setstat("a.csv", size=2)):
            assert refused.status == Status.FAILURE and "(rule: free_space_floor)" in refused.message
        assert gate.in_store() == {"a.csv": content}
        await raw.close(filler)
