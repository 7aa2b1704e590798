"""A real filesystem that is full: clients are told, nothing half is visible, and the server goes on (promise P1)."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Request
from tests.harness.raw import string
from tests.harness.servers import Gate

SIZE_MIB = 16
LINES = b"0123456789abcdef\n" * 1000


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A server whose data directory is a small filesystem of its own."""
    data = tmp_path / "data"
    data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(data)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this machine lets us mount nothing: {done.stderr.strip()}")
    try:
        with Gate(tmp_path, FREE_SPACE_FLOOR="0", SWEEP_INTERVAL="1s") as gate:
            gate.start()
            yield gate
    finally:
        subprocess.run(["umount", "--lazy", str(data)], check=True)


@pytest.mark.promise("P1")
async def test_upload_larger_than_the_disk(gate: Gate) -> None:
    """An upload that finds the disk full fails, and so does its CLOSE; the next, smaller one succeeds."""
    async with gate.raw() as raw:
        handle = await raw.open_file("large.csv")
        codes = [(await raw.write(handle, offset << 20, b"x" * (1 << 20))).status for offset in range(SIZE_MIB + 1)]
        assert codes[0] == Status.OK
        assert codes[-1] == Status.FAILURE
        assert (await raw.close(handle)).status == Status.FAILURE
        assert gate.in_store("large.csv") is None
        handle = await raw.open_file("small.csv")
        assert (await raw.write(handle, 0, LINES)).status == Status.OK
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store("small.csv") == LINES
    gate.command("verify", "--content")


@pytest.mark.promise("P7", "P8")
async def test_a_full_disk_is_said_everywhere(gate: Gate) -> None:
    """The client is told the rule, log and record name file and rule, and `status` says that uploads are refused."""
    async with gate.raw() as raw:
        handle = await raw.open_file("large.csv")
        places = [string(handle) + struct.pack(">Q", offset << 20) for offset in range(SIZE_MIB + 1)]
        answers = [await raw.request(Request.WRITE, place, string(b"x" * (1 << 20))) for place in places]
        assert b"rule: disk space" in next(answer.body for answer in answers if answer.status != Status.OK)
        status = gate.command("status")
        assert "the disk of the store is full" in status
        await raw.close(handle)
    gate.stop()  # what was noted is written now, at the latest
    refused = json.loads(gate.command("audit", "--event", "request.refused", "--json").splitlines()[0])["details"]
    assert (refused["request"], refused["path"], refused["rule"]) == ("write", "/sync/large.csv", "disk space")


@pytest.mark.promise("P1", "P2")
async def test_no_room_for_the_ledger(gate: Gate) -> None:
    """Where not even the record fits, CLOSE fails and nothing is in the store; once there is room, all is well again."""
    filler = gate.data / "filler"
    async with gate.raw() as raw:
        handle = await raw.open_file("first.csv")
        assert (await raw.write(handle, 0, LINES)).status == Status.OK
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        assert (await raw.close(handle)).status == Status.FAILURE
        assert gate.in_store("first.csv") is None
        filler.unlink()
        handle = await raw.open_file("first.csv")
        assert (await raw.write(handle, 0, LINES)).status == Status.OK
        assert (await raw.close(handle)).status == Status.OK
        assert gate.in_store("first.csv") == LINES
    gate.command("verify", "--content")
