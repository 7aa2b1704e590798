"""A gate whose ledger is in PostgreSQL: the whole way of a file, and a database server that goes away on that way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.errors import ExitCode
from sftpgate.gateway.sftp.status import Status
from sftpgate.policy.lifecycle import ArrivalState
from tests.harness.postgresql import PostgreSQL
from tests.harness.servers import Gate

TOOLS = '[tools.q]\nfile = "queue.csv"\narrivals = "queue"\ncommand = ["cp", "{file}", "last.csv"]\n'
LINES = b"one,1\ntwo,2\n"


@pytest.fixture
def gate(tmp_path: Path, postgresql: PostgreSQL) -> Iterator[Gate]:
    """A running server with a tool."""
    (tmp_path / "sftpgate.toml").write_text(TOOLS, encoding="ascii")
    with Gate(tmp_path, SWEEP_INTERVAL="1s", LEDGER_URL=postgresql.new_database()) as gate:
        gate.start()
        yield gate


def put(gate: Gate, path: str, content: bytes) -> bool:
    """An upload with OpenSSH's client; whether it succeeded."""
    (gate.directory / "file").write_bytes(content)
    return gate.sftp(f"put file {path}\n").wait() == 0


@pytest.mark.promise("P2", "P3", "P4", "P8")
def test_the_whole_way(gate: Gate) -> None:
    """Files are received, queued, replaced, processed and archived, also over a kill of the server."""
    assert put(gate, "queue.csv", b"1\n") and put(gate, "queue.csv", b"2\n")
    assert put(gate, "a.csv", LINES) and put(gate, "a.csv", LINES + LINES)
    gate.kill()
    gate.start()
    gate.command("run", "q")
    assert (gate.directory / "last.csv").read_bytes() == b"2\n"
    assert [row.state for row in gate.rows("queue.csv")] == [ArrivalState.DONE, ArrivalState.DONE]
    assert [row.state for row in gate.rows("a.csv")] == [ArrivalState.REPLACED, ArrivalState.WAITING]
    assert gate.in_store("a.csv") == LINES + LINES
    assert sorted(gate.archived("queue.csv")) == [b"1\n", b"2\n"]
    assert "queue.csv" in gate.command("arrivals", "--path", "q*.csv") and "a.csv" in gate.command("status")
    gate.command("verify", "--content")


@pytest.mark.promise("P1", "P2")
@pytest.mark.parametrize("how", ["stopped", "crashed"])
async def test_a_database_server_that_goes_away(gate: Gate, postgresql: PostgreSQL, how: str) -> None:
    """Without the ledger CLOSE fails with a word that says so, and shows nothing; all goes on when it is back."""
    assert put(gate, "before.csv", LINES)
    async with gate.raw() as raw:
        handle = await raw.open_file("during.csv")
        assert (await raw.write(handle, 0, LINES)).status == Status.OK
        postgresql.stop() if how == "stopped" else postgresql.crash()
        try:
            assert (await raw.close(handle)).status == Status.FAILURE
            assert gate.in_store("during.csv") is None
        finally:
            postgresql.start()
        handle = await raw.open_file("during.csv")
        assert (await raw.write(handle, 0, LINES)).status == Status.OK
        assert (await raw.close(handle)).status == Status.OK
    assert gate.in_store("during.csv") == LINES == gate.in_store("before.csv")
    assert [row.state for row in gate.rows("during.csv")] == [ArrivalState.WAITING]
    gate.command("verify", "--content")


def test_a_database_server_that_is_away_at_the_start(gate: Gate, postgresql: PostgreSQL) -> None:
    """A command without its ledger ends with one line that says so."""
    gate.stop()
    postgresql.stop()
    try:
        for words in (["arrivals"], ["verify"], ["serve"]):
            done = gate.attempt(*words)
            assert done.returncode == ExitCode.TRY_AGAIN
            [line] = [line for line in done.stderr.splitlines() if not line.startswith("{")]  # the server's log is JSON
            assert line.startswith("sftpgate: the ledger cannot be used: ")
    finally:
        postgresql.start()
