"""A ledger that is damaged or removed under a running server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.raw import WAIT_SECONDS
from tests.harness.servers import Gate


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A server that has taken one file, and does not sweep by itself."""
    (tmp_path / "x.csv").write_bytes(b"x,1\n")
    (tmp_path / "y.csv").write_bytes(b"y,1\n")
    with Gate(tmp_path, SWEEP_INTERVAL="1h", WORKERS="2") as gate:
        gate.start()
        assert gate.sftp("put x.csv\n").wait(WAIT_SECONDS) == 0
        yield gate


@pytest.mark.promise("P8")
def test_a_damaged_ledger_that_a_server_uses(gate: Gate) -> None:
    """Nobody gives the ledger another name while a server writes into it, though it is damaged; it says what to do."""
    for name in ("ledger.db", "ledger.db-wal"):
        (gate.data / name).write_bytes(b"this is no database\n" * 1000)
    done = gate.attempt("sweep")
    assert done.returncode != 0 and "stop the server" in done.stderr
    assert not list(gate.data.glob("ledger.db.damaged-*"))
    gate.kill()
    gate.attempt("sweep")
    assert list(gate.data.glob("ledger.db.damaged-*"))
    assert [item.path for item in gate.rows("x.csv")] == ["x.csv"]


@pytest.mark.promise("P2")
def test_a_ledger_that_is_removed_under_a_server(gate: Gate) -> None:
    """No file is acknowledged whose record would go into a file that was removed; what was brought back is used again."""
    kept = gate.directory / "kept"
    shutil.move(gate.data / "ledger.db", kept)
    assert gate.sftp("put y.csv\n").wait(WAIT_SECONDS) != 0
    assert gate.in_store("y.csv") is None
    shutil.move(kept, gate.data / "ledger.db")
    assert gate.sftp("put y.csv\n").wait(WAIT_SECONDS) == 0
    assert gate.in_store("y.csv") == b"y,1\n"
    assert [item.owner for path in ("x.csv", "y.csv") for item in gate.rows(path)] == ["erp", "erp"]
