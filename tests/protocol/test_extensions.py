"""Extension requests: those that are offered work, and the others are unsupported."""

from __future__ import annotations

import pytest
from asyncssh import SFTPVFSAttrs
from asyncssh.packet import SSHPacket

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import MAX_PACKET_BYTES, Open, Reply
from tests.harness.gates import Gate, Start
from tests.harness.raw import Answer, string, uint64


def filesystem(answer: Answer) -> SFTPVFSAttrs:
    """The reply to statvfs."""
    assert answer.kind == Reply.EXTENDED_REPLY, answer
    return SFTPVFSAttrs.decode(SSHPacket(answer.body), answer.version)


@pytest.mark.promise("P5")
async def test_unknown_extensions(gate: Gate) -> None:
    """An extension that nobody knows is unsupported, whatever its name and data are, and the session goes on."""
    async with gate.raw() as raw:
        for name in ("", "x", "expand-path@openssh.com", "home-directory", "md5-hash", "é\n\x1b[31m", "x" * 1000):
            answer = await raw.extended(name, b"\xff" * 20)
            assert answer.status == Status.OP_UNSUPPORTED
            assert answer.message.isprintable()
        assert (await raw.extended("x", b"")).status == Status.OP_UNSUPPORTED
        assert await raw.put("a.csv", b"a\n") == Status.OK


@pytest.mark.promise("P5")
async def test_limits(gate: Gate) -> None:
    """The limits that are told are those that hold."""
    async with gate.raw() as raw:
        answer = await raw.extended("limits@openssh.com")
        packet = SSHPacket(answer.body)
        longest_packet, read, write, handles = (packet.get_uint64() for _ in range(4))
        assert (longest_packet, handles) == (MAX_PACKET_BYTES, 1024)
        handle = await raw.open_file("a.bin", Open.READ | Open.WRITE | Open.CREAT)
        assert (await raw.write(handle, 0, b"\0" * write)).status == Status.OK
        assert (await raw.write(handle, write, b"\0" * (read - write))).status == Status.OK
        assert len((await raw.read(handle, 0, read)).data) == read


@pytest.mark.promise("P5")
async def test_statvfs_tells_the_quota(start: Start) -> None:
    """Statvfs tells what the user may still send, and less after an upload, open ones included; fstatvfs the same."""
    async with start(max_pending_bytes=1024**2, max_pending_files=10, max_upload_bytes=1024**2) as gate, gate.raw() as raw:
        before = filesystem(await raw.extended("statvfs@openssh.com", string(".")))
        assert (before.bsize or 0) * (before.blocks or 0) == 1024**2
        assert (before.bavail, before.ffree) == (256, 10)
        assert await raw.put("a.bin", b"\0" * 300_000 + b"\n") == Status.OK
        handle = await raw.open_file("b.csv")
        after = filesystem(await raw.extended("fstatvfs@openssh.com", string(handle)))
        assert (after.bavail, after.ffree) == ((1024**2 - 300_001) // 4096, 8)


@pytest.mark.promise("P7")
async def test_statvfs_of_nothing(gate: Gate) -> None:
    """Statvfs of a path that is not there is "no such file"; of any directory that is seen it works."""
    async with gate.raw() as raw:
        assert (await raw.extended("statvfs@openssh.com", string("none"))).status == Status.NO_SUCH_FILE
        assert (await raw.extended("statvfs@openssh.com", string("/etc"))).status == Status.NO_SUCH_FILE
        for path in ("/", "/sync", "/archives", "/reports"):
            assert filesystem(await raw.extended("statvfs@openssh.com", string(path))).namemax == 255


@pytest.mark.promise("P2")
async def test_fsync(gate: Gate) -> None:
    """Fsync of an open upload is answered, and publishes nothing."""
    async with gate.raw() as raw:
        handle = await raw.open_file("a.csv")
        await raw.write(handle, 0, b"a\n")
        assert (await raw.extended("fsync@openssh.com", string(handle))).status == Status.OK
        assert gate.in_store() == {}
        assert (await raw.close(handle)).status == Status.OK


@pytest.mark.promise("P5")
async def test_lsetstat(gate: Gate) -> None:
    """Lsetstat is setstat: there are no links."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"a\n")
        done = await raw.extended("lsetstat@openssh.com", string("a.csv"), raw.attributes(atime=9, mtime=9))
        assert done.status == Status.OK
        assert (gate.store / "a.csv").stat().st_mtime == 9
        none = await raw.extended("lsetstat@openssh.com", string("none"), raw.attributes(permissions=0o600))
        assert none.status == Status.NO_SUCH_FILE


@pytest.mark.promise("P1")
async def test_copy_data(gate: Gate) -> None:
    """Copy-data copies within the server between two handles, and the copy is an upload like any other."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"0123456789\n")
        source, target = await raw.open_file("a.csv", Open.READ), await raw.open_file("b.csv")
        part = await raw.extended("copy-data", string(source), uint64(2, 3), string(target), uint64(0))
        assert part.status == Status.OK
        rest = await raw.extended("copy-data", string(source), uint64(5, 0), string(target), uint64(3))
        assert rest.status == Status.OK
        assert gate.in_store() == {"a.csv": b"0123456789\n"}
        assert (await raw.close(target)).status == Status.OK
        assert gate.in_store()["b.csv"] == b"23456789\n"


@pytest.mark.promise("P1")
async def test_copy_data_with_wrong_handles(gate: Gate) -> None:
    """Copy-data between handles that are not for reading and for writing fails and copies nothing."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"a\n")
        source, target = await raw.open_file("a.csv", Open.READ), await raw.open_file("b.csv")
        for one, other in ((source, source), (target, target), (target, source), (b"none", target), (source, b"none")):
            answer = await raw.extended("copy-data", string(one), uint64(0, 0), string(other), uint64(0))
            assert answer.status == Status.FAILURE
        assert (await raw.close(target)).status == Status.OK
        assert gate.in_store() == {"a.csv": b"a\n", "b.csv": b""}


@pytest.mark.promise("P5")
async def test_the_library_uses_them(gate: Gate) -> None:
    """asyncssh's client finds the extensions and works with them."""
    async with gate.sftp() as sftp:
        async with sftp.open("a.csv", "wb") as file:
            await file.write(b"a\n")
            await file.fsync()
        assert sftp.limits.max_write_len == 261101
        await sftp.posix_rename("a.csv", "b.csv")
        assert (await sftp.statvfs(".")).namemax == 255
        assert sftp.supports_remote_copy
        async with sftp.open("b.csv", "rb") as source, sftp.open("c.csv", "wb") as target:
            await sftp.remote_copy(source, target)
    assert gate.in_store() == {"b.csv": b"a\n", "c.csv": b"a\n"}
