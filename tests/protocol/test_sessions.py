"""What a connection may ask for besides SFTP, which is nothing; and what an answer tells of the machine, which is as much."""

from __future__ import annotations

import asyncio
import stat

import asyncssh
import pytest

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Open, Reply, Request
from tests.harness.gates import Gate, Start
from tests.harness.raw import WAIT_SECONDS, Raw, string


@pytest.mark.promise("P6")
@pytest.mark.parametrize("command", ["id", "sftp-server", "scp -t /sync", "/usr/libexec/openssh/sftp-server", ""])
async def test_no_exec(gate: Gate, command: str) -> None:
    """Trap: commands are refused, and a client that tried one first goes on with SFTP on the same connection."""
    async with gate.connection() as connection:
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.create_process(command)
        raw = await Raw.open(connection)
        await raw.begin()
        assert await raw.put("a.csv", b"a\n") == Status.OK


@pytest.mark.promise("P6")
async def test_no_shell(gate: Gate) -> None:
    """A shell and a terminal are refused."""
    async with gate.connection() as connection:
        for options in ({}, {"term_type": "xterm"}):
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.create_process(**options)
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.create_process(subsystem="netconf")


@pytest.mark.promise("P6")
async def test_no_forwarding(gate: Gate) -> None:
    """No port, in either direction, and no socket is forwarded."""
    async with gate.connection() as connection:
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", gate.port)
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_unix_connection("/run/x")
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.start_server(lambda *_: False, "127.0.0.1", 0)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", 1)
        raw = await Raw.open(connection)
        await raw.begin()
        assert await raw.put("a.csv", b"a\n") == Status.OK


@pytest.mark.promise("P6")
async def test_no_agent(gate: Gate) -> None:
    """Agent forwarding and X11 are refused, or ignored where the protocol has no answer, and SFTP goes on."""
    async with gate.connection(agent_forwarding=False) as connection:
        raw = await Raw.open(connection)
        await raw.begin()
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.create_process(x11_forwarding=True, x11_auth_path="/nonexistent")
        assert await raw.put("a.csv", b"a\n") == Status.OK


@pytest.mark.promise("P7")
async def test_the_limit_of_sessions(start: Start) -> None:
    """More sessions in one connection than the limit are refused, and there is room again when one has ended."""
    async with start(max_sessions_per_connection=2) as gate, gate.connection() as connection:
        sessions = [await Raw.open(connection) for _ in range(2)]
        with pytest.raises(asyncssh.ChannelOpenError):
            await Raw.open(connection)
        for raw in sessions:
            await raw.begin()
        sessions[0].writer.write_eof()
        assert await sessions[0].exit_status() == 0
        await gate.until("session.closed")
        raw = await Raw.open(connection)
        await raw.begin()
        assert await raw.put("a.csv", b"a\n") == Status.OK


@pytest.mark.promise("P1")
async def test_sessions_of_one_connection(gate: Gate) -> None:
    """The end of one session of a connection interrupts its own uploads only."""
    async with gate.connection() as connection:
        one, two = await Raw.open(connection), await Raw.open(connection)
        await one.begin()
        await two.begin()
        first, second = await one.open_file("a.csv"), await two.open_file("b.csv")
        await one.write(first, 0, b"a\n")
        await two.write(second, 0, b"b\n")
        one.writer.channel.close()
        await gate.until("session.closed")
        assert (await two.close(second)).status == Status.OK
    assert gate.in_store() == {"b.csv": b"b\n"}


@pytest.mark.promise("P6")
async def test_handles_belong_to_their_session(gate: Gate) -> None:
    """A handle of one session is none in another."""
    async with gate.raw() as one, gate.raw("other") as two:
        handle = await one.open_file("a.csv")
        assert (await two.write(handle, 0, b"x")).status == Status.FAILURE
        assert (await two.close(handle)).status == Status.FAILURE
        assert (await one.close(handle)).status == Status.OK


@pytest.mark.promise("P5")
async def test_long_names(gate: Gate) -> None:
    """Lines of ``ls -l`` are always in the same columns, with the user and no local account."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"12345\n")
        await raw.mkdir("sub")
        await raw.setstat("a.csv", atime=0, mtime=0)
        lines = {name: line for name, line, _ in await raw.rows(".")}
        assert lines["a.csv"] == "-rw-r-----    1 erp      erp               6 Jan  1  1970 a.csv"
        assert lines["sub"].startswith("drwxr-x---    1 erp      erp ")
        assert {len(line.split()) for line in lines.values()} == {9}
        assert {stat.S_IFMT(attrs.permissions or 0) for _, _, attrs in await raw.rows("/")} == {stat.S_IFDIR}


@pytest.mark.promise("P6")
async def test_owners_of_later_versions(gate: Gate) -> None:
    """From version 4 owner and group are names: the user's own, and no local account."""
    async with gate.raw(version=4) as raw:
        await raw.put("a.csv", b"x\n")
        found = (await raw.on(Request.STAT, "a.csv")).attrs
        assert (found.owner, found.group) == ("erp", "erp")


@pytest.mark.promise("P6")
async def test_numbers_of_owners(gate: Gate) -> None:
    """In version 3 the numbers of owner and group say nothing of local accounts."""
    async with gate.raw() as raw:
        await raw.put("a.csv", b"x\n")
        found = (await raw.on(Request.STAT, "a.csv")).attrs
        assert (found.uid, found.gid) == (1000, 1000)


@pytest.mark.promise("P5")
async def test_a_listing_of_many(gate: Gate) -> None:
    """A large directory is listed completely, sorted, in replies of bounded size."""
    (gate.drop / "many").mkdir()
    for number in range(10_000):
        (gate.drop / "many" / f"_{number:05}").touch()
    async with gate.raw() as raw:
        handle = (await raw.on(Request.OPENDIR, "many")).handle
        raw.send(Request.READDIR, string(handle))
        first = await raw.packet()
        assert len(first) < 34_000
        assert await raw.listing("many") == [f"_{number:05}" for number in range(10_000)]


@pytest.mark.promise("P7")
async def test_trouble_on_the_disk_is_told_in_general(gate: Gate) -> None:
    """Where the disk fails the client gets a sentence without a local path, and the log has the details."""
    (gate.store / ".sftpgate/staging/erp").write_bytes(b"in the way\n")
    async with gate.raw() as raw:
        answer = await raw.try_open("a.csv")
        assert answer.status == Status.FAILURE
        assert str(gate.directory) not in answer.message and "Errno" not in answer.message
        assert (await raw.on(Request.STAT, ".")).kind == Reply.ATTRS


@pytest.mark.promise("P1")
async def test_one_file_that_cannot_be_moved(gate: Gate) -> None:
    """Where a file in the store is in the way of one upload's directory, that CLOSE fails, and the others' do not."""
    async with gate.raw() as raw, gate.raw("other") as other:
        await raw.mkdir("sub")
        (gate.store / "sub").rmdir()
        (gate.store / "sub").write_bytes(b"in the way\n")
        handle = await raw.open_file("sub/a.csv")
        await raw.write(handle, 0, b"x\n")
        closed = await raw.close(handle)
        assert closed.status == Status.FAILURE
        assert str(gate.directory) not in closed.message and "Errno" not in closed.message
        assert await other.put("b.csv", b"b\n") == Status.OK
        assert await raw.put("c.csv", b"c\n") == Status.OK
        (gate.store / "sub").unlink()
        assert await raw.put("d.csv", b"d\n") == Status.OK


@pytest.mark.promise("P7")
async def test_openssh_users_are_told(gate: Gate) -> None:
    """OpenSSH's clients show only a status, so they get the sentence on stderr; others don't."""
    for version, told in (("OpenSSH_9.2p1", True), ("WinSCP_release_6.3", False)):
        async with gate.connection(client_version=version) as connection:
            writer, reader, errors = await connection.open_session(subsystem="sftp", encoding=None)
            raw = Raw(connection, writer, reader)
            await raw.begin()
            assert (await raw.try_open("/etc/x")).status == Status.PERMISSION_DENIED
            assert (await raw.try_open("none.csv", Open.READ)).status == Status.NO_SUCH_FILE
            writer.write_eof()
            async with asyncio.timeout(WAIT_SECONDS):
                said = await errors.read()
            expected = b"sftpgate: only /sync is writable: put the file there (rule: only /sync is writable)\r\n"
            assert said == (expected if told else b"")


@pytest.mark.promise("P7")
async def test_refusals_are_told_in_bounded_number(gate: Gate) -> None:
    """A client that does the forbidden in a loop gets the sentence once, and different ones in bounded number."""
    async with gate.connection(client_version="OpenSSH_9.2p1") as connection:
        writer, reader, errors = await connection.open_session(subsystem="sftp", encoding=None)
        raw = Raw(connection, writer, reader)
        await raw.begin()
        for number in range(200):
            await raw.try_open("/x" if number % 2 else "archives/x")
        writer.write_eof()
        async with asyncio.timeout(WAIT_SECONDS):
            assert len((await errors.read()).splitlines()) == 20


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-256", "rsa-sha2-512"])
async def test_host_keys(gate: Gate, algorithm: str) -> None:
    """Trap: old Java clients know no ed25519: there are ECDSA and RSA host keys beside it."""
    async with gate.connection(server_host_key_algs=[algorithm]) as connection:
        key = connection.get_server_host_key()
        assert key is not None and key.get_algorithm() in (algorithm, "ssh-rsa")


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("profile", "algorithm", "works"),
    [
        ("default", "ssh-rsa", False),
        ("hardened", "ssh-rsa", False),
        ("hardened", "ecdsa-sha2-nistp256", False),
        ("hardened", "ssh-ed25519", True),
        ("hardened", "rsa-sha2-512", True),
        ("legacy", "ssh-rsa", True),
    ],
)
async def test_profiles_of_host_keys(start: Start, profile: str, algorithm: str, works: bool) -> None:
    """Trap: the server signs with what its profile names: SHA-1 for legacy only, NIST curves not where it is hardened."""
    async with start(algorithms=profile) as gate:
        try:
            async with gate.connection(server_host_key_algs=[algorithm], kex_algs=["curve25519-sha256", "mlkem768x25519-sha256"]):
                assert works
        except (asyncssh.KeyExchangeFailed, asyncssh.ConnectionLost):  # whichever side is quicker to see it
            assert not works


@pytest.mark.promise("P6")
async def test_unknown_users_and_keys(gate: Gate) -> None:
    """Nobody gets in without a user's key, and the refusal says nothing about the user."""
    for user, key in (("nobody", str(gate.directory / "keys/id")), ("erp", asyncssh.generate_private_key("ssh-ed25519"))):
        with pytest.raises(asyncssh.PermissionDenied):
            await asyncssh.connect(
                "127.0.0.1", gate.port, username=user, client_keys=[key], known_hosts=None, config=None, agent_path=None
            )
