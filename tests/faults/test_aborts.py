"""Clients and networks that break off: what ends before a CLOSE is never published, and can be resumed (promise P1)."""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Request
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from tests.harness.raw import RESUME, Raw, string
from tests.harness.servers import Gate, cut_the_line, until

LINES = b"one,1\ntwo,2\n"
ENDLESS = b"x" * 40_000_000 + b"\n"  # no newline but the last: cut anywhere, it does not look whole
SLOWLY = ("-l", "40000")  # kbit/s: some seconds for ENDLESS


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A server that notices dead connections soon, and refuses uploads above 64 MiB."""
    directory = tmp_path_factory.mktemp("gate")
    with Gate(directory, KEEPALIVE_INTERVAL="0.3s", MAX_UPLOAD_BYTES="64MiB", SWEEP_INTERVAL="1s") as started:
        started.start()
        (directory / "endless").write_bytes(ENDLESS)
        yield started


async def resumable(gate: Gate, path: str) -> int | None:
    """The size at which the user can resume an upload that the server has noticed to be broken off."""
    await asyncio.to_thread(until, lambda: gate.has_logged("upload.interrupted", path), f"{path} is interrupted")
    assert gate.in_store(path) is None, "P1: an unfinished upload is in the store"
    assert gate.rows(path) == []
    async with gate.raw() as raw:
        return await raw.size(path)


# -- real clients ----------------------------------------------------------------------------------------------------


@pytest.mark.promise("P1")
async def test_killed_client(gate: Gate) -> None:
    """What a killed OpenSSH client has sent is not published, and its user can resume it to the whole file."""
    client = gate.sftp("put endless killed.csv\n", *SLOWLY)
    await asyncio.to_thread(until, lambda: gate.staged_bytes() > 1_000_000, "some of it arrived")
    os.killpg(client.pid, signal.SIGKILL)
    client.wait()
    assert 0 < (await resumable(gate, "killed.csv") or 0) < len(ENDLESS)
    again = gate.sftp("reput endless killed.csv\n")
    assert await asyncio.to_thread(again.wait) == 0
    assert gate.in_store("killed.csv") == ENDLESS


@pytest.mark.promise("P1")
async def test_interrupted_client(gate: Gate) -> None:
    """Ctrl-C in OpenSSH's sftp, which sends CLOSE, leaves a held arrival and nothing in the store."""
    client = gate.sftp("put endless interrupted.csv\n", *SLOWLY)
    await asyncio.to_thread(until, lambda: gate.staged_bytes() > 1_000_000, "some of it arrived")
    client.send_signal(signal.SIGINT)
    await asyncio.to_thread(client.wait)
    await asyncio.to_thread(until, lambda: gate.rows("interrupted.csv"), "it was closed")
    [row] = gate.rows("interrupted.csv")
    assert (row.state, row.hold_reason) == (ArrivalState.HELD, HoldReason.INCOMPLETE)
    assert 0 < row.size < len(ENDLESS)
    assert gate.in_store("interrupted.csv") is None


# What an interrupted upload was once published as: it ends as a complete file may.
RECORDS = b"".join(b"%099d\n" % number for number in range(400_000))  # fixed width, and some block always ends with a record
CUT_SHORT = {
    "records": RECORDS,
    "utf-16": ("\ufeff" + RECORDS[:20_000_000].decode()).encode("utf-16-le"),
    "gzip": gzip.compress(os.urandom(40_000_000), 0),
    "binary": os.urandom(40_000_000),
}


async def require_held(gate: Gate, path: str, whole: bytes) -> None:
    """A part of the content is held, and nothing is in the store."""
    await asyncio.to_thread(until, lambda: gate.rows(path), "it was closed")
    [row] = gate.rows(path)
    assert (row.state, row.hold_reason) == (ArrivalState.HELD, HoldReason.INCOMPLETE)
    assert 0 < row.size < len(whole)
    assert gate.in_store(path) is None


@pytest.mark.promise("P1")
@pytest.mark.parametrize("kind", CUT_SHORT)
async def test_interrupted_in_any_content(gate: Gate, kind: str) -> None:
    """Ctrl-C in OpenSSH's sftp leaves a held part, whatever is in it; the whole file that is sent then is published."""
    path, whole = f"cut-{kind}", CUT_SHORT[kind]
    (gate.directory / path).write_bytes(whole)
    client = gate.sftp(f"put {path}\n", *SLOWLY)
    await asyncio.to_thread(until, lambda: gate.staged_bytes() > 1_000_000, "some of it arrived")
    client.send_signal(signal.SIGINT)
    await asyncio.to_thread(client.wait)
    await require_held(gate, path, whole)
    assert await asyncio.to_thread(gate.sftp(f"put {path}\n").wait) == 0
    assert gate.in_store(path) == whole


PARAMIKO_PUT = """
import sys, paramiko
host, port, key, local, remote, least = sys.argv[1:]
with paramiko.SSHClient() as ssh:
    ssh.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    ssh.connect(host, int(port), "erp", key_filename=key, allow_agent=False, look_for_keys=False)
    def broken(done, total):
        if done > int(least):
            raise RuntimeError("broken")
    ssh.open_sftp().put(local, remote, callback=broken)
"""


@pytest.mark.promise("P1")
@pytest.mark.parametrize("kind", CUT_SHORT)
async def test_exception_in_paramiko(gate: Gate, kind: str) -> None:
    """An exception in paramiko's put, which closes the file then, leaves a held part, whatever is in it."""
    path, whole = f"broken-{kind}", CUT_SHORT[kind]
    local = gate.directory / path
    local.write_bytes(whole)
    words = [sys.executable, "-c", PARAMIKO_PUT, "127.0.0.1", str(gate.port), str(gate.key), str(local), path, "2000000"]
    done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=False)
    assert "RuntimeError: broken" in done.stderr
    await require_held(gate, path, whole)


@pytest.mark.promise("P1")
async def test_curl_that_runs_out_of_time(gate: Gate) -> None:
    """curl closes the file when its time is over, behind a short write in the middle: the part is held."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    local = gate.directory / "timed"
    local.write_bytes(RECORDS)
    key = gate.directory / "id_ecdsa"
    make = ["ssh-keygen", "-q", "-t", "ecdsa", "-b", "256", "-m", "PEM", "-N", "", "-f", str(key)]
    await asyncio.to_thread(subprocess.run, make, check=True)
    gate.command("key", "add", "erp", f"{key}.pub")
    words = ["curl", "-sk", "--user", "erp:", "--key", str(key), "--pubkey", f"{key}.pub", "--upload-file", str(local)]
    url = f"sftp://127.0.0.1:{gate.port}/sync/timed.csv"
    done = await asyncio.to_thread(subprocess.run, [*words, "--limit-rate", "2M", "--max-time", "2", url], check=False)
    assert done.returncode == 28
    await require_held(gate, "timed.csv", RECORDS)


# -- channels and connections ----------------------------------------------------------------------------------------


@pytest.mark.promise("P1")
async def test_end_of_file_with_an_open_handle(gate: Gate) -> None:
    """The end of the channel's data does not complete the upload that is open."""
    async with gate.raw() as raw:
        handle = await raw.open_file("eof.csv")
        assert (await raw.write(handle, 0, LINES)).status == Status.OK
        raw.writer.write_eof()
        assert await resumable(gate, "eof.csv") == len(LINES)


@pytest.mark.promise("P1")
async def test_closed_channel_with_an_open_handle(gate: Gate) -> None:
    """The end of the channel does not complete the upload that is open, and the connection goes on."""
    async with gate.raw() as raw:
        handle = await raw.open_file("channel.csv")
        assert (await raw.write(handle, 0, LINES)).status == Status.OK
        raw.writer.close()
        assert await resumable(gate, "channel.csv") == len(LINES)
        writer, reader, _ = await raw.connection.open_session(subsystem="sftp", encoding=None)
        again = Raw(raw.connection, writer, reader)
        await again.begin()
        assert await again.size("channel.csv") == len(LINES)


@pytest.mark.promise("P1")
async def test_disconnect_between_the_last_write_and_close(gate: Gate) -> None:
    """A connection that is closed in order after the last write does not complete the upload."""
    async with gate.raw() as raw:
        handle = await raw.open_file("disconnect.csv")
        assert (await raw.write(handle, 0, LINES)).status == Status.OK
    assert await resumable(gate, "disconnect.csv") == len(LINES)


@pytest.mark.promise("P1")
async def test_reset(gate: Gate) -> None:
    """A TCP reset does not complete the upload that is open."""
    async with gate.raw() as raw:
        handle = await raw.open_file("reset.csv")
        assert (await raw.write(handle, 0, LINES)).status == Status.OK
        raw.connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.connection.abort()
    assert await resumable(gate, "reset.csv") == len(LINES)


@pytest.mark.promise("P1")
async def test_half_open_connection(gate: Gate) -> None:
    """A connection whose other machine is gone, without a word, is ended, and its upload is interrupted."""
    async with gate.raw() as raw:
        handle = await raw.open_file("half-open.csv")
        assert (await raw.write(handle, 0, LINES)).status == Status.OK
        cut_the_line(raw.connection.get_extra_info("socket"))
        assert await resumable(gate, "half-open.csv") == len(LINES)
        raw.connection.abort()


@pytest.mark.promise("P2")
async def test_hanging_up_after_close(gate: Gate) -> None:
    """A CLOSE that arrived whole is carried out, though its sender hung up at once."""
    async with gate.raw() as raw:
        handle = await raw.open_file("hung-up.csv")
        raw.send(Request.WRITE, string(handle), struct.pack(">Q", 0), string(LINES))
        raw.send(Request.CLOSE, string(handle))
        raw.writer.write_eof()
        await asyncio.to_thread(until, lambda: gate.in_store("hung-up.csv") == LINES, "it is published")


# -- writes ----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P1")
async def test_failed_write(gate: Gate) -> None:
    """After a failed write the CLOSE fails too, and nothing is in the store."""
    async with gate.raw() as raw:
        handle = await raw.open_file("failed.csv")
        assert (await raw.write(handle, 0, LINES)).status == Status.OK
        assert (await raw.write(handle, 64 * 1024 * 1024, LINES)).status != Status.OK
        assert (await raw.write(handle, len(LINES), LINES)).status != Status.OK, "a failure is for good"
        assert (await raw.close(handle)).status != Status.OK
        assert gate.in_store("failed.csv") is None
        assert gate.rows("failed.csv") == []


@pytest.mark.promise("P1")
async def test_gap(gate: Gate) -> None:
    """An upload with a gap fails at CLOSE, and nothing is in the store; it can be resumed from where the gap begins."""
    async with gate.raw() as raw:
        handle = await raw.open_file("gap.csv")
        assert (await raw.write(handle, 0, LINES)).status == Status.OK
        assert (await raw.write(handle, 100, LINES)).status == Status.OK
        assert (await raw.close(handle)).status != Status.OK
        assert gate.in_store("gap.csv") is None
        assert gate.rows("gap.csv") == []
        assert await raw.size("gap.csv") == len(LINES)
        handle = await raw.open_file("gap.csv", RESUME)
        assert (await raw.write(handle, len(LINES), LINES)).status == Status.OK
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store("gap.csv") == LINES + LINES


@pytest.mark.promise("P1")
async def test_writes_out_of_order(gate: Gate) -> None:
    """Writes in any order make the same file, and its digest is right."""
    pieces = [os.urandom(50_000) for _ in range(7)] + [os.urandom(40_000)]
    async with gate.raw() as raw:
        handle = await raw.open_file("order.csv")
        for number in (3, 0, 7, 1, 2, 6, 4, 5, 0):
            assert (await raw.write(handle, number * 50_000, pieces[number])).status == Status.OK
        assert (await raw.close(handle)).status == Status.OK
    assert gate.in_store("order.csv") == b"".join(pieces)
    gate.command("verify", "--content")


@pytest.mark.promise("P4")
async def test_close_twice(gate: Gate) -> None:
    """A second CLOSE of a handle is an error and makes no second arrival."""
    async with gate.raw() as raw:
        handle = await raw.open_file("twice.csv")
        assert (await raw.write(handle, 0, LINES)).status == Status.OK
        raw.send(Request.CLOSE, string(handle))
        raw.send(Request.CLOSE, string(handle))
        answers = [await raw.answer(), await raw.answer()]
        assert answers[0].status == Status.OK
        assert answers[1].status != Status.OK
    assert len(gate.rows("twice.csv")) == 1


@pytest.mark.promise("P1")
@pytest.mark.parametrize("declared", [len(LINES) - 1, len(LINES) + 1])
async def test_declared_size_that_does_not_match(gate: Gate, declared: int) -> None:
    """An upload of another size than was declared is held, and not in the store."""
    path = f"declared-{declared}.csv"
    async with gate.raw() as raw:
        handle = await raw.open_file(path, attrs=raw.attributes(size=declared))
        assert (await raw.write(handle, 0, LINES)).status == Status.OK
        assert (await raw.close(handle)).status == Status.OK
        assert await raw.size(path) == len(LINES)
    [row] = gate.rows(path)
    assert (row.state, row.hold_reason) == (ArrivalState.HELD, HoldReason.INCOMPLETE)
    assert gate.in_store(path) is None


# -- two at a time ---------------------------------------------------------------------------------------------------


@pytest.mark.promise("P3")
async def test_two_clients_on_one_path(gate: Gate) -> None:
    """Of two uploads of one path the last to close is in the store, the other in the archives, each whole."""
    async with gate.raw() as one, gate.raw() as two:
        first, second = await one.open_file("both.csv"), await two.open_file("both.csv")
        for offset in range(0, 300_000, 100_000):
            assert (await one.write(first, offset, b"1" * 99_999 + b"\n")).status == Status.OK
            assert (await two.write(second, offset, b"2" * 99_999 + b"\n")).status == Status.OK
        assert (await two.close(second)).status == Status.OK
        assert (await one.close(first)).status == Status.OK
    assert gate.in_store("both.csv") == (b"1" * 99_999 + b"\n") * 3
    assert gate.archived("both.csv") == [(b"2" * 99_999 + b"\n") * 3]


@pytest.mark.promise("P3")
async def test_two_users_on_one_path(gate: Gate) -> None:
    """A path that became another user's while it was uploaded is refused at CLOSE, and both files are kept."""
    async with gate.raw() as one, gate.raw(user="other") as two:
        first, second = await one.open_file("foreign.csv"), await two.open_file("foreign.csv")
        assert (await one.write(first, 0, LINES)).status == Status.OK
        assert (await two.write(second, 0, LINES + LINES)).status == Status.OK
        assert (await one.close(first)).status == Status.OK
        assert (await two.close(second)).status == Status.PERMISSION_DENIED
        assert gate.in_store("foreign.csv") == LINES
        assert await two.size("foreign.csv") == len(LINES + LINES), "it can be resumed, or renamed"


@pytest.mark.promise("P1")
async def test_taking_over_from_a_dead_connection(gate: Gate) -> None:
    """A resume while the dead connection still holds its handle works on a copy, and what comes late changes nothing."""
    async with gate.raw() as dead, gate.raw() as alive:
        handle = await dead.open_file("over.csv")
        assert (await dead.write(handle, 0, LINES)).status == Status.OK
        await asyncio.to_thread(until, lambda: _has_note(gate, len(LINES)), "the upload has its note")
        size = await alive.size("over.csv")
        assert size == len(LINES)
        again = await alive.open_file("over.csv", RESUME)
        assert (await dead.write(handle, size, b"late and wrong\n")).status == Status.OK
        assert (await alive.write(again, size, LINES)).status == Status.OK
        assert (await alive.close(again)).status == Status.OK
        assert gate.in_store("over.csv") == LINES + LINES


def _has_note(gate: Gate, size: int) -> bool:
    directory: Path = gate.data / "store/.sftpgate/staging/erp"
    uploads = [directory / note.name.partition(".")[0] for note in directory.glob("*.json")]
    return any(upload.stat().st_size == size for upload in uploads if upload.exists())


# -- how asyncssh tells the end --------------------------------------------------------------------------------------


class Recorder(asyncssh.SSHServerSession[bytes]):
    """Writes down what asyncssh calls."""

    def __init__(self, calls: asyncio.Queue[str]) -> None:
        self._calls = calls

    def subsystem_requested(self, subsystem: str) -> bool:
        return True

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._calls.put_nowait(data.decode())

    def eof_received(self) -> bool:
        self._calls.put_nowait("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._calls.put_nowait("broken" if exc else "lost")


class Admission(asyncssh.SSHServer):
    """Lets everybody in, and gives out a recorder."""

    def __init__(self, calls: asyncio.Queue[str]) -> None:
        self._calls = calls

    def begin_auth(self, username: str) -> bool:
        return False

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        return Recorder(self._calls)


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("end of file", ["bytes", "eof", "lost"]),
        ("channel closed", ["bytes", "lost"]),
        ("disconnected", ["bytes", "lost"]),
        ("connection lost", ["bytes", "broken"]),
    ],
)
async def test_how_asyncssh_tells_the_end_of_a_session(end: str, expected: list[str]) -> None:
    """asyncssh hands over all bytes before the end, tells the end once, and never calls it anything else."""
    calls: asyncio.Queue[str] = asyncio.Queue()
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(lambda: Admission(calls), "127.0.0.1", 0, server_host_keys=[key], encoding=None)
    port = server.sockets[0].getsockname()[1]
    connection = await asyncssh.connect("127.0.0.1", port, known_hosts=None, config=None, username="erp", agent_path=None)
    try:
        async with asyncio.timeout(20):
            writer, _, _ = await connection.open_session(subsystem="sftp", encoding=None)
            writer.write(b"bytes")
            heard = [await calls.get()]
            match end:
                case "end of file":
                    writer.write_eof()
                    heard.append(await calls.get())
                    connection.close()
                case "channel closed":
                    writer.close()
                case "disconnected":
                    connection.close()
                case _:
                    connection.abort()
            heard.append(await calls.get())
    finally:
        connection.close()
        await connection.wait_closed()
        server.close()
        await server.wait_closed()
    assert [*heard, *(calls.get_nowait() for _ in range(calls.qsize()))] == expected
