"""Contracts in front of a real server and real tools: what a bad file meets, whatever is killed meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.policy.lifecycle import ArrivalState
from tests.harness.servers import Gate, until

TOOL = """
[tools.enrols]
file = "enrols.csv"
command = ["cat", "{file}"]
arrivals = "queue"

[tools.enrols.contract]
header = ["cmd", "cid", "uid"]
key = ["cid", "uid"]
max_removed = "10%"
"""
HEADER = "cmd;cid;uid\n"


def table(count: int) -> str:
    """A file with so many rows."""
    return HEADER + "".join(f"add;C1;u{number:06d}\n" for number in range(count))


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A server whose tool has a contract."""
    (tmp_path / "sftpgate.toml").write_text(TOOL, encoding="ascii")
    gate = Gate(tmp_path, SWEEP_INTERVAL="1s")
    with gate:
        gate.start()
        yield gate


def put(gate: Gate, content: str, path: str = "/sync/enrols.csv") -> None:
    """Send a file with OpenSSH's client."""
    local = gate.directory / "export.csv"
    local.write_text(content, encoding="ascii")
    process = gate.sftp(f"put {local} {path}\n")
    assert process.wait(60) == 0


def reports(gate: Gate) -> list[str]:
    """What senders can read."""
    return [file.read_text(encoding="utf-8") for file in (gate.data / "store" / "reports").iterdir()]


def state(gate: Gate) -> list[tuple[ArrivalState, str]]:
    """What each arrival is, and why."""
    return [(row.state, str(row.hold_reason or "")) for row in gate.rows("enrols.csv")]


@pytest.mark.promise("P1", "P8")
def test_a_bad_file_reaches_no_tool(gate: Gate) -> None:
    """A good file is run. One that lost rows is held, its sender reads why, and no run takes it; approved, it is run."""
    put(gate, table(200))
    until(lambda: state(gate) == [(ArrivalState.WAITING, "")], "the first file was judged")
    gate.command("run", "--all")
    put(gate, table(100))
    until(lambda: state(gate)[-1:] == [(ArrivalState.HELD, "not as agreed")], "the second file was judged")
    assert gate.attempt("run", "--all").returncode == 3
    [held] = json.loads(gate.command("status", "--json"))["held"]
    assert "100 of 200 rows of the last processed file are gone; 10% may be." in json.dumps(held)

    until(
        lambda: any("100 of 200 rows of the last processed file are gone" in text for text in reports(gate)),
        "its sender reads why",
    )
    assert "amounts.removed: 100 of 200 rows" in gate.command("show", held["id"])
    assert gate.attempt("release", held["id"]).returncode == 6
    gate.command("approve", held["id"], "--reason", "half of the school has left")
    gate.command("run", "--all")
    assert gate.attempt("verify").returncode == 0


@pytest.mark.promise("P1", "P8")
def test_a_rehearsal(gate: Gate) -> None:
    """A sender tries a file in a folder that is there, and fetches its report; no run finds anything to do."""
    put(gate, table(100) + ";;\n", "/sync/check/enrols.csv")
    until(lambda: any("rehearsal: the file would be held" in text for text in reports(gate)), "the report is there")
    fetched = gate.directory / "fetched"
    fetched.mkdir()
    assert gate.sftp(f"get /reports/* {fetched}/\nls /sync/check\n").wait(60) == 0
    [report] = list(fetched.iterdir())
    assert (
        report.name.endswith("_report_check_enrols.csv") and "line 102: The row has delimiters and nothing" in report.read_text()
    )
    assert gate.attempt("run", "--all").returncode == 3
    assert gate.attempt("verify").returncode == 0


@pytest.mark.promise("P1", "P2")
def test_a_server_that_dies_while_it_checks(gate: Gate) -> None:
    """Killed at any moment between the CLOSE and the verdict, a file is neither lost nor published unjudged."""
    for count in (300, 310, 320):
        put(gate, table(count) + ";;\n")
        gate.kill()
        assert gate.in_store("enrols.csv") is None
        gate.start()
    until(lambda: state(gate) == [(ArrivalState.HELD, "not as agreed")] * 3, "all were judged")
    assert gate.attempt("verify").returncode == 0


def children(parent: int, command: str) -> list[int]:
    """The processes that a process has started, by a part of their command lines."""
    found = subprocess.run(["pgrep", "-P", str(parent), "-f", command], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def test_a_judge_that_is_killed(gate: Gate) -> None:
    """A judge that somebody kills has not said that the file is good: it is held, and the server goes on."""
    put(gate, table(400_000))

    def judges() -> list[int]:
        """The forks that are at work, of the process that waits for files to judge."""
        ready = children(gate.workers()[0], "guard_process")
        return [fork for process in ready for fork in children(process, "guard_process")]

    until(judges, "a judge is at work")
    for pid in judges():
        subprocess.run(["kill", f"-{signal.SIGKILL.value}", str(pid)], check=False)
    until(lambda: state(gate)[-1:] == [(ArrivalState.HELD, "not as agreed")], "the file is held")
    [held] = json.loads(gate.command("status", "--json"))["held"]
    assert "The check itself failed" in json.dumps(held)
