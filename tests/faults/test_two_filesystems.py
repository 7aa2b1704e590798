"""A drop on another filesystem than the store: moves between them are copies, and nobody notices."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.policy.lifecycle import ArrivalState
from tests.harness.raw import WAIT_SECONDS
from tests.harness.servers import Gate, until

LINES = b"add,student,1\n" * 1000


@pytest.fixture(params=["drop", "store"])
def gate(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gate]:
    """A server of whose two trees one lies on a filesystem of its own."""
    apart = tmp_path / "apart"
    apart.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(apart)], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("this machine does not let us mount a filesystem")
    place = apart / request.param
    settings = {"DROP_DIR": str(place)} if request.param == "drop" else {"STORE_DIR": str(place)}
    try:
        with Gate(tmp_path, SWEEP_INTERVAL="1s", SETTLE_SECONDS="1s", FREE_SPACE_FLOOR="0", **settings) as gate:
            link = gate.data / ("sync" if request.param == "drop" else "store")
            gate.data.mkdir(exist_ok=True)
            place.mkdir(exist_ok=True)
            if not link.exists():
                link.symlink_to(place)  # where this class looks
            gate.start()
            yield gate
    finally:
        subprocess.run(["umount", "--lazy", str(apart)], check=True)


@pytest.mark.promise("P1", "P2", "P3")
def test_the_whole_way(gate: Gate) -> None:
    """Uploads, temporary names, batch locks and local files get into the store whole, also over a kill."""
    (gate.directory / "one").write_bytes(LINES)
    (gate.directory / "two").write_bytes(LINES + LINES)
    (gate.directory / "lock").write_bytes(b"")
    commands = "put one a.csv\nput two a.csv.tmp\nrename a.csv.tmp b.csv\nput lock alock.txt\nput two a.csv\nput one c.csv\n"
    assert gate.sftp(commands).wait(WAIT_SECONDS) == 0
    assert gate.in_store("a.csv") == LINES
    assert gate.in_store("b.csv") == LINES + LINES
    gate.kill()
    gate.start()
    assert gate.in_store("c.csv") is None
    assert gate.sftp("rm alock.txt\n").wait(WAIT_SECONDS) == 0
    assert gate.in_store("a.csv") == LINES + LINES
    assert gate.archived("a.csv") == [LINES]
    assert gate.in_store("c.csv") == LINES
    assert gate.sftp("rename c.csv _c.csv\n").wait(WAIT_SECONDS) == 0
    assert (gate.data / "sync/_c.csv").read_bytes() == LINES
    (gate.data / "sync/local.csv").write_bytes(LINES)
    until(lambda: gate.in_store("local.csv") == LINES, "the sweep takes it")
    assert [row.state for row in gate.rows("a.csv")] == [ArrivalState.REPLACED, ArrivalState.WAITING]
    gate.command("verify", "--content")
