"""Several worker processes on one port: what a dying worker, a reload, a hung worker and a dead supervisor do to clients."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import asyncssh
import psutil
import pytest

from tests.harness.servers import Gate, until

CONTENT = b"0123456789abcdef0123456789abcde\n" * 4096


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A running gate with two workers."""
    with Gate(tmp_path, WORKERS="2", SHUTDOWN_GRACE="5s") as gate:
        gate.start()
        until(lambda: gate.workers_seen() == 2, "two workers are ready")
        yield gate


async def _worker_of(gate: Gate) -> tuple[asyncssh.SSHClientConnection, int]:
    """A connection, and the worker that has it."""
    connection = await gate.connect()
    return connection, gate.worker_of(connection.get_extra_info("sockname")[1])


async def test_connections_are_spread(gate: Gate) -> None:
    """Of two connections at a time, each worker has one."""
    first, one = await _worker_of(gate)
    second, other = await _worker_of(gate)
    with closing(first), closing(second):
        assert one != other


@pytest.mark.promise("P1")
async def test_a_killed_worker_takes_only_its_own_clients_with_it(gate: Gate) -> None:
    """An upload of a killed worker stays unpublished and is resumed in another one; other workers' clients notice nothing."""
    mine, doomed = await _worker_of(gate)
    others, _ = await _worker_of(gate)
    async with mine.start_sftp_client() as client, others.start_sftp_client() as bystander:
        half = await client.open("half.csv", "wb")
        await half.write(CONTENT)
        there = await bystander.open("there.csv", "wb")
        await there.write(CONTENT)
        until(lambda: len(list((gate.data / "store/.sftpgate/staging/erp").glob("*.json"))) == 2, "both uploads have a note")
        os.kill(doomed, signal.SIGKILL)
        await there.write(CONTENT)
        await there.close()
        await mine.wait_closed()
    others.close()
    assert gate.in_store("there.csv") == CONTENT * 2
    assert gate.in_store("half.csv") is None
    until(lambda: gate.workers_seen() == 3, "the dead worker was replaced")
    local = gate.directory / "half.csv"
    local.write_bytes(CONTENT + b"the end\n")
    assert gate.sftp("reput half.csv\n").wait() == 0
    assert gate.in_store("half.csv") == local.read_bytes()


async def test_a_reload_loses_no_connection(gate: Gate) -> None:
    """SIGHUP in the middle of an upload: it goes on in its old worker, new clients get new workers with the new settings, and
    the old workers end with their last client.
    """
    connection, old = await _worker_of(gate)
    async with connection.start_sftp_client() as client:
        upload = await client.open("long.csv", "wb")
        await upload.write(CONTENT)
        (gate.directory / "sftpgate.toml").write_text("max_upload_bytes = 10\n", encoding="ascii")
        gate.hang_up()
        until(lambda: gate.has_logged("reload.done", "retiring"), "the reload is done")
        local = gate.directory / "refused.csv"
        local.write_bytes(CONTENT)
        assert gate.sftp("put refused.csv\n").wait() != 0
        assert old in gate.workers()
        await upload.write(CONTENT)
        await upload.close()
    connection.close()
    assert gate.in_store("long.csv") == CONTENT * 2
    until(lambda: old not in gate.workers(), "the old worker has ended")


def test_a_reload_under_load_refuses_nobody(gate: Gate) -> None:
    """Clients that connect one after the other while the workers are replaced three times all succeed."""
    local = gate.directory / "x.csv"
    local.write_bytes(b"a,b\n")
    for number in range(12):
        if number % 4 == 0:
            gate.hang_up()
        assert gate.sftp(f"put x.csv x{number}.csv\n").wait() == 0, gate.log.read_text(encoding="utf-8")
    assert all(gate.in_store(f"x{number}.csv") == b"a,b\n" for number in range(12))


def test_a_reload_with_broken_settings_changes_nothing(gate: Gate) -> None:
    """Settings that are not usable are refused with a line in the log, and a pipe in their place is not waited for; the gate
    serves with those it has.
    """
    settings = gate.directory / "sftpgate.toml"
    settings.write_text("no_such_key = 1\n", encoding="ascii")
    before = gate.workers()
    gate.hang_up()
    until(lambda: gate.has_logged("reload.refused", "no_such_key"), "the reload is refused")
    settings.unlink()
    os.mkfifo(settings)
    gate.hang_up()
    until(lambda: gate.has_logged("reload.refused", "no regular file"), "the reload is refused again")
    settings.unlink()  # the client's commands do not read it; ours would
    assert gate.sftp("pwd\n").wait() == 0
    assert gate.workers() == before


@pytest.mark.promise("P2")
async def test_workers_finish_and_end_without_a_supervisor(gate: Gate) -> None:
    """When the supervisor is killed, an upload in flight is finished and acknowledged, and no process is left."""
    connection, _ = await _worker_of(gate)
    workers = gate.workers()
    async with connection.start_sftp_client() as client:
        upload = await client.open("last.csv", "wb")
        await upload.write(CONTENT)
        os.kill(gate.pid, signal.SIGKILL)
        await upload.write(CONTENT)
        await upload.close()
    connection.close()
    content = gate.in_store("last.csv")
    assert content is not None
    assert hashlib.sha256(content).digest() == hashlib.sha256(CONTENT * 2).digest()
    until(lambda: not any(_is_alive(pid) for pid in workers), "the workers have ended")


def _is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_one_worker_sweeps(gate: Gate) -> None:
    """Only the leader sweeps; when it dies, its successor does."""
    assert _leaders(gate) == [1]
    os.kill(gate.workers()[0], signal.SIGKILL)
    until(lambda: gate.workers_seen() == 3, "the leader was replaced")
    assert _leaders(gate) == [1, 3]


def _leaders(gate: Gate) -> list[int]:
    lines = gate.log.read_text(encoding="utf-8").splitlines()
    return [int(line.partition('"worker": ')[2].split(",")[0]) for line in lines if '"leader": true' in line]


def test_a_stop_ends_everything(gate: Gate) -> None:
    """SIGTERM ends the supervisor with status 0, and every worker."""
    workers = gate.workers()
    assert gate.stop() == 0
    assert not any(_is_alive(pid) for pid in workers)


def test_a_worker_that_cannot_start_ends_the_command(tmp_path: Path) -> None:
    """Where the first worker does not come up, ``serve`` ends with its message and its exit code."""
    with Gate(tmp_path, FILE_GROUP="no-such-group") as gate:
        done = subprocess.run(
            gate.words("serve"), env=gate.environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert done.returncode == 78
    assert "no-such-group" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_process_of_followers_is_replaced(gate: Gate) -> None:
    """Who runs the followers of the record is started again when it dies, and ends with the supervisor, however that ends."""
    until(lambda: gate.has_logged("followers.ready", ""), "the process of followers is there")
    first = gate.follower()
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: gate.follower() not in (first, None), "another one is there")
    second = gate.follower()
    assert second is not None
    os.kill(gate.pid, signal.SIGKILL)
    until(lambda: not _is_alive(second), "it has ended with the supervisor")
