"""Gates that earlier versions have left, opened by this one: nothing is lost, and what was under way goes on.

``gates`` has one for each version of the ledger that `make_gate.py` could make by the code of that time.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from sftpgate.app.runs.claims import make_claims
from sftpgate.errors import ExitCode, LedgerError
from sftpgate.ledger import arrivals, claims
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.database.schema import SCHEMA_VERSION
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.claim_ends import ClaimEnd
from sftpgate.upkeep.verify import verify
from tests.harness.commands import clean_environment
from tests.harness.handover import Gate


def _version_of(packed: Path) -> int:
    return int(packed.stem.removeprefix("ledger-").partition(".")[0])


GATES = sorted((Path(__file__).parent / "gates").glob("*.tar.xz"), key=_version_of)
TOOLS = {
    "users": {"file": "users.csv", "command": ["true"]},
    "enrols": {"file": "enrols.csv", "command": ["true"], "arrivals": "queue"},
    "broken": {"file": "broken.csv", "command": ["false"], "max_attempts": 1},
}
Standing = list[tuple[str, str, str | None, str]]


@pytest.fixture(params=GATES, ids=lambda path: path.name.partition(".")[0])
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The directory of a gate as an earlier version left it."""
    with tarfile.open(request.param) as packed:
        packed.extractall(tmp_path, filter="tar")
    return tmp_path


def _rows(ledger: Path) -> Standing:
    with contextlib.closing(sqlite3.connect(ledger)) as connection:
        found: Standing = connection.execute("SELECT path, state, hold_reason, sha256 FROM arrivals ORDER BY seq").fetchall()
    return found


def _version(ledger: Path) -> str:
    with contextlib.closing(sqlite3.connect(ledger)) as connection:
        [(found,)] = connection.execute("SELECT value FROM facts WHERE name = 'schema_version'").fetchall()
    return str(found)


def _standing(gate: Gate) -> Standing:
    with gate.system.ledger.reading() as connection:
        return [(row.path, row.state.value, row.hold_reason, row.sha256) for row in arrivals.find(connection)]


def _command(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of an admin who is in the gate's directory."""
    command = [sys.executable, "-c", "from sftpgate.cli.main import main; main()"]
    return subprocess.run(
        [*command, *words], cwd=directory, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
    )


def _end(gate: Gate, tool: str) -> None:
    runner = make_claims(gate.system)
    claim = runner.take(tool)
    assert claim is not None, tool
    runner.end(claim, ClaimEnd(outcome=RunOutcome.DONE))


@pytest.mark.promise("P2", "P3", "P4", "P8")
def test_every_file_is_where_it_was(earlier: Path) -> None:
    """Each file of an earlier gate stands as it stood, with its content; disk, ledger and audit record agree; the claim holds,
    the queue goes on in its order, and the interrupted upload can be resumed.
    """
    before = _rows(earlier / "data/ledger.db")
    assert {state for _, state, _, _ in before} >= {"done", "quarantined", "claimed", "waiting", "queued", "held", "ignored"}
    gate = Gate(earlier / "data", tools=TOOLS)
    assert not gate.sweeper.recover().gone
    assert _standing(gate) == before
    assert verify(gate.system.resources, gate.system.journal, content=True) == []
    with gate.system.ledger.reading() as connection:
        assert len(claims.tokens(connection)) == 1
    partial = gate.system.staging.partial_at("erp", "interrupted.csv")
    assert partial is not None and partial.size == 4 * 32768
    _end(gate, "enrols")
    _end(gate, "enrols")
    gate.put("users.csv", b"user\nafter\n")
    gate.sweeper.run()
    assert verify(gate.system.resources, gate.system.journal, content=True) == []
    gate.system.close()
    assert _version(earlier / "data/ledger.db") == str(SCHEMA_VERSION)


@pytest.mark.promise("P2", "P8")
def test_the_commands_of_an_admin_work(earlier: Path) -> None:
    """Without anything being done by hand, `verify` is content with what an earlier version has left, and `run` goes on."""

    def said(*words: str) -> str:
        done = _command(earlier, *words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    assert "enrols" in said("run", "enrols")
    assert "agree" in said("verify", "--content")
    assert said("user", "list").count("erp") == 1


@pytest.mark.promise("P7", "P8")
@pytest.mark.parametrize("earlier", [path for path in GATES if _version_of(path) < SCHEMA_VERSION], indirect=True)
def test_before_the_upgrade(earlier: Path) -> None:
    """A command that looks at records says that the ledger is not upgraded yet, and by what it is; `doctor` and `report-bug` work
    all the same. None of them changes the ledger. What closes a user's account upgrades it, and is on the record.
    """
    ledger = earlier / "data/ledger.db"
    before, version = _rows(ledger), _version(ledger)
    (earlier / "sftpgate.toml").touch()
    for words in (["arrivals"], ["audit"], ["ban", "list"], ["expect", "list"], ["notify", "list"]):
        done = _command(earlier, *words)
        assert done.returncode == ExitCode.TRY_AGAIN, words
        assert f"has version {version}, this program's is {SCHEMA_VERSION}: it is upgraded when" in done.stderr, words
    doctor = _command(earlier, "doctor").stdout
    assert f"it has version {version}" in doctor and "no such" not in doctor
    report = _command(earlier, "report-bug", "--json")
    assert json.loads(report.stdout)["ledger"] == {"database": "sqlite", "schema": version}, report.stderr
    assert (_rows(ledger), _version(ledger)) == (before, version)
    assert _command(earlier, "user", "disable", "erp").returncode == 0
    assert _version(ledger) == str(SCHEMA_VERSION)
    assert "cli.user.disable" in _command(earlier, "audit").stdout


@pytest.mark.promise("P2", "P8")
def test_an_upgrade_that_is_killed_goes_on(earlier: Path) -> None:
    """A process that is killed right before the new version is committed leaves the earlier one, and the next start does it."""
    ledger = earlier / "data/ledger.db"
    before, version = _rows(ledger), _version(ledger)
    code = (
        "import os, signal\n"
        "from sftpgate.ledger.database.connection import Ledger\n"
        "class Killed(Ledger):\n"
        "    def step(self, operation): os.kill(os.getpid(), signal.SIGKILL)\n"
        f"Killed('sqlite:///{ledger}').create()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=clean_environment(), timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (_rows(ledger), _version(ledger)) == (before, version)
    gate = Gate(earlier / "data", tools=TOOLS)
    assert _standing(gate) == before
    assert verify(gate.system.resources, gate.system.journal, content=True) == []
    gate.system.close()


def test_an_earlier_program_is_refused(tmp_path: Path) -> None:
    """A ledger of a later version is refused with what to do, and stays as it is."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.create()
    ledger.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.execute("UPDATE facts SET value = '99' WHERE name = 'schema_version'")
    later = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    with pytest.raises(LedgerError, match="program that wrote it, or restore the backup"):
        later.create()
    later.close()
    assert _version(tmp_path / "ledger.db") == "99"


def test_each_version_has_its_gate() -> None:
    """The earliest version and the newest landed ones are there, and all are small."""
    versions = [_version_of(path) for path in GATES]
    assert versions[0] == 1 and len(versions) >= 6
    assert all(os.path.getsize(path) < 50_000 for path in GATES)
