"""What a sender is told, and what is left to it, when its quotas are used up."""

from __future__ import annotations

import pytest

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Open, Request
from sftpgate.users.registry import UserRegistry
from tests.harness.gates import Gate, Start
from tests.harness.raw import RESUME, Raw, string


def give(gate: Gate, **quotas: str | int | None) -> None:
    """Give erp quotas, as the command line does, while the gate runs."""
    UserRegistry(gate.directory / "keys").set_quotas("erp", quotas)


async def free_bytes(raw: Raw) -> int:
    """What `df` shows."""
    answer = await raw.extended("statvfs@openssh.com", string("/sync"))
    return int.from_bytes(answer.body[8:16], "big") * int.from_bytes(answer.body[32:40], "big")


@pytest.mark.promise("P7")
@pytest.mark.parametrize(("version", "status"), [(3, Status.FAILURE), (5, Status.QUOTA_EXCEEDED), (6, Status.QUOTA_EXCEEDED)])
async def test_a_day_that_is_used_up(start: Start, version: int, status: Status) -> None:
    """Refused at OPEN with the rule and the hour, in every version; listing, reading, renaming and removing go on; another
    user is not concerned, and a higher quota holds at once.
    """
    async with start(max_daily_bytes=8192) as gate, gate.raw(version=version) as raw:
        assert await raw.put("a.csv", b"a" * 8192) == Status.OK
        refused = await raw.try_open("b.csv")
        assert refused.status == status
        assert "00:00 UTC" in refused.message and "max_daily_bytes" in refused.message
        assert await free_bytes(raw) == 0
        assert "a.csv" in await raw.listing("/sync")
        assert await raw.get("a.csv") == b"a" * 8192
        assert (await raw.rename("a.csv", "c.csv")).status == Status.OK
        assert (await raw.on(Request.REMOVE, "c.csv")).status == Status.OK
        assert (await raw.try_open("b.csv")).status == status  # removing gives nothing of the day back
        async with gate.raw("other") as other:
            assert await other.put("d.csv", b"d") == Status.OK
        give(gate, max_daily_bytes="12KiB")
        assert await free_bytes(raw) == 4096
        assert await raw.put("b.csv", b"b" * 4096) == Status.OK


async def test_what_fits_exactly_and_one_byte_more(start: Start) -> None:
    """At the declared size, at the size set by path or handle, and at the write: the limit is taken, one byte more is not."""
    async with start(max_daily_bytes=100) as gate, gate.raw(version=6) as raw:
        give(gate, max_upload_bytes=60)
        too_large = await raw.try_open("a.csv", attrs=raw.attributes(size=61))
        assert too_large.status == Status.QUOTA_EXCEEDED and "max_upload_bytes" in too_large.message
        handle = await raw.open_file("a.csv", attrs=raw.attributes(size=60))
        assert (await raw.write(handle, 0, b"a" * 60)).status == Status.OK
        assert (await raw.close(handle)).status == Status.OK
        handle = await raw.open_file("b.csv")
        assert (await raw.fsetstat(handle, size=41)).status == Status.QUOTA_EXCEEDED
        assert (await raw.write(handle, 0, b"b" * 40)).status == Status.OK
        assert (await raw.setstat("b.csv", size=41)).status == Status.QUOTA_EXCEEDED
        assert (await raw.close(handle)).status == Status.OK
        assert set(gate.in_store()) == {"a.csv", "b.csv"}


async def test_a_quota_that_shrinks_while_an_upload_is_open(start: Start) -> None:
    """The open upload keeps what it was allowed; the next OPEN has the new quota; nothing refused is left in staging."""
    async with start() as gate, gate.raw(version=6) as raw:
        handle = await raw.open_file("a.csv")
        give(gate, max_upload_bytes=10, max_pending_files=5)
        assert (await raw.write(handle, 0, b"a" * 50)).status == Status.OK
        assert (await raw.close(handle)).status == Status.OK
        handle = await raw.open_file("b.csv")
        passed = await raw.write(handle, 0, b"b" * 11)
        assert passed.status == Status.QUOTA_EXCEEDED and "10 bytes" in passed.message
        assert (await raw.close(handle)).status != Status.OK
        assert gate.staged() == []
        assert set(gate.in_store()) == {"a.csv"}


async def test_two_sessions_race_for_the_rest(start: Start) -> None:
    """Both begin with what is left, and share it to the byte; then nobody may begin."""
    async with start(max_daily_bytes=100) as gate, gate.raw(version=6) as one, gate.raw(version=6) as two:
        first, second = await one.open_file("a.csv"), await two.open_file("b.csv")
        assert (await one.write(first, 0, b"a" * 60)).status == Status.OK
        assert (await two.write(second, 0, b"b" * 40)).status == Status.OK
        assert (await one.write(first, 60, b"a")).status == Status.QUOTA_EXCEEDED
        assert (await two.close(second)).status == Status.OK
        assert (await one.close(first)).status != Status.OK
        assert await two.put("c.csv", b"c" * 60) == Status.OK  # what was refused is not counted
        assert (await two.try_open("d.csv")).status == Status.QUOTA_EXCEEDED


async def test_an_upload_is_resumed_and_appended_to_within_the_day(start: Start) -> None:
    """An interrupted upload has the room that it had; an appended file counts for the day as the new arrival that it is."""
    async with start(max_daily_bytes=100) as gate:
        async with gate.raw(version=6) as raw:
            handle = await raw.open_file("a.csv")
            assert (await raw.write(handle, 0, b"a" * 60)).status == Status.OK
        await gate.until("upload.interrupted")
        async with gate.raw(version=6) as raw:
            handle = await raw.open_file("a.csv", RESUME)
            assert (await raw.write(handle, 60, b"a" * 40)).status == Status.OK
            assert (await raw.write(handle, 100, b"a")).status == Status.QUOTA_EXCEEDED
            await raw.close(handle)
            assert await raw.put("b.csv", b"b" * 45) == Status.OK
            handle = await raw.open_file("b.csv", Open.WRITE | Open.APPEND)
            assert (await raw.write(handle, 45, b"b" * 10)).status == Status.OK
            assert (await raw.close(handle)).status == Status.OK
            assert gate.in_store() == {"b.csv": b"b" * 55}
            assert (await raw.try_open("c.csv")).status == Status.QUOTA_EXCEEDED
