"""A user's name that is used again: whoever has it next sees nothing of what the former one sent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sftpgate.drop.sender_view import SenderView
from tests.harness.command_line import Cli
from tests.harness.senders import Senders

CSV = b"username,salary\nanna,1\n"
PASSWORD = "horse battery staple\n"


def seen_by(senders: Senders, user: str) -> set[str]:
    """The files of the drop that a user sees."""
    system = senders.system
    sender_view = SenderView(system.layout, system.disk, system.ledger, system.staging)
    return {item.name for item in sender_view.listing(user, "") if not item.is_dir}


def leave_files(cli: Cli, senders: Senders) -> None:
    """A user whose files wait, are set aside, are queued behind another and are archived."""
    cli("user", "add", "anna", "--password-stdin", text=PASSWORD)
    for name in ("users1.csv", "_notes.csv", "enrols.csv", "enrols.csv"):
        senders.send("anna", name, CSV)
    senders.send("anna", "users2.csv", CSV)
    cli("run", "users", code=None)
    assert seen_by(senders, "anna") >= {"_notes.csv", "enrols.csv"}


def test_a_new_user_with_a_former_name(cli: Cli, senders: Senders) -> None:
    """`user remove` says what waits; the next user of the name sees none of it, and tools take it all the same."""
    leave_files(cli, senders)
    said = cli("user", "remove", "anna", "--yes").out
    assert "2 files waiting for a tool" in said
    assert "recorded as anna~1's" in said
    cli("user", "add", "anna", "--password-stdin", text=PASSWORD)
    assert seen_by(senders, "anna") == set()
    assert {row["owner"] for row in cli.arrivals()} == {"anna~1"}
    cli("run", "enrols")
    cli("verify", "--content")


@pytest.mark.parametrize("again", ["add", "import"])
def test_a_directory_that_was_removed_by_hand(cli: Cli, senders: Senders, tmp_path: Path, again: str) -> None:
    """A new user sees nothing of a former one whose directory somebody removed without telling the gate."""
    leave_files(cli, senders)
    shutil.rmtree(cli.directory / "keys" / "users" / "anna")
    if again == "add":
        cli("user", "add", "anna", "--password-stdin", text=PASSWORD)
    else:
        keys = tmp_path / "import"
        keys.mkdir()
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0GmqkdmCnYRYbBD8eEQJ4pgZLxSOYcZIVVWcu4YFhY x\n"
        (keys / "anna").write_text(key, encoding="utf-8")
        cli("user", "import", str(keys))
    assert seen_by(senders, "anna") == set()


def test_a_directory_that_is_made_again(cli: Cli, senders: Senders, tmp_path: Path) -> None:
    """A configuration manager that removes a user's directory and makes it again takes nothing from its owner."""
    leave_files(cli, senders)
    before = seen_by(senders, "anna")
    directory = cli.directory / "keys" / "users" / "anna"
    shutil.copytree(directory, tmp_path / "kept")
    shutil.rmtree(directory)
    shutil.copytree(tmp_path / "kept", directory)
    assert seen_by(senders, "anna") == before


def test_notes_beside_files(cli: Cli, senders: Senders) -> None:
    """A ledger that is made anew from the disk does not give a new user what a former one sent."""
    leave_files(cli, senders)
    cli("user", "remove", "anna", "--yes")
    owners = {json.loads(path.read_text())["owner"] for path in (cli.store / ".sftpgate" / "queue").glob("*.json")}
    assert owners == {"anna~1"}


def test_a_user_without_files(cli: Cli) -> None:
    """Before anything has arrived a user is removed and made again without a word of files, and nothing is made."""
    cli("user", "add", "anna", "--password-stdin", text=PASSWORD)
    assert cli("user", "remove", "anna", "--yes").out == "user anna removed\n"
    cli("user", "add", "anna", "--password-stdin", text=PASSWORD)
    assert not cli.data.exists()
