"""A file that a backup brings back was processed before: it must not run again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.harness.command_line import Cli

CSV = "username\na\n"


@pytest.mark.promise("P4")
def test_a_restored_file_is_not_run_twice(cli: Cli, tmp_path: Path) -> None:
    """A processed file that comes back with its old time stays where it is; once it is touched, it is a new one."""
    cli.environment["SFTPGATE_SETTLE_SECONDS"] = "0"
    cli("store", "put", "-", "users1.csv", text=CSV)
    waiting = cli.data / "store" / "users1.csv"
    backup = tmp_path / "backup.csv"
    shutil.copy2(waiting, backup)
    cli("run", "users")

    shutil.copy2(backup, waiting)
    again = cli("run", "users", code=3)
    assert again.out == ""
    assert "processed before" in again.err

    waiting.touch()
    cli("run", "users")
    assert not waiting.exists()


@pytest.mark.promise("P3")
def test_another_content_of_the_same_size_and_time_is_taken(cli: Cli, tmp_path: Path) -> None:
    """A new file is not mistaken for an old one, also where its size and its time are the same."""
    cli.environment["SFTPGATE_SETTLE_SECONDS"] = "0"
    cli("store", "put", "-", "users1.csv", text=CSV)
    waiting = cli.data / "store" / "users1.csv"
    backup = tmp_path / "backup.csv"
    shutil.copy2(waiting, backup)
    cli("run", "users")
    backup.write_text(CSV.replace("a\n", "b\n"), encoding="ascii")
    shutil.copystat(cli.data / "store/archives" / next((cli.data / "store/archives").iterdir()).name, backup)
    shutil.copy2(backup, waiting)
    cli("run", "users")
    assert not waiting.exists()
