"""A real filesystem that is full, where the machine lets us mount one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.errors import ExitCode
from tests.harness.raw import WAIT_SECONDS
from tests.harness.servers import Gate, until

LARGE = b"add,student,1\n" * 800_000  # 11 MB, more than the disk has


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Gate]:
    """A server whose data lies on a filesystem of 8 MB, with no floor of free space."""
    data = tmp_path / "data"
    data.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(data)], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("this machine does not let us mount a filesystem")
    try:
        with Gate(tmp_path, FREE_SPACE_FLOOR="0") as gate:
            gate.start()
            yield gate
    finally:
        subprocess.run(["umount", str(data)], check=True)


@pytest.mark.promise("P1", "P2")
def test_full_disk(small: Gate) -> None:
    """An upload that fills the disk fails and leaves no trace; the server goes on with what fits."""
    (small.directory / "large.csv").write_bytes(LARGE)
    (small.directory / "small.csv").write_bytes(b"a,1\n")
    assert small.sftp("put large.csv").wait(WAIT_SECONDS) != 0
    until(lambda: small.has_logged("upload.interrupted", "large.csv"), "the server gave up the upload")
    until(lambda: small.staged_bytes() == 0, "the space is free again")
    assert small.sftp("put small.csv").wait(WAIT_SECONDS) == 0
    assert small.in_store("small.csv") == b"a,1\n"
    assert small.in_store("large.csv") is None
    small.command("verify")


@pytest.mark.promise("P8")
def test_a_full_disk_damages_no_ledger(small: Gate) -> None:
    """With no byte left neither a sweep nor a start takes the ledger for damaged; when there is room again all is known."""
    (small.directory / "small.csv").write_bytes(b"a,1\n")
    assert small.sftp("put small.csv").wait(WAIT_SECONDS) == 0
    small.stop()
    fill = small.data / "fill"
    with fill.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"x" * 4096)
    before = sorted(path.name for path in small.data.iterdir())
    assert small.attempt("sweep").returncode not in (0, ExitCode.NOTHING_TO_DO)
    with pytest.raises(AssertionError, match="did not start"):
        small.start()
    small.stop()
    assert [name for name in sorted(path.name for path in small.data.iterdir()) if "damaged" in name] == [], before
    fill.unlink()
    small.start()
    assert [item.owner for item in small.rows("small.csv")] == ["erp"]
