"""``sftpgate prune``: what is kept for too long goes, and nothing that waits."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from sftpgate.errors import ExitCode
from tests.harness.command_line import Cli

OLD = {"SFTPGATE_KEEP_ARCHIVES": "0.001", "SFTPGATE_KEEP_REPORTS": "0.001", "SFTPGATE_KEEP_RECORDS": "0.001"}


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def _processed(cli: Cli, content: str) -> None:
    cli("store", "put", "-", "enrols.csv", text=content)
    cli("run", "enrols")


def test_by_default_nothing_goes(cli: Cli) -> None:
    """Archives and reports of today are kept; there is nothing to prune."""
    _processed(cli, "1\n")
    assert cli("prune", code=ExitCode.NOTHING_TO_DO).out == "nothing to remove\n"
    assert len(_names(cli.store / "archives")) == len(_names(cli.store / "reports")) == 1


def test_dry_run_shows_what_prune_removes(cli: Cli) -> None:
    """`prune --dry-run` lists what would go and removes nothing; `prune` removes just that."""
    _processed(cli, "1\n")
    cli("store", "put", "-", "users1.csv", text="waits\n")
    cli("store", "put", "-", "enrols.csv", text="first\n")
    cli("store", "put", "-", "enrols.csv", text="queued\n")
    archives, reports = _names(cli.store / "archives"), _names(cli.store / "reports")
    cli.environment |= OLD
    shown = cli("prune", "--dry-run", "--json").rows
    assert {str(row["name"]) for row in shown} == {f"archives/{archives[0]}", f"reports/{reports[0]}"}
    assert (_names(cli.store / "archives"), _names(cli.store / "reports")) == (archives, reports)
    assert cli("prune").out == "1 archives removed, 1 reports removed, 1 records removed\n"
    assert (_names(cli.store / "archives"), _names(cli.store / "reports")) == ([], [])
    assert {row["state"] for row in cli.arrivals()} == {"waiting", "queued"}
    assert (cli.store / "users1.csv").read_text() == "waits\n"
    cli("verify")
    cli("prune", code=ExitCode.NOTHING_TO_DO)


def test_size_limit_removes_the_oldest(cli: Cli) -> None:
    """Beyond keep_archives_bytes the oldest archives go, and the newest stay."""
    for content in ("1" * 1000, "2" * 1000, "3" * 1000):
        _processed(cli, content)
    cli.environment["SFTPGATE_KEEP_ARCHIVES_BYTES"] = "2000"
    [row] = cli("prune", "--dry-run", "--json").rows
    assert row["reason"] == "too much"
    cli("prune")
    kept = {path.read_text()[0] for path in (cli.store / "archives").iterdir()}
    assert kept == {"2", "3"}


def test_what_sftpgate_did_not_put_there_stays(cli: Cli) -> None:
    """A file that the ledger does not know is never pruned, and neither is one that took an archive's name."""
    _processed(cli, "1\n")
    [name] = _names(cli.store / "archives")
    (cli.store / "archives" / name).unlink()
    (cli.store / "archives" / name).write_text("by hand, and longer\n")
    for directory in ("archives", "reports"):
        (cli.store / directory / "mine.txt").write_text("mine\n")
    cli.environment |= OLD
    cli("prune")
    assert _names(cli.store / "archives") == sorted([name, "mine.txt"])
    assert _names(cli.store / "reports") == ["mine.txt"]


def test_quarantine_has_an_age_of_its_own(cli: Cli) -> None:
    """A file in quarantine stays until keep_quarantine has passed; then it is discarded, on the record."""
    (cli.directory / "sftpgate.toml").write_text('[tools.bad]\nfile = "bad.csv"\ncommand = ["false"]\nmax_attempts = 1\n')
    cli("store", "put", "-", "bad.csv", text="bad\n")
    cli("run", "bad", code=ExitCode.TOOL_FAILED)
    cli.environment |= OLD
    cli("prune", code=None)
    assert [row["state"] for row in cli.arrivals()] == ["quarantined"]
    cli.environment["SFTPGATE_KEEP_QUARANTINE"] = "0.001"
    cli("prune")
    assert list((cli.store / ".sftpgate" / "quarantine").iterdir()) == []
    cli("verify")


def test_a_report_that_somebody_removed_is_forgotten(cli: Cli) -> None:
    """The record of a report whose file is gone for an hour goes, whatever the settings keep; a younger one stays."""
    _processed(cli, "1\n")
    [report] = (cli.store / "reports").iterdir()
    report.unlink()
    cli("prune", code=ExitCode.NOTHING_TO_DO)
    with contextlib.closing(sqlite3.connect(cli.data / "ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE reports SET at = at - 7200 * 1000000")
    [row] = cli("prune", "--dry-run", "--json").rows
    assert (row["name"], row["reason"]) == (f"reports/{report.name}", "its file is gone")
    assert cli("prune").out == "1 records removed\n"
    cli("prune", code=ExitCode.NOTHING_TO_DO)
    assert len(_names(cli.store / "archives")) == 1


def test_the_sweeper_prunes(cli: Cli) -> None:
    """A sweep prunes by the same settings, and says how many went."""
    _processed(cli, "1\n")
    cli.environment |= OLD
    assert cli("sweep", "--json").record["others"]["archives pruned"] == 1  # type: ignore[index]  # JSON
    assert _names(cli.store / "archives") == []


@pytest.mark.promise("P8")
def test_the_audit_record_stays_verifiable(cli: Cli) -> None:
    """Old events go from the beginning of the chain only, and the rest still verifies."""
    _processed(cli, "1\n")
    cli.environment["SFTPGATE_KEEP_EVENTS"] = "0.001"
    cli("prune")
    assert "audit.pruned" in cli("audit").out
    cli("verify")
